"""What a Predictor is given, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dekey.data.images import ReducedImage
from dekey.errors import DekeyError

Image = NDArray[np.uint8] | ReducedImage
"""(H0, W0, 3) uint8 RGB, or what `Predictor.read` gave."""


def check_threshold(threshold: float) -> None:
    """Refuse what can be no score.

    Raises:
        DekeyError: if it is not a number from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise DekeyError(f"found a threshold of {threshold:g}, expected a score from 0 to 1")


def checked_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Take boxes (N, 4) x1 y1 x2 y2 px in whatever form.

    Raises:
        DekeyError: if they are no numbers or of another shape.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DekeyError("found boxes that are no numbers, expected an array (N, 4) of x1, y1, x2, y2 in pixels") from error
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise DekeyError(f"found boxes of shape {array.shape}, expected (N, 4): x1, y1, x2, y2 in pixels, a row an object")
    return array


def checked_image(image: Image) -> ReducedImage:
    """Take an image in either form.

    Raises:
        DekeyError: if it is no array (H, W, 3) uint8.
    """
    if isinstance(image, ReducedImage):
        return image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DekeyError(f"found {found}, expected an image (H, W, 3) uint8 RGB; `Predictor.read` gives one of a file")
    return ReducedImage.whole(image)

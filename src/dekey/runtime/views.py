"""The views through which a detector looks at an image: all of it, tiles, and windows at several scales.

The network's input has a fixed size, so that one graph serves all: a view is the affine that fits its part of the image into
the input. What the views answer is made one by `dekey.data.suppress`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dekey.data import geometry
from dekey.data.geometry import Affine, Size
from dekey.errors import DekeyError

MOST_VIEWS = 4096
SMALLEST_TILE = 16


def check_views(tiles: int | None, overlap: float, scales: Sequence[float]) -> None:
    """Refuse what no image can be cut by.

    Raises:
        DekeyError: if tiles are smaller than 16 px, the overlap is no share from 0 to 0.9, or a scale is not from 0.1 to 16.
    """
    if tiles is not None and tiles < SMALLEST_TILE:
        raise DekeyError(f"found tiles of {tiles} px, expected {SMALLEST_TILE} or more; about the size of the network's input")
    if not 0 <= overlap <= 0.9:
        raise DekeyError(f"found an overlap of {overlap:g}, expected a share of the tile from 0 to 0.9, such as 0.2")
    for one in scales:
        if not 0.1 <= one <= 16:
            raise DekeyError(f"found scale {one:g}, expected a number from 0.1 to 16; 2 shows the image twice as large")


def views(
    size: Size, input_size: Size, tiles: int | None = None, overlap: float = 0.2, scales: Sequence[float] = ()
) -> list[Affine]:
    """List the views of an image, each once.

    Args:
        size: (H0, W0) px of the image.
        input_size: (H, W) px of the network's input.
        tiles: side px of the squares that the image is cut into, spread evenly so that the last ends at the border; the
            whole image is one more view. An image that is no larger than a tile is one view.
        overlap: share of a window's side by which neighbours overlap, or more.
        scales: how many times as large the image is shown as when it is fitted into the input: 1 is the whole image, more
            a grid of windows in the shape of the input, less the image with a border.

    Returns:
        image_to_input of each view; the whole image alone without tiles and scales.

    Raises:
        DekeyError: if there are more than 4096.

    >>> len(views((1500, 2000), (640, 640), tiles=640)), len(views((480, 640), (640, 640), scales=(1, 2)))
    (13, 7)
    """
    height, width = size
    fitted = min(input_size[0] / height, input_size[1] / width)
    windows = [(input_size[0] / (fitted * one), input_size[1] / (fitted * one)) for one in scales]
    if tiles is not None and tiles < max(size):
        windows.append((float(tiles), float(tiles)))
    count = sum(_steps(height, window[0], overlap) * _steps(width, window[1], overlap) for window in windows)
    if count > MOST_VIEWS:
        raise DekeyError(
            f"an image of {width}x{height} px would be cut into {count} views, expected at most {MOST_VIEWS}; use larger "
            "tiles or smaller scales"
        )
    chosen = [] if scales and tiles is None else [geometry.letterbox(size, input_size)]
    for high, wide in windows:
        for y in _centres(height, high, overlap):
            for x in _centres(width, wide, overlap):
                box = np.array([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
                chosen.append(geometry.crop(box, input_size))
    if len(chosen) == 1:
        return chosen
    return list({tuple(affine.round(6).ravel()): affine for affine in chosen}.values())


def _steps(length: float, window: float, overlap: float) -> int:
    return 1 if window >= length else math.ceil((length - window) / (window * (1 - overlap)) - 1e-9) + 1


def _centres(length: float, window: float, overlap: float) -> list[float]:
    """Spread windows evenly over a length; one that is longer lies in the middle.

    They begin at whole pixels (the middle one perhaps at a half), so that a tile of the input's size is not resampled, and lie
    alike from both ends, so that a mirrored image is seen through mirrored views.
    """
    count = _steps(length, window, overlap)
    rest = length - window
    if count == 1:
        return [length / 2]
    starts = [float(round(rest * step / (count - 1))) for step in range(count // 2)]
    middle = [rest / 2] if count % 2 else []
    return [start + window / 2 for start in [*starts, *middle, *(rest - start for start in reversed(starts))]]

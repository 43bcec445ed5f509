"""A data set of one object an image as arrays, the form in which Keras's own examples are trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, geometry
from dekey.errors import DekeyError
from dekey.metrics.matching import has_box

FloatArray = NDArray[np.float32]
UNKNOWN = -1.0
"""Coordinate of a keypoint that is not labelled or lies beyond the input."""


class Arrays(NamedTuple):
    """Pictures, targets and weights, in the order in which Keras takes ``validation_data``.

    Attributes:
        x: (S, H, W, 3) uint8 RGB, the images letterboxed into the input.
        y: boxes (S, 4) as centre x, centre y, width, height; or ``{"box": (S, 4), "keypoints": (S, K, 2)}``. All are shares of
            the input's width and height in the continuous frame: (0, 0) is the corner of the first pixel, (1, 1) that of the
            last.
        sample_weight: (S,) ones; or ``{"box": (S,), "keypoints": (S, K)}``, 0 where a keypoint is not labelled or lies
            beyond the input, where `y` says −1, which is no share: Keras's losses cannot do with NaN.
    """

    x: NDArray[np.uint8]
    y: FloatArray | dict[str, FloatArray]
    sample_weight: FloatArray | dict[str, FloatArray]


def arrays(dataset: Dataset, input_size: tuple[int, int] = (32, 32), keypoints: bool = False) -> Arrays:
    """Turn a data set into arrays for `article_network`.

    Args:
        dataset: S images with one object each, every one with a box; crowds do not count as objects.
        input_size: (H, W) px.
        keypoints: give the keypoints as well as the boxes.

    Raises:
        DekeyError: if an image has no object, several, or one without a box; or keypoints are asked for and there are none.
    """
    if not len(dataset):
        raise DekeyError("found no image, expected some; the data set is empty")
    if keypoints and not dataset.schema.keypoints:
        raise DekeyError("found a schema without keypoints, expected some; leave keypoints=True out")
    own = dataset.select_objects(~dataset.instances.crowd)
    counts = np.diff(own.starts)
    if (counts != 1).any():
        first = int(np.flatnonzero(counts != 1)[0])
        raise DekeyError(
            f"{int((counts != 1).sum())} of {len(own)} images have not exactly one object, the first being "
            f"{own.picture_name(first)} with {counts[first]}; take those with one by dataset.subset, or a CenterDetector by "
            "dekey.keras.model_for"
        )
    without = int((~has_box(own.instances)).sum())
    if without:
        raise DekeyError(f"{without} of {len(own)} objects have no box, expected one for each; draw it")
    height, width = input_size
    extent = np.array([width, height], dtype=np.float64)
    x = np.empty((len(own), height, width, 3), dtype=np.uint8)
    boxes = np.empty((len(own), 4))
    places = np.empty((len(own), len(own.schema.keypoints), 2))
    for index, sample in enumerate(own):
        image_to_input = geometry.letterbox(sample.size, input_size)
        image = sample.read_reduced(float(image_to_input[0, 0]))
        x[index] = geometry.warp(
            image.pixels, geometry.compose(geometry.invert(image.image_to_pixels), image_to_input), input_size
        )
        mapped = sample.instances.mapped(image_to_input)
        ends = np.clip(mapped.boxes[0].reshape(2, 2) / extent, 0, 1)
        boxes[index] = *((ends[0] + ends[1]) / 2), *(ends[1] - ends[0])
        places[index] = mapped.keypoints[0] / extent
    if (boxes[:, 2:] <= 0).any():
        outside = int(np.flatnonzero((boxes[:, 2:] <= 0).any(axis=1))[0])
        raise DekeyError(f"the box of image {own.picture_name(outside)} lies outside it, expected one inside; mend it")
    weights = np.ones(len(own), dtype=np.float32)
    if not keypoints:
        return Arrays(x, boxes.astype(np.float32), weights)
    with np.errstate(invalid="ignore"):
        known = own.instances.labelled & ((places >= 0) & (places <= 1)).all(axis=-1)
    targets = np.where(known[..., None], places, UNKNOWN).astype(np.float32)
    return Arrays(
        x,
        {"box": boxes.astype(np.float32), "keypoints": targets},
        {"box": weights, "keypoints": known.astype(np.float32)},
    )

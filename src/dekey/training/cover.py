"""Occluders: parts of a picture painted over; `dekey.data.covered` tells the labels.

Painting over random rectangles teaches a network not to rely on one spot (Zhong et al., "Random Erasing Data Augmentation",
AAAI 2020); pieces of pictures look more like what hides objects outside the laboratory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Place = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of a picture in whole pixels; right and bottom are the first ones outside."""

# What share of a box an aimed occluder covers. An ellipse fills π/4 of its place and must reach the lower bound too.
_LEAST, _MOST = 0.05 * 4 / math.pi, 0.4
# Chances that an occluder is an ellipse, has one colour, is noise; what is left is cut from a picture.
_ELLIPSE, _COLOUR, _NOISE = 0.5, 0.35, 0.15
# Where a part to be cut out is looked for, before one colour has to do.
_TRIES = 6
# At most so many aimed occluders a picture: a crowd of a thousand objects must not cost a thousand paintings.
_LIMIT = 12


def random_place(rng: np.random.Generator, size: tuple[int, int]) -> Place:
    """Draw a part of 1 to 8 % of a picture of `size` (H, W) px, anywhere in it, up to e times as tall as wide or reverse."""
    height, width = size
    area, aspect = rng.uniform(0.01, 0.08) * height * width, math.exp(rng.uniform(-1, 1))
    tall = min(max(int(math.sqrt(area * aspect)), 1), height)
    wide = min(max(int(math.sqrt(area / aspect)), 1), width)
    left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - tall + 1))
    return left, top, left + wide, top + tall


def place_on(rng: np.random.Generator, box: NDArray[np.float64], size: tuple[int, int]) -> Place | None:
    """Draw a part of a picture that covers 5 to 40 % of an object's box, as rectangle or ellipse.

    One time in two it lies within the box; else it comes in over one side, as what stands before an object does.

    Args:
        rng: source of chance.
        box: (4,) x1 y1 x2 y2 px; what lies outside the picture does not count.
        size: (H, W) px of the picture.

    Returns:
        The place, or None where the box has no two pixels in the picture to each side, or is NaN.
    """
    height, width = size
    low = np.clip(box[:2], 0, (width, height))
    extent = np.clip(box[2:], 0, (width, height)) - low
    if not (extent >= 2).all():
        return None
    share, aspect = rng.uniform(_LEAST, _MOST), math.exp(rng.uniform(-0.8, 0.8))
    part = np.clip(math.sqrt(share) * np.array([aspect, 1 / aspect]), share, 1.0)
    start = low + rng.random(2) * (1 - part) * extent
    end = start + part * extent
    if rng.random() < 0.5:
        side, axis = int(rng.integers(2)), int(rng.integers(2))
        # No more outside than inside: an ellipse keeps at least π/4 of the inner part.
        beyond = rng.uniform(0, 1) * part[axis] * extent[axis]
        if side:
            start[axis], end[axis] = low[axis] + extent[axis] * (1 - part[axis]), low[axis] + extent[axis] + beyond
        else:
            start[axis], end[axis] = low[axis] - beyond, low[axis] + extent[axis] * part[axis]
    left, top = (max(round(value), 0) for value in start)
    right, bottom = max(round(end[0]), left + 1), max(round(end[1]), top + 1)
    return left, top, min(right, width), min(bottom, height)


def places_on(rng: np.random.Generator, boxes: NDArray[np.float64] | None, size: tuple[int, int], chance: float) -> list[Place]:
    """Draw parts of a picture of `size` (H, W) px that cover objects: each of the boxes (N, 4) px by `chance`, at most 12."""
    if boxes is None or not chance:
        return []
    chosen = np.flatnonzero(rng.random(len(boxes)) < chance)
    if len(chosen) > _LIMIT:
        chosen = rng.choice(chosen, _LIMIT, replace=False)
    drawn = (place_on(rng, boxes[index], size) for index in chosen)
    return [place for place in drawn if place is not None]


def cover_picture(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    places: Sequence[Place],
    boxes: NDArray[np.float64] | None = None,
    other: NDArray[np.uint8] | None = None,
    other_boxes: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint over parts of a picture with rectangles and ellipses of one colour, of noise, or cut from a picture.

    Args:
        rng: source of chance; the same state gives the same picture.
        image: (H, W, 3) uint8, left as it is.
        places: what is painted over, in turn, inside the picture.
        boxes: (N, 4) px of the objects in `image`: nothing that shows most of one is cut out, for it would be an object
            that no label knows.
        other: (H2, W2, 3) uint8, a second picture to cut from.
        other_boxes: (M, 4) px of the objects in `other`.

    Returns:
        The new picture, and which pixels are covered, (H, W) bool.
    """
    covered = np.zeros(image.shape[:2], dtype=np.bool_)
    painted = image.copy()
    for place in places:
        left, top, right, bottom = place
        shape = _shape(rng, bottom - top, right - left)
        filling = _filling(rng, image, place, boxes, other, other_boxes)
        painted[top:bottom, left:right][shape] = filling[shape] if filling.ndim == 3 else filling
        covered[top:bottom, left:right] |= shape
    return painted, covered


def _shape(rng: np.random.Generator, tall: int, wide: int) -> NDArray[np.bool_]:
    """Draw which pixels of a place (tall, wide) an occluder fills: all, or those of the inscribed ellipse."""
    if rng.random() >= _ELLIPSE:
        return np.ones((tall, wide), dtype=np.bool_)
    rows, columns = (((np.arange(length) + 0.5) / length * 2 - 1) ** 2 for length in (tall, wide))
    inside: NDArray[np.bool_] = rows[:, None] + columns <= 1
    return inside


def _filling(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    place: Place,
    boxes: NDArray[np.float64] | None,
    other: NDArray[np.uint8] | None,
    other_boxes: NDArray[np.float64] | None,
) -> NDArray[np.uint8]:
    """Draw what an occluder looks like: a colour (3,), or a picture of the place's size."""
    tall, wide = place[3] - place[1], place[2] - place[0]
    kind = rng.random()
    if _COLOUR <= kind < _COLOUR + _NOISE:
        return rng.integers(0, 256, (tall, wide, image.shape[2]), dtype=np.uint8)
    if kind >= _COLOUR:
        if other is not None and rng.random() < 0.5:
            cut = _cut(rng, other, tall, wide, other_boxes, None)
        else:
            cut = _cut(rng, image, tall, wide, boxes, place)
        if cut is not None:
            return cut
    return rng.integers(0, 256, (image.shape[2],), dtype=np.uint8)


def _cut(
    rng: np.random.Generator,
    picture: NDArray[np.uint8],
    tall: int,
    wide: int,
    boxes: NDArray[np.float64] | None,
    apart_from: Place | None,
) -> NDArray[np.uint8] | None:
    """Cut out a part that shows no object by more than half and does not touch `apart_from`; None where none is found."""
    height, width = picture.shape[:2]
    if tall > height or wide > width:
        return None
    for _ in range(_TRIES):
        left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - tall + 1))
        right, bottom = left + wide, top + tall
        if apart_from is not None and _touch((left, top, right, bottom), apart_from):
            continue
        if boxes is not None and len(boxes):
            low = np.maximum(boxes[:, :2], (left, top))
            seen = np.clip(np.minimum(boxes[:, 2:], (right, bottom)) - low, 0, None).prod(axis=1)
            if (seen > 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).any():
                continue
        return picture[top:bottom, left:right]
    return None


def _touch(one: Place, two: Place) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]

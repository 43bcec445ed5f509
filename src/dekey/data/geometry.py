"""Affines between image frames, and the one place where the half pixel is paid.

Every frame is continuous: the top-left *corner* of the first pixel is (0, 0) and its centre (0.5, 0.5). An affine is a
(2, 3) float64 array that maps column vectors (x, y, 1); its name says from which frame to which (`image_to_input`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Size = tuple[int, int]


def identity() -> Affine:
    """Give the affine that changes nothing."""
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def scale(x: float, y: float | None = None) -> Affine:
    """Give the affine that multiplies x and y about the corner (0, 0)."""
    return np.array([[x, 0.0, 0.0], [0.0, x if y is None else y, 0.0]])


def translate(x: float, y: float) -> Affine:
    """Give the affine that adds (x, y) px."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def rotate(angle: float) -> Affine:
    """Give the rotation by `angle` radians about the corner (0, 0), clockwise as seen on a screen (y points down)."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])


def mirror(width: float) -> Affine:
    """Give the left-right flip of a frame of this width: x becomes width − x."""
    return np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])


def compose(*affines: Affine) -> Affine:
    """Chain affines in the order in which they are applied.

    >>> compose(translate(1, 0), scale(2)) @ [3, 0, 1]
    array([8., 0.])
    """
    a, b, x, c, d, y = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0
    for affine in affines:
        # Of so few numbers Python makes less work than a call of NumPy.
        (e, f, u), (g, h, v) = affine.tolist()
        a, b, x, c, d, y = e * a + f * c, e * b + f * d, e * x + f * y + u, g * a + h * c, g * b + h * d, g * x + h * y + v
    return np.array([[a, b, x], [c, d, y]])


def invert(affine: Affine) -> Affine:
    """Give the affine that undoes this one; raises numpy.linalg.LinAlgError where it flattens the plane."""
    (a, b, x), (c, d, y) = affine.tolist()
    area = a * d - b * c
    if area == 0:
        raise np.linalg.LinAlgError("the affine flattens the plane")
    return np.array([[d / area, -b / area, (b * y - d * x) / area], [-c / area, a / area, (c * x - a * y) / area]])


def apply(affine: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points (..., 2); NaN stays NaN.

    >>> apply(translate(1, 2), np.array([[3.0, 4.0]]))
    array([[4., 6.]])
    """
    mapped: NDArray[np.float64] = points @ affine[:, :2].T + affine[:, 2]
    return mapped


def apply_to_boxes(affine: Affine, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map boxes (N, 4) x1 y1 x2 y2 to the upright hulls of their mapped corners."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    mapped = apply(affine, corners)
    return np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1)


def shown_region(image_to_input: Affine, input_size: Size) -> tuple[float, float, float, float]:
    """Give the upright hull x1, y1, x2, y2 px, in the image, of what an input (H, W) shows; may reach beyond the image."""
    (a, b, x), (c, d, y) = invert(image_to_input).tolist()
    height, width = input_size
    ends_x, ends_y = (0.0, a * width, b * height, a * width + b * height), (0.0, c * width, d * height, c * width + d * height)
    return x + min(ends_x), y + min(ends_y), x + max(ends_x), y + max(ends_y)


def hulls(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the upright hulls (N, 4) of keypoints (N, K, 2), ignoring NaN; all NaN where an object has no keypoint."""
    absent = ~np.isfinite(keypoints).all(-1, keepdims=True)
    low = np.where(absent, np.inf, keypoints).min(axis=1, initial=np.inf)
    high = np.where(absent, -np.inf, keypoints).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(low[:, :1]), np.concatenate([low, high], axis=1), np.nan)


def letterbox(size: Size, input_size: Size) -> Affine:
    """Fit a whole image into the input, aspect kept, centred.

    Args:
        size: (H0, W0) px of the image.
        input_size: (H, W) px of the network input.

    Returns:
        image_to_input.
    """
    return crop(np.array([0.0, 0.0, size[1], size[0]]), input_size)


def crop(box: NDArray[np.float64], input_size: Size, padding: float = 1.0) -> Affine:
    """Fit a box into the input, aspect kept, centred, with `padding` times its size around it.

    Args:
        box: (4,) x1 y1 x2 y2 px of the image.
        input_size: (H, W) px of the network input.
        padding: how much larger than the box the region is; 1.25 leaves an eighth on each side.

    Returns:
        image_to_input.
    """
    height, width = input_size
    box_width, box_height = max(float(box[2] - box[0]), 1e-3), max(float(box[3] - box[1]), 1e-3)
    factor = min(width / box_width, height / box_height) / padding
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return compose(translate(-centre_x, -centre_y), scale(factor), translate(width / 2, height / 2))


def warp(image: NDArray[np.uint8], image_to_input: Affine, size: Size, fill: int = 0) -> NDArray[np.uint8]:
    """Resample an image through an affine.

    Only the region that is seen is read. Where the affine shrinks by two or more, the region is first reduced by area
    averaging, so that fine texture does not alias; the rest is bilinear. Outside the image lies `fill`; at its border it is
    mixed in, unless the image fills whole pixels of the answer.

    Args:
        image: (H0, W0, 3) uint8.
        image_to_input: (2, 3) affine from the image's frame to the answer's.
        size: (H, W) px of the answer.
        fill: value outside the image.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    height, width = size
    region = shown_region(image_to_input, size)
    margin = 2.0 + 2.0 / max(_magnification(image_to_input), 1e-6)
    left, top = (max(math.floor(value - margin), 0) for value in region[:2])
    right = min(math.ceil(region[2] + margin), image.shape[1])
    bottom = min(math.ceil(region[3] + margin), image.shape[0])
    if right <= left or bottom <= top:
        return np.full((height, width, *image.shape[2:]), fill, dtype=np.uint8)
    seen: NDArray[Any] = image[top:bottom, left:right]
    seen_to_input = compose(translate(left, top), image_to_input)
    factor = math.floor(1 / max(_magnification(seen_to_input), 1e-6))
    if factor >= 2:
        reduced = max(seen.shape[1] // factor, 1), max(seen.shape[0] // factor, 1)
        reduced_to_seen = scale(seen.shape[1] / reduced[0], seen.shape[0] / reduced[1])
        seen = cv2.resize(seen, reduced, interpolation=cv2.INTER_AREA)
        seen_to_input = compose(reduced_to_seen, seen_to_input)
    place = _whole_place(seen.shape[:2], seen_to_input, size)
    if place is not None:
        view = np.full((height, width, *image.shape[2:]), fill, dtype=np.uint8)
        rows, columns = place
        shape = columns.stop - columns.start, rows.stop - rows.start
        view[place] = cv2.resize(seen, shape, interpolation=cv2.INTER_LINEAR) if shape != seen.shape[1::-1] else seen
        return view
    # OpenCV counts from the centre of the first pixel: move there and back. This is the half pixel's only place.
    centred = compose(translate(0.5, 0.5), seen_to_input, translate(-0.5, -0.5))
    warped: NDArray[Any] = cv2.warpAffine(
        seen, centred, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 3
    )
    return warped


def _whole_place(size: Size, image_to_input: Affine, input_size: Size) -> tuple[slice, slice] | None:
    """Give the rows and columns of the input that an image fills exactly, if it does: a resize is a third of a warp's work."""
    (a, b, x), (c, d, y) = image_to_input.tolist()
    ends = (y, y + d * size[0]), (x, x + a * size[1])
    (top, bottom), (left, right) = whole = [(round(start), round(end)) for start, end in ends]
    if b or c or not (0 <= top < bottom <= input_size[0] and 0 <= left < right <= input_size[1]):
        return None
    # A thousandth of a px is less than the resampling resolves.
    if any(
        abs(one - other) > 1e-3 for exact, near in zip(ends, whole, strict=True) for one, other in zip(exact, near, strict=True)
    ):
        return None
    return slice(top, bottom), slice(left, right)


def _magnification(affine: Affine) -> float:
    return math.sqrt(abs(float(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0])))


def box_sizes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give widths and heights (N, 2) of boxes (N, 4)."""
    return boxes[:, 2:] - boxes[:, :2]


def iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the intersection over union (N, M) of boxes (N, 4) and (M, 4).

    >>> iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3)
    array([[0.333]])
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = box_sizes(boxes).prod(-1)[:, None] + box_sizes(others).prod(-1)[None] - shared
    overlap: NDArray[np.float64] = shared / np.maximum(union, 1e-12)
    return overlap

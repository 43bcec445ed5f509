"""Pairing found objects with truths inside an image, for every number that is measured in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, geometry

MINIMUM_IOU: Final = 0.5
# A hull without width (one keypoint, or all on an upright line) overlaps nothing; it is widened to this share of the
# image's diagonal.
MINIMUM_HULL_SIDE: Final = 0.05


@dataclass(frozen=True, eq=False)
class Pairs:
    """Who is whom in one image.

    Attributes:
        found_of_truth: (N,) int64 index of the found object paired with each truth, −1 where there is none.
        extra: (D,) bool, the found object pairs with no truth, be it one that does not count.
    """

    found_of_truth: NDArray[np.int64]
    extra: NDArray[np.bool_]


def scored(truth: Instances) -> NDArray[np.bool_]:
    """Tell (N,) bool which truths count: no crowd, and at least one labelled keypoint."""
    return ~truth.crowd & truth.labelled.any(1)


def pair(
    truth: Instances,
    found: Instances,
    size: tuple[int, int],
    *,
    counts: NDArray[np.bool_] | None = None,
    lone_pairs: bool = True,
) -> Pairs:
    """Pair found objects with truths of the same class, one to one.

    Found objects choose in the order of falling score; each takes the free truth of the greatest overlap, which must be
    at least 0.5. Overlap is the IoU of the boxes, or, where either has none, of the upright hulls of the keypoints that
    are labelled in the truth; with the box of a crowd it is the share of the found box that lies within. A found object
    takes a crowd or another truth that does not count only where no other is left; such a pair counts nowhere, and a
    crowd can take many.

    Args:
        truth: N objects.
        found: D objects; without scores they choose in the order given.
        size: (H, W) px of the image.
        counts: (N,) the truths that count; without it those that `scored` names.
        lone_pairs: whether the only truth and the only found object of a class are a pair whatever their overlap.
    """
    if counts is None:
        counts = scored(truth)
    found_of_truth = np.full(len(truth), -1, dtype=np.int64)
    extra = np.ones(len(found), dtype=np.bool_)
    if not len(truth) or not len(found):
        return Pairs(found_of_truth, extra)
    overlap = overlaps(truth, found, size)
    overlap[truth.labels[:, None] != found.labels[None]] = -1.0
    for label in np.unique(found.labels) if lone_pairs else ():
        of_truth, of_found = np.flatnonzero(truth.labels == label), np.flatnonzero(found.labels == label)
        if of_truth.size == 1 and of_found.size == 1:
            overlap[of_truth[0], of_found[0]] = 1.0
    order = np.arange(len(found)) if found.scores is None else np.argsort(-found.scores, kind="stable")
    free = np.ones(len(truth), dtype=np.bool_)
    for index in order:
        usable = np.flatnonzero(free & (overlap[:, index] >= MINIMUM_IOU))
        if not usable.size:
            continue
        preferred = usable[counts[usable]]
        candidates = preferred if preferred.size else usable
        best = int(candidates[np.argmax(overlap[candidates, index])])
        extra[index] = False
        free[best] = truth.crowd[best]
        if counts[best]:
            found_of_truth[best] = index
    return Pairs(found_of_truth, extra)


def overlaps(truth: Instances, found: Instances, size: tuple[int, int]) -> NDArray[np.float64]:
    """Give the overlap (N, D) in [0, 1] of every truth with every found object, as `pair` defines it."""
    boxed_truth, boxed_found = has_box(truth), has_box(found)
    by_hull = ~(boxed_truth[:, None] & boxed_found[None])
    overlap = np.zeros((len(truth), len(found)))
    with np.errstate(over="ignore", invalid="ignore"):  # what is found may lie anywhere
        if not by_hull.all():
            overlap = box_overlaps(truth.boxes, found.boxes, truth.crowd)
        if by_hull.any():
            side = MINIMUM_HULL_SIDE * math.hypot(*size)
            rows, columns = np.nonzero(by_hull)
            labelled = truth.labelled[rows][..., None]
            hulls = [
                _widened(geometry.hulls(np.where(labelled, keypoints, np.nan)), side)
                for keypoints in (truth.keypoints[rows], found.keypoints[columns])
            ]
            overlap[rows, columns] = _iou_of_pairs(*hulls)
    return np.where(np.isfinite(overlap), overlap, 0.0)


def box_overlaps(
    truth_boxes: NDArray[np.float64], found_boxes: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compare every truth's box with every found one: intersection / union, or, of a crowd, intersection / found area.

    Args:
        truth_boxes: (N, 4) px.
        found_boxes: (D, 4) px.
        crowd: (N,).

    Returns:
        (N, D) in [0, 1]; 0 where either box is NaN or has no area.

    >>> box_overlaps(np.array([[0.0, 0, 4, 4]] * 2), np.array([[2.0, 0, 6, 4]]), np.array([False, True])).round(3)
    array([[0.333],
           [0.5  ]])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is found may lie anywhere
        overlap = geometry.iou(truth_boxes, found_boxes)
        if crowd.any():
            low = np.maximum(truth_boxes[crowd, None, :2], found_boxes[None, :, :2])
            high = np.minimum(truth_boxes[crowd, None, 2:], found_boxes[None, :, 2:])
            shared = np.clip(high - low, 0, None).prod(-1)
            overlap[crowd] = shared / np.maximum(geometry.box_sizes(found_boxes).prod(1), 1e-12)
    return np.where(np.isfinite(overlap), overlap, 0.0)


def has_box(instances: Instances) -> NDArray[np.bool_]:
    """Tell (N,) bool which objects have a box with width and height."""
    boxes = instances.boxes
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1))
    return usable


def _widened(boxes: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    missing = np.maximum(side - geometry.box_sizes(boxes), 0) / 2
    return np.concatenate([boxes[:, :2] - missing, boxes[:, 2:] + missing], axis=1)


def _iou_of_pairs(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the IoU (P,) of boxes (P, 4) with the others of the same row."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = geometry.box_sizes(boxes).prod(1) + geometry.box_sizes(others).prod(1) - shared
    result: NDArray[np.float64] = shared / np.maximum(union, 1e-12)
    return result

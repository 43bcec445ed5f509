"""Box and keypoints of a mask: what can be said of any object's shape.

In the order of `KEYPOINTS`:

- ``centre``: the mean of the mask's pixels.
- ``leftmost``, ``topmost``, ``rightmost``, ``bottommost``: where the mask touches the sides of its box. A side is touched by
  all pixels within 3 % of the box (at least one) of it; the point is their middle along the side. Where they lie in pieces more
  than a third of the side apart (two feet, four wheels), no one point is the lowest, and it is unlabelled.
- ``axis_left``, ``axis_right`` or ``axis_top``, ``axis_bottom``: the two ends of the principal axis, the line through the
  centre along which the pixels spread most, cut where the outermost pixels project to. An axis has no sign: of one that lies
  (|Δx| ≥ |Δy|) the ends are left and right, of one that stands they are top and bottom; the other pair is unlabelled. Where
  the spread along the axis is less than 1.25 times that across it (round and square objects), there is no axis.

A left-right flip exchanges ``leftmost`` with ``rightmost`` and ``axis_left`` with ``axis_right`` and leaves the others; the
schema says so. A rotation does not carry these points along - the lowest point of a turned object is another one - so models
of them are trained without rotation (``augment.rotate: 0``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import UNLABELLED, VISIBLE, Instances, Schema, geometry

KEYPOINTS = (
    "centre", "leftmost", "topmost", "rightmost", "bottommost", "axis_left", "axis_right", "axis_top", "axis_bottom",
)  # fmt: skip
_MIRROR = (0, 3, 2, 1, 4, 6, 5, 7, 8)
_EDGES = ((1, 2), (2, 3), (3, 4), (4, 1), (5, 0), (0, 6), (7, 0), (0, 8))
# How near a side of the box counts as touching it, as a share of the box's length across the side.
_NEAR = 0.03
# Of the side: the widest gap between pixels that touch it in one place.
_GAP = 1 / 3
# Least ratio of the standard deviations along and across an axis.
ELONGATED = 1.25


def shape_schema(classes: Sequence[str]) -> Schema:
    """Give the schema of shape keypoints for these classes."""
    return Schema.create(classes, KEYPOINTS, _EDGES, _MIRROR)


def describe(mask: NDArray[np.bool_], mask_to_picture: geometry.Affine, label: int) -> Instances:
    """Give box, area and keypoints of a mask in the frame of the picture.

    Args:
        mask: (h, w) bool with at least one pixel.
        mask_to_picture: affine without turn or flip, of the same scale in x and y but for rounding.
        label: class of the object.

    Returns:
        One object (N = 1). The box is the hull of the mask's pixels, from edge to edge; what is ambiguous is unlabelled.
    """
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)
    xy: NDArray[np.float64] = np.stack([columns, rows], axis=1).astype(np.float64) + 0.5
    centre = xy.mean(axis=0)
    points = np.full((len(KEYPOINTS), 2), np.nan)
    points[0] = centre
    for index, (axis, end) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1)), start=1):
        points[index] = _touching_point(xy, box, axis, end)
    ends = _axis_ends(xy - centre)
    if ends is not None:
        first = 5 if abs(ends[1, 0] - ends[0, 0]) >= abs(ends[1, 1] - ends[0, 1]) else 7
        points[first : first + 2] = centre + ends
    visibility = np.where(np.isfinite(points).all(axis=1), VISIBLE, UNLABELLED)
    one = Instances.create(points[None], box[None], [label], visibility[None], areas=[float(len(xy))])
    return one.mapped(mask_to_picture)


def _touching_point(xy: NDArray[np.float64], box: NDArray[np.float64], axis: int, end: int) -> NDArray[np.float64]:
    """Find where pixel centres xy (P, 2) touch one side of their box; NaN where they do so in places far apart."""
    length, along = box[2:] - box[:2], 1 - axis
    side = box[axis + 2 * end]
    near = np.abs(xy[:, axis] - side) <= max(_NEAR * length[axis], 0.5) + 1e-9
    places = np.unique(xy[near, along])
    point = np.full(2, np.nan)
    if np.diff(places).max(initial=0) <= max(_GAP * length[along], 2):
        point[axis], point[along] = side, (places[0] + places[-1]) / 2
    return point


def _axis_ends(xy: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Give the ends (2, 2) of the principal axis of centred points (P, 2), left or top first; None where there is none."""
    spreads, directions = np.linalg.eigh(xy.T @ xy / len(xy))
    if spreads[1] < ELONGATED**2 * max(spreads[0], 1e-12):
        return None
    direction = directions[:, 1]
    main = int(abs(direction[1]) > abs(direction[0]))
    direction = direction * np.sign(direction[main])
    along = xy @ direction
    # The outermost pixels reach half a pixel beyond their centres.
    return np.stack([(along.min() - 0.5) * direction, (along.max() + 0.5) * direction])

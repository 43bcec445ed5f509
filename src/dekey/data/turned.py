"""Upright boxes of objects that an affine turns: nearer to the truth than the hull of the turned corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.geometry import Affine
from dekey.data.instances import Instances

# Right, bottom, left, top: the direction in which each side of an upright box faces.
_SIDES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def turned_boxes(instances: Instances, affine: Affine) -> NDArray[np.float64]:
    """Estimate the upright boxes of objects after an affine that may turn them.

    A box tells how far its object reaches in four directions only. The upright hull of its turned corners is up to √2 too
    wide, and a detector that is trained on such boxes learns boxes that are too large (Kalra et al., "Towards Rotation
    Invariance in Object Detection", ICCV 2021, who take the ellipse inside the box instead). Here the object is its labelled
    keypoints, which turn exactly, and what reaches beyond them: four margins between the keypoints' hull and the box. A
    direction between two sides gets the margin of an ellipse that has theirs as half-axes; where keypoints lie outside the
    box a margin is negative and fades with the squared cosine. Objects that are ellipses with the keypoint in the middle,
    or the keypoints' convex hull grown by a disc, come out exactly; so does every affine that keeps upright boxes upright.

    Args:
        instances: N objects. An object without a labelled keypoint is taken for the ellipse inside its box.
        affine: (2, 3) map from the instances' frame to the new one.

    Returns:
        (N, 4) float64 x1 y1 x2 y2 px of the new frame; NaN where an object has no box.
    """
    boxes = instances.boxes
    known = instances.labelled & np.isfinite(instances.keypoints).all(axis=-1)
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    # The box's centre stands in for keypoints where an object has none.
    points = np.concatenate([np.where(known[..., None], instances.keypoints, np.nan), centres], axis=1)
    used = np.concatenate([known, ~known.any(axis=1, keepdims=True)], axis=1)
    margins = _signed(boxes) - _reach(points, used, _SIDES)

    # A side that faces d in the new frame is reached by what faced Lᵀd in the old one, L being the linear part.
    origins = _SIDES @ affine[:, :2]
    lengths = np.linalg.norm(origins, axis=1)
    facing = origins / np.maximum(lengths, 1e-12)[:, None]
    horizontal = np.where(facing[:, 0] >= 0, margins[:, [0]], margins[:, [2]])
    vertical = np.where(facing[:, 1] >= 0, margins[:, [1]], margins[:, [3]])
    outwards = np.hypot(np.maximum(horizontal, 0) * facing[:, 0], np.maximum(vertical, 0) * facing[:, 1])
    inwards = np.minimum(horizontal, 0) * facing[:, 0] ** 2 + np.minimum(vertical, 0) * facing[:, 1] ** 2
    reach = _reach(geometry.apply(affine, points), used, _SIDES) + lengths * (outwards + inwards)

    turned = np.concatenate([-reach[:, 2:], reach[:, :2]], axis=1)
    # Keypoints far outside their box can turn the sides around; then the box has no extent there.
    middle = (turned[:, :2] + turned[:, 2:]) / 2
    return np.concatenate([np.minimum(turned[:, :2], middle), np.maximum(turned[:, 2:], middle)], axis=1)


def _signed(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how far boxes (N, 4) reach to the right, bottom, left and top: (N, 4) px, signed along each side's direction."""
    signed: NDArray[np.float64] = boxes[:, [2, 3, 0, 1]] * np.array([1.0, 1.0, -1.0, -1.0])
    return signed


def _reach(points: NDArray[np.float64], used: NDArray[np.bool_], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how far the used ones of points (N, K, 2) reach in D directions (D, 2): (N, D) px."""
    along = np.where(used[..., None], points @ directions.T, -np.inf)
    reach: NDArray[np.float64] = along.max(axis=1, initial=-np.inf)
    return reach

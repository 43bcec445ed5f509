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
    keypoints, which turn exactly, and what reaches beyond them: the margins between the keypoints' hull and the box.

    Two rules say what margin a direction between two sides has. Added to the reach of the keypoints, it is that of an ellipse
    with the sides' margins as half-axes: exact for keypoints grown by a disc, as limbs are. Added to the square of that reach,
    counted from the box's centre, it goes from side to side with the squared cosine: near the truth for bodies with keypoints
    along their middle. Each fails where the other holds, so the answer is the mean of both. Where keypoints lie outside the
    box, a margin is negative and fades with the squared cosine. Ellipses whose keypoint is in the middle, and everything that
    an affine leaves upright, come out exactly.

    Args:
        instances: N objects. One without a labelled keypoint is taken for the ellipse inside its box.
        affine: (2, 3) map from the instances' frame to the new one.

    Returns:
        (N, 4) float64 x1 y1 x2 y2 px of the new frame; NaN where an object has no box.
    """
    boxes = instances.boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.tile((boxes[:, 2:] - boxes[:, :2]) / 2, 2)
    # A side that faces d in the new frame shows what faced Lᵀd in the old one, L being the linear part.
    origins = _SIDES @ affine[:, :2]
    lengths = np.linalg.norm(origins, axis=1)
    facing = origins / np.maximum(lengths, 1e-12)[:, None]

    known = instances.labelled & np.isfinite(instances.keypoints).all(axis=-1)
    points = np.where(known[..., None], instances.keypoints - centres[:, None], np.nan)
    upright, turned = _reach(points, known, _SIDES), _reach(points, known, facing)
    cosine, sine = facing.T
    across, down = np.where(cosine >= 0, 0, 2), np.where(sine >= 0, 1, 3)

    margins = half - upright
    added = turned + np.hypot(np.maximum(margins[:, across], 0) * cosine, np.maximum(margins[:, down], 0) * sine)
    squares = np.maximum(half**2 - np.maximum(upright, 0) ** 2, 0)
    rounded = np.sqrt(np.maximum(turned, 0) ** 2 + squares[:, across] * cosine**2 + squares[:, down] * sine**2)
    inwards = np.minimum(margins[:, across], 0) * cosine**2 + np.minimum(margins[:, down], 0) * sine**2

    reach = lengths * ((added + rounded) / 2 + inwards)
    # Keypoints far outside their box can turn two sides around; then the box has no extent there.
    excess = np.minimum(reach[:, :2] + reach[:, 2:], 0) / 2
    middle = geometry.apply(affine, centres)
    return np.concatenate([middle - reach[:, 2:] + excess, middle + reach[:, :2] - excess], axis=1)


def _reach(points: NDArray[np.float64], known: NDArray[np.bool_], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how far the known ones of points (N, K, 2) reach in D directions (D, 2): (N, D) px, 0 where none is known."""
    along = np.where(known[..., None], points @ directions.T, -np.inf)
    reach: NDArray[np.float64] = np.where(known.any(axis=1, keepdims=True), along.max(axis=1, initial=-np.inf), 0.0)
    return reach

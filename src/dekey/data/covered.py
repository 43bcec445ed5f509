"""Labels that know what covers them: a covered keypoint is still there but no longer seen, its state is occluded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dekey.data.instances import OCCLUDED, VISIBLE, Instances


def cover_labels(instances: Instances, covered: NDArray[np.bool_] | None) -> Instances:
    """Make visible keypoints on covered pixels occluded; every other state stays, outside the picture too.

    Args:
        instances: N objects in the frame of the picture.
        covered: (H, W) bool, or None where nothing is covered.

    Returns:
        The objects, sharing every array but `visibility`.
    """
    if covered is None or not len(instances):
        return instances
    height, width = covered.shape
    x, y = instances.keypoints[..., 0], instances.keypoints[..., 1]
    # Comparisons with NaN are false, so a missing keypoint is never inside.
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    hidden = np.zeros(x.shape, dtype=np.bool_)
    hidden[inside] = covered[y[inside].astype(np.int64), x[inside].astype(np.int64)]
    states = np.where(hidden & (instances.visibility == VISIBLE), OCCLUDED, instances.visibility).astype(np.uint8)
    return replace(instances, visibility=states)


def covered_shares(boxes: NDArray[np.float64], covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Measure which share of each box is covered, so that hidden objects can be left out.

    Args:
        boxes: (N, 4) px in the frame of the picture.
        covered: (H, W) bool.

    Returns:
        (N,) from 0 to 1, of the box's pixels inside the picture; NaN where a box has none.
    """
    import cv2

    height, width = covered.shape
    usable = np.where(np.isfinite(boxes), boxes, 0)
    limits = np.clip(usable.round(), 0, [width, height, width, height]).astype(np.int64)
    left, top, right, bottom = limits.T
    sums = cv2.integral(covered.view(np.uint8))
    hidden = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    pixels = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    shares: NDArray[np.float64] = np.where(pixels > 0, hidden / np.maximum(pixels, 1), np.nan)
    return shares

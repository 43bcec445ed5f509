"""How far labels may be from the truth, as far as a label file alone can tell: upper bounds, in px.

Nobody knows the truth, so noise is not measured but bounded, by two things that contain it. The place of a keypoint can be
predicted from the others of its object; what is left is the noise of its label and the part of the shape that the others do not
determine. Between two pictures that look the same, keypoints move alike up to place, size and orientation; what is left, by √2,
is the noise of one label and what really moved. Labels that a tool carried from frame to frame agree better than they are
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.data.schema import Schema
from dekey.data.shape import align, points_of
from dekey.data.shape_faults import Measured

# The median length of a normal error in two coordinates of standard deviation 1.
_MEDIAN_LENGTH = float(np.sqrt(2 * np.log(2)))


def noise_from_shape(measured: Sequence[Measured], schema: Schema) -> dict[str, Any]:
    """Give the standard deviation, px a coordinate, of keypoints about where the others put them, from the median distance.

    Returns:
        ``px`` over all keypoints, ``keypoints`` by name, ``objects`` how many it rests on.
    """
    errors = np.concatenate([each.error_px() for each in measured])
    known = np.isfinite(errors)
    own = {
        name: round(float(np.median(errors[known[:, index], index])) / _MEDIAN_LENGTH, 3)
        for index, name in enumerate(schema.keypoints)
        if known[:, index].any()
    }
    whole = round(float(np.median(errors[known])) / _MEDIAN_LENGTH, 3) if known.any() else None
    return {"px": whole, "keypoints": own, "objects": len(errors)}


def noise_from_frames(dataset: Dataset, pairs: NDArray[np.int64]) -> dict[str, Any] | None:
    """Give the standard deviation, px a coordinate, of labels between near-duplicate pictures.

    Args:
        dataset: the data set.
        pairs: (P, 2) pictures that look the same.

    Returns:
        ``px``, and ``pairs`` of objects it rests on; None where fewer than five pairs of objects can be compared. Pairs with
        equal labels are left out: they are copies.
    """
    points = points_of(dataset.instances)
    errors = []
    for first, second in pairs[:20_000].tolist():
        own, other = (points[dataset.starts[index] : dataset.starts[index + 1]] for index in (first, second))
        for row in own:
            partner = _nearest(row, other)
            if partner is None or np.isfinite(row - partner).sum() < 3:
                continue
            shape, turn, _ = align(row[None], partner)
            left = np.abs(shape[0] - partner) * abs(turn[0])
            left = left[np.isfinite(left)]
            if len(left) >= 3 and left.max() > 1e-6:
                errors.append(float(np.median(left)))
    if len(errors) < 5:
        return None
    return {"px": round(float(np.median(errors)) / _MEDIAN_LENGTH / np.sqrt(2), 3), "pairs": len(errors)}


def _nearest(row: NDArray[np.complex128], others: NDArray[np.complex128]) -> NDArray[np.complex128] | None:
    """Find the object whose keypoints lie nearest, not further than half a keypoint's distance from the middle."""
    known = row[np.isfinite(row)]
    if len(known) < 3 or len(others) == 0:
        return None
    away = np.abs(others - row)
    counts = np.isfinite(away).sum(axis=1)
    distance = np.where(counts > 0, np.where(np.isfinite(away), away, 0).sum(axis=1) / np.maximum(counts, 1), np.inf)
    best = int(np.argmin(distance))
    return others[best] if distance[best] < 0.5 * np.abs(known - known.mean()).mean() else None

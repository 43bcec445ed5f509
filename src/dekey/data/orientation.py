"""How the objects of a data set lie: all alike, or turned in every direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dekey.data.instances import Instances


def orientations(instances: Instances) -> NDArray[np.float64]:
    """Measure how far each object is turned against the others.

    Every object's labelled keypoints are turned onto a common shape by the rotation that fits best (orthogonal Procrustes,
    Gower 1975, without mirroring); the shape is the mean of the turned objects.

    Args:
        instances: N objects; crowds and those with fewer than two labelled keypoints have no orientation.

    Returns:
        (N,) radians in (−π, π] about the mean direction, clockwise on a screen; NaN where an object has none.
    """
    usable = ~instances.crowd & (instances.labelled.sum(axis=1) >= 2)
    angles = np.full(len(instances), np.nan)
    if not usable.any():
        return angles
    known = instances.labelled[usable]
    points = np.where(known, instances.keypoints[usable].view(np.complex128)[..., 0], 0)
    counts = known.sum(axis=1)
    centred = np.where(known, points - (points.sum(axis=1) / counts)[:, None], 0)
    sizes = np.sqrt((np.abs(centred) ** 2).sum(axis=1) / counts)
    shapes = centred / np.maximum(sizes, 1e-9)[:, None]
    reference = shapes[np.argmax(counts)]
    turns = np.ones(len(shapes), dtype=np.complex128)
    for _ in range(5):
        turns = (shapes * reference.conj()).sum(axis=1)
        turns /= np.maximum(np.abs(turns), 1e-9)
        weight = known.sum(axis=0)
        reference = (shapes * turns.conj()[:, None]).sum(axis=0) / np.maximum(weight, 1)
    mean = turns.mean()
    mean = mean / abs(mean) if abs(mean) > 1e-9 else 1.0
    angles[usable] = np.angle(turns * np.conj(mean))
    return angles


def spread_of_orientation(instances: Instances) -> float:
    """Give the angle in degrees within which 95 % of the objects are turned, 0 to 180; 0 where none has an orientation.

    >>> lying = [[[0.0, 0.0], [9.0, 0.0]], [[0.0, 0.0], [0.0, 9.0]], [[9.0, 0.0], [0.0, 0.0]], [[0.0, 9.0], [0.0, 0.0]]]
    >>> spread_of_orientation(Instances.create(lying)) > 120
    True
    """
    angles = np.abs(orientations(instances))
    angles = angles[np.isfinite(angles)]
    return float(np.degrees(np.quantile(angles, 0.95))) if len(angles) else 0.0

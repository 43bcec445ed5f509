"""Mixtures of Gaussians over colours, as OpenCV's GrabCut reads them, without chance.

`cv2.grabCut` starts its mixtures by k-means with a generator that the whole process shares. Here they are started by
farthest-first k-means, which draws nothing, and handed over (`GC_EVAL`), so that one picture has one answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# GrabCut has five (Rother, Kolmogorov and Blake, "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts",
# SIGGRAPH 2004), and OpenCV's array has room for them exactly.
COMPONENTS = 5
_ROUNDS = 8
# Variance of the noise of a colour value, which keeps the Gaussian of one flat colour from being a point.
_NOISE = 4.0
_ENOUGH = 500


def cluster(colours: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Divide colours by k-means, started farthest first from the colour that is farthest from the mean.

    Args:
        colours: (P, 3).
        count: how many clusters; fewer have members where there are fewer colours.

    Returns:
        (P,) int64, the cluster of each, 0 ≤ cluster < count.
    """
    centres = np.empty((count, 3), dtype=np.float32)
    nearest = _distances(colours, colours.mean(axis=0, keepdims=True))[:, 0]
    for index in range(count):
        centres[index] = colours[int(nearest.argmax())]
        to_new = _distances(colours, centres[index : index + 1])[:, 0]
        nearest = to_new if index == 0 else np.minimum(nearest, to_new)
    for _ in range(_ROUNDS):
        members = _distances(colours, centres).argmin(axis=1)
        counts = np.bincount(members, minlength=count)
        for channel in range(3):
            sums = np.bincount(members, weights=colours[:, channel], minlength=count)
            centres[:, channel] = np.where(counts > 0, sums / np.maximum(counts, 1), centres[:, channel])
    result: NDArray[np.int64] = _distances(colours, centres).argmin(axis=1)
    return result


def gaussians(
    colours: NDArray[np.float32], members: NDArray[np.int64], count: int, noise: float = _NOISE
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit a Gaussian to each cluster.

    Args:
        colours: (P, 3).
        members: (P,) cluster of each.
        count: how many clusters.
        noise: variance added to every channel.

    Returns:
        Shares (count,), means (count, 3) and covariances (count, 3, 3); a cluster without members has share 0.
    """
    shares, means = np.zeros(count), np.zeros((count, 3))
    covariances = np.repeat(noise * np.eye(3)[None], count, axis=0)
    for index in range(count):
        own = colours[members == index].astype(np.float64)
        if len(own):
            shares[index], means[index] = len(own) / len(colours), own.mean(axis=0)
            centred = own - means[index]
            covariances[index] += centred.T @ centred / len(own)
    return shares, means, covariances


def grabcut_model(colours: NDArray[np.float32]) -> NDArray[np.float64]:
    """Fit the mixture (1, 65) that `cv2.grabCut` takes: shares, means, covariances of its five components.

    A few hundred colours are enough to start from: GrabCut fits its mixtures anew in every round.
    """
    colours = colours[:: max(len(colours) // _ENOUGH, 1)]
    parts = gaussians(colours, cluster(colours, COMPONENTS), COMPONENTS)
    return np.concatenate([part.ravel() for part in parts])[None]


def _distances(colours: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give squared distances (P, Q)."""
    return np.asarray(((colours[:, None] - centres[None]) ** 2).sum(axis=2), dtype=np.float32)

"""Gaussian targets and the two ways to decode them that the peer is measured with; NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gaussians(
    keypoints: NDArray[np.float64], size: int, sigma: float, rounded: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw targets.

    Args:
        keypoints: (B, K, 2) cells, continuous frame (the middle of cell j is j + 0.5), NaN where there is none.
        size: side of the maps, cells.
        sigma: of the Gaussian, cells.
        rounded: move each Gaussian to the middle of its cell and cut it at 3 sigma, as in 2018.

    Returns:
        Targets (B, K, size, size) and weights (B, K, 1, 1): 0 where there is no keypoint or the 3-sigma square about it
        misses the map.
    """
    centres = np.floor(keypoints) + 0.5 if rounded else keypoints
    reach = 3 * sigma
    with np.errstate(invalid="ignore"):
        seen = np.all(np.isfinite(keypoints) & (centres > -reach) & (centres < size + reach), axis=-1)
    distances = (np.arange(size) + 0.5 - np.nan_to_num(centres)[..., None]).astype(np.float32)
    lines = np.exp(-(distances**2) / np.float32(2 * sigma**2))
    if rounded:
        lines *= np.abs(distances) <= reach
    targets = lines[:, :, 1, :, None] * lines[:, :, 0, None, :] * seen[..., None, None]
    return targets, seen[..., None, None].astype(np.float32)


def decode_quarter(maps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find each map's maximum and move it a quarter of a cell towards its higher neighbour.

    As published, a maximum in the first two or the last column or row stays where it is.

    Args:
        maps: (B, K, h, w).

    Returns:
        Points (B, K, 2) in cells, continuous frame, and the maxima (B, K).
    """
    cells, peaks, neighbours = _maxima(maps)
    size = np.array(maps.shape[:1:-1])
    inner = ((cells > 1) & (cells < size - 1)).all(-1, keepdims=True)
    return cells + 0.5 + 0.25 * np.where(inner, np.sign(neighbours[..., 1] - neighbours[..., 0]), 0), peaks


def decode_log_parabola(maps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find each map's maximum and lay a parabola through its logarithm and its neighbours', axis by axis.

    A Gaussian is decoded exactly; the step is held within half a cell. Shapes and frame as in `decode_quarter`.
    """
    cells, peaks, neighbours = _maxima(maps)
    low, middle, high = (np.log(np.maximum(part, 1e-6)) for part in (neighbours[..., 0], peaks[..., None], neighbours[..., 1]))
    curvature = low - 2 * middle + high
    steps = np.divide(low - high, 2 * curvature, out=np.zeros_like(curvature), where=curvature < -1e-6)
    border = (cells == 0) | (cells == np.array(maps.shape[:1:-1]) - 1)
    return cells + 0.5 + np.where(border, 0, np.clip(steps, -0.5, 0.5)), peaks


def _maxima(maps: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Give the cells (B, K, 2) x, y of the maxima, their values (B, K), and the neighbours (B, K, axis, before/after)."""
    batch, keypoint_count, _, width = maps.shape
    flat = maps.reshape(batch, keypoint_count, -1).argmax(-1)
    y, x = np.divmod(flat, width)
    padded = np.pad(maps.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    first, second = np.ogrid[:batch, :keypoint_count]

    def at(dx: int, dy: int) -> NDArray[np.float64]:
        values: NDArray[np.float64] = padded[first, second, y + 1 + dy, x + 1 + dx]
        return values

    neighbours = np.stack([np.stack([at(-1, 0), at(1, 0)], -1), np.stack([at(0, -1), at(0, 1)], -1)], -2)
    return np.stack([x, y], -1), at(0, 0), neighbours

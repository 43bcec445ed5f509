"""Cells of maps: what is drawn at places, which cells are peaks, and what stands where."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# What is read where a keypoint was found, perhaps a cell beside the one where it is, is trained in all of these.
AROUND = tuple((float(x), float(y)) for y in (-1, 0, 1) for x in (-1, 0, 1))


def cells_at(places: Tensor, height: int, width: int) -> Tensor:
    """Give the cells (...) int64, as row · w + column, in which places (..., 2) in cells lie, or the nearest ones."""
    there = places.floor().long()
    return there[..., 1].clamp(0, height - 1) * width + there[..., 0].clamp(0, width - 1)


def cells_around(places: Tensor, height: int, width: int) -> Tensor:
    """Give the cells (B, K, N, S) at and around places (B, N, K, 2) in cells, at which visibility is trained."""
    around = places.transpose(1, 2)[:, :, :, None] + torch.tensor(AROUND, device=places.device)
    return cells_at(around, height, width)


def columns_and_rows(cells: Tensor, width: int) -> Tensor:
    """Give (B, K, 2, N) int64 column and row of cells (B, K, N)."""
    rows = cells.div(width, rounding_mode="trunc")
    return torch.stack([cells - width * rows, rows], dim=2)


def flat(places: Tensor, width: int) -> Tensor:
    """Give the cells (B, K, N), as row · w + column, of columns and rows (B, K, 2, N) int64."""
    return places[:, :, 0] + width * places[:, :, 1]


def read_all(maps: Tensor, cells: Tensor) -> Tensor:
    """Read all of F maps (B, F, h, w) at the same cells (B, 1, N): (B, F, N)."""
    return _read(maps, cells, int(maps.shape[1]))


def read_own(maps: Tensor, places: Tensor) -> Tensor:
    """Read the first K of some maps (B, K or more, h, w), each at its own places (B, K, 2, N) in cells: (B, K, N)."""
    height, width = (int(length) for length in maps.shape[-2:])
    ends = torch.tensor([[width - 1], [height - 1]], device=places.device)
    # What lies left of or above the map is read at its border, so rounding towards zero is rounding down.
    inside = torch.minimum(places.long().clamp(min=0), ends)
    return _read(maps, flat(inside, width), int(places.shape[1]))


def _read(maps: Tensor, cells: Tensor, count: int) -> Tensor:
    area = int(maps.shape[-2]) * int(maps.shape[-1])
    index = cells + area * torch.arange(count, device=cells.device)[:, None]
    return torch.gather(maps.flatten(1), 1, index.flatten(1)).reshape(-1, count, int(cells.shape[2]))


def gaussian(centres: Tensor, sigmas: Tensor, length: int) -> Tensor:
    """Draw (..., length) Gaussians around centres (...) in cells, the middle of the first cell at 0.5."""
    middles = torch.arange(length, device=centres.device, dtype=centres.dtype) + 0.5
    return torch.exp(-((middles - centres[..., None]) ** 2) / (2 * sigmas[..., None] ** 2))


def cells_in_boxes(boxes: Tensor, chosen: Tensor, height: int, width: int) -> Tensor:
    """Tell (B, N, h, w) bool which cells lie in which chosen box (B, N, 4), in cells."""
    x = torch.arange(width, device=boxes.device) + 0.5
    y = torch.arange(height, device=boxes.device) + 0.5
    in_x = (x >= boxes[..., 0, None]) & (x <= boxes[..., 2, None])
    in_y = (y >= boxes[..., 1, None]) & (y <= boxes[..., 3, None])
    return in_y[..., :, None] & in_x[..., None, :] & chosen[..., None, None]


def local_peaks(heatmap: Tensor) -> Tensor:
    """Mark (B, K, h, w) with 1 the cells that are the highest of their 3×3 surroundings; of equal neighbours the first.

    Higher than the four before, no lower than the four behind. Shifted maxima and pooling give the same: for 7 maps of 80×80
    PyTorch takes 0.13 ms by maxima and 1.1 ms by pooling (one core), ONNX Runtime is three times as fast by pooling.
    """
    if torch.onnx.is_in_onnx_export():
        rows = functional.max_pool2d(heatmap, (1, 3), 1, (0, 1))
        around = functional.max_pool2d(rows, (3, 1), 1, (1, 0))
        above = functional.pad(rows, (0, 0, 1, -1), value=-1.0)
        before = torch.maximum(above, functional.pad(heatmap, (1, -1, 0, 0), value=-1.0))
        return ((heatmap > before) & (heatmap >= around)).float()
    padded = functional.pad(heatmap, (1, 1, 1, 1), value=-1.0)
    rows = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    before = torch.maximum(rows[..., :-2, :], padded[..., 1:-1, :-2])
    behind = torch.maximum(rows[..., 2:, :], padded[..., 1:-1, 2:])
    return ((heatmap > before) & (heatmap >= behind)).float()


def vertex(profiles: Tensor, step: int) -> Tensor:
    """Place (B, K, …) the peaks of Gaussians from three of their values (B, K, 3, …) `step` cells apart, from the second."""
    floor = profiles[:, :, 1:2].clamp(min=1e-6) * 1e-6
    before, middle, after = torch.log(torch.maximum(profiles, floor)).unbind(2)
    curvature = (before + after - 2 * middle).clamp(max=-1e-6)
    return (0.5 * step * (before - after) / curvature).clamp(-step - 1.0, step + 1.0)

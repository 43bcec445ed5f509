"""Maps of one network in the frame of another: other input size, other stride, other width of the Gaussians.

Both networks look at one picture. The other one sees it fitted into its own input as `geometry.letterbox` fits an image, and
its maps are read where the middles of the own cells lie. All positions are continuous px, the corner of the first pixel at
(0, 0), so cell j of stride s has its middle at (j + 0.5)·s. Nothing is rounded but the extent of the fitted picture, and the
scale that follows from it is the one that all lengths are divided by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Gaussians whose widths differ by less are the same.
SAME_WIDTH = 1e-3


@dataclass(frozen=True)
class Grid:
    """Where the maps of a network lie.

    Attributes:
        input_size: (H, W) px.
        stride: input px a cell.
        sigma: standard deviation of its keypoints' Gaussians, cells.
    """

    input_size: tuple[int, int]
    stride: int
    sigma: float


class Passage:
    """The way from pictures of one network to maps of another and back.

    Args:
        own: of the network whose pictures are given and in whose frame maps are wanted.
        other: of the network that makes the maps.

    Attributes:
        inside: (rows, columns) px of the other's input that the picture fills.
        start: (top, left) px where it begins.
        scale: (y, x) px of the other's input for a px of the own.
    """

    def __init__(self, own: Grid, other: Grid) -> None:
        self.own, self.other = own, other
        factor = min(there / here for here, there in zip(own.input_size, other.input_size, strict=True))
        self.inside = tuple(max(round(length * factor), 1) for length in own.input_size)
        self.start = tuple((there - inside) // 2 for there, inside in zip(other.input_size, self.inside, strict=True))
        self.scale = tuple(inside / length for inside, length in zip(self.inside, own.input_size, strict=True))
        # How many of the other's cells one of the own spans, (y, x).
        self.cells = tuple(scale * own.stride / other.stride for scale in self.scale)
        self.same = own.input_size == other.input_size and own.stride == other.stride
        self.wider = own.sigma * math.sqrt(self.cells[0] * self.cells[1]) / other.sigma

    def pictures(self, images: Tensor) -> Tensor:
        """Fit images (B, 3, H, W) uint8 into the other's input: (B, 3, H', W'), 0 outside; the same ones if the sizes are."""
        if self.own.input_size == self.other.input_size:
            return images
        fitted = functional.interpolate(images.float(), self.inside, mode="bilinear", antialias=True)
        (top, left), (height, width) = self.start, self.inside
        below, right = self.other.input_size[0] - top - height, self.other.input_size[1] - left - width
        return functional.pad(fitted, (left, right, top, below))

    def heatmap(self, maps: Tensor) -> Tensor:
        """Carry heatmaps (B, K, h', w') of values in [0, 1] over, their Gaussians as wide as the own: (B, K, h, w).

        A Gaussian of height a stays one of height a. It is widened by a Gaussian blur and narrowed by a power of its values
        relative to the highest nearby, both of which are exact where peaks do not touch.
        """
        if self.wider > 1 + SAME_WIDTH:
            maps = _widened(maps, self.other.sigma, self.wider)
        if not self.same:
            # Bilinear would cut a tenth off the peaks that lie between cells.
            maps = self._read(maps, "bicubic")
        if self.wider < 1 - SAME_WIDTH:
            maps = _narrowed(maps, self.own.sigma / self.wider, self.wider)
        return maps.clamp(0, 1)

    def peaks(self, maps: Tensor) -> Tensor:
        """Carry maps (B, C, h', w') over in which single cells are marked: (B, C, h, w); a cell has the highest value in it."""
        return maps if self.same else self._read(maps, "bilinear", tuple(math.ceil(cells - 1e-6) for cells in self.cells))

    def lengths(self, maps: Tensor) -> Tensor:
        """Carry lengths (B, 2n, h', w') in cells over, x and y in turns: (B, 2n, h, w) in the own cells.

        What points from the middle of a cell to a place still does so: between two middles the interpolated length falls as the
        middle moves on.
        """
        if self.same:
            return maps
        own_cells = torch.tensor([1 / self.cells[1], 1 / self.cells[0]], device=maps.device)
        return self._read(maps, "bilinear") * own_cells.repeat(maps.shape[1] // 2)[:, None, None]

    def logarithms(self, maps: Tensor) -> Tensor:
        """Carry logarithms of lengths (B, 2, h', w') in cells over, x before y: (B, 2, h, w) of the own cells."""
        if self.same:
            return maps
        smaller = torch.tensor([math.log(self.cells[1]), math.log(self.cells[0])], device=maps.device)
        return self._read(maps, "bilinear") - smaller[:, None, None]

    def levels(self, maps: Tensor) -> Tensor:
        """Carry plain values (B, K, h', w') over: (B, K, h, w)."""
        return maps if self.same else self._read(maps, "bilinear")

    def _read(self, maps: Tensor, mode: str, samples: tuple[int, ...] = (1, 1)) -> Tensor:
        """Read maps at the middles of the own cells, or give the highest of samples (down, across) spread evenly in each."""
        places = []
        for axis in range(2):
            count, within = self.own.input_size[axis] // self.own.stride, samples[axis]
            own = (torch.arange(count * within, device=maps.device, dtype=torch.float32) + 0.5) / within
            other = (self.start[axis] + self.scale[axis] * self.own.stride * own) / self.other.stride
            # torch counts from −1 at the first cell's outer edge to 1 at the last one's.
            places.append(2 * other / maps.shape[2 + axis] - 1)
        grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], dim=-1).expand(len(maps), -1, -1, -1)
        read = functional.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)
        return functional.max_pool2d(read, samples) if max(samples) > 1 else read


def _widened(maps: Tensor, sigma: float, factor: float) -> Tensor:
    """Make Gaussians of standard deviation `sigma` cells `factor` times as wide, their heights kept."""
    spread = sigma * math.sqrt(factor**2 - 1)
    reach = math.ceil(4 * spread)
    weights = torch.exp(-(torch.arange(-reach, reach + 1, device=maps.device) ** 2) / (2 * spread**2))
    # The sum of a Gaussian of σ spread by one of τ is as high as before once it is divided by the product's own height.
    weights = weights * (factor / weights.sum())
    lines = maps.flatten(0, 1)[:, None]
    lines = functional.conv2d(lines, weights.view(1, 1, -1, 1), padding=(reach, 0))
    return functional.conv2d(lines, weights.view(1, 1, 1, -1), padding=(0, reach)).view_as(maps)


def _narrowed(maps: Tensor, sigma: float, factor: float) -> Tensor:
    """Make Gaussians of standard deviation `sigma` cells `factor` < 1 times as wide, the highest value nearby kept."""
    reach = math.ceil(2 * sigma)
    maps = maps.clamp(min=0)
    highest = functional.max_pool2d(maps, 2 * reach + 1, stride=1, padding=reach).clamp(min=1e-6)
    return highest * (maps / highest) ** (1 / factor**2)

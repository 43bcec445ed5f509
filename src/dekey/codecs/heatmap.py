"""One instance's keypoints as Gaussian heatmaps, and back to a fraction of a cell.

The target of a keypoint is the Gaussian exp(−|p − c|² / 2σ²) sampled at the cell centres p, its own centre c *not*
rounded to a cell. Rounding alone costs 1.5 input pixels at stride 4, whatever the decoder (Zhang et al., "Distribution-
Aware Coordinate Representation for Human Pose Estimation", CVPR 2020).

Reading back uses that the sum of a Gaussian over a window of rows is again a Gaussian in x: the window around the peak is
summed along each axis, which averages the noise, and the vertex of the parabola through three logarithms is the centre.
On an encoded map this is exact, at the border of the map too.
"""

from __future__ import annotations

import torch
from torch import Tensor


class HeatmapCodec:
    """Keypoints of one instance ↔ K heatmaps.

    Args:
        stride: input pixels a cell.
        sigma: standard deviation of the Gaussians, in cells.
    """

    def __init__(self, stride: int, sigma: float) -> None:
        self.stride = stride
        self.sigma = sigma
        self.step = max(round(sigma), 1)
        self.radius = self.step + 2

    def encode(self, keypoints: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Draw the heatmaps.

        Args:
            keypoints: (B, K, 2) x, y input px; NaN gives an empty map.
            size: (H, W) of the input, px.

        Returns:
            ``keypoint_heatmap`` (B, K, h, w) float32 in [0, 1], h = H / stride, w = W / stride.
        """
        height, width = size[0] // self.stride, size[1] // self.stride
        cells = torch.nan_to_num(keypoints.float() / self.stride - 0.5, nan=-1e4)
        columns = self._gaussian(cells[..., 0], width)
        rows = self._gaussian(cells[..., 1], height)
        return {"keypoint_heatmap": rows[..., :, None] * columns[..., None, :]}

    def _gaussian(self, centres: Tensor, length: int) -> Tensor:
        positions = torch.arange(length, device=centres.device, dtype=centres.dtype)
        return torch.exp(-((positions - centres[..., None]) ** 2) / (2 * self.sigma**2))

    def decode(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Find the keypoints.

        Args:
            maps: ``keypoint_heatmap`` (B, K, h, w); h and w at least 2·radius + 1 cells.

        Returns:
            ``keypoints`` (B, K, 2) input px and ``keypoint_scores`` (B, K) in [0, 1], the height of the peak.
        """
        heatmap = maps["keypoint_heatmap"].float()
        height, width = heatmap.shape[-2:]
        row_peaks = heatmap.amax(dim=-1)
        peak, row = row_peaks.max(dim=-1)
        in_row = torch.gather(heatmap, 2, row[..., None, None].expand(-1, -1, 1, width))[:, :, 0]
        column = in_row.argmax(dim=-1)
        # The window stays inside the map: three points of a Gaussian give its centre wherever they lie.
        row = row.clamp(self.radius, height - 1 - self.radius)
        column = column.clamp(self.radius, width - 1 - self.radius)
        reach = torch.arange(-self.radius, self.radius + 1, device=heatmap.device)
        cells = ((row[..., None, None] + reach[:, None]) * width + column[..., None, None] + reach).flatten(2)
        side = 2 * self.radius + 1
        window = torch.gather(heatmap.flatten(2), 2, cells).reshape(-1, heatmap.shape[1], side, side)
        x = column + self._vertex(window.sum(dim=2))
        y = row + self._vertex(window.sum(dim=3))
        keypoints = (torch.stack([x, y], dim=-1) + 0.5) * self.stride
        return {"keypoints": keypoints, "keypoint_scores": peak.clamp(0, 1)}

    def _vertex(self, profile: Tensor) -> Tensor:
        """Place the peak of profiles (B, K, 2·radius + 1), in cells from their middle."""
        before = profile[..., self.radius - self.step]
        middle = profile[..., self.radius]
        after = profile[..., self.radius + self.step]
        floor = middle.clamp(min=1e-6) * 1e-6
        before, middle, after = (torch.log(torch.maximum(value, floor)) for value in (before, middle, after))
        curvature = (before + after - 2 * middle).clamp(max=-1e-6)
        offset = 0.5 * self.step * (before - after) / curvature
        return offset.clamp(-self.radius - 1.0, self.radius + 1.0)

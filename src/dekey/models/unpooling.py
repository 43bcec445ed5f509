"""Unpooling with switches: a coarse value goes back to the place where the maximum of its 2×2 cells lay.

Max pooling keeps how strong a feature is and forgets where; the switches are what it forgot. They are used for showing what
a network sees by Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (arXiv 1311.2901), and
for dense answers by Noh et al., "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015 (arXiv 1505.04366).

`max_unpool2d` of PyTorch scatters by indices and has no ONNX form. Here four comparisons make masks, and masks are multiplied:
the same arrays, from operations that every runtime has and is quick at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def unpool(coarse: Tensor, finer: Tensor) -> Tensor:
    """Put every value of a map where `finer` is greatest among the 2×2 cells under it; all other cells are zero.

    Equals ``max_unpool2d(coarse, indices, 2)`` for the indices of ``max_pool2d(finer, 2, return_indices=True)``: of equal
    cells the first in reading order wins. Gradients flow to `coarse`; the switches carry none.

    Args:
        coarse: (B, C, h, w), finite.
        finer: (B, C, 2h, 2w), whose maxima are the switches.

    Returns:
        (B, C, 2h, 2w), one cell in four not zero.
    """
    channels, height, width = coarse.shape[1:]
    # Channels last: the network runs so in torch, and in ONNX Runtime whole rows of channels are moved, not single numbers.
    cells = finer.detach().permute(0, 2, 3, 1).reshape(-1, height, 2, width, 2, channels)
    upper, lower = cells[:, :, 0], cells[:, :, 1]
    upper_left, upper_right = upper[:, :, :, 0], upper[:, :, :, 1]
    lower_left, lower_right = lower[:, :, :, 0], lower[:, :, :, 1]
    # Strictly greater, so that the first of equal cells wins. Products: ONNX Runtime takes ten times as long for Where.
    is_lower = (torch.maximum(lower_left, lower_right) > torch.maximum(upper_left, upper_right)).to(coarse.dtype)
    values = coarse.permute(0, 2, 3, 1)
    upper_row = _spread(values * (1 - is_lower), (upper_right > upper_left).to(coarse.dtype))
    lower_row = _spread(values * is_lower, (lower_right > lower_left).to(coarse.dtype))
    spread = torch.stack([upper_row, lower_row], dim=2).reshape(-1, 2 * height, 2 * width, channels)
    return spread.permute(0, 3, 1, 2)


def _spread(values: Tensor, is_right: Tensor) -> Tensor:
    """Put values (B, h, w, C) into the left or the right of two cells: (B, h, w, 2C)."""
    return torch.cat([values * (1 - is_right), values * is_right], dim=-1)


class Unpooling(nn.Module):
    """Unpooling followed by a convolution that fills the empty cells, once by place and once across channels.

    The filling convolution is a 3×3 convolution of each channel and a 1×1 convolution of all. A full 3×3 convolution costs
    twice a transposed convolution of the same channels; this costs no more than that one together with the unpooling.

    Args:
        incoming: channels of the coarse map.
        outgoing: channels of the finer map and of the answer.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.entry = nn.Identity() if incoming == outgoing else nn.Conv2d(incoming, outgoing, 1, bias=False)
        self.place = nn.Conv2d(outgoing, outgoing, 3, padding=1, groups=outgoing, bias=False)
        self.mix = nn.Conv2d(outgoing, outgoing, 1, bias=False)
        # A quarter of the nine cells under the kernel hold a value, and half of the signal was lost to the ReLU before.
        nn.init.normal_(self.place.weight, std=math.sqrt(2 * 4 / 9))
        nn.init.kaiming_normal_(self.mix.weight, nonlinearity="linear")
        if isinstance(self.entry, nn.Conv2d):
            nn.init.kaiming_normal_(self.entry.weight, nonlinearity="linear")

    def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
        """Turn (B, incoming, h, w) into (B, outgoing, 2h, 2w) with the switches of finer (B, outgoing, 2h, 2w)."""
        filled: Tensor = self.mix(self.place(unpool(self.entry(coarse), finer)))
        return filled

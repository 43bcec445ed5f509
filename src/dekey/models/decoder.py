"""The deconvolutional half, x′ = f(W′ᵀ ∗ y + b′): features back towards image resolution, and the heads that read them.

A transposed convolution with kernel 4, stride 2 and padding 1 doubles the size exactly and covers every output cell with
the same number of taps, so it draws no checkerboard (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016).
The chain of them is the head of Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; the
lateral sums are those of Lin et al., "Feature Pyramid Networks", CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dekey.errors import DekeyError


class DeconvDecoder(nn.Module):
    """A chain of transposed convolutions, each followed by batch normalisation and ReLU.

    Args:
        backbone_channels: feature channels of the backbone, finest level first.
        backbone_strides: their strides.
        decoder_channels: output channels of each transposed convolution; as many layers as there are numbers.
        lateral: add the backbone's features of the same stride, brought to the same channels by a 1×1 convolution.

    Attributes:
        channels: feature channels of the output.
        stride: input pixels a cell of the output.

    Raises:
        DekeyError: if there are more layers than halvings to undo.
    """

    def __init__(
        self,
        backbone_channels: Sequence[int],
        backbone_strides: Sequence[int],
        decoder_channels: Sequence[int],
        lateral: bool = True,
    ) -> None:
        super().__init__()
        self.channels = decoder_channels[-1]
        self.stride = backbone_strides[-1] >> len(decoder_channels)
        if self.stride < 1:
            raise DekeyError(
                f"{len(decoder_channels)} deconvolutions undo more than the backbone's stride of {backbone_strides[-1]}; "
                f"use at most {int(math.log2(backbone_strides[-1]))}"
            )
        level_of_stride = {stride: level for level, stride in enumerate(backbone_strides)}
        self.levels: list[int | None] = []
        self.entry = nn.Conv2d(backbone_channels[-1], decoder_channels[0], 1, bias=False) if lateral else nn.Identity()
        self.deconvolutions, self.laterals, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        incoming = decoder_channels[0] if lateral else backbone_channels[-1]
        stride = backbone_strides[-1]
        for outgoing in decoder_channels:
            stride //= 2
            level = level_of_stride.get(stride) if lateral else None
            self.levels.append(level)
            self.deconvolutions.append(nn.ConvTranspose2d(incoming, outgoing, 4, stride=2, padding=1, bias=False))
            self.laterals.append(
                nn.Identity() if level is None else nn.Conv2d(backbone_channels[level], outgoing, 1, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(outgoing))
            incoming = outgoing
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                # Every output cell sees a quarter of the taps: fan-in is channels · 4.
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * 4)))
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn the backbone's features into (B, channels, H/stride, W/stride)."""
        x: Tensor = self.entry(features[-1])
        for level, deconvolution, lateral, norm in zip(
            self.levels, self.deconvolutions, self.laterals, self.norms, strict=True
        ):
            x = deconvolution(x)
            if level is not None:
                x = x + lateral(features[level])
            x = nn.functional.relu(norm(x))
        return x


class Head(nn.Module):
    """A 1×1 convolution that reads `map_count` maps off the decoder's features.

    Args:
        decoder_channels: channels of the decoder's output.
        map_count: maps to give.
        bias: initial value of every map.
    """

    def __init__(self, decoder_channels: int, map_count: int, bias: float = 0.0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(decoder_channels, map_count, 1)
        nn.init.normal_(self.convolution.weight, std=0.01)
        nn.init.constant_(self.convolution.bias, bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (B, decoder_channels, h, w) into maps (B, map_count, h, w)."""
        maps: Tensor = self.convolution(features)
        return maps

"""The deconvolutional half, x′ = f(W′ᵀ ∗ y + b′): features back towards image resolution, and the heads that read them.

A transposed convolution with kernel 4, stride 2 and padding 1 doubles the size exactly and covers every output cell with
the same number of taps, so it draws no checkerboard (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016).
The chain of them is the head of Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; the
lateral sums are those of Lin et al., "Feature Pyramid Networks", CVPR 2017. `DECODERS` names the ways to go up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from dekey.errors import DekeyError, nearest
from dekey.models.unpooling import Unpooling


def deconvolution(incoming: int, outgoing: int) -> nn.ConvTranspose2d:
    """Make the transposed convolution that doubles the size without a checkerboard."""
    return nn.ConvTranspose2d(incoming, outgoing, 4, stride=2, padding=1, bias=False)


class Bilinear(nn.Module):
    """Twice the size by bilinear interpolation, then a 3×3 convolution.

    Args:
        incoming: channels of the coarse map.
        outgoing: channels of the answer.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, coarse: Tensor) -> Tensor:
        """Turn (B, incoming, h, w) into (B, outgoing, 2h, 2w)."""
        finer: Tensor = self.convolution(nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear"))
        return finer


class DeconvDecoder(nn.Module):
    """A chain of layers that double the size, each followed by batch normalisation and ReLU.

    Args:
        backbone_channels: feature channels of the backbone, finest level first.
        backbone_strides: their strides.
        decoder_channels: output channels of each layer; as many layers as there are numbers.
        lateral: add the backbone's features of the same stride, brought to the same channels by a 1×1 convolution.
        upsampling: what makes a layer of its incoming and outgoing channels: `deconvolution`, `Bilinear` or `Unpooling`.
            The last takes its switches from the laterals; where there is none, `deconvolution` stands in.

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
        upsampling: Callable[[int, int], nn.Module] = deconvolution,
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
        # The name under which saved models keep their layers, whatever these are.
        self.deconvolutions, self.laterals, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        incoming = decoder_channels[0] if lateral else backbone_channels[-1]
        stride = backbone_strides[-1]
        for outgoing in decoder_channels:
            stride //= 2
            level = level_of_stride.get(stride) if lateral else None
            self.levels.append(level)
            layer = deconvolution if level is None and upsampling is Unpooling else upsampling
            self.deconvolutions.append(layer(incoming, outgoing))
            self.laterals.append(
                nn.Identity() if level is None else nn.Conv2d(backbone_channels[level], outgoing, 1, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(outgoing))
            incoming = outgoing
        self._initialise()

    def _initialise(self) -> None:
        # `Unpooling` and `Bilinear` have initialised themselves. The order is kept: a seed gives the network it always gave.
        for module in (self.entry, *self.deconvolutions, *self.laterals):
            if isinstance(module, nn.ConvTranspose2d):
                # Every output cell sees a quarter of the taps: fan-in is channels · 4.
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * 4)))
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn the backbone's features into (B, channels, H/stride, W/stride)."""
        x: Tensor = self.entry(features[-1])
        for level, layer, lateral, norm in zip(self.levels, self.deconvolutions, self.laterals, self.norms, strict=True):
            if level is None:
                x = layer(x)
            else:
                finer = lateral(features[level])
                # The sum also teaches the convolution of the switches, which have no gradient of their own.
                x = (layer(x, finer) if isinstance(layer, Unpooling) else layer(x)) + finer
            x = nn.functional.relu(norm(x))
        return x


class DecoderForm(NamedTuple):
    """One way up: what doubles the size, and whether the backbone's finer features are added."""

    upsampling: Callable[[int, int], nn.Module]
    lateral: bool


DECODERS: dict[str, DecoderForm] = {
    "lateral": DecoderForm(deconvolution, lateral=True),
    "plain": DecoderForm(deconvolution, lateral=False),
    "unpooling": DecoderForm(Unpooling, lateral=True),
    "bilinear": DecoderForm(Bilinear, lateral=True),
}


def build_decoder(
    name: str, backbone_channels: Sequence[int], backbone_strides: Sequence[int], decoder_channels: Sequence[int]
) -> DeconvDecoder:
    """Build a decoder by its name in `DECODERS`.

    Args:
        name: which way up.
        backbone_channels: feature channels of the backbone, finest level first.
        backbone_strides: their strides.
        decoder_channels: output channels of each layer; the output's stride is the backbone's, halved as often.

    Raises:
        DekeyError: if there is no such decoder, or more layers than halvings to undo.
    """
    if name not in DECODERS:
        raise DekeyError(f"there is no decoder '{name}'{nearest(name, DECODERS)}; use one of {', '.join(DECODERS)}")
    form = DECODERS[name]
    return DeconvDecoder(backbone_channels, backbone_strides, decoder_channels, form.lateral, form.upsampling)


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

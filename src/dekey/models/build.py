"""Models from plain values: the one place that knows which parts make which family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from dekey.codecs.heatmap import HeatmapCodec
from dekey.errors import DekeyError
from dekey.models.backbone import build_backbone
from dekey.models.decoder import DeconvDecoder
from dekey.models.heatmap import HeatmapModel

MODELS = {"heatmap": HeatmapModel}


def build_heatmap_model(
    backbone: str,
    decoder_channels: Sequence[int],
    lateral: bool,
    sigma: float,
    keypoint_count: int,
    input_size: tuple[int, int],
    pretrained: bool | Literal["auto"] = False,
    peak_weight: float = 0.0,
) -> HeatmapModel:
    """Build a HeatmapModel.

    Args:
        backbone: timm name.
        decoder_channels: channels of each transposed convolution.
        lateral: add the backbone's finer features on the way up.
        sigma: standard deviation of the Gaussians, in cells of the output.
        keypoint_count: K.
        input_size: (H, W) px.
        pretrained: see `build_backbone`.
        peak_weight: extra weight of the peaks in the mean squared error.

    Raises:
        DekeyError: if a part cannot be built or the input size does not fit.
    """
    body = build_backbone(backbone, pretrained)
    decoder = DeconvDecoder(body.channels, body.strides, decoder_channels, lateral)
    return HeatmapModel(body, decoder, keypoint_count, HeatmapCodec(decoder.stride, sigma), input_size, peak_weight)


def build_from_architecture(kind: str, architecture: dict[str, Any]) -> HeatmapModel:
    """Build the network that a manifest describes, with random weights.

    Raises:
        DekeyError: if the family is unknown or the description does not fit it.
    """
    if kind not in MODELS:
        raise DekeyError(f"found a model of kind '{kind}', expected one of {', '.join(MODELS)}; update dekey")
    try:
        return build_heatmap_model(**{**architecture, "input_size": tuple(architecture["input_size"])})
    except (KeyError, TypeError) as error:
        raise DekeyError(f"the model's description does not fit this dekey ({error}); update dekey or train again") from error

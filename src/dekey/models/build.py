"""Models from plain values: the one place that knows which parts make which family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn

from dekey.codecs.center import CenterCodec
from dekey.codecs.heatmap import HeatmapCodec
from dekey.errors import DekeyError
from dekey.models.article import build_article_model
from dekey.models.backbone import Backbone, build_backbone
from dekey.models.center import CenterDetector
from dekey.models.decoder import build_decoder
from dekey.models.heatmap import HeatmapModel
from dekey.models.widths import set_widths

Pretrained = bool | Literal["auto"]


def build_heatmap_model(
    backbone: str | Backbone,
    decoder_channels: Sequence[int],
    decoder: str,
    sigma: float,
    keypoint_count: int,
    input_size: tuple[int, int],
    learned_scales: bool | None = True,
    pretrained: Pretrained = False,
    peak_weight: float = 0.0,
) -> HeatmapModel:
    """Build a HeatmapModel.

    Args:
        backbone: timm name, or the backbone itself.
        decoder_channels: channels of each upsampling layer.
        decoder: name in `DECODERS`.
        sigma: standard deviation of the Gaussians, in cells of the output.
        keypoint_count: K.
        input_size: (H, W) px.
        learned_scales: see `build_backbone`.
        pretrained: see `build_backbone`.
        peak_weight: extra weight of the peaks in the mean squared error.

    Raises:
        DekeyError: if a part cannot be built or the input size does not fit.
    """
    body = build_backbone(backbone, pretrained, learned_scales)
    head = build_decoder(decoder, body.channels, body.strides, decoder_channels)
    return HeatmapModel(body, head, keypoint_count, HeatmapCodec(head.stride, sigma), input_size, peak_weight)


def build_center_detector(
    backbone: str | Backbone,
    decoder_channels: Sequence[int],
    decoder: str,
    sigma: float,
    present: Sequence[Sequence[bool]],
    objects: int,
    input_size: tuple[int, int],
    typical_size: float = 64.0,
    learned_scales: bool | None = True,
    pretrained: Pretrained = False,
    peak_weight: float = 4.0,
) -> CenterDetector:
    """Build a CenterDetector.

    Args:
        backbone: timm name, or the backbone itself.
        decoder_channels: channels of each upsampling layer.
        decoder: name in `DECODERS`.
        sigma: standard deviation of the keypoints' Gaussians, in cells of the output.
        present: (C, K) which class has which keypoint.
        objects: N, how many objects it can answer with.
        input_size: (H, W) px.
        typical_size: root of the area of a typical box, px of the input.
        learned_scales: see `build_backbone`.
        pretrained: see `build_backbone`.
        peak_weight: extra weight of the peaks in the keypoints' cross-entropy.

    Raises:
        DekeyError: if a part cannot be built or the input size does not fit.
    """
    body = build_backbone(backbone, pretrained, learned_scales)
    head = build_decoder(decoder, body.channels, body.strides, decoder_channels)
    codec = CenterCodec(head.stride, present, sigma, objects)
    return CenterDetector(body, head, codec, input_size, typical_size, peak_weight)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "heatmap": build_heatmap_model,
    "center": build_center_detector,
    "article": build_article_model,
}


def build_model(kind: str, architecture: dict[str, Any], **training: Any) -> nn.Module:
    """Build a network from the description that its manifest holds.

    Args:
        kind: name in `MODELS`.
        architecture: arguments of its builder, as JSON gives them; a backbone may stand in the place of its name. ``widths``
            says which layers are narrower, see `dekey.models.widths`.
        training: arguments that matter for training alone, such as ``pretrained``.

    Raises:
        DekeyError: if the family is unknown, the description does not fit it, or a part cannot be built.
    """
    if kind not in MODELS:
        raise DekeyError(f"found a model of kind '{kind}', expected one of {', '.join(MODELS)}; update dekey")
    values = dict(architecture)
    if "lateral" in values:  # how models before there were several decoders said it
        values["decoder"] = "lateral" if values.pop("lateral") else "plain"
    widths = values.pop("widths", None)
    try:
        model = MODELS[kind](**{**values, "input_size": tuple(values["input_size"])}, **training)
    except (KeyError, TypeError) as error:
        raise DekeyError(f"the model's description does not fit this dekey ({error}); update dekey or train again") from error
    if widths:
        set_widths(model, widths)
    return model

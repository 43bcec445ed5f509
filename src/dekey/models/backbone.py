"""The convolutional half, y = f(W ∗ x + b): any timm network that gives features, behind `channels` and `strides`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from dekey.errors import DekeyError, nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in fp32 where a CPU else computes in bf16.

    On a CPU torch has no fast kernel for its gradient in bf16: at (8, 512, 14, 24), kernel 3, stride 2, forward and backward
    took 25 ms in bf16 and 0.75 ms in fp32 on two cores with AVX512-BF16 (torch 2.15).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch names it so)
        """Convolve (B, C, H, W)."""
        if input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def keep_depthwise_exact(network: nn.Module) -> None:
    """Turn every plain depthwise convolution of a network into a `DepthwiseConv2d`; weights and their names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d


def leave_out_learned_scales(network: nn.Module) -> None:
    """Take out timm's learned factor and offset after activations, one pair of numbers a layer, as HGNetV2 has them.

    The normalisation of the same layer can give the factor and that of the next one takes the offset out again, so a network
    that starts from random weights learns as well without. They cost a seventh of a training step on a CPU.
    """
    for module in network.modules():
        for name, child in list(module.named_children()):
            if is_learned_scale(child):
                setattr(module, name, nn.Identity())


def is_learned_scale(module: nn.Module) -> bool:
    """Tell whether a module is timm's ``scale * x + bias`` with one learned number each."""
    # By name, because timm takes seconds to import and a backbone need not come from it.
    return type(module).__name__ == "LearnableAffineBlock"


class Backbone(nn.Module):
    """A timm feature extractor.

    Attributes:
        channels: feature channels, finest level first.
        strides: input pixels a cell, finest level first.
        mean, std: normalisation of RGB in [0, 1] that the weights expect, three values each.
        source: one sentence on where the weights come from.
        learned_scales: whether it has layers that `leave_out_learned_scales` would take out.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], source: str) -> None:
        super().__init__()
        keep_depthwise_exact(network)
        self.network = network
        info = network.feature_info
        self.channels: list[int] = list(info.channels())  # type: ignore[union-attr,operator]
        self.strides: list[int] = list(info.reduction())  # type: ignore[union-attr,operator]
        self.mean, self.std = tuple(mean), tuple(std)
        self.source = source
        self.learned_scales = any(map(is_learned_scale, network.modules()))

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Check that inputs of (H, W) px can be halved down to the coarsest features and leave two cells there.

        Raises:
            DekeyError: if they cannot; the message names the nearest length that works.
        """
        coarsest = self.strides[-1]
        for length in input_size:
            if length % coarsest or length < coarsest * 2:
                works = max(round(length / coarsest), 2) * coarsest
                raise DekeyError(f"input size {length} does not fit the backbone's stride of {coarsest}; use {works}")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Turn normalised images (B, 3, H, W) into features [(B, channels[i], H/strides[i], W/strides[i])]."""
        features: list[Tensor] = self.network(images)
        return features


def build_backbone(
    name: str | Backbone, pretrained: bool | Literal["auto"] = False, learned_scales: bool | None = True
) -> Backbone:
    """Make a backbone from its timm name.

    Args:
        name: any timm model that supports ``features_only``; a backbone is given back as it is.
        pretrained: True insists on timm's weights, False starts from random ones, "auto" takes the weights where the
            cache or the network has them and says in `Backbone.source` which it was.
        learned_scales: whether to keep what `leave_out_learned_scales` takes out; None keeps it with timm's weights only.

    Raises:
        DekeyError: if timm has no such network, it gives no features, or weights were insisted on and cannot be had.
    """
    if isinstance(name, Backbone):
        return name
    import timm

    known = set(timm.list_models())
    if name.split(".")[0] not in known:
        raise DekeyError(f"timm has no network '{name}'{nearest(name, known)}; `timm.list_models()` lists them")
    reason = "random weights, as asked"
    if pretrained:
        network, reason = _with_weights(name)
        if network is not None:
            config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
            licence = config.get("license") or "licence not stated"
            source = f"pretrained weights {config.get('architecture', name)}.{config.get('tag', '')} of timm ({licence})"
            return Backbone(network, config["mean"], config["std"], source)
        if pretrained is True:
            raise DekeyError(
                f"pretrained weights of '{name}' cannot be had ({reason}); connect to the network once, copy the cache "
                "folder named by HF_HOME from a machine that has them, or set model.pretrained=auto"
            )
        reason = f"random weights: pretrained ones cannot be had ({reason})"
    network = _features_only(name, False)
    if not learned_scales:
        leave_out_learned_scales(network)
    return Backbone(network, IMAGENET_MEAN, IMAGENET_STD, reason)


def _features_only(name: str, pretrained: bool) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, features_only=True)
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise DekeyError(f"timm's '{name}' gives no feature maps ({error}); choose another backbone") from error
    return network


def _with_weights(name: str) -> tuple[nn.Module | None, str]:
    """Make the network with timm's weights, or tell in a few words why they cannot be had."""
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        return None, "timm has none for it"
    if config.hf_hub_id and not _reachable(config.hf_hub_id):
        return None, "neither in the cache nor on the network"
    try:
        return _features_only(name, True), ""
    except (OSError, RuntimeError, ValueError) as error:
        return None, type(error).__name__


def _reachable(repository: str) -> bool:
    """Tell within three seconds whether a hub repository is in the cache or its host answers.

    The hub's own client would retry for half a minute where there is no network.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in ("model.safetensors", "pytorch_model.bin")):
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies().get("https"):
        return True
    host = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((host.hostname or "", host.port or 443), timeout=3):
            return True
    except OSError:
        return False

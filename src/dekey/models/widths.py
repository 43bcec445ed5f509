"""Networks of fewer channels than their description by name says: what pruning leaves, written down and built again.

Widths are written as ``{name of a layer: [channels out, channels in]}``, for the layers that differ from the network as its
names and numbers describe it. They are applied to that network before the weights are loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dekey.errors import DekeyError

# Everything else that has weights keeps its shape.
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)
# A model file comes from anywhere.
MOST_LAYERS = 4096


def width_of(layer: nn.Module) -> list[int]:
    """Give the channels out of and into a layer."""
    if isinstance(layer, nn.Linear):
        return [layer.out_features, layer.in_features]
    if isinstance(layer, nn.BatchNorm2d):
        return [layer.num_features, layer.num_features]
    return [int(layer.out_channels), int(layer.in_channels)]  # type: ignore[arg-type]


def widths_of(model: nn.Module) -> dict[str, list[int]]:
    """Give the width of every layer that has one, by its name."""
    return {name: width_of(layer) for name, layer in model.named_modules() if isinstance(layer, LAYERS)}


def set_widths(model: nn.Module, widths: Mapping[str, Any]) -> None:
    """Make layers as narrow as `widths` says; their weights are to be loaded afterwards.

    Args:
        model: as described by name.
        widths: from a manifest, so not to be trusted.

    Raises:
        DekeyError: if a layer is missing or would become wider, or the layers do not fit together.
    """
    if not isinstance(widths, Mapping) or len(widths) > MOST_LAYERS:
        raise DekeyError("the model's widths are no list of layers, expected channels for each; the file was changed")
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LAYERS)}
    for name, width in widths.items():
        layer = layers.get(name)
        if layer is None:
            raise DekeyError(f"the model's widths name a layer '{str(name)[:80]}' that its network does not have; update dekey")
        full = width_of(layer)
        right = isinstance(width, list) and len(width) == 2 and all(type(one) is int for one in width)
        if not right or not all(1 <= one <= most for one, most in zip(width, full, strict=True)):
            raise DekeyError(
                f"the width of the model's layer '{name}' is {str(width)[:40]}, expected at most {full}; the file was changed"
            )
        _resize(layer, *width)
    announce_channels(model)


def announce_channels(model: nn.Module) -> None:
    """Correct what the parts announce of their channels, by sending an empty picture through the backbone.

    Raises:
        DekeyError: if the layers do not fit together.
    """
    backbone: Any = model.backbone
    decoder: Any = model.decoder
    training, size = model.training, 2 * backbone.strides[-1]
    model.eval()
    try:
        with torch.no_grad():
            picture = torch.zeros(1, 3, size, size)
            features = backbone(picture)
            carried = decoder(features)
            model(picture)
    except RuntimeError as error:
        raise DekeyError("the widths of the model's layers do not fit together; the file was changed, train again") from error
    finally:
        model.train(training)
    backbone.channels = [one.shape[1] for one in features]
    decoder.channels = carried.shape[1]


def narrower(model: nn.Module, full: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Give the widths of the layers in which a model differs from the `full` one."""
    return {name: width for name, width in widths_of(model).items() if full[name] != width}


def _resize(layer: nn.Module, outgoing: int, incoming: int) -> None:
    """Give a layer weights of other sizes, whatever stands in them."""
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_features = outgoing
        for name, value in [*layer.named_parameters(), *layer.named_buffers()]:
            if value.ndim == 1:
                _replace(layer, name, value[:outgoing])
        return
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outgoing, incoming
        _replace(layer, "weight", weight[:outgoing, :incoming])
    elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        if layer.groups > 1:
            if not layer.groups == layer.in_channels == layer.out_channels or outgoing != incoming:
                raise DekeyError("a layer of channel groups cannot be narrowed; the file was changed, train again")
            layer.groups = outgoing
            _replace(layer, "weight", weight[:outgoing])
        elif isinstance(layer, nn.ConvTranspose2d):
            _replace(layer, "weight", weight[:incoming, :outgoing])
        else:
            _replace(layer, "weight", weight[:outgoing, :incoming])
        layer.out_channels, layer.in_channels = outgoing, incoming
    if layer.bias is not None:
        assert isinstance(layer.bias, torch.Tensor)
        _replace(layer, "bias", layer.bias[:outgoing])


def _replace(layer: nn.Module, name: str, value: torch.Tensor) -> None:
    values = copy.deepcopy(value.detach().clone())
    if isinstance(getattr(layer, name), nn.Parameter):
        setattr(layer, name, nn.Parameter(values))
    else:
        setattr(layer, name, values)

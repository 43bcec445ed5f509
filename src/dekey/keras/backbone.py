"""Any Keras network as the convolutional half of a dekey model, behind `channels` and `strides`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from torch import Tensor, nn

from dekey.errors import DekeyError, nearest
from dekey.models.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone

PIXELS_MEAN = (0.0, 0.0, 0.0)
PIXELS_STD = (1 / 255, 1 / 255, 1 / 255)
"""With these a network is shown values of 0 to 255, for those of `keras.applications` that scale by themselves."""


class FeatureInfo:
    """Channels and strides of features, in the words of timm, which `Backbone` understands."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        self._channels, self._strides = tuple(channels), tuple(strides)

    def channels(self) -> tuple[int, ...]:
        """Channels, finest level first."""
        return self._channels

    def reduction(self) -> tuple[int, ...]:
        """Strides, finest level first."""
        return self._strides


class KerasFeatures(nn.Module):
    """A Keras network that gives features, as a torch module with torch's order of channels.

    Args:
        network: one input of pictures and one or several outputs, all (B, h, w, F), or all (B, F, h, w).

    Raises:
        DekeyError: if inputs or outputs are of another form, or an output is no whole fraction of the input's size.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        list(network.parameters())  # only when asked for them does a Keras network show its weights to torch
        self.channels_last, probe = _form_of(network)
        levels = []
        for index, shape in enumerate(_flat_shapes(network.compute_output_shape(probe))):
            if len(shape) != 4:
                raise DekeyError(f"output {index} of the Keras network has shape {shape}, expected maps of four dimensions")
            height, width, channels = (shape[1], shape[2], shape[3]) if self.channels_last else (shape[2], shape[3], shape[1])
            full = probe[1:3] if self.channels_last else probe[2:4]
            strides = {a // b if b and a % b == 0 else 0 for a, b in zip(full, (height, width), strict=True)}
            if len(strides) != 1 or 0 in strides:
                raise DekeyError(
                    f"output {index} of the Keras network is {width}x{height} for an input of {full[1]}x{full[0]}, expected a "
                    "whole fraction of it; pad with 'same'"
                )
            levels.append((strides.pop(), int(channels), index))
        levels.sort()
        if len({stride for stride, _, _ in levels}) != len(levels):
            raise DekeyError("two outputs of the Keras network have the same stride, expected one for each; name others")
        self.order = [index for _, _, index in levels]
        self.feature_info = FeatureInfo([channels for _, channels, _ in levels], [stride for stride, _, _ in levels])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Turn normalised images (B, 3, H, W) into features [(B, F, h, w)], finest first."""
        shown = images.permute(0, 2, 3, 1) if self.channels_last else images
        found = keras.tree.flatten(self.network(shown, training=self.training))
        features = [found[index] for index in self.order]
        return [feature.permute(0, 3, 1, 2) for feature in features] if self.channels_last else features


def keras_backbone(
    network: Any,
    layers: Sequence[str] = (),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Backbone:
    """Make a dekey backbone of a Keras network; nothing is downloaded, its weights are those that it has.

    Args:
        network: a functional `keras.Model` of one picture input, such as those of `keras.applications` with
            ``include_top=False, weights=None``; of either order of channels.
        layers: names of the layers whose outputs are the features; without them the network's own outputs.
        mean: what is subtracted from RGB in [0, 1] before the network.
        std: what it is divided by; `PIXELS_MEAN` and `PIXELS_STD` show values of 0 to 255.

    Raises:
        DekeyError: if a layer is unknown, or the network gives no features of four dimensions at different strides.
    """
    if layers:
        known = [layer.name for layer in network.layers]
        for name in layers:
            if name not in known:
                raise DekeyError(f"the Keras network has no layer '{name}'{nearest(name, known)}; network.summary() lists them")
        network = keras.Model(network.inputs, [network.get_layer(name).output for name in layers], name=network.name)
    return Backbone(KerasFeatures(network), mean, std, f"a Keras network, {network.name}, with the weights that it had")


def _form_of(network: Any) -> tuple[bool, tuple[int, ...]]:
    """Tell whether channels are last, and give an input shape by which to measure strides."""
    shapes = _flat_shapes(getattr(network, "input_shape", None))
    if len(shapes) != 1 or len(shapes[0]) != 4 or 3 not in (shapes[0][1], shapes[0][3]):
        raise DekeyError(
            f"the Keras network takes {shapes or 'no stated shape'}, expected one input of pictures, (B, H, W, 3) or "
            "(B, 3, H, W)"
        )
    shape = shapes[0]
    last = shape[3] == 3
    height, width = (length or 256 for length in (shape[1:3] if last else shape[2:4]))
    return last, (1, height, width, 3) if last else (1, 3, height, width)


def _flat_shapes(shapes: Any) -> list[tuple[Any, ...]]:
    """Give the shapes in lists and dictionaries of them, in Keras's own order."""
    if shapes is None:
        return []
    if isinstance(shapes, dict):
        return [shape for key in sorted(shapes) for shape in _flat_shapes(shapes[key])]
    if any(isinstance(part, (list, tuple, dict)) for part in shapes):
        return [shape for part in shapes for shape in _flat_shapes(part)]
    return [tuple(shapes)]

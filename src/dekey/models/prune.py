"""Channels taken out of a trained network: smaller tensors, not masks.

Which layers must lose the same channels, through sums, concatenations and depthwise convolutions, is found by torch-pruning
(Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023), an extra. Within each such group of layers the same share
of channels goes: those whose weights, over all layers of the group, have the smallest norm. Of five criteria that one left the
least loss in a detector of which a quarter of the channels went, once its batch norms were measured anew: 4.3, against 5.4 for
sums of absolute values, 6.0 for the first-order Taylor term of the loss, 7.6 for the scales of batch norms, 9.6 for chance.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dekey.errors import DekeyError
from dekey.models.unpooling import Unpooling
from dekey.models.widths import LAYERS, announce_channels

# Kernels compute channels by eights: fewer would cost the same.
MULTIPLE = 8


def prune(model: nn.Module, keep: float) -> None:
    """Take channels out of backbone and decoder, in place; heads keep their maps.

    Args:
        model: a trained `KeypointModel`.
        keep: share of the channels of each layer to keep, rounded to eights.

    Raises:
        DekeyError: if torch-pruning is not installed, or the network has parts that it cannot follow.
    """
    pruning = check_prunable(model)
    shapes = {name: value.shape for name, value in model.named_parameters()}
    model.eval()
    heads = [module for name, module in model.named_children() if name.endswith("head") or name == "regression"]
    example = torch.zeros(1, 3, *_input_size(model))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = pruning.pruner.BasePruner(
                model,
                example,
                pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=1 - keep,
                ignored_layers=heads,
                round_to=MULTIPLE,
                root_module_types=[nn.Conv2d, nn.ConvTranspose2d, nn.Linear],
                output_transform=_sum,
            )
            pruner.step()
        with torch.no_grad():
            model(example)
        announce_channels(model)
    except (RuntimeError, IndexError, AssertionError) as error:
        raise DekeyError(f"the channels of this network cannot be followed ({error}); train a smaller backbone") from error
    _check_only_layers(model, shapes)


def check_prunable(model: nn.Module) -> Any:
    """Give the module torch_pruning.

    Raises:
        DekeyError: if it is not installed, or the model has parts that it cannot follow.
    """
    if any(isinstance(module, Unpooling) for module in model.modules()):
        raise DekeyError(
            "found a decoder with switches (unpooling), whose channels cannot be followed; train one with another "
            "model.decoder, or a smaller network"
        )
    if getattr(model, "kind", None) == "article":
        raise DekeyError("found an article model, expected a heatmap or center model to prune; train a smaller network")
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise DekeyError('torch-pruning is not installed, which pruning needs: pip install "dekey[prune]"') from error
    return torch_pruning


def _input_size(model: Any) -> Sequence[int]:
    size: Sequence[int] = model.input_size
    return size


def _sum(maps: dict[str, Tensor]) -> Tensor:
    return torch.stack([value.sum() for value in maps.values()]).sum()


def _check_only_layers(model: nn.Module, shapes: dict[str, torch.Size]) -> None:
    """Raise DekeyError if anything changed that `dekey.models.widths` cannot write down."""
    known = {
        f"{name}.{part}" for name, layer in model.named_modules() if isinstance(layer, LAYERS) for part in ("weight", "bias")
    }
    strange = [name for name, value in model.named_parameters() if value.shape != shapes[name] and name not in known]
    if strange:
        raise DekeyError(f"the network has a layer {strange[0]} of a kind that cannot be pruned; train a smaller backbone")

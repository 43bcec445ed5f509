"""A torch module as a layer that Keras trains and saves, without ever pickling it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor, nn

from dekey.errors import DekeyError


class TorchNetwork(keras.layers.TorchModuleWrapper):
    """Keras's wrapper of torch modules, but for what goes into a file: tensors by their position, and nothing else.

    Names would not do: those of a Keras network inside the module are counted up anew in each process. And the wrapper's own
    `get_config` pickles the module, which no file that comes from elsewhere may hold.

    Args:
        module: shared, not copied; moved to Keras's device.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module, name="network")

    def get_config(self) -> dict[str, Any]:
        """Refuse: whoever holds the module describes it."""
        raise DekeyError("a torch module is saved by the KerasModel that holds it; save that one")

    def save_own_variables(self, store: Any) -> None:
        """Write every tensor of the module's state under its position."""
        for position, value in enumerate(_state(self.module)):
            store[str(position)] = value.detach().cpu().numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote.

        Raises:
            DekeyError: if number, shapes or values do not fit the module.
        """
        state = _state(self.module)
        names = set(store.keys())
        shapes = [tuple(store[str(position)].shape) for position in range(len(names)) if str(position) in names]
        if shapes != [tuple(value.shape) for value in state]:
            raise DekeyError("the weights in the file do not fit its description; the file was changed, save the model again")
        with torch.no_grad():
            for position, value in enumerate(state):
                value.copy_(torch.from_numpy(np.asarray(store[str(position)])).reshape(value.shape))


def _state(module: nn.Module) -> list[Tensor]:
    """Give parameters and buffers in the module's order, each once; a Keras network holds some twice."""
    return list({id(value): value for value in module.state_dict(keep_vars=True).values()}.values())

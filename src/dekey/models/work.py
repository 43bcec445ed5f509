"""How much a model computes in torch, and what torch could do on the same device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from dekey.models.checkpoint import TorchBackend


def torch_version() -> str:
    """Give the version of torch without that of its CUDA libraries."""
    return str(torch.__version__).partition("+")[0]


def torch_operations(backend: TorchBackend) -> float:
    """Count the multiplications and additions of convolutions and matrix products for one image."""
    with FlopCounterMode(display=False) as counter:
        backend.run(np.zeros((1, *backend.manifest.input_size, 3), dtype=np.uint8))
    return float(counter.get_total_flops())


def torch_call(
    device: torch.device, shape: tuple[int, int, int, int], weights: Sequence[NDArray[np.float32]]
) -> Callable[[], object]:
    """Give a call of a chain of 3×3 convolutions in fp32 that ends when the device has done it.

    Args:
        device: where it runs.
        shape: (1, C, H, W) of what goes through.
        weights: kernels (C, C, 3, 3), a layer each.
    """
    kernels = [torch.from_numpy(one).to(device, memory_format=torch.channels_last) for one in weights]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device, memory_format=torch.channels_last)

    def call() -> float:
        with torch.inference_mode():
            last = images
            for kernel in kernels:
                last = torch.nn.functional.conv2d(last, kernel, padding=1)
            return float(last[0, 0, 0, 0])

    return call

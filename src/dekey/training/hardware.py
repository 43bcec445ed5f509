"""What the machine offers: memory, cores, bf16, and an allocator that keeps its pages."""

from __future__ import annotations

import ctypes
import logging
import platform
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dekey.errors import DekeyError
from dekey.models.base import Batch
from dekey.runtime.threads import usable_cores

logger = logging.getLogger(__name__)

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MALLOC_OPTIONS = {"M_TRIM_THRESHOLD": -1, "M_MMAP_MAX": -4}


def available_memory() -> int:
    """Give the bytes of memory that this process can still take, a container's limit included."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit in _CGROUP_LIMITS:
        try:
            free = min(free, int(limit.read_text()) - psutil.Process().memory_info().rss)
        except (OSError, ValueError):
            continue
    return max(free, 0)


def has_bf16(device: torch.device) -> bool:
    """Tell whether the device computes in bf16 with instructions of its own.

    Without them bf16 is emulated: on an AVX2-only processor a matrix product took 370 times as long as in fp32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(asked: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """Turn "auto" into bf16 where the device has it, else fp32."""
    if asked != "auto":
        return asked
    return "bf16" if has_bf16(device) else "fp32"


def choose_batch_size(device: str, scenes: bool, few: bool) -> int:
    """Choose the objects or scenes a step: 32 on CUDA; on a CPU 4 `scenes`, and 16 crops, 8 where they are `few`.

    A few pictures fill a CPU's cores, so larger steps are hardly faster there, and the same pictures in more steps teach
    more. Crops of faces, 8,000 views: a held-out NME of 8.1 % in steps of 32 and 4.7 % in steps of 16 (MobileNetV4 small,
    128 px), 4.1 % in steps of 16 and 4.6 % in steps of 8 (HGNetV2 B0, 96 px). For scenes see "Objects a step" in
    docs/results.md.
    """
    if device == "cuda":
        return 32
    if scenes:
        return 4
    return 8 if few else 16


def keep_pages() -> None:
    """Let glibc keep freed memory instead of handing it back to the kernel after every step.

    A training step frees and takes the same hundreds of megabytes again; returning them costs a page fault each.
    Measured gain on two cores: 3 to 44 % images/s in fp32. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MALLOC_OPTIONS["M_MMAP_MAX"], 0)
    libc.mallopt(_MALLOC_OPTIONS["M_TRIM_THRESHOLD"], 2**31 - 1)


def saved_bytes(model: nn.Module, batch: Batch) -> int:
    """Measure what a forward pass over `batch` keeps for the backward pass."""
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        terms: dict[str, torch.Tensor] = model.loss(batch)  # type: ignore[operator]
        total = torch.stack(list(terms.values())).sum()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    del total
    return sum(size for pointer, size in held.items() if pointer not in weights)


def fitting_batch_size(model: nn.Module, batch: Batch, asked: int, available: int) -> int:
    """Halve a batch size until a training step fits into memory.

    Args:
        model: the network, in training mode, on the CPU.
        batch: a small real batch to measure with.
        asked: the batch size wished for.
        available: bytes that may be taken.

    Raises:
        DekeyError: if not even one picture fits.
    """
    # What is saved, as much again for gradients on the way, and weights with gradient, two moments and average.
    an_image = 2 * saved_bytes(model, batch) / len(batch)
    weights = 4 * sum(parameter.nbytes for parameter in model.parameters())
    size = asked
    while size > 1 and weights + size * an_image > 0.8 * available:
        size //= 2
    if weights + size * an_image > available:
        raise DekeyError(
            f"a training step on one picture needs {(weights + an_image) / 1e9:.1f} GB but {available / 1e9:.1f} GB are free; "
            "use a smaller model.input_size or model.backbone"
        )
    if size < asked:
        logger.warning("batch size %d needs too much memory, going on with %d", asked, size)
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory did not suffice."""
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the versions that a figure depends on."""
    from importlib.metadata import version

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    facts = {
        "processor": name,
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "bf16": has_bf16(torch.device("cpu")),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    return facts | {package: version(package) for package in ("dekey", "torch", "timm", "lightning", "numpy")}

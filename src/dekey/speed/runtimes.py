"""What is known of each runtime: its name, what it computes in, how to count, and how to run the chain of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dekey.errors import DekeyError
from dekey.runtime.backends import Backend, OnnxBackend, Precision
from dekey.runtime.openvino import OpenvinoBackend, import_openvino
from dekey.runtime.threads import usable_cores
from dekey.speed import peak, work

GPU_ROWS = 64
"""Of the chain on a GPU, in place of cores."""


@dataclass(frozen=True)
class Computing:
    """How a backend computes.

    Attributes:
        runtime: its name with its version.
        device: "cpu" or "cuda".
        precision: what it computes in.
        operations: counts the multiplications and additions for one image.
        shape: of the chain of convolutions that suits the device.
        chain: gives a call of that chain in the same runtime, precision and number of threads.
    """

    runtime: str
    device: str
    precision: Precision
    operations: Callable[[], float]
    shape: peak.Shape
    chain: Callable[[], Callable[[], object]]


def computing(path: Path, backend: Backend, threads: int | None) -> Computing:
    """Say how a backend that was opened from `path` computes.

    Raises:
        DekeyError: if threads are given for torch, whose threads are the process's.
    """
    shape = peak.shape_of(usable_cores() if threads is None else threads)
    if isinstance(backend, OpenvinoBackend):
        precision = backend.computes
        count = work.openvino_operations if path.suffix.lower() == ".xml" else work.onnx_operations
        return Computing(
            f"OpenVINO {import_openvino().__version__.partition('-')[0]}",
            "cpu",
            precision,
            lambda: count(path, backend.manifest),
            shape,
            lambda: peak.openvino_call(shape, precision, threads),
        )
    if isinstance(backend, OnnxBackend):
        import onnxruntime

        device = "cuda" if "CUDAExecutionProvider" in backend.providers else "cpu"
        large = shape if device == "cpu" else peak.shape_of(GPU_ROWS)
        return Computing(
            f"ONNX Runtime {onnxruntime.__version__}",
            device,
            backend.computes,
            lambda: work.onnx_operations(path, backend.manifest),
            large,
            lambda: peak.onnx_call(large, backend.computes == "int8", threads, backend.providers),
        )
    if threads is not None:
        raise DekeyError(
            f"found {threads} threads for {path}, which torch runs in as many as the process has; set OMP_NUM_THREADS instead"
        )
    return _of_torch(backend, shape)


def _of_torch(backend: Backend, shape: peak.Shape) -> Computing:
    from dekey.models.checkpoint import TorchBackend
    from dekey.models.work import torch_call, torch_operations, torch_version

    assert isinstance(backend, TorchBackend)
    device = backend.device
    large = shape if device.type == "cpu" else peak.shape_of(GPU_ROWS)
    return Computing(
        f"torch {torch_version()}",
        device.type,
        "fp32",
        lambda: torch_operations(backend),
        large,
        lambda: torch_call(device, large, peak.weights()),
    )

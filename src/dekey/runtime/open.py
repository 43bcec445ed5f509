"""Opening a model, whatever wrote it."""

from __future__ import annotations

import os
from pathlib import Path

from dekey.errors import DekeyError
from dekey.runtime.backends import OnnxBackend
from dekey.runtime.predictor import Predictor


def load(
    path: str | os.PathLike[str], device: str = "auto", batch_size: int = 16, *, threshold: float | None = None
) -> Predictor:
    """Open a model: an exported ``.onnx`` file, a run folder, or its ``model.safetensors``.

    Args:
        path: what to open.
        device: "auto", "cpu" or "cuda"; auto takes CUDA for a run folder where torch has it.
        batch_size: crops that go through the network together.
        threshold: score from which an object counts as found; the model's own where None.

    Raises:
        DekeyError: if the path is none of these, the device cannot be had, or the threshold does not apply.
    """
    source = Path(path)
    if source.suffix.lower() == ".onnx":
        return Predictor(OnnxBackend(source, device), batch_size, threshold)
    weights = source / "model.safetensors" if source.is_dir() else source
    if weights.suffix != ".safetensors" or not weights.is_file():
        what = "a folder without model.safetensors" if source.is_dir() else "no model file" if source.exists() else "missing"
        raise DekeyError(f"model {path} is {what}, expected an .onnx file or the folder of a finished `dekey train`")
    from dekey.models.checkpoint import load_torch_backend

    return Predictor(load_torch_backend(weights, device), batch_size, threshold)

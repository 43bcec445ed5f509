"""Opening a model, whatever wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dekey.errors import DekeyError
from dekey.runtime.backends import OnnxBackend
from dekey.runtime.predictor import Predictor


def load(
    path: str | os.PathLike[str],
    device: str = "auto",
    batch_size: int = 16,
    *,
    threshold: float | None = None,
    tiles: int | None = None,
    overlap: float = 0.2,
    scales: Sequence[float] = (),
    once: bool = False,
) -> Predictor:
    """Open a model: an exported ``.onnx`` file, a run folder, its ``model.safetensors``, or a ``.keras`` file of dekey.keras.

    Args:
        path: what to open.
        device: "auto", "cpu" or "cuda"; auto takes CUDA for a run folder where torch has it.
        batch_size: crops that go through the network together.
        threshold: score from which an object counts as found; the model's own where None.
        tiles: side px of squares that a detector is shown besides the whole image, for small objects in large pictures.
        overlap: share of a tile's side by which neighbours overlap.
        scales: how many times as large as when fitted into the input a detector is shown the image.
        once: look only once, even if the model was taught to look at each object again from close by.

    Raises:
        DekeyError: if the path is none of these, the device cannot be had, or threshold, tiles, overlap or
            scales are out of range or do not apply.
    """
    source = Path(path)
    if source.suffix.lower() == ".onnx":
        return Predictor(OnnxBackend(source, device), batch_size, threshold, tiles, overlap, scales, once)
    if source.suffix.lower() == ".keras":
        from dekey.keras.serve import backend_of, load_model

        return Predictor(backend_of(load_model(source), device), batch_size, threshold, tiles, overlap, scales, once)
    weights = source / "model.safetensors" if source.is_dir() else source
    if weights.suffix != ".safetensors" or not weights.is_file():
        what = "a folder without model.safetensors" if source.is_dir() else "no model file" if source.exists() else "missing"
        raise DekeyError(f"model {path} is {what}, expected an .onnx file or the folder of a finished `dekey train`")
    from dekey.models.checkpoint import load_torch_backend

    return Predictor(load_torch_backend(weights, device), batch_size, threshold, tiles, overlap, scales, once)

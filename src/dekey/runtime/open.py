"""Opening a model, whatever wrote it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dekey.errors import DekeyError, nearest, needs_train_extra
from dekey.runtime.backends import MODES, Backend, Mode, OnnxBackend
from dekey.runtime.predictor import Predictor

Runtime = Literal["auto", "onnx", "openvino", "torch"]
RUNTIMES = ("auto", "onnx", "openvino", "torch")


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
    runtime: Runtime = "auto",
    threads: int | None = None,
    mode: Mode = "latency",
) -> Predictor:
    """Open a model: an exported ``.onnx`` or ``.xml`` file, a run folder, its ``model.safetensors``, or a ``.keras`` file.

    Args:
        path: what to open.
        device: "auto", "cpu" or "cuda"; auto takes CUDA for a run folder where torch has it.
        batch_size: crops that go through the network together.
        threshold: score from which an object counts as found; the model's own where None.
        tiles: side px of squares that a detector is shown besides the whole image, for small objects in large pictures.
        overlap: share of a tile's side by which neighbours overlap.
        scales: how many times as large as when fitted into the input a detector is shown the image.
        once: look only once, even if the model was taught to look at each object again from close by.
        runtime: "onnx" (ONNX Runtime), "openvino" or "torch"; by the kind of file where "auto". An .onnx file runs in OpenVINO
            too; a run folder in torch alone.
        threads: cores to use; as many as the process has where None. Not for torch, whose threads are the process's.
        mode: "latency" answers one call as fast as it can, "throughput" serves calls of several
            threads at once, as many as the backend's `callers`.

    Raises:
        DekeyError: if the path is none of these or needs an extra that is not installed, runtime or mode is unknown, the
            device cannot be had, or threshold, tiles, overlap or scales are out of range or do not apply.
    """
    backend = open_backend(path, device, runtime, threads, mode)
    return Predictor(backend, batch_size, threshold, tiles, overlap, scales, once)


def open_backend(
    path: str | os.PathLike[str],
    device: str = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
    mode: Mode = "latency",
) -> Backend:
    """Open what runs a model, see `load`."""
    if runtime not in RUNTIMES:
        raise DekeyError(f"there is no runtime '{runtime}'{nearest(runtime, RUNTIMES)}, expected one of {', '.join(RUNTIMES)}")
    if mode not in MODES:
        raise DekeyError(f"there is no mode '{mode}'{nearest(mode, MODES)}, expected one of {', '.join(MODES)}")
    source = Path(path)
    suffix = source.suffix.lower()
    if (suffix == ".xml" and runtime in ("auto", "openvino")) or (suffix == ".onnx" and runtime == "openvino"):
        if device not in ("auto", "cpu"):
            raise DekeyError(f"device '{device}' was asked for, but OpenVINO runs on the CPU here; use --runtime onnx")
        from dekey.runtime.openvino import OpenvinoBackend

        return OpenvinoBackend(source, threads=threads, mode=mode)
    if suffix == ".onnx" and runtime in ("auto", "onnx"):
        return OnnxBackend(source, device, threads, mode)
    if suffix in (".onnx", ".xml"):
        fitting = "onnx or openvino" if suffix == ".onnx" else "openvino"
        raise DekeyError(f"found runtime {runtime} for {path}, expected {fitting}; a run folder is what torch opens")
    if suffix == ".keras":
        check_keras_file(source)
        if runtime not in ("auto", "torch"):
            raise DekeyError(
                f"found runtime {runtime} for {path}, expected torch; `dekey export` writes the file for {runtime}"
            )
        from dekey.keras.serve import backend_of, load_model

        return backend_of(load_model(source), device)
    weights = weights_of(source)
    if runtime not in ("auto", "torch"):
        raise DekeyError(f"found runtime {runtime} for {path}, which is not exported; `dekey export` writes the file for it")
    with needs_train_extra(str(path)):
        from dekey.models.checkpoint import load_torch_backend

    return load_torch_backend(weights, device)


def check_keras_file(path: Path) -> None:
    """Refuse what is no ``.keras`` file before anybody waits for Keras to be imported.

    Raises:
        DekeyError: if the file is missing, no zip archive, or one without a model of Keras.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "missing"
        raise DekeyError(f"model {path} is {what}, expected a .keras file that model.save wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DekeyError(
            f"model {path} is no zip archive, expected a .keras file that model.save wrote; save it again"
        ) from error
    missing = sorted({"config.json", "metadata.json", "model.weights.h5"} - names)
    if missing:
        raise DekeyError(f"model {path} holds no {missing[0]}, expected a .keras file of model.save; save it again")


def weights_of(source: Path) -> Path:
    """Give the weights that a run folder holds, or `source` where it is such a file.

    Raises:
        DekeyError: if it is neither.
    """
    weights = source / "model.safetensors" if source.is_dir() else source
    if weights.suffix != ".safetensors" or not weights.is_file():
        what = "a folder without model.safetensors" if source.is_dir() else "no model file" if source.exists() else "missing"
        raise DekeyError(
            f"model {source} is {what}, expected an .onnx, .xml or .keras file or the folder of a finished `dekey train`"
        )
    return weights

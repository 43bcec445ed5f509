"""Backends run the exported graph: uint8 images in, named arrays out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.runtime.manifest import Manifest

Arrays = dict[str, NDArray[Any]]


class Backend(Protocol):
    """What runs a network."""

    manifest: Manifest

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Turn images (B, H, W, 3) uint8 RGB of the manifest's input size into the arrays of `detect`, as NumPy."""
        ...


class OnnxBackend:
    """ONNX Runtime on the CPU (or CUDA, where the installed ONNX Runtime offers it).

    Args:
        path: file that `dekey export` wrote.
        device: "auto" and "cpu" run on the CPU, "cuda" asks for CUDA.
        threads: threads for one call; the number of physical cores where None.

    Raises:
        DekeyError: if the file is missing, no ONNX, or carries no manifest, or the device cannot be had.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "auto", threads: int | None = None) -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise DekeyError(f"model {path} does not exist or is no file, expected an .onnx file that `dekey export` wrote")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise DekeyError(f"device '{device}' was asked for but this ONNX Runtime has no CUDA; install onnxruntime-gpu")
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises classes of its own, which share no base but Exception
            raise DekeyError(f"{path} is no ONNX model that can be run ({' '.join(str(error).split())[:150]})") from error
        self.manifest = Manifest.from_metadata(self._session.get_modelmeta().custom_metadata_map, str(path))
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run a batch, see `Backend.run`."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {"images": images}), strict=True))

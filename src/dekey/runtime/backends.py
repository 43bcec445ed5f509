"""Backends run the exported graph: uint8 images in, named arrays out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.runtime.manifest import Manifest
from dekey.runtime.threads import chosen_threads, usable_cores

Mode = Literal["latency", "throughput"]
MODES = ("latency", "throughput")
Precision = Literal["fp32", "bf16", "int8"]
Arrays = dict[str, NDArray[Any]]

INPUT = "images"
OUTPUTS = ("boxes", "scores", "labels", "keypoints", "keypoint_scores", "visibility")


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
        threads: cores to use; as many as the process has where None.
        mode: "latency" answers one call as fast as it can, "throughput" serves `callers` calls at once, a thread each.

    Attributes:
        callers: how many threads may usefully call `run` at the same time.
        computes: "fp32", or "int8" where the file is quantised.
        providers: what ONNX Runtime computes with, in its own names.

    Raises:
        DekeyError: if the file is missing, no ONNX, carries no manifest or one that does not fit its graph, or the
            device cannot be had.
    """

    def __init__(
        self, path: str | os.PathLike[str], device: str = "auto", threads: int | None = None, mode: Mode = "latency"
    ) -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise DekeyError(f"model {path} does not exist or is no file, expected an .onnx file that `dekey export` wrote")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise DekeyError(f"there is no device '{device}', expected auto, cpu or cuda")
        options = onnxruntime.SessionOptions()
        # 4 is fatal: whatever ONNX Runtime cannot do it also raises, and that is told once.
        options.log_severity_level = 4
        asked = chosen_threads(threads)
        self.callers = 1
        if mode == "throughput" and not device.startswith("cuda"):
            self.callers = asked or usable_cores()
            # A call then runs in the thread that makes it: none waits spinning for the others and takes their cores.
            asked = 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if asked is not None:
            options.intra_op_num_threads = asked
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise DekeyError(f"device '{device}' was asked for but this ONNX Runtime has no CUDA; install onnxruntime-gpu")
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}))
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises classes of its own, which share no base but Exception
            reason = " ".join(str(error).split())[:150]
            raise DekeyError(
                f"{path} is no ONNX model that can be run ({reason}); write it again with `dekey export`"
            ) from error
        if device.startswith("cuda") and "CUDAExecutionProvider" not in self._session.get_providers():
            raise DekeyError(f"device '{device}' was asked for but ONNX Runtime could not start CUDA on it; use --device cpu")
        self.providers: list[str] = self._session.get_providers()
        self.manifest = Manifest.from_metadata(self._session.get_modelmeta().custom_metadata_map, str(path))
        self.computes: Precision = "int8" if self.manifest.precision == "int8" else "fp32"
        _check_graph(self._session, self.manifest, str(path))

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run a batch, see `Backend.run`."""
        return dict(zip(OUTPUTS, self._session.run(OUTPUTS, {INPUT: images}), strict=True))


def _check_graph(session: Any, manifest: Manifest, path: str) -> None:
    inputs = {one.name: (one.type, one.shape[1:]) for one in session.get_inputs()}
    check_shapes(inputs, {one.name: one.shape for one in session.get_outputs()}, manifest, path)


def check_shapes(inputs: dict[str, Any], outputs: dict[str, Any], manifest: Manifest, path: str) -> None:
    """Check that a graph takes and gives what the manifest says.

    Args:
        inputs: type, as ONNX names it, and shape without the batch of each input.
        outputs: shape of each output; a length that is no integer is open.
        manifest: what the file says.
        path: the file.

    Raises:
        DekeyError: if it does not.
    """
    expected = {INPUT: ("tensor(uint8)", [*manifest.input_size, 3])}
    keypoints = len(manifest.schema_found.keypoints)
    shape = outputs.get("keypoints", ())
    # An exporter may leave a length open, which is then a name; a stated one must fit.
    fits = len(shape) == 4 and all(
        not isinstance(length, int) or length == stated
        for length, stated in zip(shape[1:3], (manifest.objects, keypoints), strict=True)
    )
    if inputs != expected or not outputs.keys() >= set(OUTPUTS) or not fits:
        height, width = manifest.input_size
        raise DekeyError(
            f"the graph in {path} does not fit its manifest (uint8 {INPUT} of {width}x{height} px in, {manifest.objects} "
            f"objects of {keypoints} keypoints out); the file was changed, export again"
        )

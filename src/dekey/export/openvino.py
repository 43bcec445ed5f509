"""The detect graph as OpenVINO's .xml and .bin, the manifest among their metadata."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.export.int8 import quantise_onnx, quantise_openvino
from dekey.export.onnx import Parity, check_parity, compare, write_graph, write_metadata
from dekey.export.rewrite import rewritten
from dekey.files import replacing, replacing_all, sha256
from dekey.models.checkpoint import TorchBackend
from dekey.runtime import Backend, OnnxBackend, OpenvinoBackend
from dekey.runtime.manifest import MANIFEST_KEY, Manifest
from dekey.runtime.openvino import RT_INFO, WEIGHTS_HASH, import_openvino

Precision = Literal["fp32", "bf16", "int8"]
Check = Callable[[Backend], None]


def export_openvino(
    backend: TorchBackend,
    path: str | os.PathLike[str],
    pictures: Sequence[NDArray[np.uint8]],
    precision: Precision = "fp32",
    calibration: Sequence[NDArray[np.uint8]] = (),
    check: Check | None = None,
) -> Parity:
    """Write the model as PATH, which ends in .xml, and a .bin beside it.

    Args:
        backend: the model.
        path: file to write.
        pictures: see `dekey.export.export_onnx`.
        precision: fp32 is compared with the model as `export_onnx` does; bf16 is the same file with the wish to be computed in
            bf16; int8 has weights and activations in 8 bits.
        calibration: network inputs (H, W, 3) from which int8 takes its ranges.
        check: called with the written file; what it raises leaves no file behind.

    Returns:
        What the comparison with the model measured.

    Raises:
        DekeyError: as `export_onnx`, if OpenVINO or NNCF is not installed, or int8 is asked for without pictures.
    """
    _check_pictures(pictures, precision, calibration)
    openvino = import_openvino()
    target = Path(path)
    with (
        replacing_all([target, target.with_suffix(".bin")]) as staged,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.") as folder,
    ):
        temporary = Path(folder) / "model.xml"
        graph = temporary.with_suffix(".onnx")
        model = rewritten(backend.model, subpixel=False) if precision == "int8" else backend.model
        write_graph(model, backend.manifest, graph, backend.device)
        converted = openvino.Core().read_model(os.fspath(graph))
        if precision == "int8":
            converted = quantise_openvino(converted, calibration)
        save_pair(converted, backend.manifest.model_copy(update={"precision": precision}), temporary)
        parity = _proven(backend, OpenvinoBackend(temporary), pictures, precision, check)
        for file, place in zip((temporary, temporary.with_suffix(".bin")), staged, strict=True):
            file.replace(place)
    return parity


def save_pair(model: Any, manifest: Manifest, path: Path) -> None:
    """Write an openvino.Model with its manifest as an .xml file, which holds the hash of the .bin that is written beside it."""
    openvino = import_openvino()
    model.set_rt_info(manifest.to_metadata()[MANIFEST_KEY], list(RT_INFO))
    openvino.save_model(model, os.fspath(path), compress_to_fp16=False)
    # Known only now; what is written again is the same.
    model.set_rt_info(sha256(path.with_suffix(".bin")), list(WEIGHTS_HASH))
    openvino.save_model(model, os.fspath(path), compress_to_fp16=False)


def export_int8_onnx(
    backend: TorchBackend,
    path: str | os.PathLike[str],
    pictures: Sequence[NDArray[np.uint8]],
    calibration: Sequence[NDArray[np.uint8]],
    check: Check | None = None,
) -> Parity:
    """Write the model as an int8 ONNX file for ONNX Runtime; see `export_openvino`."""
    _check_pictures(pictures, "int8", calibration)
    target = Path(path)
    with replacing(target) as temporary, tempfile.TemporaryDirectory(prefix="dekey-") as folder:
        graph = Path(folder) / "exact.onnx"
        write_graph(rewritten(backend.model, subpixel=True), backend.manifest, graph, backend.device)
        quantise_onnx(graph, temporary, calibration)
        write_metadata(temporary, backend.manifest.model_copy(update={"precision": "int8"}))
        return _proven(backend, OnnxBackend(temporary), pictures, "int8", check)


def _check_pictures(
    pictures: Sequence[NDArray[np.uint8]], precision: Precision, calibration: Sequence[NDArray[np.uint8]]
) -> None:
    if not pictures:
        raise DekeyError("found no picture for the parity check, expected at least one; name some with --images")
    if precision == "int8" and not calibration:
        raise DekeyError("found no picture to calibrate int8 on, expected some of the run's training images")


def _proven(
    backend: TorchBackend,
    exported: Backend,
    pictures: Sequence[NDArray[np.uint8]],
    precision: Precision,
    check: Check | None,
) -> Parity:
    parity = compare(backend, exported, pictures)
    if precision == "fp32":
        check_parity(parity)
    if check is not None:
        check(exported)
    return parity

"""The detect graph as OpenVINO's .xml and .bin, the manifest among their metadata."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.export.int8 import quantise_onnx, quantise_openvino
from dekey.export.onnx import Parity, check_parity, compare, write_graph, write_metadata
from dekey.export.rewrite import rewritten
from dekey.files import replacing
from dekey.models.checkpoint import TorchBackend
from dekey.runtime import Backend, OnnxBackend, OpenvinoBackend
from dekey.runtime.manifest import MANIFEST_KEY
from dekey.runtime.openvino import RT_INFO, import_openvino

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
    with _replacing_pair(Path(path)) as temporary:
        graph = temporary.with_suffix(".onnx")
        model = rewritten(backend.model, subpixel=False) if precision == "int8" else backend.model
        write_graph(model, backend.manifest, graph, backend.device)
        converted = openvino.Core().read_model(os.fspath(graph))
        if precision == "int8":
            converted = quantise_openvino(converted, calibration)
        manifest = backend.manifest.model_copy(update={"precision": precision})
        converted.set_rt_info(manifest.to_metadata()[MANIFEST_KEY], list(RT_INFO))
        openvino.save_model(converted, os.fspath(temporary), compress_to_fp16=False)
        return _proven(backend, OpenvinoBackend(temporary), pictures, precision, check)


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


@contextmanager
def _replacing_pair(path: Path) -> Iterator[Path]:
    """Give a temporary .xml name; what is written there and beside it takes the place of the pair at `path`.

    Raises:
        DekeyError: if the folder does not exist or a name is a folder's.
    """
    with (
        replacing(path) as temporary_xml,
        replacing(path.with_suffix(".bin")) as temporary_bin,
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder,
    ):
        inside = Path(folder) / "model.xml"
        yield inside
        inside.replace(temporary_xml)
        inside.with_suffix(".bin").replace(temporary_bin)

"""OpenVINO runs the exported graph: an .onnx file, or the .xml and .bin that `dekey export --to openvino` writes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.files import sha256
from dekey.runtime import backends
from dekey.runtime.backends import INPUT, OUTPUTS, Arrays, Mode, check_shapes
from dekey.runtime.manifest import MANIFEST_KEY, Manifest
from dekey.runtime.threads import chosen_threads, usable_cores

Precision = Literal["auto", "fp32", "bf16"]

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of what is computed in floating point."""

RT_INFO = ("dekey", "manifest")
"""Where the manifest lies in the ``rt_info`` of an .xml file."""

WEIGHTS_HASH = ("dekey", "weights_sha256")
"""Where the hash of the .bin lies there: two files cannot be replaced at once, so the one says which other it belongs to."""

_TELEMETRY = "openvino_telemetry"
_IMPORTING = threading.RLock()  # two threads that open models would else put back each other's stub


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Keep packages that are imported in the block from finding openvino_telemetry.

    ``import openvino`` and ``import nncf`` each report to a web analytics service unless the user has opted out, and write a
    client id into the user's home. Where the package cannot be imported they take a stub that does nothing. What other code
    of the process has imported stays as it is.
    """
    with _IMPORTING:
        before = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            if before is None:
                sys.modules.pop(_TELEMETRY, None)
            else:
                sys.modules[_TELEMETRY] = before


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        DekeyError: if it is not installed.
    """
    try:
        with no_telemetry():
            import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise DekeyError(
            'OpenVINO is not installed, which this model or --runtime needs: pip install "dekey[openvino]"'
        ) from error
    return openvino


def computes_bf16() -> bool:
    """Tell whether OpenVINO has bf16 on this processor."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenvinoBackend:
    """OpenVINO on the CPU; images go through it one by one, several at once in throughput mode.

    Args:
        path: an .onnx file, or an .xml file with its .bin beside it.
        precision: "bf16" computes in bf16 where the processor can, "fp32" does not, "auto" does what the file was exported
            (and measured) for; what is int8 in the file stays int8.
        threads: cores to use; as many as the process has where None.
        mode: "latency" answers one call as fast as it can, "throughput" serves `callers` calls at once.

    Attributes:
        callers: how many threads may usefully call `run` at the same time.
        computes: "fp32" or "bf16", as asked for and possible here; "int8" where the file is quantised.

    Raises:
        DekeyError: if OpenVINO is not installed, or the file is missing, no model, carries no manifest or one that does
            not fit its graph, the .bin is another model's, or bf16 is asked of a processor that has none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        precision: Precision = "auto",
        threads: int | None = None,
        mode: Mode = "latency",
    ) -> None:
        source = Path(path)
        for file in (source, source.with_suffix(".bin")) if source.suffix.lower() == ".xml" else (source,):
            if not file.is_file():
                raise DekeyError(
                    f"model {file} does not exist or is no file, expected an .onnx file, or an .xml file with its .bin beside "
                    "it, that `dekey export` wrote"
                )
        openvino = import_openvino()
        core = openvino.Core()
        try:
            model = core.read_model(os.fspath(source))
        except Exception as error:  # OpenVINO raises RuntimeError and classes of its own
            raise DekeyError(f"{path} is no model that OpenVINO can read ({' '.join(str(error).split())[:150]})") from error
        self.manifest = Manifest.from_metadata(_metadata(model), str(path))
        _check_model(model, self.manifest, str(path))
        if source.suffix.lower() == ".xml":
            _check_weights(model, source)
        wanted = precision if precision != "auto" else "fp32" if self.manifest.precision == "fp32" else "bf16"
        has_bf16 = computes_bf16()
        if precision == "bf16" and not has_bf16:
            raise DekeyError("bf16 was asked for but this processor has no instructions for it; use fp32")
        asked = chosen_threads(threads)
        real: Literal["fp32", "bf16"] = "bf16" if wanted == "bf16" and has_bf16 else "fp32"
        self.computes: backends.Precision = "int8" if self.manifest.precision == "int8" else real
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[real]}
        self.callers = 1
        if asked is not None:
            options["INFERENCE_NUM_THREADS"] = asked
        if mode == "throughput":
            self.callers = asked or usable_cores()
            # One thread a stream; not pinned, because those who call decode and cut pictures on the same cores.
            options |= {"INFERENCE_NUM_THREADS": self.callers, "NUM_STREAMS": self.callers, "ENABLE_CPU_PINNING": False}
        else:
            options["PERFORMANCE_HINT"] = "LATENCY"
        try:
            # With fixed shapes every buffer is laid out once; a batch gains nothing over its images one by one.
            model.reshape({INPUT: [1, *self.manifest.input_size, 3]})
            self._compiled = core.compile_model(model, "CPU", options)
        except Exception as error:
            raise DekeyError(
                f"OpenVINO cannot run {path} ({' '.join(str(error).split())[:150]}); use --runtime onnx"
            ) from error
        self._own = threading.local()

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run a batch, see `Backend.run`; may be called by several threads."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        request = self._own.request
        answers = []
        for image in images:
            request.infer({INPUT: np.ascontiguousarray(image[None])}, share_inputs=True)
            answers.append([request.get_tensor(name).data.copy() for name in OUTPUTS])
        if not answers:
            return {name: _empty(self._compiled.output(name)) for name in OUTPUTS}
        return {name: np.concatenate(parts) for name, parts in zip(OUTPUTS, zip(*answers, strict=True), strict=True)}


def _empty(output: Any) -> NDArray[Any]:
    return np.zeros((0, *list(output.shape)[1:]), dtype=output.element_type.to_dtype())


def _metadata(model: Any) -> dict[str, str]:
    """Give the metadata of an .xml file, or of an .onnx file, which OpenVINO keeps among its own."""
    for place in (RT_INFO, ("framework", MANIFEST_KEY)):
        if model.has_rt_info(list(place)):
            return {MANIFEST_KEY: str(model.get_rt_info(list(place)).astype(str))}
    return {}


def _check_model(model: Any, manifest: Manifest, path: str) -> None:
    def lengths(node: Any) -> list[int | str]:
        return [one.get_length() if one.is_static else "?" for one in node.get_partial_shape()]

    types = {"u8": "tensor(uint8)"}
    inputs = {
        name: (types.get(one.get_element_type().get_type_name(), "other"), lengths(one)[1:])
        for one in model.inputs
        for name in one.get_names()
    }
    outputs = {name: lengths(one) for one in model.outputs for name in one.get_names()}
    check_shapes(inputs, outputs, manifest, path)


def _check_weights(model: Any, source: Path) -> None:
    """Check that the .bin is the one that was written with the .xml: another of equal length is read without complaint.

    Raises:
        DekeyError: if it is not.
    """
    place = list(WEIGHTS_HASH)
    weights = source.with_suffix(".bin")
    if not model.has_rt_info(place) or model.get_rt_info(place).astype(str) != sha256(weights):
        raise DekeyError(f"{weights} is not the file that was written with {source}, one of the two was replaced; export again")

"""How much a network computes: multiplications and additions of its convolutions and matrix products.

They are read off the graph as it is written in the file, before a runtime fuses or rewrites anything: shapes of one run in ONNX
Runtime, or OpenVINO's own shape inference. A multiplication with its addition counts as two operations. Everything else
(activations, normalisation, decoding) is little beside them, and counted by nobody.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from dekey.runtime.backends import INPUT
from dekey.runtime.manifest import Manifest
from dekey.runtime.openvino import import_openvino

Shape = Sequence[int]


def onnx_operations(path: Path, manifest: Manifest) -> float:
    """Count the operations for one image in an .onnx file, by running it once in ONNX Runtime, not optimised."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Weights that are packed for a kernel are gone from its inputs, and with them their shapes.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, {INPUT: np.zeros((1, *manifest.input_size, 3), dtype=np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return sum(_of_event(event) for event in events if event.get("name", "").endswith("_kernel_time"))


def _of_event(event: Mapping[str, Any]) -> float:
    """Count the operations of a node from what the profile says of it."""
    details = event["args"]
    kind = details.get("op_name")
    if kind not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0.0
    inputs, outputs = ([_shape(one) for one in details[f"{end}_type_shape"]] for end in ("input", "output"))
    if kind in ("Conv", "ConvTranspose"):
        return convolution(kind == "ConvTranspose", inputs[0], inputs[1], outputs[0])
    if kind == "MatMul":
        return 2.0 * prod(outputs[0]) * inputs[0][-1]
    # Either factor of a Gemm may be transposed: (M·K)·(K·N) / (M·N) = K².
    return 2.0 * prod(outputs[0]) * sqrt(prod(inputs[0]) * prod(inputs[1]) / prod(outputs[0]))


def _shape(typed: Mapping[str, list[int]]) -> list[int]:
    return next(iter(typed.values()))


def openvino_operations(path: Path, manifest: Manifest) -> float:
    """Count the operations for one image in an .xml file."""
    model = import_openvino().Core().read_model(str(path))
    model.reshape({INPUT: [1, *manifest.input_size, 3]})
    total = 0.0
    for one in model.get_ordered_ops():
        kind = one.get_type_name()
        if kind == "MatMul":
            transposed = one.get_attributes().get("transpose_a", False)
            total += 2.0 * prod(one.output(0).get_shape()) * one.input(0).get_shape()[-2 if transposed else -1]
        elif kind in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"):
            weight = list(one.input(1).get_shape())
            if kind.startswith("Group"):  # (groups, C/groups, ...): the groups are channels of the first axis
                weight = [weight[0] * weight[1], *weight[2:]]
            total += convolution("Backprop" in kind, one.input(0).get_shape(), weight, one.output(0).get_shape())
    return total


def convolution(transposed: bool, data: Shape, weight: Shape, output: Shape) -> float:
    """Count the operations of a convolution, with or without groups.

    Args:
        transposed: each place of the input is spread, instead of each of the output gathered.
        data: (B, C, ...) of the input.
        weight: (M, C/groups, ...), or (C, M/groups, ...) of a transposed one.
        output: (B, M, ...).

    >>> convolution(False, (1, 3, 8, 8), (16, 3, 3, 3), (1, 16, 8, 8))
    55296.0
    """
    return 2.0 * prod(data if transposed else output) * prod(weight[1:])

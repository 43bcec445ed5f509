"""int8 by calibration: weights and activations on 256 levels, ranges taken from real pictures; decoding stays in fp32.

Left in floating point is whatever lies between the last layer with weights on each way to an output and that output, and that
layer itself: a heatmap's height is a score, and 256 levels of it are too few to read its peak to a fraction of a cell.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.runtime.backends import INPUT
from dekey.runtime.openvino import no_telemetry

CALIBRATION_PICTURES = 200
"""Pictures that ranges are taken from, at most."""

WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData",
     "GroupConvolutionBackpropData"}
)  # fmt: skip
"""Operations with weights, as ONNX and OpenVINO name them."""


def exact_nodes(outputs: Iterable[str], inputs_of: Mapping[str, Sequence[str]], type_of: Mapping[str, str]) -> list[str]:
    """List the nodes that stay in floating point: from the outputs back to the first operation with weights, included.

    Args:
        outputs: nodes that give the outputs.
        inputs_of: the nodes whose results each node takes.
        type_of: the operation of each node.
    """
    waiting, seen = list(outputs), set(outputs)
    while waiting:
        node = waiting.pop()
        if type_of[node] in WEIGHTED:
            continue
        for before in inputs_of[node]:
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    return sorted(seen)


def quantise_openvino(model: Any, pictures: Sequence[NDArray[np.uint8]]) -> Any:
    """Quantise an OpenVINO model with NNCF.

    Args:
        model: openvino.Model with the input ``images``.
        pictures: network inputs (H, W, 3) uint8.

    Raises:
        DekeyError: if NNCF is not installed.
    """
    try:
        with no_telemetry():
            import nncf
    except ModuleNotFoundError as error:
        if error.name != "nncf":
            raise
        raise DekeyError('nncf is not installed, which --precision int8 needs: pip install "dekey[quantize]"') from error
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    inputs_of = {
        name: [source.get_node().get_friendly_name() for source in node.input_values()] for name, node in nodes.items()
    }
    type_of = {name: node.get_type_name() for name, node in nodes.items()}
    ends = [name for name, kind in type_of.items() if kind == "Result"]
    known = {"Constant", "Parameter", "Result"}
    exact = [name for name in exact_nodes(ends, inputs_of, type_of) if type_of[name] not in known]
    with _silent("nncf"):
        return nncf.quantize(
            model,
            nncf.Dataset([picture[None] for picture in pictures], lambda picture: {INPUT: picture}),
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(names=exact, validate=False),
        )


@contextmanager
def _silent(name: str | None) -> Iterator[None]:
    """Keep a library's logger of this name (None: the root) and its progress bars off the user's terminal."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def quantise_onnx(source: Path, target: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Quantise an ONNX file to QDQ form with ONNX Runtime: weights a channel, activations a tensor.

    Args:
        source: file to quantise.
        target: file to write, without metadata.
        pictures: network inputs (H, W, 3) uint8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(pictures)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            picture = next(self.rest, None)
            return None if picture is None else {INPUT: picture[None]}

    with tempfile.TemporaryDirectory(prefix="dekey-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(os.fspath(source), os.fspath(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        maker = {output: node.name for node in graph.node for output in node.output}
        inputs_of = {node.name: [maker[name] for name in node.input if name in maker] for node in graph.node}
        type_of = {node.name: node.op_type for node in graph.node}
        exact = exact_nodes([maker[output.name] for output in graph.output], inputs_of, type_of)
        with _silent(None):  # it recommends, at each call, what has just been done
            quantize_static(
                os.fspath(prepared),
                os.fspath(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=exact,
            )
    onnx.save(keep_bounds(graph, onnx.load(target)), target)


def keep_bounds(original: Any, quantised: Any) -> Any:
    """Put back the bounds that ONNX Runtime's quantiser drops, as bounds of the 256 levels.

    It takes an activation after a convolution away and leaves it to the range of the levels, which begins at the lowest value
    that was seen, but at zero where that is positive. A ReLU or a bound below zero survives that. A bound above zero, or a
    highest value below zero, does not: whatever lies between it and zero comes through, and no error says so. Such
    activations are what `rewrite.fold_learned_scales` makes of the factors and offsets of some pretrained networks.

    Args:
        original: onnx.GraphProto before.
        quantised: onnx.ModelProto after; changed in place.

    Returns:
        `quantised`.
    """
    from onnx import helper, numpy_helper

    levels = {tensor.name: tensor for tensor in quantised.graph.initializer}
    kept = {node.output[0] for node in quantised.graph.node if node.op_type == "Clip"}
    dropped = {name: ends for name, ends in _bounds(original).items() if name not in kept}
    nodes = []
    for node in quantised.graph.node:
        nodes.append(node)
        if node.op_type != "QuantizeLinear" or node.input[0] not in dropped:
            continue
        scale, zero = (numpy_helper.to_array(levels[name]) for name in node.input[1:])
        name, free = node.output[0], f"{node.output[0]}_free"
        arguments = [free]
        for end, bound in zip(("low", "high"), dropped[node.input[0]], strict=True):
            arguments.append("" if bound is None else f"{name}_{end}")
            if bound is not None:
                level = np.clip(np.rint(bound / scale) + zero, 0, 255).astype(zero.dtype)
                quantised.graph.initializer.append(numpy_helper.from_array(level, arguments[-1]))
        node.output[0] = free
        nodes.append(helper.make_node("Clip", arguments, [name], name=f"{name}_bound"))
    del quantised.graph.node[:]
    quantised.graph.node.extend(nodes)
    return quantised


def _bounds(graph: Any) -> dict[str, tuple[float | None, float | None]]:
    """Find the bounds that levels which hold zero cannot stand for: tensor, lowest and highest value."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Clip" and all(name in constants for name in node.input[1:] if name):
            ends = [numpy_helper.to_array(constants[name]).item() if name else None for name in node.input[1:]]
            low, high = [*ends, None, None][:2]
            if (low is not None and low > 0) or (high is not None and high < 0):
                found[node.output[0]] = (low, high)
    return found

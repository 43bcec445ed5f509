"""int8 files keep the bounds of activations that ONNX Runtime's quantiser drops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dekey.export.int8 import quantise_onnx
from dekey.runtime.backends import INPUT

SIDE = 16


def network(path: Path, low: float | None, high: float | None) -> None:
    """Write a network of two convolutions of one pixel, the values between them bounded; the second stays in fp32."""
    rng = np.random.default_rng(0)
    constants = {
        "first": rng.normal(0, 0.01, (8, 3, 1, 1)),
        "offset": rng.normal(0, 0.5, 8),
        "second": np.eye(8)[:, :, None, None],
        "last": np.eye(8)[:, :, None, None],
        **{name: np.array(value) for name, value in (("low", low), ("high", high)) if value is not None},
    }
    ends = ["" if low is None else "low", *([] if high is None else ["high"])]
    nodes = [
        helper.make_node("Transpose", [INPUT], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "first", "offset"], ["free"]),
        helper.make_node("Clip", ["free", *ends], ["bounded"]),
        helper.make_node("Conv", ["bounded", "second"], ["between"]),
        helper.make_node("Conv", ["between", "last"], ["maps"]),
    ]
    for index, node in enumerate(nodes):
        node.name = f"{node.op_type}{index}"
    graph = helper.make_graph(
        nodes,
        "bounds",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 8, SIDE, SIDE])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def maps(path: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run(None, {INPUT: picture[None]})[0]
    return answer


@pytest.mark.parametrize(("low", "high"), [(0.4, None), (None, -0.4), (0.4, 0.9), (-0.4, None), (0.0, None), (-0.4, 0.9)])
def test_bounds_hold_in_int8(low: float | None, high: float | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(4)]
    network(tmp_path / "fp32.onnx", low, high)
    quantise_onnx(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", pictures)
    exact, found = (maps(tmp_path / name, pictures[0]) for name in ("fp32.onnx", "int8.onnx"))
    # The bound is met by many values, so that the test would see it dropped.
    bounds = [bound for bound in (low, high) if bound is not None]
    assert np.isin(exact, np.array(bounds, np.float32)).mean() > 0.05
    # 256 levels of weights and values; without its bound a value is wrong by 0.4.
    assert np.abs(found - exact).max() < 0.1
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}

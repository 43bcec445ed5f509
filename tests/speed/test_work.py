from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dekey.models.checkpoint import load_torch_backend
from dekey.models.work import torch_call, torch_operations
from dekey.runtime import OnnxBackend
from dekey.runtime.openvino import computes_bf16, import_openvino
from dekey.speed import peak
from dekey.speed.work import convolution, onnx_operations, openvino_operations

openvino_needed = pytest.mark.skipif(find_spec("openvino") is None, reason="needs dekey[openvino]")


def test_a_convolution_is_counted_as_by_hand() -> None:
    # 4x4 places, 8 channels out, each a sum over 3x3 places and 2 channels in (16 in 8 groups).
    assert convolution(False, (1, 16, 4, 4), (8, 2, 3, 3), (1, 8, 4, 4)) == 2 * 4 * 4 * 8 * 3 * 3 * 2
    # Each of 4x4 places and 16 channels goes to 4x4 places of 8 channels.
    assert convolution(True, (1, 16, 4, 4), (16, 8, 4, 4), (1, 8, 8, 8)) == 2 * 4 * 4 * 16 * 4 * 4 * 8


@openvino_needed
def test_three_runtimes_count_alike(small_run: Path, small_onnx: Path, tmp_path: Path) -> None:
    from dekey.export.openvino import save_pair

    backend = load_torch_backend(small_run / "model.safetensors", "cpu")
    expected = torch_operations(backend)
    assert expected > 1e6
    manifest = OnnxBackend(small_onnx).manifest
    assert onnx_operations(small_onnx, manifest) == expected
    save_pair(import_openvino().Core().read_model(os.fspath(small_onnx)), manifest, tmp_path / "small.xml")
    assert openvino_operations(tmp_path / "small.xml", manifest) == expected


@openvino_needed
def test_matrix_products_and_groups_count_alike_however_they_are_stored(tmp_path: Path) -> None:
    """One graph with a grouped convolution, both kinds of matrix products, and a transposed factor."""
    rng = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.random(shape, dtype=np.float32), name)

    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "grouped"], ["convolved"], group=3),
        helper.make_node("ConvTranspose", ["convolved", "spread"], ["large"], group=3, strides=[2, 2]),
        helper.make_node("MatMul", ["large", "right"], ["product"]),
        helper.make_node("Flatten", ["product"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last"], ["out"], transB=1),
    ]
    # 4x6 px: 6 channels of 3x5, then of 6x10, times 10x2: 6x6x2 = 72 numbers, from which come 5.
    tensors = [
        constant("grouped", 6, 1, 2, 2),
        constant("spread", 6, 2, 2, 2),
        constant("right", 10, 2),
        constant("last", 5, 72),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, [None, 4, 6, 3])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        tensors,
    )
    path = tmp_path / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    small = type("Manifest", (), {"input_size": (4, 6)})()
    expected = 2 * (6 * 3 * 5 * 4 + 6 * 3 * 5 * 2 * 4 + 6 * 6 * 2 * 10 + 5 * 72)
    assert onnx_operations(path, small) == expected
    assert openvino_operations(path, small) == expected


@pytest.fixture(scope="module")
def shape() -> peak.Shape:
    return 1, peak.CHANNELS, 4, 5


def test_the_onnx_chain_is_a_sound_file_and_computes_what_torch_does(shape: peak.Shape) -> None:
    data = peak.onnx_chain(shape, int8=False)
    onnx.checker.check_model(data, full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    last = torch.from_numpy(images)
    for kernel in peak.weights():
        last = torch.nn.functional.conv2d(last, torch.from_numpy(kernel), padding=1)
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, last.numpy(), rtol=1e-3, atol=1e-3)
    assert 0.1 < np.abs(found).mean() < 10  # nothing vanishes: denormal numbers would be slow


def test_the_int8_chain_runs_in_int8_in_onnx_runtime(shape: peak.Shape, tmp_path: Path) -> None:
    data = peak.onnx_chain(shape, int8=True)
    onnx.checker.check_model(data, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    kinds = [one.op_type for one in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == peak.LAYERS
    assert "Conv" not in kinds
    (found,) = session.run(None, {"images": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)})
    assert len(np.unique(found)) > 50  # not saturated


@openvino_needed
@pytest.mark.parametrize(("precision", "expected"), [("fp32", {"f32"}), ("bf16", {"bf16"}), ("int8", {"u8", "i8"})])
def test_the_chain_runs_in_its_precision_in_openvino(precision: Any, expected: set[str], shape: peak.Shape) -> None:
    if precision == "bf16" and not computes_bf16():
        pytest.skip("this processor has no bf16")
    model = peak.openvino_chain(shape, precision, 1).get_runtime_model()
    layers = [one.get_rt_info() for one in model.get_ops()]
    found = [str(one["runtimePrecision"].astype(str)) for one in layers if one["layerType"].astype(str) == "Convolution"]
    assert len(found) == peak.LAYERS
    assert set(found) <= expected


def chains(shape: peak.Shape) -> Iterator[Any]:
    yield peak.onnx_call(shape, False, 1, ["CPUExecutionProvider"])
    yield peak.onnx_call(shape, True, 1, ["CPUExecutionProvider"])
    yield torch_call(torch.device("cpu"), shape, peak.weights())
    if find_spec("openvino") is not None:
        yield peak.openvino_call(shape, "fp32", 1)


def test_every_chain_can_be_called_again(shape: peak.Shape) -> None:
    for chain in chains(shape):
        assert chain() is not None
        assert chain() is not None


def test_the_operations_of_the_chain_are_those_that_torch_counts(shape: peak.Shape) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        torch_call(torch.device("cpu"), shape, peak.weights())()
    assert counter.get_total_flops() == peak.operations(shape)

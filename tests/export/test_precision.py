from __future__ import annotations

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.cli import main
from dekey.errors import DekeyError
from dekey.export import AccuracyLoss, check_loss, export_int8_onnx, export_openvino
from dekey.export.accuracy import compared
from dekey.export.int8 import exact_nodes
from dekey.models.checkpoint import TorchBackend, load_torch_backend
from dekey.runtime import Backend, OnnxBackend
from dekey.training.prepare import crops_of, material_of

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs dekey[openvino]")


@pytest.fixture(scope="module")
def backend(small_run: Path) -> TorchBackend:
    return load_torch_backend(small_run / "model.safetensors", "cpu")


@pytest.fixture(scope="module")
def crops(small_run: Path) -> list[np.ndarray]:
    _, material = material_of(small_run / "config.yaml")
    return list(crops_of(material.views, 8))


def test_crops_are_spread_over_the_data_and_differ(small_run: Path, crops: list[np.ndarray]) -> None:
    assert len(crops) == 8
    assert {crop.shape for crop in crops} == {(64, 96, 3)}
    assert len({crop.tobytes() for crop in crops}) == 8


def test_an_int8_onnx_file_is_int8_where_the_weights_are(
    backend: TorchBackend, crops: list[np.ndarray], small_data: Path, tmp_path: Path
) -> None:
    import onnx

    seen: list[Backend] = []
    path = tmp_path / "model.onnx"
    parity = export_int8_onnx(backend, path, crops, crops, seen.append)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert isinstance(seen[0], OnnxBackend)
    manifest = dekey.load(path).manifest
    assert manifest.precision == "int8"
    assert manifest.model_copy(update={"precision": "fp32"}) == backend.manifest
    assert 0 < parity.largest_score < 0.1
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert "ConvTranspose" not in kinds
    assert "BatchNormalization" not in kinds
    maker = {output: node for node in graph.node for output in node.output}
    exact = [
        node for node in graph.node if node.op_type == "Conv" and maker.get(node.input[1], node).op_type != "DequantizeLinear"
    ]
    assert [node.name for node in exact] == ["/model/heatmap_head/convolution/Conv"]
    assert kinds.count("Conv") > 10
    figures = dekey.evaluate(dekey.read(small_data), dekey.load(path))
    assert figures["median_px"] < 8


@pytest.mark.skipif(find_spec("nncf") is None, reason="needs dekey[quantize]")
def test_an_int8_openvino_file_is_int8_where_the_weights_are(
    backend: TorchBackend, crops: list[np.ndarray], small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.xml"
    parity = export_openvino(backend, path, crops, "int8", crops)
    assert capfd.readouterr().out == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert dekey.load(path).manifest.precision == "int8"
    assert 0 < parity.largest_score < 0.1
    import openvino

    operations = {node.get_friendly_name(): node for node in openvino.Core().read_model(str(path)).get_ordered_ops()}
    weighted = {
        name: {source.get_node().get_type_name() for source in node.input_values()}
        for name, node in operations.items()
        if node.get_type_name() in ("Convolution", "ConvolutionBackpropData", "MatMul")
    }
    # Pooling takes 8 bits to 8 bits and needs none of its own before the next layer.
    exact = [name for name, sources in weighted.items() if not sources & {"FakeQuantize", "MaxPool", "AvgPool"}]
    assert {name.split("/")[2] for name in exact} == {"heatmap_head", "visibility_head"}
    assert len(weighted) > 10
    assert dekey.evaluate(dekey.read(small_data), dekey.load(path))["median_px"] < 8


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_openvino_file_states_its_precision(
    precision: str, backend: TorchBackend, crops: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "model.xml"
    parity = export_openvino(backend, path, crops, precision)  # type: ignore[arg-type]
    assert dekey.load(path).manifest.precision == precision
    assert (parity.largest_score < 1e-4) is (precision == "fp32")


@pytest.mark.parametrize("earlier", [None, b"an earlier model"], ids=["none before", "one before"])
def test_what_costs_too_much_leaves_nothing_behind(
    earlier: bytes | None, backend: TorchBackend, crops: list[np.ndarray], tmp_path: Path
) -> None:
    def refuse(_: Backend) -> None:
        raise DekeyError("too much")

    names = ["model.bin", "model.onnx", "model.xml"] if earlier else []
    for name in names:
        (tmp_path / name).write_bytes(earlier or b"")
    with pytest.raises(DekeyError, match="too much"):
        export_int8_onnx(backend, tmp_path / "model.onnx", crops, crops[:2], refuse)
    if find_spec("openvino") is None:
        return
    with pytest.raises(DekeyError, match="too much"):
        export_openvino(backend, tmp_path / "model.xml", crops, "bf16", check=refuse)
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert {file.read_bytes() for file in tmp_path.iterdir()} <= {earlier}


def test_losses_are_shares_of_what_was() -> None:
    before = {"nme": 0.05, "mean_px": 9.0, "box_AP": 0.8, "found_share": 1.0, "AR": 0.4}
    loss = compared(before, {"nme": 0.0505, "mean_px": 99.0, "box_AP": 0.72, "found_share": 1.0, "AR": 0.1}, 7)
    assert loss.relative == pytest.approx({"nme": 0.01, "box_AP": 0.1, "found_share": 0.0})
    assert loss.worst == pytest.approx(0.1)
    with pytest.raises(DekeyError, match=r"box_AP goes from 0.8 to 0.72 on 7 .* 10.0 % worse"):
        check_loss(loss)
    check_loss(loss, 0.11)
    assert compared(before, {**before, "nme": 0.04}, 7).worst == 0


def test_a_figure_that_is_gone_or_no_number_does_not_pass() -> None:
    gone = compared({"nme": 0.05, "found_share": 1.0}, {"found_share": 1.0}, 3)
    assert math.isinf(gone.worst)
    for loss in (gone, AccuracyLoss(3, {"nme": 0.1}, {"nme": math.nan}, {"nme": math.nan}), compared({}, {}, 3)):
        with pytest.raises(DekeyError):
            check_loss(loss)


def test_what_stays_exact_ends_at_the_last_weights() -> None:
    types = {"out": "Result", "add": "Add", "last": "Conv", "relu": "Relu", "first": "Conv", "linear": "Gemm"}
    inputs = {"out": ["add"], "add": ["last", "linear"], "last": ["relu"], "relu": ["first"], "first": [], "linear": ["relu"]}
    assert exact_nodes(["out"], inputs, types) == ["add", "last", "linear", "out"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--precision", "bf16"], "add --to openvino"),
        (["--force"], "--force for fp32"),
        (["--to", "openvino", "--out", "x.onnx"], r"ends in \.xml"),
    ],
)
def test_options_that_contradict_each_other(
    words: list[str], expected: str, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(small_run), *words]) == 2
    assert re.search(expected, capsys.readouterr().err)


@needs_openvino
def test_a_processor_without_bf16_is_named(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", str(small_run), "--to", "openvino", "--precision", "bf16", "--force", "--out", str(tmp_path / "a.xml")]
    said = "what was measured is fp32"
    for has in (True, False):
        monkeypatch.setattr("dekey.runtime.openvino.computes_bf16", lambda has=has: has)
        assert main(words) == 0
        answer, errors = capsys.readouterr()
        assert (said in errors) is not has
    assert json.loads(answer)["largest_score_difference"] < 1e-4


def test_the_command_tells_what_int8_costs(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(small_run), "--precision", "int8", "--force", "--out", str(tmp_path / "tubes.onnx")]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["precision"] == "int8"
    assert answer["before"].keys() == answer["after"].keys() == answer["relative_loss"].keys() >= {"nme", "found_share"}
    assert answer["relative_loss"]["nme"] == pytest.approx(answer["after"]["nme"] / answer["before"]["nme"] - 1)
    assert (tmp_path / "tubes.onnx").is_file()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dekey
from dekey.cli import main
from dekey.data import Schema
from dekey.runtime.backends import INPUT
from dekey.runtime.manifest import Manifest


def figures(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["evaluate", *map(str, words)]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_command_gives_the_figures_of_the_library(
    small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = figures(capsys, small_onnx, small_data, "--sigmas=0.05", "--normaliser=head:tail")
    expected = dekey.evaluate(dekey.read(small_data), dekey.load(small_onnx), sigmas=0.05, normaliser="head:tail")
    assert answer == json.loads(json.dumps(expected.to_dict(arrays=False)))
    assert "AP" in answer["values"]
    assert answer["normaliser"] == "head:tail"


def test_without_sigmas_there_is_no_ap_but_a_sentence(
    small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = figures(capsys, small_onnx, small_data)
    assert "AP" not in answer["values"]
    assert "sigmas" in answer["notes"]["AP"]


def test_run_folder_and_exported_file_measure_alike(
    small_run: Path, small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (figures(capsys, path, small_data, "--device=cpu")["values"] for path in (small_run, small_onnx))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert theirs[name] == pytest.approx(ours[name], abs=0.02), name


def test_the_size_of_a_batch_changes_no_figure(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, many = (figures(capsys, small_onnx, small_data, f"--batch-size={size}")["values"] for size in (1, 64))
    assert one == pytest.approx(many, abs=1e-4)


def test_figures_go_to_a_file_and_images_may_lie_elsewhere(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moved.json").write_text(small_data.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "out.json").write_text("earlier")
    words = [str(small_onnx), str(tmp_path / "moved.json"), "--images", str(small_data.parent)]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "out.json").read_text())["values"] == figures(capsys, *words)["values"]


def write_detector(path: Path) -> Path:
    """Write a graph that sees, in every picture of 64x48 px, the tube of the sound labels and, less surely, another."""
    from onnx import TensorProto, helper, numpy_helper, save

    answers = {
        "boxes": np.array([[[8, 8, 48, 38], [0, 0, 6, 6]]], dtype=np.float32),
        "scores": np.array([[0.4, 0.2]], dtype=np.float32),
        "labels": np.zeros((1, 2), dtype=np.int64),
        "keypoints": np.array([[[[12.5, 14.5], [40.5, 34.5]], [[1, 1], [5, 5]]]], dtype=np.float32),
        "keypoint_scores": np.full((1, 2, 2), 0.9, dtype=np.float32),
        "visibility": np.ones((1, 2, 2), dtype=np.float32),
    }
    nodes = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in answers.items()]
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in answers.items()
    ]
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", 48, 64, 3])
    model = helper.make_model(helper.make_graph(nodes, "detector", [images], outputs), ir_version=8)
    model.opset_import[0].version = 17
    schema = Schema.create(["tube"], ["head", "tail"])
    manifest = Manifest(
        kind="detector",
        keypoint_schema=schema.to_dict(),
        input_size=(48, 64),
        region="image",
        padding=1.0,
        architecture={},
        objects=2,
        finds_boxes=True,
        object_threshold=0.3,
    )
    helper.set_model_props(model, manifest.to_metadata())
    save(model, path)
    return path


def test_a_detector_is_measured_by_its_boxes_and_its_threshold(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = [write_detector(place / "detector.onnx"), place / "train.json", "--batch-size=1"]
    own, low, high = (figures(capsys, *words, *more) for more in ([], ["--threshold=0.1"], ["--threshold=0.5"]))
    for answer in (own, low, high):
        assert answer["boxes"] is True
        assert answer["values"]["box_AP"] == pytest.approx(1)
    assert [answer["score_threshold"] for answer in (own, low, high)] == [0.3, 0.1, 0.5]
    assert [answer["values"]["found_share"] for answer in (own, low, high)] == [1, 1, 0]
    assert [answer["values"]["extra_found_per_image"] for answer in (own, low, high)] == [0, 1, 0]
    assert own["values"]["mean_px"] == 2
    assert low["failures"]["objects"] == {"found": 6, "missed": 0, "invented": 6}
    expected = dekey.evaluate(dekey.read(place / "train.json"), dekey.load(place / "detector.onnx", batch_size=1))
    assert own == json.loads(json.dumps(expected.to_dict(arrays=False)))


def test_a_model_of_crops_has_no_box_values(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = figures(capsys, small_onnx, small_data)
    assert answer["boxes"] is False
    assert "box_AP" not in answer["values"]
    assert "not measured" in answer["notes"]["box_AP"]


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_a_threshold_that_is_no_score_is_refused(value: str, place: Any, complain: Any) -> None:
    sentence, _ = complain(place.evaluate(f"--threshold={value}"))
    assert "expected a score between 0 and 1" in sentence

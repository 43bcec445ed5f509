from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dekey
from dekey.cli import main


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

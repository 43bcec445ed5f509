from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dekey
from dekey.cli import main
from dekey.export import onnx as export


@pytest.fixture
def run_folder(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard")))


def test_a_run_becomes_one_file_proven_on_its_held_out_crops(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run_folder)]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["file"] == str(run_folder / "model.onnx")
    assert answer["images_compared"] == 2  # a tenth of twelve pictures, two objects in it
    assert answer["largest_difference_px"] <= answer["allowed_px"] == 0.05
    assert answer["megabytes"] == pytest.approx((run_folder / "model.onnx").stat().st_size / 1e6, abs=0.01)
    assert all(line.startswith(("loading", "exporting", "the model is sure of no")) for line in err.splitlines())
    assert dekey.load(run_folder / "model.onnx").schema == dekey.load(run_folder, "cpu").schema


def test_pictures_may_be_named(run_folder: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tubes.onnx"
    (run_folder / "config.yaml").unlink()
    words = ["export", str(run_folder / "model.safetensors"), "--out", str(target)]
    assert main(words) == 2
    assert "name some with --images" in capsys.readouterr().err
    assert main([*words, "--images", str(small_data.parent / "images")]) == 0
    assert json.loads(capsys.readouterr().out)["images_compared"] == 12
    assert target.is_file()


def test_data_that_have_moved_are_told_with_the_way_out(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run_folder / "config.yaml").read_text()
    (run_folder / "config.yaml").write_text(text.replace("train.json", "moved.json"))
    assert main(["export", str(run_folder)]) == 2
    err = capsys.readouterr().err
    assert "does not exist" in err
    assert "--images" in err.splitlines()[-1]


def test_a_file_that_does_not_agree_keeps_the_earlier_one(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_folder / "model.onnx").write_bytes(b"earlier")
    monkeypatch.setattr(export, "PARITY_PX", -1)
    assert main(["export", str(run_folder)]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert (run_folder / "model.onnx").read_bytes() == b"earlier"
    assert not list(run_folder.glob(".*"))

"""Kept runs are used again and only for the settings they are of; the tables say what was measured."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import presets
import pytest
import tables
from preset_rows import presets as parts

FACTS: dict[str, Any] = {
    "machine": {"cpu": "A", "cores": 2, "flags": [], "memory_gib": 8.0, "load_before": 0.0},
    "versions": {"python": "3.12.0", "torch": "2.6.0"},
    "commit": {"id": "0123456789abcdef", "dirty": False},
    "date": "2026-01-02T03:04:05+00:00",
}


def arguments(keep: Path, data: Path = Path("faces"), **others: Any) -> argparse.Namespace:
    known = {"seed": 0, "minutes": 4.0, "set": [], "presets": ["tiny", "small"], "network": [], "threads": 1, "calls": 2}
    return argparse.Namespace(**{**known, "keep": keep, "data": data, "labels": data / "train.json", "rounds": 2, **others})


def form(name: str, ms: float, loss: float) -> dict[str, Any]:
    return {"form": name, "median_ms": ms, "p90_ms": ms, "mib": 2.5, "values": {"nme": 0.04}, "relative_loss": {"nme": loss}}


def result(**detection: float) -> dict[str, Any]:
    row = {
        "backbone": "resnet10t", "decoder_channels": [64, 64, 64], "input": [192, 320], "parameters": 2_240_292, "nme": 0.045,
        "images_per_second": 40.25, "epochs": 3.25, "median_px": 9.0, "p90_px": 20.0, "detection": detection, "gflop": 1.331,
    }  # fmt: skip
    forms = [form("torch fp32", 8.0, 0.0), form("ONNX Runtime fp32", 4.0, -0.01), form("OpenVINO int8", 2.0, 0.0075)]
    rows = [{**row, "name": "small", "forms": forms}, {**row, "name": "large", "decoder_channels": [96, 64], "forms": forms}]
    payload = {"benchmark": "presets", "data": "hatches", "minutes": 4.0, "threads": 1, "images": 99, "rows": rows}
    return payload | FACTS


def test_a_detector_shows_average_precision_and_the_others_their_error() -> None:
    for detection, score in (({"box_AP": 0.875, "AP": 0.75, "found_share": 1.0}, "87.5 %"), ({"found_share": 1.0}, "4.50 %")):
        (title, head, rows), (_, costs_head, costs) = parts(result(**detection))
        assert "4 minutes" in title
        assert {len(row) for row in rows} == {len(head)}
        assert {len(row) for row in costs} == {len(costs_head)}
        assert rows[0][:7] == ["`small`", "resnet10t, 3 × 64", "320×192", "2.24", "40.2", "3.2", score]
        assert rows[1][1] == "resnet10t, 96-64"
        assert costs[0] == ["`small`", "1.33", "8.00", "4.00", "2.00 (0.8 %)", "2.5 / 2.5"]


def test_both_tables_come_from_one_result() -> None:
    text = tables.table("presets", [result(box_AP=0.875, AP=0.75, found_share=1.0)])
    assert text.count("| `small` |") == text.count("| `large` |") == 2
    assert "1 thread," in text


def test_networks_have_names_of_their_own(tmp_path: Path) -> None:
    own = arguments(tmp_path, network=["big=model.backbone=resnet18 model.input_scale=1.25"])
    assert presets.networks(own)["big"] == ["model.backbone=resnet18", "model.input_scale=1.25"]
    assert presets.networks(own)["tiny"] == ["model.preset=tiny"]
    for text in ("big", "tiny=model.backbone=resnet18", "../up=model.backbone=resnet18"):
        with pytest.raises(SystemExit, match="expected a new name"):
            presets.networks(arguments(tmp_path, network=[text]))


def test_a_kept_run_is_used_again_for_its_own_settings_only(tmp_path: Path) -> None:
    own, changes = arguments(tmp_path), ["model.preset=tiny"]
    folder = tmp_path / "tiny"
    (folder / "accuracy").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "asked.json").write_text(json.dumps(presets.asked(own, changes)))
    with pytest.raises(SystemExit, match="was not finished"):
        presets.trained(own, "tiny", changes)
    (folder / "accuracy" / "one.json").write_text('{"nme": 0.5}')
    assert presets.trained(own, "tiny", changes) == {"nme": 0.5}
    for other in (arguments(tmp_path, seed=1), arguments(tmp_path, minutes=5.0), arguments(tmp_path, data=Path("bees"))):
        with pytest.raises(SystemExit, match="other settings"):
            presets.trained(other, "tiny", changes)
    with pytest.raises(SystemExit, match="other settings"):
        presets.trained(own, "tiny", ["model.preset=small"])


def test_the_size_of_a_form_counts_the_weights_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(bytes(2**20))
    (tmp_path / "a.bin").write_bytes(bytes(2**21))
    (tmp_path / "model.safetensors").write_bytes(bytes(2**19))
    assert presets.size_mib(tmp_path / "a.xml") == 3
    assert presets.size_mib(tmp_path / "a.bin") == 2
    assert presets.size_mib(tmp_path) == 0.5


@pytest.mark.slow
def test_all_steps_make_one_result(
    small_run: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a run that is there already: every form is written, measured and timed, and a second start does nothing again."""
    pytest.importorskip("nncf")
    data, keep = tmp_path / "tubes", tmp_path / "keep"
    shutil.copytree(small_data.parent, data)
    shutil.copy(data / "train.json", data / "test.json")
    shutil.copytree(small_run, keep / "tiny" / "run")
    own = arguments(keep, data)
    (keep / "tiny" / "asked.json").write_text(json.dumps(presets.asked(own, ["model.preset=tiny"])))
    (keep / "tiny" / "accuracy").mkdir()
    details = {
        "family": "heatmap", "input": [64, 96], "backbone": "test_resnet", "decoder_channels": [32, 32, 32],
        "parameters": 9, "precision": "fp32", "weights": "random",
    }  # fmt: skip
    measured = {"epochs": 4.0, "images_per_second": 9.0, "nme": 0.1, "median_px": 2.0, "p90_px": 3.0, "detection": {}}
    (keep / "tiny" / "accuracy" / "one.json").write_text(json.dumps({**measured, "details": details}))
    words = ["presets.py", "--data", str(data), "--minutes", "4", "--presets", "tiny", "--keep", str(keep), "--threads", "1"]
    words += ["--rounds", "1", "--calls", "3", "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", words)
    presets.main()
    (written,) = (tmp_path / "results").glob("presets-tubes-4m-seed0.json")
    first = json.loads(written.read_text())
    (row,) = first["rows"]
    assert [one["form"] for one in row["forms"]] == list(presets.runtimes.FORMS)
    assert all(one["median_ms"] > 0 and one["mib"] > 0 for one in row["forms"])
    assert "| `tiny` | test_resnet, 3 × 32 | 96×64 |" in tables.table("presets", [first])
    kept = {path: path.stat().st_mtime_ns for path in keep.rglob("*")}
    presets.main()
    assert {path: path.stat().st_mtime_ns for path in keep.rglob("*")} == kept
    assert json.loads(written.read_text())["rows"] == first["rows"]
    capsys.readouterr()

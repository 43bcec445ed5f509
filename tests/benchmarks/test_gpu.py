from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import gpu
import tables
import torch


def test_every_form_is_timed_and_makes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--device", "cpu", "--no-compile", "--backbone", "test_resnet", "--decoder", "8", "8", "8", "--input", "64"]
    words += ["--batch-size", "2", "--seconds", "0.01", "--rounds", "1", "--matrix", "64", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    gpu.main()
    result = json.loads((tmp_path / "gpu-test_resnet.json").read_text())
    assert [row["form"] for row in result["rows"]] == [name for name, form in gpu.FORMS.items() if not form.compiled]
    assert all(row["images_per_second"][0] > 0 and row["ms"][0] > 0 and row["share_of_peak"] > 0 for row in result["rows"])
    assert result["gflop"] > 0
    lines = tables.table("gpu", [result]).splitlines()
    assert lines[0].startswith("cpu, test_resnet, lateral decoder [8, 8, 8], input 64 px, batch 2; a product of bf16 matrices")
    assert "| plain fp32 |" in lines[4]
    assert "| 1.00× |" in lines[4]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no CUDA device here"):
        gpu.main()

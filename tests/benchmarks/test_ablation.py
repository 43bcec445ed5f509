from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ablation import VARIANTS, commands
from detector_rows import ablation

from dekey.cli import command_parser
from dekey.config import read_config


def test_every_row_trains_as_long_and_changes_what_it_says(tmp_path: Path) -> None:
    rows = commands(argparse.Namespace(data=tmp_path, minutes=2.0, rows=None), seed=3)
    assert list(rows) == list(VARIANTS)
    assert list(commands(argparse.Namespace(data=tmp_path, minutes=2.0, rows=["fp32"]), seed=3)) == ["fp32"]
    configurations = []
    for words in rows.values():
        parsed = command_parser("train").parse_args(words[1:])
        assert (parsed.budget, parsed.seed, parsed.val) == ("120s", 3, None)
        configurations.append(read_config({"data": {"train": "train.json"}}, overrides=parsed.set))
    assert all(configuration != configurations[0] for configuration in configurations[1:])
    assert not any(configuration.model.pretrained for configuration in configurations)


def test_a_row_is_the_mean_of_its_seeds() -> None:
    def run(median: float | None) -> dict[str, Any]:
        values = {"box_AP": 0.9, "AP": 0.8, "nme": 0.02, "median_px": median, "p90_px": 10.0, "found_share": 1.0}
        return {"values": values, "epochs": 8.0, "cpu_seconds": 100.0}

    rows = [
        {"name": "as it is", "set": [], "runs": [run(4.0), run(6.0)]},
        {"name": "fp32", "set": ["run.precision=fp32"], "runs": [run(None), run(7.0)]},
    ]
    result = {"data": "wagon", "minutes": 3, "together": False, "seeds": [0, 1], "rows": rows}
    title, head, cells = ablation(result)
    assert title.endswith("one after another; means over 2 seeds:")
    assert cells[0] == ["as it is", "90.0 %", "80.0 %", "2.00 %", "5.00 (4.00 to 6.00)", "10.00", "8.0", "100"]
    assert cells[1][0] == "fp32, `run.precision=fp32`"
    assert cells[1][4] == "7.00"
    assert len(head) == len(cells[0])

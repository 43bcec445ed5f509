from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch")

from detector_rows import shrink
from runs import folder_of
from shrink import commands

from dekey.cli import command_parser


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    data = {"train": ["a.json", "b.json"], "val": "val.json", "region": "image"}
    config = {"data": data, "model": {"kind": "center", "input_size": [192, 320]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return argparse.Namespace(run=tmp_path, share=0.5, minutes=2.0, seed=1, rows=None, keep=tmp_path / "runs")


def test_every_row_is_a_command_that_dekey_understands_with_the_same_minutes(arguments: argparse.Namespace) -> None:
    rows = commands(arguments)
    assert len({folder_of(arguments.keep, name, 2.0, 1) for name in rows}) == len(rows) == 5
    for words in rows.values():
        parsed = command_parser(words[0]).parse_args(words[1:])
        assert (parsed.budget, parsed.seed) == ("120s", 1)
    parsed = command_parser("train").parse_args(rows["small, taught"][1:])
    assert (parsed.annotations, parsed.val, parsed.teacher) == (["a.json", "b.json"], ["val.json"], str(arguments.run))
    assert "model.input_size=[192, 320]" in parsed.set
    assert command_parser("prune").parse_args(rows["pruned to 50%"][1:]).teacher == "none"


def test_a_row_says_what_it_finds_and_what_it_costs() -> None:
    values = {"box_AP": 0.9, "AP": 0.8, "median_px": 5.0, "p90_px": 10.0, "found_share": 1.0, "nme": 0.02}
    row: dict[str, Any] = {"name": "small", "values": values, "median_ms": 2.5, "parameters": 500_000, "megabytes": 2.0}
    row |= {"epochs": 8.0, "cpu_seconds": None}
    title, head, rows = shrink({"data": "wagon", "minutes": 4, "together": True, "threads": 1, "rows": [row]})
    assert "4 minutes each, all trained at once" in title
    assert rows == [["small", "90.0 %", "80.0 %", "5.00", "10.00", "100.0 %", "2.50", "0.50", "2.0", "8.0", "–"]]
    assert len(head) == len(rows[0])

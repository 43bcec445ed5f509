from __future__ import annotations

import json
from pathlib import Path

import pytest
from runtime_rows import runtimes
from runtimes import FORMS, REFERENCE, times


def test_a_row_says_what_was_measured() -> None:
    row = {"median_ms": 2.0, "p90_ms": 2.5, "speedup": 4.0, "values": {"nme": 0.0404}}
    rows = [
        {**row, "form": "torch fp32", "median_ms": 8.0, "speedup": 1.0, "relative_loss": {"nme": 0.0}},
        {**row, "form": "OpenVINO int8", "relative_loss": {"nme": 0.0075}},
    ]
    result = {"title": "faces", "input_size": [96, 128], "threads": 2, "rows": json.loads(json.dumps(rows))}
    title, head, cells = runtimes(result)
    assert "input 128×96" in title
    assert {len(each) for each in cells} == {len(head)}
    assert cells[1] == ["OpenVINO int8", "2.00", "2.50", "4.00×", "0.0404", "0.75 %"]


def test_the_reference_is_the_run_itself_and_every_other_form_a_file() -> None:
    assert FORMS[REFERENCE] == ""
    assert {Path(file).suffix for file in FORMS.values()} == {"", ".onnx", ".xml"}
    assert len(set(FORMS.values())) == len(FORMS)


@pytest.mark.parametrize("form", ["run", "file"])
def test_calls_are_timed_one_by_one(form: str, small_run: Path, small_onnx: Path) -> None:
    taken = times(small_run if form == "run" else small_onnx, 1, 4)
    assert len(taken) == 4
    assert all(milliseconds > 0 for milliseconds in taken)

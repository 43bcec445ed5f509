"""What finds objects itself has a table of its own; decoders are compared by times of the same round."""

from __future__ import annotations

from typing import Any

import record
import tables

FACTS: dict[str, Any] = {
    "machine": {"cpu": "A", "cores": 2, "flags": [], "memory_gib": 8.0, "load_before": 0.0},
    "versions": {"python": "3.12.0", "torch": "2.6.0"},
    "commit": {"id": "0123456789abcdef", "dirty": False},
    "date": "2026-01-02T03:04:05+00:00",
}


def measured(method: str, seed: int, details: dict[str, Any], **detection: float) -> dict[str, Any]:
    values = {"nme": 0.05, "median_px": 9.0, "p90_px": 20.0, **detection}
    payload: dict[str, Any] = record.accuracy("hatches", method, seed, 30, 320, 5.5, 26.0, values, details)
    return payload | FACTS


FOUND = {"AP": 0.75, "box_AP": 0.875, "found_share": 0.98, "extra_found_per_image": 0.25}


def test_what_finds_objects_itself_stands_in_its_own_table():
    results = [measured("crops", 0, {}, found_share=1.0), measured("finds", 0, {"sigmas": 0.05}, **FOUND)]
    own, others = tables.table("detection", results), tables.table("accuracy-hatches", results)
    assert "| hatches | finds | 30 | 320² | 26.0 | 87.5 % | 75.0 % | 9.00 | 20.00 | 98.0 % | 0.25 | 1 |" in own
    assert "crops" not in own
    assert "| crops |" in others
    assert "finds" not in others


def test_seeds_share_a_row_and_inputs_do_not():
    wide = {"sigmas": 0.05, "input": [192, 320]}
    results = [
        measured("one", 0, wide, **FOUND),
        measured("one", 1, wide, **FOUND | {"box_AP": 0.9}),
        measured("one", 0, {"sigmas": 0.05}, **FOUND),
    ]
    lines = tables.table("detection", results).splitlines()
    assert lines[2].startswith("| hatches | one | 30 | 320² |")
    assert lines[3].startswith("| hatches | one | 30 | 320×192 | 26.0 | 88.8 % (87.5 to 90.0) |")
    assert lines[3].endswith("| 2 |")


def test_an_average_precision_of_other_sigmas_is_not_shown_beside_this_one():
    assert "| 87.5 % | 75.0 % | 9.00 |" in tables.table("detection", [measured("one", 0, {}, **FOUND)])
    assert "| 87.5 % | – | 9.00 |" in tables.table("detection", [measured("one", 0, {"sigmas": 0.025}, **FOUND)])
    without = {name: value for name, value in FOUND.items() if name != "AP"}
    assert "| 87.5 % | – | 9.00 |" in tables.table("detection", [measured("one", 0, {"sigmas": 0.05}, **without)])


def decoders(**of_the_second: Any) -> dict[str, Any]:
    def times(*torch_ms: float) -> list[dict[str, Any]]:
        columns = ("torch_forward_ms", "onnxruntime_ms", "torch_forward_backward_ms")
        return [{"batch": 1, **{column: list(torch_ms) for column in columns}}]

    rows = [
        {"name": "lateral", "parameters": 1000, "times": times(1.0, 10.0, 1.0)},
        {"name": "bilinear", "parameters": 2000, "times": times(2.0, 20.0, 2.0)},
    ]
    if of_the_second:
        for row in rows:
            row["accuracy"] = [{"seed": 0, "minutes": 10, "images_per_second": 30.0, **of_the_second}]
    shape = {"backbone": "small", "input_size": [224, 384], "decoder_channels": [64, 64], "threads": 2, "data": "hatches"}
    return {"benchmark": "decoders", "rows": rows, "layers": [], **shape} | FACTS


def test_a_slow_round_changes_no_ratio_of_decoders():
    text = tables.table("decoders", [decoders()])
    assert "| `lateral` | 1,000 | 1 | 1.00 (1.00×) |" in text
    assert "| `bilinear` | 2,000 | 1 | 2.00 (2.00×) |" in text
    assert "training" not in text


def test_trained_decoders_show_what_they_found():
    values = {"nme": 0.03, "median_px": 2.0, "p90_px": 5.0}
    text = tables.table("decoders", [decoders(**values)])
    assert "After 10 minutes of training on hatches:" in text
    assert "| `bilinear` | 30.0 | 3.00 % | 2.00 | 5.00 | 1 |" in text
    assert "box AP" not in text
    assert "| `bilinear` | 30.0 | 87.5 % | 3.00 % |" in tables.table("decoders", [decoders(**values, detection=FOUND)])


def test_what_was_not_measured_says_so():
    assert tables.table("detection", []) == tables.table("decoders", []) == "not measured"

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
    assert "| hatches | finds | 2 | 30 | 320² | 26.0 | 87.5 % | 75.0 % | 9.00 | 20.00 | 98.0 % | 0.25 | 1 |" in own
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
    assert lines[2].startswith("| hatches | one | 2 | 30 | 320² |")
    assert lines[3].startswith("| hatches | one | 2 | 30 | 320×192 | 26.0 | 88.8 % (87.5 to 90.0) |")
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


def test_runs_on_one_core_and_on_two_are_never_averaged():
    one = measured("one", 1, {}, **FOUND | {"box_AP": 0.5}) | {"machine": FACTS["machine"] | {"cores": 1}}
    lines = tables.table("detection", [measured("one", 0, {}, **FOUND), one]).splitlines()
    assert lines[2].startswith("| hatches | one | 1 | 30 | 320² | 26.0 | 50.0 % |")
    assert lines[3].startswith("| hatches | one | 2 | 30 | 320² | 26.0 | 87.5 % |")


FIGURES: dict[str, Any] = {
    "box_AP": 0.5, "AP": None, "median_px": 2.0, "p90_px": 4.0, "found_share": 1.0, "extra_found_per_image": 0.1,
}  # fmt: skip


def test_small_objects_show_how_they_were_looked_at():
    rows = [
        {"method": "default", **FIGURES, "ms_an_image": 10.0},
        {"method": "zoom, tiles", **FIGURES, "ms_an_image": 99.6, "tiles": 600, "overlap": 0.25},
    ]
    result = {"benchmark": "small_objects", "data": "flies", "minutes": 5, "images": 6, "objects": 12, "set": [], "rows": rows}
    text = tables.table("small_objects", [result | FACTS])
    assert "| default | 50.0 % | – | 2.00 | 4.00 | 100.0 % | 0.10 | 10 |" in text
    assert "| zoom, tiles, 600 px, overlap 25 % | 50.0 %" in text


def test_a_merged_model_stands_beside_its_parts():
    confused = {"wrong_class": 1, "wrong_class_share": 0.0125}
    row = {"data": "flies", "merged": FIGURES, "single": FIGURES | {"box_AP": 0.75}}
    text = tables.table("merged", [{"benchmark": "merged", "minutes": 5, "rows": [row], "confusions": confused} | FACTS])
    assert "took 1 found objects" in text
    assert "(1.25 %)" in text
    assert text.index("| flies | all in one | 50.0 % |") < text.index("| flies | its own | 75.0 % |")


def test_occlusion_has_a_row_a_share_with_both_methods():
    own = {"found_share": 0.9, "uncovered_median_px": 1.0, "covered_median_px": None, "covered_p90_px": 3.0}
    own |= {"occluded_AP": 0.8, "occluded_rate": 0.25}
    row = {"share": 0.3, "with": own, "without": own | {"found_share": 0.5}}
    result = {"benchmark": "occlusion", "data": "tubes", "minutes": 5, "images": 6, "repeats": 2, "rows": [row]}
    text = tables.table("occlusion", [result | FACTS])
    assert "| 30 % | 90.0 % | 1.00 | – | 3.00 | 80.0 % | 50.0 % |" in text
    assert text.splitlines()[4].endswith("| 25.0 % |")


def test_the_article_stands_under_the_answer_that_looks_at_no_picture():
    own = {"median_px": 9.5, "p90_px": 20.0, "box_iou": 0.7, "box_iou_50": 0.875}
    rows = [
        {"method": "mean", **own},
        {"method": "network", "input_size": [32, 48], "parameters": 26536, "cpu_seconds": 61.2, "epochs": 12.4, **own},
    ]
    result = {"benchmark": "keras_article", "data": "faces", "minutes": 2, "threads": 1, "seed": 0, "rows": rows}
    text = tables.table("keras_article", [result | {"train_images": 5, "test_images": 3} | FACTS])
    assert "| mean | – | – | – | – | 9.50 | 20.00 | 70.0 % | 87.5 % |" in text
    assert "| network | 48×32 | 26,536 | 61 | 12.4 | 9.50 | 20.00 | 70.0 % | 87.5 % |" in text

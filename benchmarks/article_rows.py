"""Rows of the table about the article's own program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector_rows import number, percent

HEAD = ("method", "input", "parameters", "CPU s", "epochs", "median px", "p90 px", "mean box IoU", "boxes with IoU ≥ 0.5")


def keras_article(result: dict[str, Any]) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each method; the first is the answer that looks at no picture."""
    title = (
        f"{result['data']}, {result['train_images']} training and {result['test_images']} test images with one object each; "
        f"{result['minutes']:g} minutes for each method, {result['threads']} thread, seed {result['seed']}:"
    )
    rows = []
    for row in result["rows"]:
        size = row.get("input_size")
        rows.append(
            [
                row["method"],
                "–" if size is None else f"{size[0]}²" if size[0] == size[1] else f"{size[1]}×{size[0]}",
                "–" if row.get("parameters") is None else f"{row['parameters']:,}",
                number(row.get("cpu_seconds"), 0),
                number(row.get("epochs"), 1),
                number(row["median_px"]),
                number(row["p90_px"]),
                percent(row["box_iou"]),
                percent(row["box_iou_50"]),
            ]
        )
    return title, HEAD, rows

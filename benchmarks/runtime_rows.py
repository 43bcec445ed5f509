"""Rows of the table of runtimes: milliseconds, how much faster than PyTorch, and what is lost in accuracy."""

from __future__ import annotations

import math
import statistics
from typing import Any

Result = dict[str, Any]


def runtimes(result: Result) -> tuple[str, list[str], list[list[str]]]:
    """Give title, heads and a row for each runtime and precision."""
    names = list(result["rows"][0]["values"])
    height, width = result["input_size"]
    title = f"{result['title']}, input {width}×{height}, one image at a time, {result['threads']} threads:"
    rows = []
    for row in result["rows"]:
        worst = max(row["relative_loss"].values(), default=math.nan)
        rows.append(
            [
                row["form"],
                f"{row['median_ms']:.2f}",
                f"{row['p90_ms']:.2f}",
                f"{row['speedup']:.2f}×",
                *(f"{row['values'][name]:.4g}" for name in names),
                "–" if math.isnan(worst) else f"{100 * worst:.2f} %",
            ]
        )
    return title, ["runtime and precision", "median, ms", "p90, ms", "faster", *names, "largest relative loss"], rows


def gpu(result: Result) -> tuple[str, list[str], list[list[str]]]:
    """Give title, heads and a row for each way to compute a network on a GPU; the others are compared with the first."""
    title = (
        f"{result['device']}, {result['network']}, input {result['input_size']} px, batch {result['batch_size']}; "
        f"a product of bf16 matrices reaches {result['peak_bf16_tflops']:.4g} TFLOP/s:"
    )
    first = statistics.median(result["rows"][0]["images_per_second"])
    rows = [
        [
            row["form"],
            f"{statistics.median(row['images_per_second']):.0f}",
            f"{statistics.median(row['images_per_second']) / first:.2f}×",
            f"{100 * row['share_of_peak']:.1f} %",
            f"{statistics.median(row['ms']):.2f}",
        ]
        for row in result["rows"]
    ]
    return title, ["computed", "training, images/s", "faster", "of the peak", "one image, ms"], rows

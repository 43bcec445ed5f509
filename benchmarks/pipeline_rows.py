"""Rows of the table of the pipeline: what each stage takes, what is added to the network, and what that does to the answers."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]

_FIGURES = (
    ("box_AP", "box AP", "{:.1%}"),
    ("nme", "NME", "{:.2%}"),
    ("median_px", "median px", "{:.2f}"),
    ("p90_px", "p90 px", "{:.2f}"),
)


def pipeline(result: Result) -> tuple[str, list[str], list[list[str]]]:
    """Give title, heads and a row for each way of decoding."""
    height, width = result["size"]
    input_height, input_width = result["input_size"]
    title = (
        f"{result['data']}, `{result['kind']}`, JPEG of {width}×{height} px ({result['bytes'] / 1000:.0f} kB) into "
        f"{input_width}×{input_height}, {result['objects']:g} objects a picture, {result['threads']} thread(s):"
    )
    figures = [each for each in _FIGURES if all(each[0] in row["values"] for row in result["rows"])]
    heads = ["decoded", "read, ms", "cut out, ms", "network, ms", "answers, ms", "added to the network, ms"]
    rows = [
        [
            {"whole": "all pixels", "reduced": "as many as the network sees"}[row["decoded"]],
            *(f"{row['ms'][stage]:.2f}" for stage in ("read", "warp", "network", "answers")),
            f"{row['added_ms']:.2f}",
            *(form.format(row["values"][name]).replace("%", " %") for name, _, form in figures),
        ]
        for row in result["rows"]
    ]
    return title, [*heads, *(head for _, head, _ in figures)], rows

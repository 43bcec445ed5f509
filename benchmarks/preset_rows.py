"""Rows of the tables of presets: what each finds after equal minutes, and what it costs in every runtime."""

from __future__ import annotations

import math
from typing import Any

Result = dict[str, Any]
Part = tuple[str, list[str], list[list[str]]]


def presets(result: Result) -> list[Part]:
    """Give title, heads and rows of what the networks found, and of their times."""
    return [_found(result), _costs(result)]


def _found(result: Result) -> Part:
    boxes = all("box_AP" in row["detection"] for row in result["rows"])
    scores = (("box AP", "box_AP"), ("OKS-AP (σ 0.05)", "AP"), ("objects found", "found_share")) if boxes else ()
    rows = []
    for row in result["rows"]:
        error = [] if boxes else [f"{100 * row['nme']:.2f} %"]
        rows.append(
            [
                f"`{row['name']}`",
                f"{row['backbone']}, {_channels(row['decoder_channels'])}",
                _size(row["input"]),
                f"{row['parameters'] / 1e6:.2f}",
                f"{row['images_per_second']:.1f}",
                f"{row['epochs']:.1f}",
                *(f"{100 * row['detection'][key]:.1f} %" for _, key in scores),
                *error,
                f"{row['median_px']:.2f}",
                f"{row['p90_px']:.2f}",
            ]
        )
    title = (
        f"{result['data']}, after {result['minutes']:g} minutes of training each, from random weights, on "
        f"{result['images']} test images:"
    )
    head = ["preset", "backbone, decoder", "input", "10⁶ parameters", "images/s", "passes", *(label for label, _ in scores)]
    return title, [*head, *([] if boxes else ["NME (√box area)"]), "median px", "p90 px"], rows


def _costs(result: Result) -> Part:
    names = [own["form"] for own in result["rows"][0]["forms"]]
    rows = []
    for row in result["rows"]:
        own = row["forms"]
        sizes = " / ".join(f"{one['mib']:.1f}" for one in own if one["form"] in ("ONNX Runtime fp32", "OpenVINO int8"))
        rows.append([f"`{row['name']}`", f"{row['gflop']:.2f}", *(_cost(one) for one in own), sizes])
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    title = (
        f"ms an image of these networks, one at a time, {threads}, decoding included; in brackets the largest relative loss of "
        "a figure on the test images against PyTorch fp32, where it is 0.05 % or more:"
    )
    return title, ["preset", "GFLOP", *names, "MiB, fp32 .onnx / int8 .xml"], rows


def _cost(one: dict[str, Any]) -> str:
    worst = max(one["relative_loss"].values(), default=math.nan)
    shown = f" ({100 * worst:.1f} %)" if worst >= 5e-4 else ""
    return f"{one['median_ms']:.2f}{shown}"


def _channels(channels: list[int]) -> str:
    return f"{len(channels)} × {channels[0]}" if len(set(channels)) == 1 else "-".join(map(str, channels))


def _size(size: list[int]) -> str:
    height, width = size
    return f"{height}²" if height == width else f"{width}×{height}"

"""Rows of the tables of the race: equal minutes, how soon dekey is as good as each peer ends, memory, speed, size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from detector_rows import number, percent

Result = dict[str, Any]
Group = tuple[tuple[Any, ...], list[Result]]

DEKEY = "dekey"
SHORT_MINUTES = 10
SHORT_HEAD = ("data", "method", "minutes", "box AP", "OKS-AP (σ 0.05)", "median px", "objects found", "ms an image")


def can_race(result: Result) -> bool:
    """Say whether a result of `accuracy` carries figures on held-out images by which times can be compared.

    dekey with other settings than its defaults is no peer.
    """
    return "box_AP" in result["details"].get("held_out", {}) and not result["method"].startswith(f"{DEKEY}, ")


def race(results: Sequence[Result]) -> tuple[Sequence[str], list[list[str]]]:
    """Give heads and a row for each data set, CPU, cores, minutes, method and input; seeds are averaged."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        machine = result["machine"]
        where = (result["data"], machine["cpu"], machine["cores"], result["minutes"])
        groups.setdefault((*where, result["method"], result["input_size"]), []).append(result)
    rows = []
    for key, own in sorted(groups.items(), key=lambda item: (*item[0][:4], mean_detection(item[1], "box_AP"), *item[0][4:])):
        data, cpu, cores, minutes, method, side = key
        rivals = [list(each) for other, each in groups.items() if other[:3] == key[:3] and other[4] == DEKEY]
        best = mean_of([best_after(result["details"]["curve"]) for result in own])
        level = None if method == DEKEY else as_good_after(own, rivals)
        rows.append(
            [
                data,
                method,
                f"{cpu}, {cores}",
                f"{minutes:g}",
                str(side),
                percent(mean_detection(own, "box_AP")),
                percent(mean_detection(own, "AP")),
                number(statistics.fmean(result["median_px"] for result in own)),
                percent(mean_detection(own, "found_share")),
                percent(mean_of([result["details"]["held_out"].get("box_AP") for result in own])),
                clock(best),
                "" if method == DEKEY else clock(level),
                fastest(own),
                number(mean_of([result["details"].get("peak_memory_mib") for result in own]), 0),
                str(len(own)),
            ]
        )
    head = ["data", "method", "CPU, cores", "minutes", "input", "box AP", "OKS-AP (σ 0.05)", "median px", "objects found"]
    head += ["held-out box AP", "its best after", "dekey as good after", "ms an image", "memory, MiB", "seeds"]
    return head, rows


def races(results: Sequence[Result]) -> list[Result]:
    """Choose the results that belong into the table of the race."""
    return [result for result in results if can_race(result)]


def short_races(results: Sequence[Result]) -> list[Result]:
    """Choose the races of few minutes on the machine that was asked last."""
    own = [result for result in races(results) if result["minutes"] <= SHORT_MINUTES]
    last = max(own, key=lambda result: result["date"], default=None)
    return [result for result in own if last is not None and is_of(result["machine"], last["machine"])]


def short(results: Sequence[Result]) -> tuple[Sequence[str], list[list[str]]]:
    """Give heads and rows of the race with the few columns that a reader in a hurry asks for."""
    head, rows = race(results)
    chosen = [head.index(name) for name in SHORT_HEAD]
    return SHORT_HEAD, [[row[column] for column in chosen] for row in rows]


def is_of(machine: Result, other: Result) -> bool:
    """Say whether two descriptions are of the same CPU and as many cores."""
    return all(machine[key] == other[key] for key in ("cpu", "cores"))


def as_good_after(peers: Sequence[Result], rivals: Sequence[Sequence[Result]]) -> float | None:
    """Give the seconds after which dekey's held-out figures were no worse than a peer's last ones; None if they never were.

    Box AP has to be as high and, where the peer has one, the median error as low, at the same look, on the same held-out
    images. Every dekey run of a group (seeds of one duration) has to get there; of several groups the quickest counts.

    Args:
        peers: runs of the peer that differ in the seed alone.
        rivals: dekey's runs on the same data and machine, a group for each duration and input.
    """
    goal = [result["details"]["held_out"] for result in peers]
    box_precision = statistics.fmean(each["box_AP"] for each in goal)
    error = mean_of([each.get("median_px") for each in goal])
    reached = []
    for group in rivals:
        fair = [run for run in group if all(same_images(run["details"]["held_out"], each) for each in goal)]
        times = [first_reach(run["details"]["curve"], box_precision, error) for run in fair]
        if times and None not in times:
            reached.append(mean_of(times))
    return min((time for time in reached if time is not None), default=None)


def same_images(one: Result, other: Result) -> bool:
    """Say whether two figures were taken on the same held-out images."""
    return all(one[name] == other[name] for name in ("images", "part"))


def first_reach(curve: Sequence[Sequence[float | None]], box_precision: float, error: float | None) -> float | None:
    """Give the seconds of the first look whose box AP is as high and whose median error is as low; None if there is none."""
    for seconds, own_precision, own_error in curve:
        good = own_precision is not None and own_precision >= box_precision
        if good and (error is None or (own_error is not None and own_error <= error)):
            return seconds
    return None


def best_after(curve: Sequence[Sequence[float | None]]) -> float | None:
    """Give the seconds of the first look with the greatest box AP, by the method's own measure."""
    known = [(look[1], -(look[0] or 0.0)) for look in curve if look[1] is not None]
    return -max(known)[1] if known else None


def fastest(results: Sequence[Result]) -> str:
    """Write the shortest time an image and the runtime that took it; a dash where none was measured."""
    times: dict[str, list[float]] = {}
    for result in results:
        for runtime, value in result["details"].get("ms_per_image", {}).items():
            times.setdefault(runtime, []).append(value)
    if not times:
        return "–"
    value, runtime = min((statistics.fmean(own), runtime) for runtime, own in times.items())
    return f"{value:.1f} ({runtime})"


def mean_detection(results: Sequence[Result], name: str) -> float | None:
    """Average a figure of the test split; None where a run lacks it."""
    return mean_of([result["detection"].get(name) for result in results])


def mean_of(values: Sequence[float | None]) -> float | None:
    """Average; None where a value is missing."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def clock(seconds: float | None) -> str:
    """Write seconds as minutes; "never" where there are none."""
    return "never" if seconds is None else f"{seconds / 60:.1f} min"


def install_size(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each environment."""
    rows = [
        [
            row["name"],
            f"`{row['install']}`",
            f"{row['mib']:,}",
            f"{row['mib'] - row['accelerator_mib']:,}",
            str(row["packages"]),
        ]
        for row in sorted(result["rows"], key=lambda row: row["mib"])
    ]
    return "Each in a fresh environment of Python 3.11:", ["", "installed", "MiB", "without CUDA and Triton", "packages"], rows

"""Rows of the tables about detectors: occlusion, small objects, several data sets in one model, smaller models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]
Row = dict[str, Any]


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share in percent, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def figures(row: Row) -> list[str]:
    """Give the cells that every evaluation of a detector has; their heads are `FIGURES`."""
    return [
        percent(row["box_AP"]),
        percent(row["AP"]),
        number(row["median_px"]),
        number(row["p90_px"]),
        percent(row["found_share"]),
        number(row["extra_found_per_image"]),
    ]


FIGURES = ("box AP", "OKS-AP (σ 0.05)", "median px", "p90 px", "objects found", "invented per image")


def occlusion(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each covered share, both methods in it."""
    title = (
        f"{result['data']}, {result['minutes']:g} minutes each; {result['images']} test images, painted over "
        f"{result['repeats']} times at each share:"
    )
    head = ["covered"]
    for name in ("with", "without"):
        head += [f"{name}: found", "median px, seen", "median px, covered", "p90 px, covered", "AP of *occluded*"]
    head += ["occluded keypoints"]
    rows = []
    for row in result["rows"]:
        cells = [percent(row["share"], 0)]
        for name in ("with", "without"):
            own = row[name]
            cells += [
                percent(own["found_share"]),
                number(own["uncovered_median_px"]),
                number(own["covered_median_px"]),
                number(own["covered_p90_px"]),
                percent(own["occluded_AP"]),
            ]
        rows.append([*cells, percent(row["with"]["occluded_rate"])])
    return title, head, rows


def small_objects(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each way of looking."""
    minutes = "a given run" if result["minutes"] is None else f"{result['minutes']:g} minutes each"
    changes = f", {', '.join(result['set'])}" if result["set"] else ""
    title = f"{result['data']}, {minutes}{changes}; {result['images']} test images with {result['objects']} objects:"
    rows = []
    for row in result["rows"]:
        looks = f", {row['tiles']} px, overlap {100 * row['overlap']:.0f} %" if "tiles" in row else ""
        rows.append([row["method"] + looks, *figures(row), f"{row['ms_an_image']:.0f}"])
    return title, ["seen", *FIGURES, "ms an image, torch"], rows


def merged(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and two rows for each data set: the merged model's and its own model's."""
    confused = result["confusions"]
    title = (
        f"One model of {len(result['rows'])} data sets, {result['minutes']:g} minutes, against one for each, "
        f"{result['minutes']:g} minutes each. The merged model took {confused['wrong_class']} found objects of all test images "
        f"for one of another class ({percent(confused['wrong_class_share'], 2)}):"
    )
    rows = []
    for row in result["rows"]:
        rows += [[row["data"], label, *figures(row[kind])] for kind, label in (("merged", "all in one"), ("single", "its own"))]
    return title, ["data", "model", *FIGURES], rows


def shrink(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each way to a smaller model, the larger one first."""
    at_once = "all trained at once on the same cores" if result["together"] else "trained one after another"
    title = f"{result['data']}, {result['minutes']:g} minutes each, {at_once}; ONNX Runtime fp32, {result['threads']} thread:"
    rows = []
    for row in result["rows"]:
        values = row["values"]
        rows.append(
            [
                row["name"],
                percent(values["box_AP"]),
                percent(values["AP"]),
                number(values["median_px"]),
                number(values["p90_px"]),
                percent(values["found_share"]),
                number(row["median_ms"]),
                f"{row['parameters'] / 1e6:.2f}",
                number(row["megabytes"], 1),
                number(row["epochs"], 1),
                number(row["cpu_seconds"], 0),
            ]
        )
    head = ["model", *FIGURES[:5], "ms an image", "parameters, millions", "ONNX file, MB", "epochs", "seconds of a core"]
    return title, head, rows


def ablation(result: Result) -> tuple[str, Sequence[str], list[list[str]]]:
    """Give title, heads and a row for each variant: means over the seeds, the default first."""
    at_once = "all of a seed at once on the same cores" if result["together"] else "one after another"
    seeds = len(result["seeds"])
    seen = "one seed" if seeds == 1 else f"means over {seeds} seeds"
    title = f"{result['data']}, {result['minutes']:g} minutes each, {at_once}; {seen}:"

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    rows = []
    for row in result["rows"]:
        found = {name: mean([run["values"][name] for run in row["runs"]]) for name in row["runs"][0]["values"]}
        cost = {name: mean([run[name] for run in row["runs"]]) for name in ("epochs", "cpu_seconds")}
        medians = [run["values"]["median_px"] for run in row["runs"]]
        spread = f" ({number(min(medians))} to {number(max(medians))})" if seeds > 1 and None not in medians else ""
        rows.append(
            [
                row["name"] + (f", `{row['set'][0]}`" if len(row["set"]) == 1 else ""),
                percent(found["box_AP"]),
                percent(found["AP"]),
                percent(found["nme"], 2),
                number(found["median_px"]) + spread,
                number(found["p90_px"]),
                number(cost["epochs"], 1),
                number(cost["cpu_seconds"], 0),
            ]
        )
    head = ["training", "box AP", "OKS-AP (σ 0.05)", "NME", "median px", "p90 px", "epochs", "seconds of a core"]
    return title, head, rows


SIZES = "dekey, run.batch_size="


def batch_runs(results: Sequence[Result]) -> list[Result]:
    """Choose dekey's runs of the same data, minutes and machine with several numbers of scenes a step, in the table's order.

    Raises:
        ValueError: if two results differ in nothing but the seed, which a mean would have to be made of.
    """
    groups: dict[tuple[str, float, int, str], dict[int, Result]] = {}
    for result in results:
        method, machine, size = result["method"], result["machine"], result["details"].get("batch_size")
        alone = method == "dekey" or (method.startswith(SIZES) and method[len(SIZES) :].isdigit())
        if not alone or size is None:
            continue
        own = groups.setdefault((result["data"], result["minutes"], machine["cores"], machine["cpu"]), {})
        if size in own:
            raise ValueError(f"two results of {result['data']} have {size} scenes a step, expected one")
        own[size] = result
    return [own[size] for _, own in sorted(groups.items()) if len(own) > 1 for size in sorted(own)]


def batch_sizes(results: Sequence[Result]) -> tuple[Sequence[str], list[list[str]]]:
    """Give heads and a row for each number of scenes a step; the CPU in a column where there are several."""
    several = len({result["machine"]["cpu"] for result in results}) > 1
    rows = []
    for result in results:
        found, machine = result["detection"], result["machine"]
        rows.append(
            [
                result["data"],
                *([machine["cpu"]] if several else []),
                f"{result['minutes']:g}",
                str(machine["cores"]),
                str(result["details"]["batch_size"]),
                number(result["epochs"], 1),
                percent(found["box_AP"]),
                percent(found["AP"]),
                percent(result["nme"], 2),
                number(result["median_px"]),
                number(result["p90_px"]),
            ]
        )
    head = ["data", *(["CPU"] if several else []), "minutes", "cores", "scenes a step", "epochs", "box AP", "OKS-AP (σ 0.05)"]
    return [*head, "NME", "median px", "p90 px"], rows

"""The rows of each table that `tables.py` writes: results in, Markdown out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import article_rows
import detector_rows
import pipeline_rows
import preset_rows
import race_rows
import runtime_rows

Result = dict[str, Any]

# The scripts measure OKS-AP at one sigma, since nobody stated any for the data; a row of another one shows none.
SIGMA = 0.05
DECODER_TIMES = (
    ("torch, forward", "torch_forward_ms"),
    ("ONNX Runtime", "onnxruntime_ms"),
    ("torch, forward and backward", "torch_forward_backward_ms"),
)


def accuracy(results: Sequence[Result]) -> str:
    """Make a row for each method, duration, input, CPU and cores; runs that differ in the seed share it, with their range."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        machine = result["machine"]
        key = (result["minutes"], result["input_size"], input_of(result), machine["cpu"], machine["cores"], result["method"])
        groups.setdefault(key, []).append(result)
    several_cpus = len({key[3] for key in groups}) > 1

    def mean(own: Sequence[Result], column: str) -> float:
        return statistics.fmean(result[column] for result in own)

    rows = []
    for key, own in sorted(groups.items(), key=lambda item: (*item[0][:5], -mean(item[1], "nme"), item[0][5])):
        minutes, _, shown, cpu, cores, method = key
        rows.append(
            [
                method,
                *([cpu] if several_cpus else []),
                str(cores),
                f"{minutes:g}",
                shown,
                f"{mean(own, 'epochs'):.1f}",
                f"{mean(own, 'images_per_second'):.1f}",
                with_range([100 * result["nme"] for result in own], " %"),
                with_range([result["median_px"] for result in own]),
                with_range([result["p90_px"] for result in own]),
                str(len(own)),
            ]
        )
    head = ["method", *(["CPU"] if several_cpus else []), "cores", "minutes", "input", "epochs", "images/s"]
    return markdown([*head, "NME (√box area)", "median px", "p90 px", "seeds"], rows)


def detection(results: Sequence[Result]) -> str:
    """Make a row for each way to find objects: data set, cores, duration, CPU, method and input; see `accuracy`."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        machine = result["machine"]
        key = (result["data"], machine["cores"], result["minutes"], machine["cpu"], result["method"], input_of(result))
        groups.setdefault(key, []).append(result)
    several_cpus = len({key[3] for key in groups}) > 1

    def column(own: Sequence[Result], name: str, unit: str = " %", digits: int = 1) -> str:
        factor = 100 if unit else 1
        values = [factor * result["detection"][name] for result in own if name in result["detection"]]
        return with_range(values, unit, digits=digits) if len(values) == len(own) else "–"

    def box_precision(item: tuple[tuple[Any, ...], list[Result]]) -> float:
        return statistics.fmean(result["detection"]["box_AP"] for result in item[1])

    rows = []
    for key, own in sorted(groups.items(), key=lambda item: (*item[0][:4], box_precision(item), *item[0][4:])):
        data, cores, minutes, cpu, method, shown = key
        # OKS of other sigmas is another number.
        comparable = all(result["details"].get("sigmas", SIGMA) == SIGMA for result in own)
        rows.append(
            [
                data,
                method,
                *([cpu] if several_cpus else []),
                str(cores),
                f"{minutes:g}",
                shown,
                f"{statistics.fmean(result['images_per_second'] for result in own):.1f}",
                column(own, "box_AP"),
                column(own, "AP") if comparable else "–",
                with_range([result["median_px"] for result in own]),
                with_range([result["p90_px"] for result in own]),
                column(own, "found_share"),
                column(own, "extra_found_per_image", "", 2),
                str(len(own)),
            ]
        )
    head = [
        "data",
        "method",
        *(["CPU"] if several_cpus else []),
        "cores",
        "minutes",
        "input",
        "images/s",
        "box AP",
        f"OKS-AP (σ {SIGMA:g})",
    ]
    return markdown([*head, "median px", "p90 px", "objects found", "invented per image", "seeds"], rows, words=2)


def finds_boxes(result: Result) -> bool:
    return "box_AP" in result.get("detection", {})


def input_of(result: Result) -> str:
    """Give the size of the network's input as width × height, of a square its side squared."""
    height, width = result["details"].get("input", [result["input_size"]] * 2)
    return f"{height}²" if height == width else f"{width}×{height}"


def decoders(result: Result) -> str:
    """Make a table of the cost of each decoder, and one of what it found after training if it was trained."""
    title = (
        f"On features of {result['backbone']} at {result['input_size'][0]}×{result['input_size'][1]} px, layers of "
        f"{', '.join(map(str, result['decoder_channels']))} channels, {result['threads']} threads; ms by medians over the "
        f"rounds, and how many times those of `{result['rows'][0]['name']}`, by ratios within a round:"
    )
    head = ["decoder", "parameters", "batch", *(label for label, _ in DECODER_TIMES)]
    rows = []
    for row in result["rows"]:
        for own, first in zip(row["times"], result["rows"][0]["times"], strict=True):
            times = []
            for _, key in DECODER_TIMES:
                ratio = statistics.median(one / other for one, other in zip(own[key], first[key], strict=True))
                times.append(f"{statistics.median(own[key]):.2f} ({ratio:.2f}×)")
            rows.append([f"`{row['name']}`", f"{row['parameters']:,}", str(own["batch"]), *times])
    parts = [title, markdown(head, rows)]
    if all(row.get("accuracy") for row in result["rows"]):
        minutes = result["rows"][0]["accuracy"][0]["minutes"]
        parts += [f"After {minutes:g} minutes of training on {result['data']}:", _decoders_found(result["rows"])]
    return "\n\n".join(parts)


def _decoders_found(rows: Sequence[Result]) -> str:
    """Make a row for each trained decoder; box AP where the model found the objects itself."""
    boxes = all(finds_boxes(run) for row in rows for run in row["accuracy"])
    table_rows = []
    for row in rows:
        runs = row["accuracy"]
        cells = [
            f"{statistics.fmean(run['images_per_second'] for run in runs):.1f}",
            *([with_range([100 * run["detection"]["box_AP"] for run in runs], " %", digits=1)] if boxes else []),
            with_range([100 * run["nme"] for run in runs], " %"),
            with_range([run["median_px"] for run in runs]),
            with_range([run["p90_px"] for run in runs]),
            str(len(runs)),
        ]
        table_rows.append([f"`{row['name']}`", *cells])
    head = ["decoder", "images/s", *(["box AP"] if boxes else []), "NME (√box area)", "median px", "p90 px", "seeds"]
    return markdown(head, table_rows)


def throughput(result: Result) -> str:
    """Make a row for each training loop; the ratio is to the first, by medians over the rounds."""
    medians = [statistics.median(row["images_per_second"]) for row in result["rows"]]
    rows = [
        [
            row["loop"],
            with_range(row["images_per_second"], middle=median, digits=1),
            f"{median / medians[0]:.2f}×",
            f"{100 * statistics.median(row['waiting']):.1f} %",
            str(len(row["images_per_second"])),
        ]
        for row, median in zip(result["rows"], medians, strict=True)
    ]
    title = f"{result['data']}, {result['network']}, input {result['input_size']} px, batch {result['batch_size']}:"
    return f"{title}\n\n{markdown(['training loop', 'images/s', 'ratio', 'waiting for data', 'rounds'], rows)}"


def plain_loop(result: Result) -> str:
    """Make the one row of the plain loop on its own."""
    row = [
        result["data"],
        f"{result['input_size']}²",
        str(result["batch_size"]),
        str(result["workers"]),
        f"{result['images_per_second']:.1f}",
        f"{100 * result['waiting']:.1f} %",
    ]
    return markdown(["data", "input", "batch", "workers", "images/s", "waiting for data"], [row])


def open_million(result: Result) -> str:
    """Make the one row of the large annotation file."""
    row = [
        f"{result['annotations']:,}",
        f"{result['images']:,}",
        str(result["keypoints"]),
        f"{result['file_mib']:.0f} MiB",
        f"{result['seconds']:.1f}",
        f"{result['cpu_seconds']:.1f}",
        f"{result['machine']['load_before']:g}",
        f"{result['peak_rss_mib']:.0f} MiB",
        f"{result['bytes_per_annotation']}",
    ]
    # On a busy machine the wall clock is the others' too; what the reading itself took is the CPU's seconds.
    head = ["annotations", "images", "keypoints", "file", "seconds", "CPU seconds", "load before", "peak memory"]
    head.append("bytes kept per annotation")
    return markdown(head, [row])


def planted_faults(result: Result) -> str:
    """Make a row for each kind of planted fault; a false finding cannot be told apart among the rows of one kind."""
    rows = []
    for name, row in result["kinds"].items():
        false = row.get("kind_false", 0) - row.get("kind_false_at_other_faults", 0)
        flagged = row.get("kind_true", 0) + false
        precision = f"{100 * row.get('kind_true', 0) / flagged:.0f} %" if flagged else "–"
        found, named = (f"{100 * row.get(key, 0) / row['planted']:.0f} %" for key in ("found", "found_as_any"))
        rows.append([name, str(row["planted"]), found, named, precision])
    untouched = ", ".join(f"{count} {kind}" for kind, count in sorted(result["untouched"].items())) or "nothing"
    head = ["planted", "number", "found", "found as any kind", "precision of the kind"]
    table = markdown(head, rows)
    return f"{result['data']}, {result['objects']:,} objects; flagged in the untouched labels: {untouched}:\n\n{table}"


def start_up(result: Result) -> str:
    """Make a row for each command."""
    rows = [[f"`{row['command']}`", f"{row['best_s']:.3f}", f"{row['median_s']:.3f}"] for row in result["rows"]]
    return markdown(["command", f"best of {result['rounds']}, s", "median, s"], rows)


def evaluate_speed(result: Result) -> str:
    """Make the one row of the metrics' speed."""
    row = [f"{result['images']:,}", str(result["objects_per_image"]), str(result["keypoints"]), f"{result['seconds']:.1f}"]
    return markdown(["images", "objects each", "keypoints", "seconds"], [row])


def classification(result: Result) -> str:
    """Make a row for the detector and one for the answer without looking, with what the labels are below."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %"

    def pixels(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    rows = []
    for name, row in result["rows"].items():
        with_class, place, named = row["with_class"], row["place"], row["class"]
        cells = [percent(with_class[key]) for key in ("box_AP", "box_AP50")]
        cells += [percent(place[key]) for key in ("box_AP", "box_AP50", "found_share")]
        cells += [pixels(place[key]) for key in ("median_px", "p90_px")]
        rows.append([name, *cells, percent(named["share"])])
    head = [
        "answer", "box AP", "box AP50", "box AP, any class", "box AP50, any class", "objects found", "median px", "p90 px",
        "class right",
    ]  # fmt: skip
    train, test = result["labels"]["train"], result["labels"]["test"]
    title = (
        f"{result['data']}: labels kept of {train['kept']} of {train['pictures']} training and {test['kept']} of "
        f"{test['pictures']} test pictures; {result['minutes']:g} minutes of training on {train['scenes']['count']} scenes "
        f"({result['details']['epochs']:.2g} passes over them), "
        f"measured on {test['scenes']['count']} scenes with {test['scenes']['objects']} objects; {result['classes']} classes, "
        f"load of the machine before the start {result['machine']['load_before']}:"
    )
    return f"{title}\n\n{markdown(head, rows)}"


def with_range(values: Sequence[float], unit: str = "", middle: float | None = None, digits: int = 2) -> str:
    """Write the mean of values, or `middle`, and behind it the least and the greatest if there are several."""
    shown = f"{statistics.fmean(values) if middle is None else middle:.{digits}f}{unit}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Write a table whose first columns, `words` of them, hold words and the others numbers."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def titled(make: Callable[[Result], tuple[str, Sequence[str], list[list[str]]]]) -> Callable[[Result], str]:
    """Turn a maker of title, heads and rows into one of Markdown."""

    def write(result: Result) -> str:
        title, head, rows = make(result)
        return f"{title}\n\n{markdown(head, rows)}"

    return write


def presets(result: Result) -> str:
    """Make a table of what each preset found and one of what it costs."""
    return "\n\n".join(f"{title}\n\n{markdown(head, rows, words=2)}" for title, head, rows in preset_rows.presets(result))


def race(results: Sequence[Result]) -> str:
    """Make a row for each method of the race."""
    return markdown(*race_rows.race(results), words=3)


def race_short(results: Sequence[Result]) -> str:
    """Make a row for each method of a race of few minutes, with few columns."""
    return markdown(*race_rows.short(results), words=2)


def batch_sizes(results: Sequence[Result]) -> str:
    """Make a row for each number of scenes a step."""
    return markdown(*detector_rows.batch_sizes(results))


# The maker of a table of many results, and what chooses them among the results of detectors.
GATHERED: dict[str, tuple[Callable[[Sequence[Result]], str], Callable[[Sequence[Result]], list[Result]]]] = {
    "batch_sizes": (batch_sizes, detector_rows.batch_runs),
    "detection": (detection, list),
    "race": (race, race_rows.races),
    "race_short": (race_short, race_rows.short_races),
}
TABLES: dict[str, Callable[[Result], str]] = {
    "ablation": titled(detector_rows.ablation),
    "classification": classification,
    "decoders": decoders,
    "evaluate_speed": evaluate_speed,
    "install_size": titled(race_rows.install_size),
    "gpu": titled(runtime_rows.gpu),
    "keras_article": titled(article_rows.keras_article),
    "merged": titled(detector_rows.merged),
    "occlusion": titled(detector_rows.occlusion),
    "open_million": open_million,
    "pipeline": titled(pipeline_rows.pipeline),
    "plain_loop": plain_loop,
    "runtimes": titled(runtime_rows.runtimes),
    "planted_faults": planted_faults,
    "presets": presets,
    "shrink": titled(detector_rows.shrink),
    "small_objects": titled(detector_rows.small_objects),
    "start_up": start_up,
    "throughput": throughput,
}

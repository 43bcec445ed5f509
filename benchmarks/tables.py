"""Make the Markdown tables of README.md and docs/ from benchmarks/results/*.json.

A page asks for a table by two comments, and what stands between them is replaced::

    <!-- results:start_up -->
    <!-- /results -->

`python benchmarks/tables.py` writes the pages, `--check` changes nothing and leaves with 1 if one is stale. Known names
are the keys of `TABLES`, and ``accuracy-DATA`` for every data set. What has no result yet says "not measured".
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_OPEN = re.compile(r"^<!-- results:(?P<name>\S+) -->$", re.MULTILINE)
_CLOSE = "<!-- /results -->"

Result = dict[str, Any]


def load(folder: Path) -> list[Result]:
    """Read every result of a folder, in the order of the file names; none if the folder does not exist.

    Raises:
        SystemExit: if a file is no JSON object with the key ``benchmark``.
    """
    results = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SystemExit(f"{path.name} is not JSON ({error}); measure it again") from error
        if not isinstance(result, dict) or "benchmark" not in result:
            raise SystemExit(f"{path.name} does not say which benchmark it belongs to; measure it again")
        results.append(result)
    return results


def table(name: str, results: Sequence[Result]) -> str:
    """Make one table, with the machine below it, as Markdown text without a final line break.

    Raises:
        SystemExit: if no table has this name.
    """
    if name.startswith("accuracy-"):
        own = [result for result in results if result["benchmark"] == "accuracy" and f"accuracy-{result['data']}" == name]
        parts = [accuracy(own), footer(own)] if own else []
    elif name in TABLES:
        own = [result for result in results if result["benchmark"] == name]
        parts = [part for result in own for part in (TABLES[name](result), footer([result]))]
    else:
        raise SystemExit(f"there is no table '{name}'; known: {', '.join(TABLES)}, accuracy-DATA")
    return "\n\n".join(parts) if parts else "not measured"


def accuracy(results: Sequence[Result]) -> str:
    """Make a row for each method, duration, input and CPU; runs that differ in the seed are averaged, with their range."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        key = (result["minutes"], result["input_size"], result["machine"]["cpu"], result["method"])
        groups.setdefault(key, []).append(result)
    several_cpus = len({key[2] for key in groups}) > 1

    def mean(own: Sequence[Result], column: str) -> float:
        return statistics.fmean(result[column] for result in own)

    rows = []
    for key, own in sorted(groups.items(), key=lambda item: (*item[0][:3], -mean(item[1], "nme"), item[0][3])):
        minutes, input_size, cpu, method = key
        rows.append(
            [
                method,
                *([cpu] if several_cpus else []),
                f"{minutes:g}",
                f"{input_size}²",
                f"{mean(own, 'epochs'):.1f}",
                f"{mean(own, 'images_per_second'):.1f}",
                _with_range([100 * result["nme"] for result in own], " %"),
                _with_range([result["median_px"] for result in own]),
                _with_range([result["p90_px"] for result in own]),
                str(len(own)),
            ]
        )
    head = ["method", *(["CPU"] if several_cpus else []), "minutes", "input", "epochs", "images/s"]
    return _markdown([*head, "NME (√box area)", "median px", "p90 px", "seeds"], rows)


def throughput(result: Result) -> str:
    """Make a row for each training loop; the ratio is to the first, by medians over the rounds."""
    medians = [statistics.median(row["images_per_second"]) for row in result["rows"]]
    rows = [
        [
            row["loop"],
            _with_range(row["images_per_second"], middle=median, digits=1),
            f"{median / medians[0]:.2f}×",
            f"{100 * statistics.median(row['waiting']):.1f} %",
            str(len(row["images_per_second"])),
        ]
        for row, median in zip(result["rows"], medians, strict=True)
    ]
    title = f"{result['data']}, input {result['input_size']} px, batch {result['batch_size']}:"
    return f"{title}\n\n{_markdown(['training loop', 'images/s', 'ratio', 'waiting for data', 'rounds'], rows)}"


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
    return _markdown(["data", "input", "batch", "workers", "images/s", "waiting for data"], [row])


def open_million(result: Result) -> str:
    """Make the one row of the large annotation file."""
    row = [
        f"{result['annotations']:,}",
        f"{result['images']:,}",
        str(result["keypoints"]),
        f"{result['file_mib']:.0f} MiB",
        f"{result['seconds']:.1f}",
        f"{result['peak_rss_mib']:.0f} MiB",
        f"{result['bytes_per_annotation']}",
    ]
    head = ["annotations", "images", "keypoints", "file", "seconds", "peak memory", "bytes kept per annotation"]
    return _markdown(head, [row])


def start_up(result: Result) -> str:
    """Make a row for each command."""
    rows = [[f"`{row['command']}`", f"{row['best_s']:.3f}", f"{row['median_s']:.3f}"] for row in result["rows"]]
    return _markdown(["command", f"best of {result['rounds']}, s", "median, s"], rows)


def evaluate_speed(result: Result) -> str:
    """Make the one row of the metrics' speed."""
    row = [f"{result['images']:,}", str(result["objects_per_image"]), str(result["keypoints"]), f"{result['seconds']:.1f}"]
    return _markdown(["images", "objects each", "keypoints", "seconds"], [row])


TABLES: dict[str, Callable[[Result], str]] = {
    "evaluate_speed": evaluate_speed,
    "open_million": open_million,
    "plain_loop": plain_loop,
    "start_up": start_up,
    "throughput": throughput,
}


def footer(results: Sequence[Result]) -> str:
    """Say on what machine, with what versions, at which commit and when; a sentence for each that differs."""
    dates: dict[str, list[str]] = {}
    for result in results:
        machine, versions, commit = result["machine"], result["versions"], result["commit"]
        flags = f" ({', '.join(machine['flags'])})" if machine["flags"] else ""
        memory = f", {machine['memory_gib']:g} GiB" if machine["memory_gib"] else ""
        named = [f"{label} {versions[key]}" for key, label in (("python", "Python"), ("torch", "torch")) if key in versions]
        state = commit["id"][:9] if commit["id"] else "unknown"
        changed = " with uncommitted changes" if commit["dirty"] else ""
        text = f"{machine['cpu']}{flags}, {machine['cores']} cores{memory}; {', '.join(named)}; commit {state}{changed}"
        dates.setdefault(text, []).append(result["date"][:10])
    sentences = []
    for text, days in dates.items():
        first, last = min(days), max(days)
        sentences.append(f"Measured on {text}; {first if first == last else f'{first} to {last}'}.")
    return "\n".join(sentences)


def filled(text: str, results: Sequence[Result]) -> str:
    """Put the tables into the text of a page.

    Raises:
        SystemExit: if a marker has no end, or names no table.
    """
    pieces, position = [], 0
    for opening in _OPEN.finditer(text):
        end = text.find(f"\n{_CLOSE}", opening.end())
        following = _OPEN.search(text, opening.end())
        if end < 0 or (following and following.start() < end):
            raise SystemExit(f"the marker '{opening.group()}' has no '{_CLOSE}' on a line below it; add it")
        pieces += [text[position : opening.end()], "\n\n", table(opening.group("name"), results), "\n"]
        position = end
    return "".join([*pieces, text[position:]])


def stale(root: Path, write: bool = False) -> list[Path]:
    """List the pages under `root` whose tables are not those of its results; with `write`, write them anew."""
    results, found = load(root / "benchmarks" / "results"), []
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if not page.is_file():
            continue
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, results)
        except SystemExit as error:
            raise SystemExit(f"{page.relative_to(root)}: {error}") from error
        if after == before:
            continue
        found.append(page)
        if write:
            _replace(page, after)
    return found


def _replace(page: Path, text: str) -> None:
    handle, part = tempfile.mkstemp(dir=page.parent, prefix=f".{page.name}-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(part).chmod(page.stat().st_mode)
        Path(part).replace(page)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _with_range(values: Sequence[float], unit: str = "", middle: float | None = None, digits: int = 2) -> str:
    shown = f"{statistics.fmean(values) if middle is None else middle:.{digits}f}{unit}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="write the tables of README.md and docs/ from benchmarks/results/*.json")
    parser.add_argument("--check", action="store_true", help="write nothing; leave with 1 if a table is stale")
    check = parser.parse_args(arguments).check
    pages = stale(root, write=not check)
    for page in pages:
        print(f"{page.relative_to(root)}: {'stale; run python benchmarks/tables.py' if check else 'written'}", file=sys.stderr)
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())

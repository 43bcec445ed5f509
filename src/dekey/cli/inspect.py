"""``dekey inspect``: schema, counts and every problem of an annotation file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dekey.cli.console import Progress, counted, printable
from dekey.cli.output import check_target
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from dekey.data import Dataset, Problem
    from dekey.data.doubts import Doubts

HELP = (
    "Show what an annotation file holds - schema, counts, sizes - every problem in it and what is doubtful: exchanged sides, "
    "misplaced keypoints, near-duplicate images; exit code 1 if there are errors."
)

# Problems of a kind that the text shows; --json shows all.
_SHOWN = 5
# Keypoints that the visibility table shows before it is cut; --json shows all.
_ROWS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", metavar="FILE", help="annotation file")
    parser.add_argument("--images", metavar="DIR", help="folder where the image names start (default: beside FILE)")
    parser.add_argument("--format", metavar="NAME", help="format of the file (default: recognised by its content)")
    parser.add_argument("--against", metavar="FILE", nargs="+", default=[], help="other parts, where no image may come again")
    parser.add_argument("--report", metavar="PAGE", help="write an HTML page with a picture of each finding")
    parser.add_argument("--quick", action="store_true", help="leave out what compares objects and images with each other")
    parser.add_argument("--decode", action="store_true", help="decode every image whole, not only its header")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Inspect the file; 1 if it has errors, else 0."""
    from dekey.data.doubts import Doubts, find_doubts
    from dekey.data.problems import find_problems
    from dekey.data.summary import summarise
    from dekey.formats import FORMATS, read, recognise

    check_target(arguments.report, "--report")
    if arguments.quick and arguments.against:
        raise DekeyError("found --quick with --against, which takes the comparison that --quick leaves out; leave one out")
    path = Path(arguments.file)
    name = arguments.format or recognise(path)
    with Progress(f"reading {path.name}"):
        dataset = read(path, format=name, images=arguments.images, problems="keep")
        others = [(str(other), read(other, images=arguments.images, problems="keep")) for other in arguments.against]
    what = "decoding images" if arguments.decode else "reading image headers"
    with Progress(what, total=len(dataset), unit="images") as progress:
        problems = find_problems(dataset, images="decode" if arguments.decode else True, progress=progress.reach)
    doubts = Doubts([], {}) if arguments.quick else _compared(find_doubts, dataset, others)
    problems += doubts.problems
    errors = sum(each.severity == "error" for each in problems)
    summary = summarise(dataset)
    if arguments.json:
        whole = {
            "file": str(path),
            "format": name,
            "schema": dataset.schema.to_dict(),
            **summary,
            "errors": errors,
            "warnings": len(problems) - errors,
            **doubts.facts,
            "problems": [asdict(each) for each in problems],
        }
        print(json.dumps(whole, indent=2, allow_nan=False))
    else:
        lines = [f"{path} · {FORMATS[name].title}", *_schema_lines(dataset), *_count_lines(summary)]
        for line in [*lines, *_keypoint_lines(summary["keypoints"]), *_fact_lines(doubts.facts)]:
            print(printable(line))
        for line in _problem_lines(problems, errors):
            print(printable(line))
    if arguments.report:
        from dekey.report.doubts import write_doubts

        with Progress(f"drawing {arguments.report}", unit="findings") as progress:
            facts = [line.strip() for line in _fact_lines(doubts.facts)[2:]]
            write_doubts(arguments.report, path.name, dataset, problems, facts, others=dict(others), progress=progress.reach)
    return 1 if errors else 0


def _compared(find_doubts: Callable[..., Doubts], dataset: Dataset, others: Sequence[tuple[str, Dataset]]) -> Doubts:
    """Run the comparisons, each kind with a progress of its own."""
    with ExitStack() as stack:
        current: list[tuple[str, Progress]] = []

        def advance(text: str, done: int, total: int) -> None:
            if not current or current[0][0] != text:
                stack.close()
                current[:] = [(text, stack.enter_context(Progress(text, total=total)))]
            current[0][1].reach(done, total)

        return find_doubts(dataset, others, progress=advance)


def _fact_lines(facts: dict[str, Any]) -> list[str]:
    if not facts:
        return []
    lines = ["", "Comparison"]
    lines += [_row("shape", f"{name}: {text}") for name, text in list(facts["shape"].items())[:8]]
    noise = facts["label_noise"]
    if "shape" in noise and noise["shape"]["px"] is not None:
        text = f"at most {noise['shape']['px']:.2g} px a coordinate (a keypoint against the others of its object)"
        lines.append(_row("label noise", text))
    if "frames" in noise:
        pairs = f"{noise['frames']['pairs']} pairs in images that look the same"
        text = f"at most {noise['frames']['px']:.2g} px a coordinate ({pairs})"
        lines.append(_row("label noise", text))
    return lines


def _schema_lines(dataset: Dataset) -> list[str]:
    schema = dataset.schema
    pairs = 0 if schema.mirror is None else sum(int(partner) > index for index, partner in enumerate(schema.mirror))
    mirror = "undecided" if schema.mirror is None else f"{pairs} left-right pair{'' if pairs == 1 else 's'}"
    if schema.sigmas is None:
        sigmas = "none stated, so OKS needs them from you"
    else:
        sigmas = f"{schema.sigmas.min():.3g} to {schema.sigmas.max():.3g}"
    classes = [
        name if own.all() else f"{name} ({int(own.sum())} of {len(own)} keypoints)"
        for name, own in zip(schema.classes, schema.present, strict=True)
    ]
    return [
        "",
        "Schema",
        _row("classes", f"{len(classes)}: {_some(classes, 8)}"),
        _row("keypoints", f"{len(schema.keypoints)}, joined by {len(schema.edges)} edges"),
        _row("mirror", f"{mirror} ({schema.mirror_note})"),
        _row("sigmas", sigmas),
    ]


def _count_lines(summary: dict[str, Any]) -> list[str]:
    per_image = [f"{count} in {images}" for count, images in summary["objects_per_image"].items()]
    objects = f"{summary['objects']:,}"
    without = [
        f"{summary[key]:,} {text}"
        for key, text in (
            ("crowds", "crowds"),
            ("objects_without_box", "without box"),
            ("objects_without_area", "without area"),
        )
        if summary[key]
    ]
    lines = [
        "",
        "Contents",
        _row("images", f"{summary['images']:,}"),
        _row("objects", objects + (f" ({', '.join(without)})" if without else "")),
        _row("objects per image", _some(per_image, 8)),
    ]
    if len(summary["objects_per_class"]) > 1:
        lines.append(_row("objects per class", _some([f"{n} {c}" for n, c in summary["objects_per_class"].items()], 8)))
    lines.append(_row("memory", _bytes(summary["bytes"])))
    sizes, boxes = summary["image_sizes"], summary["box_sizes"]
    lines += ["", f"{'Sizes':<22}{'min':>10}{'p25':>10}{'median':>10}{'p75':>10}{'max':>10}"]
    if sizes:
        lines += [_quantile_row(f"image {side} px", sizes[side]) for side in ("width", "height")]
    if boxes:
        lines += [_quantile_row(f"box {side} px", boxes[side]) for side in ("width", "height")]
        lines.append(_quantile_row("box / image, √area", boxes["share"]))
    if sizes:
        width, height = sizes["most_frequent"]
        number = sizes["distinct"]
        lines.append(
            _row("image sizes", f"all {width}x{height}" if number == 1 else f"{number} different, mostly {width}x{height}")
        )
    return lines


def _keypoint_lines(keypoints: Sequence[dict[str, Any]]) -> list[str]:
    width = min(max([len(each["name"]) for each in keypoints] + [20]), 40)
    lines = ["", f"{'Keypoints':<{width + 2}}{'visible':>10}{'occluded':>10}{'unlabelled':>12}{'labelled':>10}"]
    for each in keypoints[:_ROWS]:
        labelled = each["visible"] + each["occluded"]
        total = labelled + each["unlabelled"]
        share = f"{labelled / total:.1%}" if total else "-"
        name = each["name"] if len(each["name"]) <= width else each["name"][: width - 1] + "…"
        lines.append(f"  {name:<{width}}{each['visible']:>10,}{each['occluded']:>10,}{each['unlabelled']:>12,}{share:>10}")
    if len(keypoints) > _ROWS:
        lines.append(f"  … and {len(keypoints) - _ROWS} more (--json lists all)")
    return lines


def _problem_lines(problems: Sequence[Problem], errors: int) -> list[str]:
    from dekey.data.problem_kinds import KINDS

    if not problems:
        return ["", "Problems", "  none"]
    lines = ["", f"Problems · {counted(errors, 'error')}, {counted(len(problems) - errors, 'warning')}"]
    kinds: dict[str, list[Problem]] = {}
    for each in sorted(problems, key=lambda each: each.severity):
        kinds.setdefault(each.kind, []).append(each)
    for kind, members in kinds.items():
        lines += [
            "",
            f"  {members[0].severity} · {kind} · {len(members):,}",
            f"    {KINDS[kind].meaning}; to do: {KINDS[kind].advice}",
        ]
        for each in members[:_SHOWN]:
            where = [each.image or "", f"annotation {each.annotation_id}" if each.annotation_id is not None else ""]
            place = ", ".join(part for part in where if part)
            doubt = "" if each.doubt is None else f"doubt {each.doubt:.2f} · "
            lines.append(f"      {doubt}{place + ': ' if place else ''}{each.message}")
        if len(members) > _SHOWN:
            lines.append(f"      … and {len(members) - _SHOWN:,} more (--json lists all)")
    return lines


def _row(name: str, text: str) -> str:
    return f"  {name:<20}{text}"


def _quantile_row(name: str, values: dict[str, float]) -> str:
    return f"  {name:<20}" + "".join(f"{_short(value):>10}" for value in values.values())


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _some(parts: Iterable[str], most: int) -> str:
    listed = list(parts)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

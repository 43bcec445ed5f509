"""The kinds of mistakes of a model that finds objects by itself: how many of each, and pictures of the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dekey.data import Dataset, Instances, Schema
from dekey.errors import DekeyError
from dekey.metrics import Evaluation
from dekey.metrics.failures import FailureExample
from dekey.report import wording
from dekey.report.charts import Chart, bar_chart
from dekey.report.contents import Report
from dekey.report.pictures import Picture, counted, cut, jpeg_uri, region_around
from dekey.report.sections import Section, Table

PICTURES_A_KIND = 4
# px and bytes; 24 of these leave the rest of the page its 4 MB.
_SIDE, _BYTES = 300, 30_000
_MEANINGS = {
    "good": "at its place, similarity 0.85 or more",
    "jitter": "near its place, similarity 0.5 to 0.85",
    "inversion": "at another keypoint of the same object",
    "swap": "at a keypoint of another object",
    "miss": "at no keypoint",
}
_TITLES = {
    "missed": "Missed objects (the largest)",
    "invented": "Invented objects (the surest)",
    "miss": "Miss: at no keypoint",
    "swap": "Swap: at a keypoint of another object",
    "inversion": "Inversion: at another keypoint of the same object",
    "jitter": "Jitter: near its place",
}


class Kind(NamedTuple):
    """The pictures of one kind of mistake."""

    title: str
    pictures: Sequence[Picture]


class Mistakes(NamedTuple):
    """Counts and pictures."""

    section: Section
    kinds: Sequence[Kind]


def mistakes(report: Report) -> Mistakes | None:
    """Give the kinds of mistakes, or None for a model that is given its objects or was not measured."""
    evaluation = report.evaluation
    if evaluation is None or not evaluation.boxes or evaluation.failures is None:
        return None
    failures = evaluation.failures
    total = sum(failures.keypoints.values())
    sentences = [wording.sentence(failures.note)]
    charts = []
    if total:
        shares = np.array([100 * count / total for count in failures.keypoints.values()])
        nothing = np.full(len(shares), np.nan)
        remarks = [f"n = {count:,}" for count in failures.keypoints.values()]
        svg = bar_chart("share of the keypoints, %", list(failures.keypoints), shares, nothing, None, remarks)
        charts.append(Chart(svg, f"The {total:,} labelled keypoints of the objects that were found."))
    else:
        sentences.append("No labelled keypoint belongs to an object that was found, so there are no kinds to count.")
    keypoint_rows = [
        (f"{kind}: {_MEANINGS[kind]}", f"{count:,}", wording.share(count / total) if total else wording.DASH)
        for kind, count in failures.keypoints.items()
    ]
    object_rows = [(f"objects {kind}", f"{count:,}") for kind, count in failures.objects.items()]
    tables = [Table("Keypoints", ("", "keypoints", "share"), keypoint_rows), Table("Objects", ("", "objects"), object_rows)]
    kinds = []
    if report.found and evaluation.errors.shape == report.held_out.instances.visibility.shape:
        for kind, title in _TITLES.items():
            chosen = _one_an_image(failures.examples.get(kind, ()))
            if chosen:
                pictures = [_picture(report.held_out, report.found[one.image], evaluation, one, kind) for one in chosen]
                kinds.append(Kind(title, pictures))
    return Mistakes(Section(charts, tables, sentences), kinds)


def _one_an_image(examples: Sequence[FailureExample]) -> list[FailureExample]:
    """Choose the worst, of other images as long as there are any."""
    first = {example.image: example for example in reversed(examples)}
    leading = [example for example in examples if first[example.image] is example]
    rest = [example for example in examples if first[example.image] is not example]
    return (leading + rest)[:PICTURES_A_KIND]


def _picture(held_out: Dataset, found: Instances, evaluation: Evaluation, example: FailureExample, kind: str) -> Picture:
    """Draw one mistake and the objects concerned."""
    sample = held_out[example.image]
    truth, ringed, nobody = sample.instances, None, -np.ones(1, dtype=np.int64)
    caption = _caption(found, truth, example, kind, held_out.schema)
    try:
        image = sample.read_image()
    except DekeyError as error:
        return Picture("", sample.name, str(error))
    if kind == "invented":
        shown = found[[example.found]]
        partners = np.full(len(truth), -1, dtype=np.int64)
        region = region_around(shown, None, sample.size)
    elif kind == "missed":
        shown, partners = counted(held_out, found, evaluation, example.image)
        region = region_around(truth[[example.truth]], None, sample.size)
    else:
        shown, partners = found[[example.found]], np.zeros(1, dtype=np.int64)
        ringed = shown.keypoints[:, example.keypoint]
        region = region_around(truth[[example.truth]], shown, sample.size)
        concerned = [example.truth]
        if example.near_truth not in (-1, example.truth):
            concerned.append(example.near_truth)
            partners = np.concatenate([partners, nobody])
        truth = truth[concerned]
    drawn = cut(image, region, _SIDE, shown, held_out.schema, truth, partners, ringed)
    return Picture(jpeg_uri(drawn, _BYTES), sample.name, caption, drawn.shape[1], drawn.shape[0])


def _caption(found: Instances, truth: Instances, example: FailureExample, kind: str, schema: Schema) -> str:
    label = int(found.labels[example.found] if kind == "invented" else truth.labels[example.truth])
    of_class = f"{schema.classes[label]}, " if len(schema.classes) > 1 else ""
    if kind == "invented":
        return f"{of_class}score {example.severity:.2f}"
    if kind == "missed":
        return f"{of_class}{example.severity:.0f} px across"
    name = schema.keypoints[example.keypoint]
    way = found.keypoints[example.found, example.keypoint] - truth.keypoints[example.truth, example.keypoint]
    if not np.isfinite(way).all():
        return f"{of_class}{name} has no place"
    at = f" at {schema.keypoints[example.near_keypoint]}" if example.near_keypoint >= 0 else ""
    return f"{of_class}{name}{at}, {np.hypot(*way):.1f} px off"

"""The parts of the page as plain rows, charts and pictures; the template only sets them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset
from dekey.draw import palette
from dekey.metrics import Evaluation
from dekey.report import statistics, wording
from dekey.report.charts import Chart, Curve, bar_chart, histogram, line_chart, scatter
from dekey.report.contents import Report
from dekey.report.pictures import Picture, cut_outs, rank, worst_and_typical

_MAX_BARS = 40
# Columns of log.csv that are neither a loss nor a place on the x axis, with the words for them.
_MEASURED = {
    "val_median_px": "held-out median error, px",
    "val_nme": "held-out NME",
    "val_box_AP": "held-out box AP",
    "lr": "learning rate",
    "images_per_second": "images per second",
    "waiting": "share of time waiting for data",
}
# Numbers shown for a visibility or a class, with the heads of their columns.
_COLUMNS = {
    "keypoints": "keypoints",
    "median_px": "median px",
    "p90_px": "90 % px",
    "nme": "NME",
    "pck@0.05": "PCK@0.05",
    "pck@0.1": "PCK@0.1",
    "AP": "AP",
    "box_AP": "box AP",
}
_HEADLINE = {
    "median_px": "median error",
    "nme": "normalised mean error",
    "pck@0.1": "of keypoints within 0.1 (PCK)",
    "AP": "OKS average precision",
}
_HEADLINE_OF_OBJECTS = {
    "box_AP": "box average precision",
    "AP": "OKS average precision",
    "found_share": "of objects found",
    "median_px": "median error",
}


@dataclass(frozen=True)
class Headline:
    """A large number with its name, and the mean pose's below it."""

    label: str
    value: str
    baseline: str


@dataclass(frozen=True)
class Table:
    """A heading, column names and rows of text; `note` says why there are none."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Charts, tables and sentences that belong together."""

    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class Examples:
    """The worst and the typical objects."""

    worst: Sequence[Picture] = ()
    typical: Sequence[Picture] = ()
    sentences: Sequence[str] = field(default=())


def headline(evaluation: Evaluation | None, baseline: Evaluation | None) -> list[Headline]:
    """Choose the numbers to set large: median error, NME, PCK, and AP where it is defined; of found objects their AP."""
    shown = []
    of_objects = evaluation is not None and evaluation.boxes
    for name, label in (_HEADLINE_OF_OBJECTS if of_objects else _HEADLINE).items():
        if evaluation is None or name not in evaluation.values:
            continue
        unit = " px" if name == "median_px" else ""
        # The mean pose is told where the objects are: beside a model that is not, only its error says anything.
        known = baseline is not None and name in baseline.values and (not of_objects or name == "median_px")
        shown.append(
            Headline(
                label,
                wording.written(name, evaluation.values[name], evaluation.normaliser) + unit,
                wording.written(name, baseline.values[name], baseline.normaliser) + unit if known and baseline else "",
            )
        )
    return shown


def results(report: Report) -> Section:
    """Give the table of numbers, the PCK curve, and the numbers by visibility and by class."""
    evaluation, baseline = report.evaluation, report.baseline
    if evaluation is None:
        return Section(sentences=["The run has no evaluation, so there are no numbers here."])
    sentences = [] if baseline else ["The run has no mean-pose baseline to compare with."]
    rows = [(words, name, ours, theirs) for name, words, ours, theirs in wording.value_rows(evaluation, baseline)]
    tables = [Table("All numbers", ("", "name", "model", "mean pose"), rows)]
    curves = [
        Curve(name, *measured.pck_curve)
        for name, measured in (("model", evaluation), ("mean pose", baseline))
        if measured is not None and measured.pck_curve[1].size
    ]
    charts = []
    if curves and evaluation.pck_curve[1].size:
        unit = "px" if evaluation.normaliser == "pixels" else f"units of {wording.normaliser_words(evaluation.normaliser)}"
        chart = line_chart("share of keypoints within the threshold", "threshold", curves, size=(5.4, 3.2), y_limits=(0, 1.02))
        charts.append(Chart(chart, f"PCK: how many labelled keypoints are found within a distance, in {unit}."))
    else:
        sentences.append("There is no PCK curve: no labelled keypoint has a normaliser.")
    if evaluation.boxes:
        tables += _by_size(evaluation)
    grouped = {"By visibility of the true keypoint": evaluation.per_visibility, "By class": evaluation.per_class}
    for title, groups in grouped.items():
        if groups:
            tables.append(_grouped(title, groups))
    if not evaluation.per_visibility:
        sentences.append("No keypoint is labelled, so nothing is listed by visibility.")
    return Section(charts, tables, sentences)


def _by_size(evaluation: Evaluation) -> list[Table]:
    """Give the average precisions of small, medium and large objects; no table where none is defined."""
    spans = {"small": "below 32² px²", "medium": "32² to 96² px²", "large": "96² px² or more"}
    columns = {"box_AP": "box AP", "box_AR": "box AR", "AP": "OKS-AP", "AR": "OKS-AR"}
    values = {name: {key: evaluation.values.get(f"{key}_{name}") for key in columns} for name in spans}
    rows = [
        (f"{name}, {spans[name]}", *(wording.DASH if value is None else wording.number(value) for value in row.values()))
        for name, row in values.items()
        if any(value is not None for value in row.values())
    ]
    return [Table("By size (annotated area)", ("", *columns.values()), rows)] if rows else []


def _grouped(title: str, groups: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    chosen = [name for name in _COLUMNS if name in names]
    rows = [
        (group, *(wording.written(name, values[name]) if name in values else wording.DASH for name in chosen))
        for group, values in groups.items()
    ]
    return Table(title, ("", *(_COLUMNS[name] for name in chosen)), rows)


def keypoints(report: Report) -> Section:
    """Give the errors per keypoint, sorted: bars for the worst, a table for all."""
    evaluation = report.evaluation
    names = report.held_out.schema.keypoints
    if evaluation is None or not np.isfinite(evaluation.errors).any():
        return Section(sentences=["No keypoint is both labelled and found, so there is no error per keypoint."])
    counts = statistics.keypoint_counts(report.held_out)
    median, p90 = _quantile(evaluation.errors, 0.5), _quantile(evaluation.errors, 0.9)
    found = np.isfinite(evaluation.errors).sum(axis=0)
    other = None
    if report.baseline is not None and report.baseline.errors.shape[1:] == evaluation.errors.shape[1:]:
        other = _quantile(report.baseline.errors, 0.5)
    # Worst first; keypoints without a single error come last.
    order = np.lexsort((np.arange(len(names)), -np.nan_to_num(median, nan=-1.0)))
    measured = order[np.isfinite(median[order])]
    shown = measured[:_MAX_BARS]
    title = "median error per keypoint, px"
    svg = bar_chart(
        title,
        [names[index] for index in shown],
        median[shown],
        p90[shown],
        None if other is None else other[shown],
        [f"n = {found[index]:,}" for index in shown],
    )
    caption = "Bar: median; thin line: up to the 90th percentile; n: keypoints that are labelled and found."
    if other is not None:
        caption += " Upright tick: median of the mean pose."
    if len(shown) < len(measured):
        caption += f" The {len(shown)} worst of {len(measured)}; the table has all."
    rows = []
    for index in order:
        values = evaluation.per_keypoint.get(names[index], {})
        rows.append(
            (
                names[index],
                f"{counts[index].labelled:,}",
                f"{found[index]:,}",
                wording.number(float(median[index])),
                wording.number(float(p90[index])),
                wording.share(values.get("pck@0.1", math.nan)),
                wording.number(float(other[index])) if other is not None else wording.DASH,
            )
        )
    columns = ("keypoint", "labelled", "found", "median px", "90 % px", "PCK@0.1", "mean pose")
    return Section([Chart(svg, caption)], [Table("Every keypoint", columns, rows)])


def _quantile(errors: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Give the quantile (K,) of the finite errors (M, K) of each keypoint, NaN where there is none."""
    columns = (column[np.isfinite(column)] for column in errors.T)
    return np.array([np.quantile(column, share) if column.size else np.nan for column in columns])


def examples(report: Report) -> Examples:
    """Choose and draw the worst and the typical held-out objects."""
    evaluation = report.evaluation
    held_out = report.held_out
    if evaluation is None or not report.found:
        return Examples(sentences=["The run has no answers on held-out images to show."])
    if evaluation.errors.shape != held_out.instances.visibility.shape:
        return Examples(sentences=["The evaluation was stored without the error of each keypoint, so no image is ranked."])
    ranked = rank(held_out, evaluation.errors, evaluation.normalisers)
    if not ranked:
        return Examples(sentences=["No held-out object has a labelled keypoint and a size, so no image is ranked."])
    worst, typical = worst_and_typical(ranked)
    sentences = [] if typical else ["There are too few held-out images to show typical ones beside the worst."]
    return Examples(
        cut_outs(held_out, report.found, evaluation, worst), cut_outs(held_out, report.found, evaluation, typical), sentences
    )


def learning_curves(log: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Draw loss, loss terms, held-out error, learning rate and speed over epochs (else steps, else rows)."""
    axis = next((name for name in ("epoch", "step") if any(_known(row, name) for row in log)), "")
    label = axis or "row of the log"
    names = list(dict.fromkeys(name for row in log for name in row))

    def curve(name: str, shown_as: str) -> Curve | None:
        pairs = [
            (float(row[axis]) if axis else float(index), float(row[name]))
            for index, row in enumerate(log)
            if _known(row, name) and (not axis or _known(row, axis))
        ]
        if not pairs:
            return None
        x, y = np.array(pairs, dtype=np.float64).T
        return Curve(shown_as, x, y)

    groups: list[tuple[str, str, list[Curve | None], bool]] = []
    terms = [name for name in names if name.startswith("loss/")]
    losses = [name for name in ("loss", "val_loss") if name in names]
    if losses:
        groups.append(("training loss", "", [curve(name, name) for name in losses], True))
    if len(terms) > 1:
        groups.append(("terms of the loss", "", [curve(name, name[5:]) for name in terms[:4]], True))
    for name, words in _MEASURED.items():
        groups.append((words, name, [curve(name, words)], name == "val_median_px"))
    charts = []
    for title, name, curves, log_scale in groups:
        known = [one for one in curves if one is not None]
        if known:
            highest = max(float(one.y.max()) for one in known)
            limits = {"waiting": (0.0, 1.0), "images_per_second": (0.0, 1.1 * max(highest, 1.0))}.get(name)
            charts.append(Chart(line_chart(title, label, known, log=log_scale, size=(3.3, 2.4), y_limits=limits), ""))
    return charts


def _known(row: Mapping[str, float], name: str) -> bool:
    value = row.get(name)
    return isinstance(value, int | float) and math.isfinite(value)


def data(train: Dataset, held_out: Dataset) -> Section:
    """Give what the data are like: counts of both parts, keypoint states, positions and sizes of the training part."""
    ours, theirs = statistics.facts(train), dict(statistics.facts(held_out))
    tables = [Table("Counts", ("", "training", "held out"), [(name, value, theirs.get(name, "")) for name, value in ours])]
    rows = []
    for mine, other in zip(statistics.keypoint_counts(train), statistics.keypoint_counts(held_out), strict=True):
        cells = (f"{value:,}" for one in (mine, other) for value in (one.visible, one.occluded, one.unlabelled))
        rows.append((mine.name, *cells))
    columns = ("keypoint", "training: visible", "occluded", "unlabelled", "held out: visible", "occluded", "unlabelled")
    if len(rows) > 1 and len({row[1:] for row in rows}) == 1:
        rows = [(f"each of the {len(rows)}", *rows[0][1:])]
    tables.append(Table("Labels of each keypoint", columns, rows))
    charts, sentences = [], []
    positions = statistics.keypoint_positions(train)
    if positions is None:
        sentences.append("No training object has a labelled keypoint in a region, so their positions are not drawn.")
    else:
        colours = palette(len(train.schema.keypoints))
        svg = scatter("keypoints", positions.xy, positions.groups, colours, means=positions.means)
        charts.append(
            Chart(svg, f"Where each keypoint lies, relative to {positions.region} (the frame); large: the mean pose.")
        )
    centres = statistics.object_positions(train)
    if len(centres):
        zeros = np.zeros(len(centres), dtype=np.int64)
        charts.append(
            Chart(scatter("objects", centres, zeros, palette(5)[4:]), "Where objects lie in their images (the frame).")
        )
    lengths = statistics.object_lengths(train)
    if lengths.size:
        charts.append(Chart(histogram("objects by size", "√ box area, px", lengths), "How large the training objects are."))
    else:
        sentences.append("No training object has a box, so there are no box sizes.")
    return Section(charts, tables, sentences)


def facts(report: Report) -> list[Table]:
    """Give model, times, machine and resolved configuration as tables of names and values."""
    parts = (("Model", report.model), ("Times", report.times), ("Machine and versions", report.machine))
    tables = [
        Table(title, (), list(wording.flattened(values)), "" if values else "Nothing was recorded.") for title, values in parts
    ]
    settings = list(wording.flattened(report.config))
    tables.append(Table("Resolved configuration", (), settings, "" if settings else "Nothing was recorded."))
    return tables


def notes(report: Report) -> list[str]:
    """List every sentence once: the run's own, the measurement's, the schema's, and the data's problems."""
    sentences = list(report.notes)
    if report.evaluation is not None:
        sentences += report.evaluation.sentences()
    if report.baseline is not None:
        sentences += [
            f"of the mean pose: {note}"
            for note in report.baseline.sentences()
            if report.evaluation is None or note not in report.evaluation.sentences()
        ]
    problems = [*report.train.problems, *report.held_out.problems]
    sentences += [str(problem) for problem in problems[:20]]
    if len(problems) > 20:
        sentences.append(f"The data have {len(problems) - 20:,} more problems; dekey inspect lists them.")
    return list(dict.fromkeys(wording.sentence(words) for words in sentences))

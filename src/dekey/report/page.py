"""`write_report`: the page, one HTML file that asks for nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dekey.draw import palette
from dekey.files import replaced
from dekey.report import sections, wording
from dekey.report.contents import Report
from dekey.report.mistakes import mistakes
from dekey.report.pictures import MAX_AUGMENTED, TILE, Picture, evenly, example_pictures, heatmap_pictures

_FOLDER = Path(__file__).parent
_MAX_LEGEND = 40


@dataclass(frozen=True)
class Swatch:
    """A keypoint in the legend: its name and its colour as #rrggbb."""

    name: str
    colour: str


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write the report as one self-contained HTML file.

    The page needs no network and no script, and stays below 5 MB. The file appears whole or not at all. The same report
    gives the same bytes.

    Args:
        path: the file; its folder must exist.
        report: what to tell.

    Raises:
        DekeyError: if the folder does not exist, or `path` is one.
    """
    with replaced(Path(path)) as stream:
        stream.write(render(report))


def render(report: Report) -> str:
    """Give the page's HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    schema = report.held_out.schema
    single, overlays = heatmap_pictures(report.heatmaps, schema)
    results = sections.results(report)
    page = environment.get_template("page.html.jinja").render(
        title=report.title,
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        summary=wording.summary(report.held_out, report.evaluation, report.baseline),
        pretrained=report.pretrained,
        headline=sections.headline(report.evaluation, report.baseline),
        results=results,
        mistakes=mistakes(report),
        keypoints=sections.keypoints(report),
        examples=sections.examples(report),
        curves=sections.learning_curves(report.log),
        legend=_legend(schema.keypoints),
        heatmaps=single,
        overlays=overlays,
        keypoint_count=len(schema.keypoints),
        flipped=_flipped(report),
        mirror_note=schema.mirror_note,
        augmented=example_pictures(report.augmented[:MAX_AUGMENTED], schema),
        data=sections.data(report.train, report.held_out),
        tables=sections.facts(report),
        notes=sections.notes(report),
    )
    # JSON can smuggle in half of a surrogate pair, which no file can hold.
    return page.encode("utf-8", "replace").decode("utf-8") + "\n"


def _legend(names: tuple[str, ...]) -> list[Swatch]:
    colours = palette(len(names))
    return [Swatch(names[index], "#" + bytes(colours[index]).hex()) for index in evenly(len(names), _MAX_LEGEND)]


def _flipped(report: Report) -> Picture | None:
    if report.flipped is None:
        return None
    return example_pictures([report.flipped], report.held_out.schema, side=TILE)[0]

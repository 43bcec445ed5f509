"""`write_doubts`: the page of `dekey inspect --report`, a picture of every finding, the most doubtful of a kind first.

It needs no template engine, so that the base installation writes it: every text that comes from a file goes through `escape`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Problem, Sample, geometry
from dekey.data.problem_kinds import KINDS
from dekey.draw import draw_instances
from dekey.errors import DekeyError
from dekey.files import write_text
from dekey.report.pictures import TILE, Picture, cut, jpeg_uri, region_around

_MOST_BYTES = 70_000
_STYLE = """
.finding { margin: 0 0 1.8rem; break-inside: avoid; }
.finding .pair { display: flex; flex-wrap: wrap; gap: 0.8rem; align-items: flex-start; }
.finding .picture img { width: auto; max-width: 100%; }
.finding p { font-family: system-ui, sans-serif; font-size: 0.85rem; margin: 0.4rem 0 0; max-width: 56rem; }
.bar { display: inline-block; width: 5rem; height: 0.6rem; margin-right: 0.4rem; background: var(--faint); }
.bar i { display: block; height: 100%; background: var(--baseline); }
"""


def write_doubts(
    path: str | os.PathLike[str],
    title: str,
    dataset: Dataset,
    problems: Sequence[Problem],
    lines: Sequence[str] = (),
    *,
    others: Mapping[str, Dataset] | None = None,
    most: int = 24,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write one self-contained HTML file: no network, no script. It appears whole or not at all.

    Args:
        path: the file; its folder must exist.
        title: the heading, such as the name of the label file.
        dataset: what the problems are of.
        problems: what was found, those of a kind in the order in which they are shown.
        lines: sentences for the top of the page.
        others: the files that were compared, by the names that the problems use.
        most: how many findings of a kind are shown.
        progress: called with (findings drawn, findings in all).

    Raises:
        DekeyError: if the folder does not exist, or `path` is one.
    """
    kinds: dict[str, list[Problem]] = {}
    for each in problems:
        kinds.setdefault(each.kind, []).append(each)
    # What takes an eye comes before what a sentence tells.
    order = sorted(kinds, key=lambda kind: (kinds[kind][0].doubt is None, KINDS[kind].severity, list(KINDS).index(kind)))
    images = {dataset.picture_name(index): index for index in reversed(range(len(dataset)))}
    total, done, body = sum(min(len(each), most) for each in kinds.values()), 0, []
    for kind in order:
        shown = kinds[kind][:most]
        parts = []
        for each in shown:
            parts.append(_finding(each, dataset, images, others or {}))
            done += 1
            if progress:
                progress(done, total)
        rest = len(kinds[kind]) - len(shown)
        parts += [f'<p class="quiet">… and {rest:,} more, which --json lists.</p>'] if rest else []
        meaning, advice = KINDS[kind].meaning, KINDS[kind].advice
        body.append(
            f'<section id="{kind}"><h2>{kind} · {len(kinds[kind]):,}</h2>'
            f"<p>{escape(meaning[:1].upper() + meaning[1:])}. To do: {escape(advice)}.</p>{''.join(parts)}</section>"
        )
    if not body:
        body = ['<section><p class="quiet">Nothing was found.</p></section>']
    links = " ".join(f'<a href="#{kind}">{kind} ({len(kinds[kind]):,})</a>' for kind in order)
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8") + _STYLE
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body><header>"
        f'<p class="kind">what is doubtful in a label file</p><h1>{escape(title)}</h1><nav>{links}</nav></header><main>'
        f"{''.join(f'<p>{escape(line)}</p>' for line in lines)}"
        '<p class="key">Left as labelled, the keypoints in question ringed; right as the other labels would have it. The bar '
        "is the doubt: it ranks the findings of a kind and is no probability. Look, then decide.</p>"
        f"{''.join(body)}</main></body></html>\n"
    )
    write_text(Path(path), page.encode("utf-8", "replace").decode("utf-8"))


def _finding(one: Problem, dataset: Dataset, images: Mapping[str, int], others: Mapping[str, Dataset]) -> str:
    pictures = _pictures(one, dataset, images, others)
    figures = "".join(
        f'<figure class="picture"><img src="{each.uri}" width="{each.width}" height="{each.height}" alt="">'
        f"<figcaption>{escape(each.title)}</figcaption></figure>"
        if each.uri
        else f'<p class="quiet">{escape(each.caption)}</p>'
        for each in pictures
    )
    bar = ""
    if one.doubt is not None:
        bar = f'<span class="bar"><i style="width:{100 * min(max(one.doubt, 0), 1):.0f}%"></i></span>{one.doubt:.2f} · '
    place = ", ".join(
        part for part in (one.image or "", f"annotation {one.annotation_id}" if one.annotation_id is not None else "") if part
    )
    text = f"<b>{escape(place)}</b>: {escape(one.message)}" if place else escape(one.message)
    return f'<div class="finding"><div class="pair">{figures}</div><p>{bar}{text}</p></div>'


def _pictures(one: Problem, dataset: Dataset, images: Mapping[str, int], others: Mapping[str, Dataset]) -> list[Picture]:
    if one.image is None or one.image not in images:
        return []
    sample = dataset[images[one.image]]
    try:
        if one.other is not None:
            return [_whole(sample, dataset), *_partner(one.other, dataset, images, others)]
        if one.doubt is None:
            return []
        return _object(one, sample, dataset)
    except DekeyError as error:
        return [Picture("", one.image, str(error))]


def _partner(other: str, dataset: Dataset, images: Mapping[str, int], others: Mapping[str, Dataset]) -> list[Picture]:
    if other in images:
        return [_whole(dataset[images[other]], dataset)]
    for name, data in others.items():
        if other.startswith(f"{name}: "):
            wanted = other[len(name) + 2 :]
            place = next((index for index in range(len(data)) if data.picture_name(index) == wanted), None)
            return [] if place is None else [_whole(data[place], data)]
    return []


def _whole(sample: Sample, dataset: Dataset) -> Picture:
    image = sample.read_image()
    height, width = sample.size
    factor = TILE / max(height, width)
    size = max(round(height * factor), 1), max(round(width * factor), 1)
    image_to_tile = geometry.scale(size[1] / width, size[0] / height)
    drawn = draw_instances(
        geometry.warp(image, image_to_tile, size), sample.instances.mapped(image_to_tile), dataset.schema, text=False
    )
    return Picture(jpeg_uri(drawn, _MOST_BYTES), sample.name, "", size[1], size[0])


def _object(one: Problem, sample: Sample, dataset: Dataset) -> list[Picture]:
    places = np.flatnonzero(sample.annotation_ids == one.annotation_id)
    if len(places) == 0:
        return [_whole(sample, dataset)]
    image, labelled = sample.read_image(), sample.instances[places[:1]]
    columns = [dataset.schema.keypoints.index(name) for name in one.keypoints]
    expected = None
    if one.expected:
        expected = replace(labelled, keypoints=labelled.keypoints.copy(), visibility=labelled.visibility.copy())
        expected.keypoints[0, columns] = one.expected
        expected.visibility[0, columns] = 2
    region = region_around(labelled, expected, sample.size)
    found = [_drawn(image, region, labelled, dataset, labelled.keypoints[0, columns], "as labelled")]
    if expected is not None:
        found.append(_drawn(image, region, expected, dataset, expected.keypoints[0, columns], "as expected"))
    return found


def _drawn(
    image: NDArray[np.uint8],
    region: NDArray[np.float64],
    one: Instances,
    dataset: Dataset,
    ringed: NDArray[np.float64],
    title: str,
) -> Picture:
    schema: Any = dataset.schema
    none = Instances.empty(len(schema.keypoints))
    rings = ringed[np.isfinite(ringed).all(axis=1)] if len(ringed) <= 8 else None
    drawn = cut(image, region, TILE, one, schema, none, np.zeros(0, dtype=np.int64), rings)
    return Picture(jpeg_uri(drawn, _MOST_BYTES), title, "", drawn.shape[1], drawn.shape[0])

"""Writing CVAT for images 1.1, see `dekey.formats.cvat`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Sample
from dekey.data.instances import OCCLUDED, UNLABELLED
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.cvat_labels import drawing
from dekey.formats.names import xml_quoted, xml_text
from dekey.formats.pictures import written_names

# Digits kept after the point.
_DIGITS: Final = 9


def write_file(dataset: Dataset, path: Path) -> None:
    """Write the file, see `dekey.formats.cvat.write`."""
    names = written_names(dataset, path.parent)
    schema = dataset.schema
    boxed: NDArray[np.bool_] = np.asarray(np.isfinite(dataset.instances.boxes).all(axis=1))
    keyed: NDArray[np.bool_] = np.asarray(schema.present.any(axis=1))
    unplaced = ~boxed & ~keyed[dataset.instances.labels]
    if unplaced.any():
        name = schema.classes[dataset.instances.labels[np.argmax(unplaced)]]
        raise DekeyError(
            f"an object of class '{name}', which has no keypoints, has no box; CVAT cannot hold it, so take it out"
        )
    box_labels: list[str] = []
    for name in schema.classes:
        own = f"{name}_box"
        while own in schema.classes or own in box_labels:
            own += "_"
        box_labels.append(own)
    with replaced(path) as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n')
        stream.write(
            f"      <name>dekey</name>\n      <size>{len(dataset)}</size>\n      <mode>annotation</mode>\n      <labels>\n"
        )
        for row in range(len(schema.classes)):
            with_boxes = bool(boxed[dataset.instances.labels == row].any())
            stream.writelines(_labels(schema, row, box_labels[row] if with_boxes and keyed[row] else None))
        stream.write("      </labels>\n    </task>\n  </meta>\n")
        for name, sample in zip(names, dataset, strict=True):
            height, width = sample.size
            head = f'id="{sample.image_id}" name={xml_quoted(name)} width="{width}" height="{height}"'
            stream.write(f"  <image {head}>\n")
            stream.writelines(_shapes(schema, sample, box_labels))
            stream.write("  </image>\n")
        stream.write("</annotations>\n")


def _labels(schema: Schema, row: int, box_label: str | None) -> Iterator[str]:
    """Give the definitions of a class: a skeleton and its points, or a rectangle."""
    columns = np.flatnonzero(schema.present[row])
    name = schema.classes[row]
    if len(columns):
        yield _label(name, "skeleton", f"<svg>{escape(drawing(schema, row))}</svg>")
        for column in columns:
            yield _label(schema.keypoints[column], "points", f"<parent>{xml_text(name)}</parent>")
        if box_label is not None:
            yield _label(box_label, "rectangle")
    else:
        yield _label(name, "rectangle")


def _label(name: str, kind: str, more: str = "") -> str:
    return f"        <label><name>{xml_text(name)}</name><type>{kind}</type><attributes></attributes>{more}</label>\n"


def _shapes(schema: Schema, sample: Sample, box_labels: list[str]) -> Iterator[str]:
    objects = sample.instances
    for index in range(len(objects)):
        label = int(objects.labels[index])
        columns = np.flatnonzero(schema.present[label])
        name = schema.classes[label]
        box = objects.boxes[index].round(_DIGITS).tolist()
        boxed = bool(np.isfinite(box).all())
        group = f' group_id="{index + 1}"' if boxed and len(columns) else ""
        if len(columns):
            yield f'    <skeleton label={xml_quoted(name)} source="manual"{group} z_order="0">\n'
            for column in columns:
                code = int(objects.visibility[index, column])
                # A point that is not labelled needs some place all the same; the middle of the image is one that exists.
                place = objects.keypoints[index, column] if code != UNLABELLED else np.array(sample.size[::-1]) / 2
                x, y = place.round(_DIGITS).tolist()
                state = f'outside="{int(code == UNLABELLED)}" occluded="{int(code == OCCLUDED)}"'
                point = xml_quoted(schema.keypoints[column])
                yield f'      <points label={point} source="manual" {state} points="{x!r},{y!r}"></points>\n'
            yield "    </skeleton>\n"
        if boxed:
            x1, y1, x2, y2 = box
            own = box_labels[label] if len(columns) else name
            yield (
                f'    <box label={xml_quoted(own)} source="manual" occluded="0" xtl="{x1!r}" ytl="{y1!r}" xbr="{x2!r}" '
                f'ybr="{y2!r}"{group} z_order="0"></box>\n'
            )

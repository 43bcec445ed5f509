"""The labels of a CVAT task: which there are, what their skeletons look like, and which become classes."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from dekey.data.dataset import Problem
from dekey.data.schema import Schema
from dekey.formats.coco_categories import Categories, read_categories

_TAG: Final = re.compile(r"<(circle|line)\b([^>]*)>")
_ATTRIBUTE: Final = re.compile(r'([\w-]+)\s*=\s*"([^"]*)"')
_LONGEST_SVG: Final = 1_000_000


@dataclass
class Label:
    """A label that objects can have.

    Attributes:
        name: what it is called.
        kind: its type in CVAT, such as "skeleton", "rectangle", "points", "any".
        points: names of the points of a skeleton, in the order of the task.
        edges: pairs of names.
    """

    name: str
    kind: str
    points: list[str]
    edges: list[tuple[str, str]]


def read_labels(root: Element) -> dict[str, Label]:
    """Read the labels of a task, job or project by name, in its order; none where the file has no ``meta``."""
    labels: dict[str, Label] = {}
    meta = root.find("meta")
    elements = [] if meta is None else list(meta.iter("label"))
    for element in elements:
        name = (element.findtext("name") or "").strip()
        if name and not (element.findtext("parent") or "").strip():
            svg = element.findtext("svg") or ""
            labels[name] = Label(name, (element.findtext("type") or "any").strip(), [], _svg_edges(svg[:_LONGEST_SVG]))
    for element in elements:
        name, parent = ((element.findtext(tag) or "").strip() for tag in ("name", "parent"))
        if name and parent in labels and name not in labels[parent].points:
            labels[parent].points.append(name)
    return labels


def _svg_edges(svg: str) -> list[tuple[str, str]]:
    """Read the lines of a skeleton's drawing: they join nodes by number, and circles name the nodes."""
    tags = [(tag, dict(_ATTRIBUTE.findall(text))) for tag, text in _TAG.findall(svg)]
    names = {
        values["data-node-id"]: html.unescape(values["data-label-name"])
        for tag, values in tags
        if tag == "circle" and "data-node-id" in values and "data-label-name" in values
    }
    ends = [(values.get("data-node-from", ""), values.get("data-node-to", "")) for tag, values in tags if tag == "line"]
    return [(names[one], names[other]) for one, other in ends if one in names and other in names]


def categories_of(labels: Sequence[Label], problems: list[Problem]) -> Categories:
    """Join labels into a schema; points of the same name are the same keypoint."""
    records = []
    for number, label in enumerate(labels, start=1):
        place = {name: index for index, name in enumerate(label.points, start=1)}
        edges = [[place[one], place[other]] for one, other in label.edges if one in place and other in place]
        records.append({"id": number, "name": label.name, "keypoints": label.points, "skeleton": edges})
    return read_categories(records, 0, problems)


def drawing(schema: Schema, row: int) -> str:
    """Draw the skeleton of a class as CVAT stores it: nodes on a circle in a field of 100 by 100, numbered from 1."""
    columns = [index for index, present in enumerate(schema.present[row].tolist()) if present]
    number = {column: index for index, column in enumerate(columns, start=1)}
    places = {}
    for index, column in enumerate(columns):
        angle = 2 * math.pi * index / len(columns)
        places[column] = (round(50 + 40 * math.sin(angle), 3), round(50 - 40 * math.cos(angle), 3))
    parts = []
    for one, other in schema.edges.tolist():
        if one in number and other in number:
            (x1, y1), (x2, y2) = places[one], places[other]
            parts.append(
                f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="black" data-type="edge" '
                f'data-node-from="{number[one]}" stroke-width="0.5" data-node-to="{number[other]}"></line>'
            )
    for column in columns:
        x, y = places[column]
        parts.append(
            f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x}" cy="{y}" stroke-width="0.1" data-type="element node" '
            f'data-element-id="{number[column]}" data-node-id="{number[column]}" '
            f'data-label-name="{html.escape(schema.keypoints[column])}"></circle>'
        )
    return "".join(parts)

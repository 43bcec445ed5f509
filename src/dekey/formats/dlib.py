"""dlib's imglab XML.

Layout: ``dataset`` > ``images`` > ``image`` (file, width, height) > ``box`` (top, left, width, height) > ``label`` and ``part``
(name, x, y). Parts are told apart by name and come in the order of their names sorted as text, as dlib keeps them (a
``std::map``). Evidence: dlib/data_io/image_dataset_metadata.cpp.

Frame: whole numbers, indices of pixels: 0.5 is added to parts when read and taken off when written. A box covers the pixels
left to left + width − 1 (``rect.right() += rect.left() - 1``), so its edges are left and left + width here.

Visibility: a part is there or not, so 2 or 0; ``occluded`` of a box concerns the object and is not read. A box with
``ignore`` is a crowd: dlib neither trains on it nor counts it. A box without a label is an `object`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.columns import whole_numbers
from dekey.formats.files import head, read_xml
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS, xml_quoted, xml_text
from dekey.formats.pictures import written_names

HOLDS: Final = frozenset(
    {
        "several_objects",
        "classes",
        "crowd",
        "unlabelled_points",
        "objects_without_keypoints",
        "images_without_objects",
        "boxes",
        "class_names",
        "keypoint_names",
        "outside_points",
        "image_sizes",
    }
)
_HEAD_BYTES = 65_536


def recognises(path: Path) -> bool:
    """Tell by its first 64 KiB whether a file has dlib's elements."""
    start = head(path, _HEAD_BYTES)
    return start.startswith(b"<") and 0 <= start.find(b"<dataset") < start.find(b"<image ")


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read an imglab file; images whose size it does not state are opened.

    Args:
        path: the XML file.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        keep: keep a box whose parts cannot be read, without those, instead of leaving it out.

    Returns:
        The data set; what was left out is in its `problems`.

    Raises:
        DekeyError: if the file is no imglab file, or no box has parts.
    """
    root = read_xml(path)
    records = root.findall("images/image")
    if root.tag != "dataset" or not records:
        raise DekeyError(f"{path} has no dataset/images/image (its root is <{root.tag[:40]}>); expected an imglab file")
    boxes = [record.findall("box") for record in records]
    parts = sorted({part.get("name") or "" for own in boxes for box in own for part in box.iter("part")} - {""})
    if not parts:
        raise DekeyError(f"no box of {path} has a part with a name, so there are no keypoints; label some in imglab")
    classes = list(dict.fromkeys(_label(box) for own in boxes for box in own))
    problems: list[Problem] = []
    sizes = np.stack([whole_numbers([record.get(side) for record in records])[0] for side in ("height", "width")], axis=1)
    places = place_images(path, [record.get("file") or "" for record in records], images, problems, sizes=sizes)
    reader = _Reader({name: index for index, name in enumerate(parts)}, classes)
    for index, own in enumerate(boxes):
        if places.sound[index]:
            for number, box in enumerate(own, 1):
                reader.add(box, index, f"box {number}", places.files.names[index], problems)
    return build_dataset(Schema.create(classes, parts), places, reader.objects(), problems, offset=0.5, keep=keep)


class _Reader:
    """Collects the boxes of a file."""

    def __init__(self, columns: dict[str, int], classes: list[str]) -> None:
        self.columns, self.classes = columns, classes
        self.image_of: list[int] = []
        self.labels: list[int] = []
        self.points: list[list[list[float]]] = []
        self.boxes: list[list[float]] = []
        self.crowd: list[bool] = []
        self.broken: list[bool] = []
        self.places: list[str] = []

    def add(self, box: Element, image: int, place: str, name: str, problems: list[Problem]) -> None:
        points, wrong = [[0.0, 0.0, 0.0] for _ in self.columns], False
        for part in box.findall("part"):
            part_name = part.get("name") or ""
            column = self.columns.get(part_name, -1)
            x, y = _number(part, "x"), _number(part, "y")
            mistake = None
            if column < 0:
                mistake = "a part has no name"
            elif points[column][2]:
                mistake = f"part '{part_name[:40]}' occurs twice"
            elif np.isnan([x, y]).any():
                mistake = f"part '{part_name[:40]}' has no usable x and y"
            if mistake:
                problems.append(problem("unreadable-record", f"{place}: {mistake}", name, len(self.places) + 1))
                wrong = True
            else:
                points[column] = [x, y, float(VISIBLE)]
        left, top, width, height = (_number(box, key) for key in ("left", "top", "width", "height"))
        # A box of which a number is missing is told by the checks that all formats share, unlike one without any.
        self.boxes.append([np.inf if np.isnan(value) else value for value in (left, top, left + width, top + height)])
        self.image_of.append(image)
        self.labels.append(self.classes.index(_label(box)))
        self.points.append(points)
        self.crowd.append((box.get("ignore") or "0").strip().lower() not in ("0", "false", ""))
        self.broken.append(wrong)
        self.places.append(place)

    def objects(self) -> Objects:
        count = len(self.places)
        return Objects(
            np.array(self.image_of, dtype=np.int64),
            np.array(self.labels, dtype=np.int64),
            np.array(self.points, dtype=np.float64).reshape(count, len(self.columns), 3),
            np.array(self.boxes, dtype=np.float64).reshape(count, 4),
            self.places,
            np.array(self.broken, dtype=np.bool_),
            np.array(self.crowd, dtype=np.bool_),
        )


def _label(box: Element) -> str:
    return (box.findtext("label") or "").strip() or UNNAMED_CLASS


def _number(element: Element, key: str) -> float:
    try:
        return float(element.get(key) or "nan")
    except ValueError:
        return np.nan


def write(dataset: Dataset, path: Path) -> None:
    """Write an imglab file; coordinates are rounded to whole pixels, since dlib reads no others.

    Raises:
        DekeyError: if an image has no file, a name holds a control character, or the folder does not exist.
    """
    names = written_names(dataset, path.parent)
    with replaced(path) as stream:
        stream.write("<?xml version='1.0' encoding='UTF-8'?>\n<dataset>\n<name>written by dekey</name>\n<images>\n")
        for index, name in enumerate(names):
            height, width = dataset.sizes[index].tolist()
            stream.write(f"  <image file={xml_quoted(name)} width='{width}' height='{height}'>\n")
            stream.writelines(_elements(dataset, index))
            stream.write("  </image>\n")
        stream.write("</images>\n</dataset>\n")


def _elements(dataset: Dataset, index: int) -> Iterator[str]:
    schema, own = dataset.schema, dataset[index].instances
    corners = np.rint(own.boxes).astype(np.int64)
    points = np.rint(np.where(own.labelled[..., None], own.keypoints, 0.5) - 0.5).astype(np.int64)
    for row in range(len(own)):
        x1, y1, x2, y2 = corners[row].tolist()
        size = f"width='{max(x2 - x1, 1)}' height='{max(y2 - y1, 1)}'"
        yield f"    <box top='{y1}' left='{x1}' {size}{' ignore=' + repr('1') if own.crowd[row] else ''}>\n"
        yield f"      <label>{xml_text(schema.classes[int(own.labels[row])])}</label>\n"
        for column in np.flatnonzero(own.labelled[row]).tolist():
            x, y = points[row, column].tolist()
            yield f"      <part name={xml_quoted(schema.keypoints[column])} x='{x}' y='{y}'/>\n"
        yield "    </box>\n"

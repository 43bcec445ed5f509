"""Tables of text: one object a row (wide), or one keypoint a row (long); columns are known by their names.

Layout, wide: an image column (``image``, ``file``, ``filename``, ``path``, ``id``, … or the first, if its cells are names of
images), then x, y and perhaps v for each keypoint: ``eye_x, eye_y, eye_v``, ``x0, y0, x1, y1``, ``X1, Y1``, or plain numbers
0, 1, 2, … as pandas heads an array of x, y, x, y. Long: ``image``, ``object`` (optional), ``keypoint``, ``x``, ``y``,
``visibility`` (optional). Optional in both: ``class``, ``width`` and ``height`` of the image, ``box_x1, box_y1, box_x2,
box_y2``. Separators are comma, semicolon (then a decimal comma is read too) or tab. An image name without a suffix is that of
the one picture so called. A row with nothing but the image is an image without objects. Written are wide tables with commas.

There is no specification; the forms are those of Kaggle's facial keypoints and their copies, pandas, ImageJ, morphometrics.

Frame: indices of pixels, y downwards, as in COCO: 0.5 is added when read and taken off when written, since such tables come
from OpenCV, NumPy or mouse clicks, where the first pixel is 0. Tables whose y runs upwards, as ml-morph writes them beside its
TPS files, look the same and cannot be told apart: read the TPS file instead. Boxes are continuous, as in COCO.

Visibility: 0 unlabelled, 1 occluded, 2 visible; without such a column a keypoint with numbers is visible, and one whose cells
are empty (or nan, NA, null) is unlabelled. A cell that is no number, such as "hidden", is a mistake of the file.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.images import IMAGE_SUFFIXES
from dekey.data.instances import VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.files import read_text
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS
from dekey.formats.pictures import with_suffixes, written_names

HOLDS: Final = frozenset({
    "several_objects", "classes", "unlabelled_points", "objects_without_keypoints", "empty_objects", "images_without_objects",
    "occluded", "boxes", "objects_without_boxes", "class_names", "keypoint_names", "outside_points", "image_sizes",
    "exact_coordinates",
})  # fmt: skip
_HEAD_BYTES = 262_144
_MAX_COLUMNS = 30_000
_IMAGE = (
    "image", "images", "image_name", "image_path", "img", "img_name", "file", "filename", "file_name", "path", "id", "name",
)  # fmt: skip
_OBJECT = ("object", "object_id", "instance", "instance_id", "individual", "track")
_KEYPOINT = ("keypoint", "keypoint_name", "point", "bodypart", "landmark", "joint", "part", "label")
_CLASS = ("class", "class_name", "category")
_VISIBILITY = ("v", "vis", "visible", "visibility")
_BOX = ("box_x1", "box_y1", "box_x2", "box_y2")
_ABSENT = frozenset({"", "nan", "na", "n/a", "null", "none"})
_FIRST = re.compile(r"(x|y|v)(?:(\d+)|[\s_\-.]+(.+))?", re.IGNORECASE)
_LAST = re.compile(r"(.+?)[\s_\-.]+(x|y|v|vis|visible|visibility)", re.IGNORECASE)
_DIGITS = 9


@dataclass
class _Columns:
    """Where the columns of a table lie; -1 where there is none."""

    image: int = -1
    object: int = -1
    keypoint: int = -1
    label: int = -1
    width: int = -1
    height: int = -1
    boxes: tuple[int, ...] = ()
    points: dict[str, list[int]] = field(default_factory=dict)

    @property
    def long(self) -> bool:
        return self.keypoint >= 0

    @property
    def usable(self) -> bool:
        return self.image >= 0 and bool(self.points) and all(min(place[:2]) >= 0 for place in self.points.values())


@dataclass
class _Row:
    """An object while it is gathered from one row or several."""

    image: int
    label: str
    box: list[float]
    place: str
    number: int
    points: dict[str, list[float]] = field(default_factory=dict)
    broken: bool = False


def recognises(path: Path) -> bool:
    """Tell by its header and first row whether a file is a table of images and keypoints."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            # Incremental, because the last letter may be cut in two.
            lines = getincrementaldecoder("utf-8-sig")().decode(stream.read(_HEAD_BYTES)).splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return len(lines) > 1 and _header(lines).usable


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a table; the headers of the images are read where it does not state their sizes.

    Args:
        path: the file, at most 1 GiB.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        keep: keep a row that cannot be read whole, without what is unreadable, instead of leaving it out.

    Returns:
        The data set, images and objects in the order in which they first occur; what was left out is in its `problems`.

    Raises:
        DekeyError: if the header names no images and keypoints, or there are no rows.
    """
    text = read_text(path)
    lines = text[:_HEAD_BYTES].splitlines() or [""]
    columns = _header(lines)
    if not columns.usable:
        raise DekeyError(
            f"the header of {path} names no image column with x and y columns ({lines[0][:80]}); "
            "name them like image, eye_x, eye_y"
        )
    problems: list[Problem] = []
    try:
        rows, names, sizes = _rows(text, _separator(lines[0]), columns, problems)
    except csv.Error as error:
        raise DekeyError(f"{path} is no readable table ({error}); export it again") from error
    if not names:
        raise DekeyError(f"{path} has a header but no rows; label at least one image")
    keypoints = list(dict.fromkeys(name for row in rows for name in row.points)) if columns.long else list(columns.points)
    if not keypoints:
        raise DekeyError(f"{path} has rows but no keypoint in any; label at least one")
    classes = list(dict.fromkeys(row.label for row in rows)) or [UNNAMED_CLASS]
    places = place_images(path, with_suffixes(path, names, images), images, problems, sizes=sizes)
    absent = [0.0, 0.0, 0.0]
    objects = Objects(
        np.array([row.image for row in rows], dtype=np.int64),
        np.array([classes.index(row.label) for row in rows], dtype=np.int64),
        np.array([[row.points.get(name, absent) for name in keypoints] for row in rows]).reshape(len(rows), len(keypoints), 3),
        np.array([row.box for row in rows], dtype=np.float64).reshape(len(rows), 4),
        [row.place for row in rows],
        np.array([row.broken for row in rows], dtype=np.bool_),
    )
    return build_dataset(Schema.create(classes, keypoints), places, objects, problems, offset=0.5, keep=keep)


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _header(lines: Sequence[str]) -> _Columns:
    """Find the columns by their names, and the image column by the first row where it has none."""
    separator = _separator(lines[0]) if lines else ","
    if not lines or not 2 <= lines[0].count(separator) < _MAX_COLUMNS:
        return _Columns()
    try:
        cells = [cell.strip() for cell in next(csv.reader(lines, delimiter=separator))]
    except (csv.Error, StopIteration):
        return _Columns()
    try:
        first = next(csv.reader(lines[1:2], delimiter=separator), [])
    except csv.Error:
        first = []
    lower = [cell.lower() for cell in cells]

    def place(names: Sequence[str]) -> int:
        return next((lower.index(name) for name in names if name in lower), -1)

    found = _Columns(label=place(_CLASS), width=place(["width"]), height=place(["height"]), object=place(_OBJECT))
    found.image = place(_IMAGE)
    if first and (found.image < 0 or not _is_picture(first[found.image : found.image + 1])) and _is_picture(first[:1]):
        found.image = 0
    box = [place([name]) for name in _BOX]
    found.boxes = tuple(box) if min(box) >= 0 else ()
    if place(["x"]) >= 0 and place(["y"]) >= 0 and place(_KEYPOINT) >= 0:
        found.keypoint = place(_KEYPOINT)
        found.points = {"": [place(["x"]), place(["y"]), place(_VISIBILITY)]}
        return found
    taken = {found.image, found.label, found.width, found.height, found.object, *box}
    rest = [index for index in range(len(cells)) if index not in taken]
    if [cells[index] for index in rest] == [str(number) for number in range(len(rest))] and len(rest) % 2 == 0:
        found.points = {f"point_{n}": [rest[2 * n], rest[2 * n + 1], -1] for n in range(len(rest) // 2)}
        return found
    for index in rest:
        name, axis = _point(cells[index])
        if axis >= 0:
            own = found.points.setdefault(name, [-1, -1, -1])
            if own[axis] >= 0:
                return _Columns()  # two columns of one name
            own[axis] = index
    return found


def _is_picture(cells: Sequence[str]) -> bool:
    return bool(cells) and PurePosixPath(cells[0].strip().replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def _point(header: str) -> tuple[str, int]:
    """Split a column's name into the keypoint's and 0, 1, 2 for x, y, visibility; -1 where it is no such column.

    >>> _point("left_eye_x"), _point("Y1"), _point("x-Wert"), _point("year")
    (('left_eye', 0), ('point_1', 1), ('Wert', 0), ('', -1))
    """
    match = _LAST.fullmatch(header)
    if match:
        return match[1], "xyv".index(match[2][0].lower())
    match = _FIRST.fullmatch(header)
    if not match:
        return "", -1
    name = f"point_{int(match[2])}" if match[2] and len(match[2]) < 7 else match[3] or "point_0"
    return name, "xyv".index(match[1].lower())


def _rows(
    text: str, separator: str, columns: _Columns, problems: list[Problem]
) -> tuple[list[_Row], list[str], NDArray[np.int64]]:
    """Gather the objects, the image names in order, and the sizes (S, 2) H, W px, 0 where there are none."""
    images: dict[str, int] = {}
    sizes: list[list[int]] = []
    objects: list[_Row] = []
    known: dict[tuple[str, str], _Row] = {}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = next(reader)
    comma = separator == ";"
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"line {reader.line_num}"
        name = cells[columns.image].strip().replace("\\", "/") if columns.image < len(cells) else ""
        if len(cells) != len(header):
            problems.append(problem("wrong-length", f"{place}: {len(cells)} cells, expected {len(header)}", name or None))
            continue
        if name not in images:
            images[name] = len(images)
            sizes.append([_whole(cells, columns.height), _whole(cells, columns.width)])
        label = cells[columns.label].strip() if columns.label >= 0 else ""
        box = [np.inf if value is None else value for value in (_cell(cells, index, comma) for index in columns.boxes)]
        box = box or [np.nan] * 4
        values = {point: [_cell(cells, index, comma) for index in own] for point, own in columns.points.items()}
        if columns.long:
            # The axis columns serve whatever keypoint the row names; a row that names none stands for the image alone.
            point = cells[columns.keypoint].strip()
            values = {point: values[""]} if point else {}
        unreadable = any(value is None for row in values.values() for value in row)
        bare = not unreadable and all(np.isnan(value) for row in values.values() for value in row[:2] if value is not None)
        if bare and not label and np.isnan(box).all():
            continue
        key = (name, cells[columns.object].strip() if columns.object >= 0 else "")
        row = known.get(key) if columns.long else None
        if row is None:
            row = _Row(images[name], label or UNNAMED_CLASS, box, place, len(objects) + 1)
            objects.append(row)
            known[key] = row
        for point, (x, y, code) in values.items():
            if point in row.points:
                message = f"{place}: keypoint '{point[:40]}' of one object occurs twice; number the objects of an image"
            elif x is None or y is None or code is None:
                message = f"{place}: keypoint '{point[:40]}' has a cell that is no number"
            else:
                row.points[point] = _triple(x, y, code)
                continue
            problems.append(problem("unreadable-record", message, name, row.number))
            row.broken = True
    return objects, list(images), np.array(sizes, dtype=np.int64).reshape(-1, 2)


def _triple(x: float, y: float, code: float) -> list[float]:
    """Give x, y, visibility: where no column states it, what has a number is visible."""
    if np.isnan([x, y]).all() and (np.isnan(code) or code == 0):
        return [0.0, 0.0, 0.0]
    return [x, y, float(VISIBLE) if np.isnan(code) else code]


def _cell(cells: Sequence[str], index: int, comma: bool) -> float | None:
    """Read a number: NaN for an empty cell or no column, None for what is no number."""
    text = cells[index].strip() if index >= 0 else ""
    if text.lower() in _ABSENT:
        return np.nan
    value = _number(text, comma)
    return None if np.isnan(value) else value


def _number(text: str, comma: bool) -> float:
    try:
        return float(text.replace(",", ".") if comma else text)
    except ValueError:
        return np.nan


def _whole(cells: Sequence[str], index: int) -> int:
    text = cells[index].strip() if index >= 0 else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def write(dataset: Dataset, path: Path) -> None:
    """Write a wide table with commas: image, width, height, class, box, and x, y, v for every keypoint.

    Raises:
        DekeyError: if an image has no file, two keypoints cannot be told apart in a header, or the folder does not exist.
    """
    schema = dataset.schema
    header = ["image", "width", "height", "class", *_BOX]
    header += [f"{name}_{axis}" for name in schema.keypoints for axis in "xyv"]
    names = written_names(dataset, path.parent)
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(header)
    if list(_header([line.getvalue()]).points) != list(schema.keypoints):
        raise DekeyError("the keypoint names cannot be told apart as the header of a table; rename them, without line breaks")
    with replaced(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for index, name in enumerate(names):
            height, width = dataset.sizes[index].tolist()
            own = dataset[index].instances
            points = (own.keypoints - 0.5).round(_DIGITS)
            for row in range(len(own)):
                box = ["" if np.isnan(value) else value for value in own.boxes[row].round(_DIGITS).tolist()]
                cells: list[object] = []
                for (x, y), code in zip(points[row].tolist(), own.visibility[row].tolist(), strict=True):
                    cells += [x, y, code] if code else ["", "", 0]
                writer.writerow([name, width, height, schema.classes[int(own.labels[row])], *box, *cells])
            if not len(own):
                writer.writerow([name, width, height] + [""] * (len(header) - 3))

"""labelme: one JSON file an image, beside it; a folder of them, or one.

Layout: ``imagePath``, ``imageHeight``, ``imageWidth``, ``shapes``: each with ``label``, ``points``, ``shape_type``,
``group_id``, ``flags``. A shape of type ``point`` is a keypoint, its label the name; a ``rectangle`` is a box, its label the
class; those of one ``group_id`` are one object. Shapes without a group are one object where no name among them occurs twice;
several boxes without points are objects of their own. Other shapes (polygons, lines) are ignored with a warning.
``imageData``, the image as base64, is never decoded. Evidence: labelme/_label_file.py.

Frame: continuous pixels, nothing is added: labelme's canvas maps the mouse to the picture's own floating-point coordinates,
whose 0 is the left edge of the first pixel (``transformPos`` in labelme/widgets/canvas.py divides by the scale and takes off
the offset of the picture).

Visibility: 2 visible, 1 where the shape's flag ``occluded`` is set (labelme lets its user name any flags), 0 where there is
no shape. An ``imagePath`` that leaves the folder is followed only as far as its last part, in the folder that the caller
names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import OCCLUDED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import new_folder, write_text
from dekey.formats.coco_objects import short
from dekey.formats.columns import whole_numbers
from dekey.formats.copies import copy_picture
from dekey.formats.files import files_below, read_json
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS
from dekey.formats.pictures import label_names, written_names

HOLDS: Final = frozenset(
    {
        "several_objects",
        "classes",
        "unlabelled_points",
        "objects_without_keypoints",
        "images_without_objects",
        "occluded",
        "boxes",
        "class_names",
        "keypoint_names",
        "outside_points",
        "image_sizes",
        "exact_coordinates",
    }
)
_END_BYTES = 65_536
# How many files of a folder are looked into to know it.
_LOOKED_AT = 4
# A picture of 400 MB as base64; shapes take little.
_MAX_BYTES = 600 * 1024**2


def recognises(path: Path) -> bool:
    """Tell by both ends of a file, or of the first few JSON files in a folder, whether it is labelme's."""
    try:
        if path.is_dir():
            files = sorted(path.glob("*.json"))[:_LOOKED_AT]
            return any(_is_labelme(file) for file in files)
        return path.is_file() and _is_labelme(path)
    except OSError:
        return False


def _is_labelme(path: Path) -> bool:
    with path.open("rb") as stream:
        ends = stream.read(_END_BYTES)
        if len(ends) == _END_BYTES:
            stream.seek(max(path.stat().st_size - _END_BYTES, _END_BYTES))
            ends += stream.read(_END_BYTES)
    start = ends.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and b'"shapes"' in ends and (b'"imagePath"' in ends or b'"imageHeight"' in ends)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read labelme files.

    Args:
        path: a JSON file, or a folder with JSON files in or below it.
        images: folder where the image names start; by default that of the JSON files or its ``images/``.
        keep: keep an object of which a shape cannot be read, without it, instead of leaving it out.

    Returns:
        The data set, images by the names of their JSON files; what was left out is in its `problems`.

    Raises:
        DekeyError: if no file holds shapes, or none of them is a point.
    """
    home = path if path.is_dir() else path.parent
    files = [name for name in files_below(path) if name.endswith(".json")] if path.is_dir() else [path.name]
    problems: list[Problem] = []
    records = {name: _parsed(home / name, problems) for name in files if path.is_file() or _is_labelme(home / name)}
    contents = {name: record for name, record in records.items() if record is not None}
    if not contents:
        raise DekeyError(f"{path} holds no labelme file with shapes; expected JSON files with imagePath and shapes")
    names = [_image_name(name, content, images) for name, content in contents.items()]
    size, stated = whole_numbers([content.get(key) for content in contents.values() for key in ("imageHeight", "imageWidth")])
    sizes = np.where(stated & (size > 0), size, 0).reshape(-1, 2)
    places = place_images(home / "labels.json", names, images, problems, sizes=sizes, told=path)
    found: list[_Found] = []
    for index, (name, content) in enumerate(contents.items()):
        if places.sound[index]:
            found += _objects(content["shapes"], index, name, places.files.names[index], problems, len(found))
    keypoints = list(dict.fromkeys(point for each in found for point in each.points))
    if not keypoints:
        raise DekeyError(f"no shape in {path} is a point, so there are no keypoints; draw points in labelme")
    classes = list(dict.fromkeys(each.label for each in found))
    absent = [0.0, 0.0, 0.0]
    objects = Objects(
        np.array([each.image for each in found], dtype=np.int64),
        np.array([classes.index(each.label) for each in found], dtype=np.int64),
        np.array([[each.points.get(name, absent) for name in keypoints] for each in found], dtype=np.float64),
        np.array([each.box for each in found], dtype=np.float64).reshape(len(found), 4),
        [each.place for each in found],
        np.array([each.broken for each in found], dtype=np.bool_),
    )
    return build_dataset(Schema.create(classes, keypoints), places, objects, problems, keep=keep)


class _Found:
    """An object while its shapes are gathered."""

    def __init__(self, image: int, place: str) -> None:
        self.image, self.place = image, place
        self.label = UNNAMED_CLASS
        self.box = [np.nan] * 4
        self.points: dict[str, list[float]] = {}
        self.broken = False


def _parsed(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    if path.stat().st_size > _MAX_BYTES:
        raise DekeyError(
            f"{path} is larger than {_MAX_BYTES // 1024**2} MB, the limit of a labelme file; save it without imageData"
        )
    content = read_json(path, _without_image)
    if isinstance(content, dict) and isinstance(content.get("shapes"), list):
        return content
    problems.append(problem("unreadable-record", f"{path.name} holds no list of shapes", path.name))
    return None


def _without_image(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("imageData", None)
    return record


def _image_name(file: str, content: dict[str, Any], images: Path | None) -> str:
    """Name the image relative to the folder of the data set."""
    stated = content.get("imagePath")
    stated = stated.replace("\\", "/") if isinstance(stated, str) else ""
    own = PurePosixPath(stated)
    if images is not None and (own.is_absolute() or ".." in own.parts or ":" in stated):
        return own.name
    inner = PurePosixPath(file).parent
    return str(inner / own) if stated else ""


def _objects(shapes: Sequence[Any], image: int, file: str, name: str, problems: list[Problem], before: int) -> list[_Found]:
    """Gather the shapes of an image by their groups; `before` objects were found already."""
    grouped: dict[Any, list[tuple[str, dict[str, Any]]]] = {}
    for number, shape in enumerate(shapes):
        place = f"shape {number} of {file}"
        kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            problems.append(problem("unreadable-record", f"{place} is {short(shape)}, expected a label and points", name))
        elif kind in ("point", "rectangle"):
            group = shape.get("group_id")
            grouped.setdefault(group if isinstance(group, int | str) else None, []).append((place, shape))
        else:
            problems.append(problem("ignored-shape", f"{place} is a {short(kind)} called '{shape['label'][:40]}'", name))
    found: list[_Found] = []
    for group, members in grouped.items():
        boxes = [member for member in members if member[1]["shape_type"] == "rectangle"]
        apart = group is None and len(boxes) > 1 and len(boxes) == len(members)
        for part in [[member] for member in boxes] if apart else [members]:
            own = _Found(image, f"group {group} of {file}" if group is not None else f"the shapes without a group of {file}")
            found.append(own)
            for place, shape in part:
                mistake = _add(own, shape)
                if mistake:
                    problems.append(problem("unreadable-record", f"{place} {mistake}", name, before + len(found)))
                    own.broken = True
    return found


def _add(found: _Found, shape: dict[str, Any]) -> str | None:
    """Put a shape into its object, or say why it cannot be."""
    label, points = shape["label"], shape.get("points")
    rectangle = shape["shape_type"] == "rectangle"
    count = 2 if rectangle else 1
    if (
        not isinstance(points, list)
        or len(points) != count
        or not all(isinstance(xy, list) and len(xy) == 2 and all(type(v) in (int, float) for v in xy) for xy in points)
    ):
        return f"has points {short(points)}, expected {count} of x, y"
    if rectangle:
        if not np.isnan(found.box).any():
            return "is a second box of one object; give each object's shapes a group_id of their own"
        xy = np.array(points, dtype=np.float64)
        found.box = [*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()]
        found.label = label
    elif label in found.points:
        return f"is a second '{label[:40]}' of one object; give each object's shapes a group_id of their own"
    else:
        flags = shape.get("flags")
        hidden = isinstance(flags, dict) and flags.get("occluded") is True
        found.points[label] = [float(points[0][0]), float(points[0][1]), float(OCCLUDED if hidden else VISIBLE)]
    return None


def write(dataset: Dataset, path: Path) -> None:
    """Write a new folder with one JSON file an image and a copy of the image beside it, as labelme wants them.

    Raises:
        DekeyError: if the folder exists and is not empty, an image has no file, or two images would share a JSON file.
    """
    names = written_names(dataset, path)
    files = label_names(names, ".json")
    with new_folder(path) as folder:
        for index, (name, file) in enumerate(zip(names, files, strict=True)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            copy_picture(dataset, index, folder / name)
            content: dict[str, Any] = {
                "version": "5.5.0",
                "flags": {},
                "shapes": _shapes(dataset, index),
                "imagePath": PurePosixPath(name).name,
                "imageData": None,
                "imageHeight": int(dataset.sizes[index, 0]),
                "imageWidth": int(dataset.sizes[index, 1]),
            }
            write_text(folder / file, json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def _shapes(dataset: Dataset, index: int) -> list[dict[str, Any]]:
    schema, own = dataset.schema, dataset[index].instances
    shapes = []
    for row in range(len(own)):
        drawn: list[tuple[str, str, list[list[float]], bool]] = [
            (schema.classes[int(own.labels[row])], "rectangle", own.boxes[row].reshape(2, 2).tolist(), False)
        ]
        for column in np.flatnonzero(own.labelled[row]).tolist():
            hidden = bool(own.visibility[row, column] == OCCLUDED)
            drawn.append((schema.keypoints[column], "point", [own.keypoints[row, column].tolist()], hidden))
        shapes += [
            {
                "label": label,
                "points": points,
                "group_id": row,
                "description": "",
                "shape_type": kind,
                "flags": {"occluded": True} if hidden else {},
            }
            for label, kind, points, hidden in drawn
        ]
    return shapes

"""CVAT for images 1.1: one XML file.

Layout: ``annotations`` with ``meta``, where the labels are defined, and an ``image`` for each picture (id, name, width,
height) that holds its shapes. A ``skeleton`` is an object with keypoints: its ``points`` elements carry the names of its
parts, in any order, and are assigned by name. A ``points`` element by itself is an object whose keypoints have an order but
no names. A ``box`` belongs to the skeleton or points of the same ``group_id``, or to those that carry the same attribute
``id`` (or ``object_id``, ``instance_id``) and agree in every other attribute that both have; else it is an object of its own.
Lines of skeletons come from the drawing (``svg``) of the label. Evidence: docs.cvat.ai/docs/other/xml_format, and CVAT's
``cvat/apps/dataset_manager/formats/cvat.py``.

Frame: continuous pixels, as here; nothing is added. Evidence: CVAT draws shapes as SVG over the image and keeps them in
[0, width] × [0, height] (``fitPoints`` in cvat-core; the corner of a box at the lower right end of an image of 1920x1080 is
(1920, 1080), cvat-ai/cvat #9973).

Visibility: a point with ``outside="1"`` is unlabelled (CVAT writes coordinates all the same, they are ignored),
``occluded="1"`` is occluded, any other visible. ``occluded`` of a points element concerns all its points.

The class of an object is the label of its skeleton, points or box; the label of boxes that all belong to skeletons is no class.
A turned box becomes the upright box around it. Polygons, masks, tags and other shapes are ignored.

Written is the same: objects of a class with keypoints as skeletons, their boxes beside them under a label ``CLASS_box`` in the
same group, keypoints without label as ``outside`` points. To load it into CVAT, make a task with these labels first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.columns import whole_numbers
from dekey.formats.cvat_labels import Label, categories_of, read_labels
from dekey.formats.cvat_writing import write_file
from dekey.formats.files import head, read_xml
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.losses import ALL
from dekey.formats.names import unnamed_keypoints
from dekey.formats.references import likeliest

HOLDS: Final = ALL - {"crowd", "areas", "mirror", "sigmas", "annotation_ids", "category_ids"}
_HEAD_BYTES: Final = 65_536
_ROOT: Final = re.compile(rb"<annotations[\s>]")
_BODIES: Final = frozenset({"skeleton", "points"})
_IDENTITIES: Final = frozenset({"id", "object_id", "instance_id"})
_UNUSED_CLASSES: Final = frozenset({"rectangle", "points"})


@dataclass
class _Shape:
    """A shape of an image: the label, its keypoints (name or index to x, y, visibility), its box, and what joins it."""

    tag: str
    label: str
    place: str
    keypoints: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    box: tuple[float, ...] = (math.nan,) * 4
    group: str = "0"
    attributes: dict[str, str] = field(default_factory=dict)
    broken: bool = False


def recognises(path: Path) -> bool:
    """Tell by its first 64 KiB whether a file, or ``annotations.xml`` in a folder, has CVAT's root element."""
    start = head(path / "annotations.xml" if path.is_dir() else path, _HEAD_BYTES)
    signs = (b"<meta", b"<version", b"<image")
    return start.startswith(b"<") and bool(_ROOT.search(start)) and any(sign in start for sign in signs)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a CVAT file without touching an image.

    The ids of the images stay where they differ, objects count from 1.

    Args:
        path: the XML file, or a folder with ``annotations.xml``.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        keep: keep objects whose shapes cannot be read whole, without what is unusable.

    Raises:
        DekeyError: if the file is no sound XML, holds tracks of a video, or nothing that has keypoints.
    """
    path = path / "annotations.xml" if path.is_dir() else path
    root = read_xml(path)
    if root.tag != "annotations":
        raise DekeyError(f"{path} has the root '{root.tag}', expected 'annotations'; export as CVAT for images 1.1")
    if root.find("track") is not None:
        raise DekeyError(f"{path} holds tracks of a video; export as 'CVAT for images 1.1', which lists every frame")
    elements = root.findall("image")
    if not elements:
        raise DekeyError(f"{path} lists no images; export as 'CVAT for images 1.1'")
    problems: list[Problem] = []
    labels = read_labels(root)
    seen = {shape.get("label") for element in elements for shape in element}
    owners, shapes = [], []
    for index, element in enumerate(elements):
        for shape in _objects(element, labels, problems):
            owners.append(index)
            shapes.append(shape)
    categories = categories_of(_classes(labels, shapes, seen, path), problems)
    names = [element.get("name") or "" for element in elements]
    ids, whole = whole_numbers([element.get("id") for element in elements])
    sizes = np.stack([whole_numbers([element.get(side) for element in elements])[0] for side in ("height", "width")], axis=1)
    folder, names = likeliest(_readings(path, elements, names, images))
    pictures = place_images(path, names, images, problems, sizes=sizes, root=folder)
    distinct = whole.all() and len(np.unique(ids)) == len(ids)
    return build_dataset(
        categories.schema,
        pictures,
        _columns(shapes, owners, categories.schema.classes, categories.schema.keypoints),
        problems,
        keep=keep,
        image_ids=ids if distinct else None,
    )


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set as CVAT for images 1.1; an existing file is replaced only when the new one is whole.

    Image names are written relative to the file's folder where all images lie in it, else relative to the folder that
    holds them all.

    Raises:
        DekeyError: if an image has no file, the folder does not exist, or an object has neither a box nor a class with
            keypoints.
    """
    write_file(dataset, path)


def _readings(
    path: Path, elements: Sequence[Element], names: Sequence[str], images: Path | None
) -> list[tuple[Path, Sequence[str]]]:
    """List where the images may lie: projects of several subsets put them into a folder for each."""
    subsets = [
        "/".join(part for part in (each.get("subset"), name) if part) for each, name in zip(elements, names, strict=True)
    ]
    folders = [path.parent, path.parent / "images"] if images is None else [images]
    return [(folder, own) for own in (names, subsets) for folder in folders]


def _objects(image: Element, labels: dict[str, Label], problems: list[Problem]) -> Iterator[_Shape]:
    """Read the shapes of an image, and give a box to the skeleton or points it belongs to."""
    name = image.get("name")
    shapes = [
        _shape(element, f"{element.tag} {number}", labels, name, problems)
        for number, element in enumerate(image, start=1)
        if element.tag in ("skeleton", "points", "box")
    ]
    bodies = [shape for shape in shapes if shape.tag in _BODIES]
    boxes = [shape for shape in shapes if shape.tag == "box"]
    for group in dict.fromkeys(shape.group for shape in shapes if shape.group != "0"):
        mine = [shape for shape in bodies if shape.group == group]
        theirs = [shape for shape in boxes if shape.group == group]
        if mine and theirs and (len(mine) > 1 or len(theirs) > 1):
            what = f"group {group} holds {len(mine)} skeletons or points and {len(theirs)} boxes"
            problems.append(problem("ambiguous-group", what, name))
            for shape in (*mine, *theirs):
                shape.broken = True
        elif mine and theirs:
            mine[0].box = theirs[0].box
            mine[0].broken |= theirs[0].broken
            theirs[0].tag = "joined"
    left = [shape for shape in boxes if shape.tag == "box"]
    for body in bodies:
        partners = [box for box in left if _same(body, box)]
        if np.isnan(body.box).all() and len(partners) == 1 and sum(_same(other, partners[0]) for other in bodies) == 1:
            body.box, partners[0].tag = partners[0].box, "joined"
            body.broken |= partners[0].broken
    return (shape for shape in shapes if shape.tag != "joined")


def _same(one: _Shape, other: _Shape) -> bool:
    """Tell whether two shapes say by an attribute that they are the same object."""
    shared = one.attributes.keys() & other.attributes.keys()
    return not _IDENTITIES.isdisjoint(shared) and all(one.attributes[key] == other.attributes[key] for key in shared)


def _shape(element: Element, place: str, labels: dict[str, Label], image: str | None, problems: list[Problem]) -> _Shape:
    shape = _Shape(element.tag, element.get("label") or "", place, group=element.get("group_id") or "0")
    for attribute in element.findall("attribute"):
        shape.attributes[(attribute.get("name") or "").lower()] = (attribute.text or "").strip()

    def fault(what: str, kind: str = "unreadable-record") -> None:
        problems.append(problem(kind, f"{place}: {what}", image))
        shape.broken = True

    if not shape.label:
        fault("it has no label")
    if element.tag == "box":
        corners = [_number(element.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")]
        turn = math.radians(_number(element.get("rotation", "0")))
        if not all(map(math.isfinite, (*corners, turn))):
            fault("its corners are not four numbers", "unreadable-box")
        else:
            shape.box = _upright(corners, turn)
    elif element.tag == "points":
        pairs = _pairs(element.get("points"))
        code = OCCLUDED if element.get("occluded") == "1" else VISIBLE
        if not pairs:
            fault(f"points are '{(element.get('points') or '')[:40]}', expected x,y;x,y")
        for name, (x, y) in zip(unnamed_keypoints(len(pairs)), pairs, strict=True):
            shape.keypoints[name] = (x, y, code)
    else:
        known = labels.get(shape.label)
        for part in element.findall("points"):
            name, pairs = part.get("label") or "", _pairs(part.get("points"))
            if known is not None and known.points and name not in known.points:
                fault(f"it has a point '{name}', which skeleton '{shape.label}' does not have")
            elif name in shape.keypoints or not name:
                fault(f"it has two points '{name}'" if name else "it has a point without a label")
            elif part.get("outside") == "1":
                shape.keypoints[name] = (math.nan, math.nan, UNLABELLED)
            elif len(pairs) != 1:
                fault(f"point '{name}' is at '{(part.get('points') or '')[:40]}', expected x,y")
            else:
                shape.keypoints[name] = (*pairs[0], OCCLUDED if part.get("occluded") == "1" else VISIBLE)
    return shape


def _upright(corners: Sequence[float], turn: float) -> tuple[float, ...]:
    """Give the upright box around a box turned about its centre."""
    x1, y1, x2, y2 = corners
    if turn == 0:
        return x1, y1, x2, y2
    half_x = (abs((x2 - x1) * math.cos(turn)) + abs((y2 - y1) * math.sin(turn))) / 2
    half_y = (abs((x2 - x1) * math.sin(turn)) + abs((y2 - y1) * math.cos(turn))) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _pairs(text: str | None) -> list[tuple[float, float]]:
    """Read x,y;x,y; nothing where a part is no pair of numbers."""
    pairs = []
    for part in (text or "").split(";"):
        numbers = [_number(number) for number in part.split(",")]
        if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
            return []
        pairs.append((numbers[0], numbers[1]))
    return pairs


def _classes(labels: dict[str, Label], shapes: Sequence[_Shape], seen: set[str | None], path: Path) -> list[Label]:
    """Choose the labels that are classes, and complete what the file does not define of them."""
    used = dict.fromkeys(shape.label for shape in shapes if shape.label)
    for shape in shapes:
        label = labels.setdefault(shape.label, Label(shape.label, shape.tag, [], [])) if shape.label else None
        if label is not None and not (label.kind == "skeleton" and shape.tag == "points"):
            label.points += [name for name in shape.keypoints if name not in label.points]
    unused = {name for name, label in labels.items() if label.kind in _UNUSED_CLASSES and name not in seen}
    classes = [label for name, label in labels.items() if label.kind == "skeleton" or name in used or name in unused]
    if not any(label.points for label in classes):
        raise DekeyError(
            f"{path} holds no keypoints (labels: {', '.join(labels) or 'none'}), expected skeletons or points; "
            "draw skeletons in CVAT and export as 'CVAT for images 1.1'"
        )
    return classes


def _columns(shapes: Sequence[_Shape], owners: Sequence[int], classes: tuple[str, ...], keypoints: tuple[str, ...]) -> Objects:
    sound = [index for index, shape in enumerate(shapes) if shape.label]
    column = {name: index for index, name in enumerate(keypoints)}
    points: NDArray[np.float64] = np.full((len(sound), len(keypoints), 3), np.nan)
    points[..., 2] = UNLABELLED
    for row, index in enumerate(sound):
        for name, triple in shapes[index].keypoints.items():
            points[row, column[name]] = triple
    return Objects(
        np.array([owners[index] for index in sound], dtype=np.int64),
        np.array([classes.index(shapes[index].label) for index in sound], dtype=np.int64),
        points,
        np.array([shapes[index].box for index in sound], dtype=np.float64).reshape(-1, 4),
        [shapes[index].place for index in sound],
        np.array([shapes[index].broken for index in sound], dtype=np.bool_),
    )

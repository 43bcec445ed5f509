"""iBUG .pts and menpo .ljson: one file an image, beside it, with the points of one object; a folder of them, or one.

Layout, .pts: ``version: 1``, ``n_points: K``, then K lines of x y between braces. .ljson: JSON with ``version`` 2 (``labels``
and ``landmarks``) or 3 (the same under a name in ``groups``); ``points`` are [y, x], ``connectivity`` pairs from 0,
``labels`` name sets of points by their indices. The image has the file's name with another suffix. Points have no names of
their own: where the labels of a .ljson hold every point once, one is named by its label and its place there, ``jaw_0``;
elsewhere by number. .pts is written, .ljson is not: menpo itself reads .pts.

Frame: .pts counts pixels from 1 ("the Matlab convention of 1 being the first index, i.e. the coordinates of the top left
pixel in an image are x=1, y=1", on the pages of 300-W), so 0.5 is taken off when read and added when written. menpo counts
from 0 and takes 1 off when it reads .pts (``PTSImporter`` in menpo/io/input/landmark.py), so 0.5 is added to a .ljson. Files
of other people that count from 0 in a .pts look the same and are read a pixel too far up and left.

Visibility: .pts has none, all points are visible; a point of a .ljson without numbers (null) is unlabelled. There is no box
and no class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import new_folder
from dekey.formats.coco_objects import short
from dekey.formats.copies import copy_picture
from dekey.formats.files import files_below, head, read_json, read_text
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints
from dekey.formats.pictures import label_names, with_suffixes, written_names

HOLDS: Final = frozenset({"outside_points", "exact_coordinates"})
_HEAD_BYTES = 4096
_LOOKED_AT = 4
_MAX_BYTES = 64 * 1024**2
_MAX_POINTS = 100_000
_DIGITS = 9


@dataclass(frozen=True)
class _Shape:
    """The points of a file, (K, 3) x, y, visibility in the frame of a .ljson, and what it says of them."""

    points: NDArray[np.float64]
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()


def recognises(path: Path) -> bool:
    """Tell by the head of a file, or of the first few of a folder, whether it is a .pts or .ljson."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".pts", ".ljson"))
            return any(_reader(file) for file in files[:_LOOKED_AT])
        return path.is_file() and _reader(path) is not None
    except OSError:
        return False


def _reader(path: Path) -> Callable[[Path], _Shape] | None:
    start = head(path, _HEAD_BYTES)
    if start.startswith(b"version:") and b"n_points:" in start:
        return _read_pts
    if path.suffix.lower() == ".ljson" and start.startswith(b"{"):
        return _read_ljson
    return None


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read .pts or .ljson files.

    Args:
        path: a file, or a folder with files in or below it.
        images: folder of the images; by default that of the files or its ``images/``.
        keep: does nothing here: a file that cannot be read has no object to keep.

    Returns:
        The data set, one object an image, by name; what was left out is in its `problems`.

    Raises:
        DekeyError: if there is no such file, or none can be read.
    """
    home = path if path.is_dir() else path.parent
    files = [path.name]
    if path.is_dir():
        files = [name for name in files_below(path) if PurePosixPath(name).suffix.lower() in (".pts", ".ljson")]
    problems: list[Problem] = []
    shapes: dict[str, _Shape] = {}
    for name in files:
        reader = _reader(home / name)
        try:
            if reader is None:
                raise DekeyError(f"{home / name} does not begin as a .pts or .ljson does")
            shapes[name] = reader(home / name)
        except DekeyError as error:
            problems.append(problem("unreadable-record", str(error).split(";")[0], name))
    if not shapes:
        reason = f", the first because: {problems[0]}" if problems else ""
        raise DekeyError(f"none of the {len(files)} files of {path} can be read as .pts or .ljson{reason}")
    counts = [len(shape.points) for shape in shapes.values()]
    count = max(set(counts), key=counts.count)
    for name in [name for name, shape in shapes.items() if len(shape.points) != count]:
        message = f"{len(shapes[name].points)} points, where most files have {count}; read them apart"
        problems.append(problem("wrong-length", message, name))
        del shapes[name]
    bare = [str(PurePosixPath(name).with_suffix("")) for name in shapes]
    found = with_suffixes(home, bare, images)
    places = place_images(home / "labels.pts", found, images, problems, told=path)
    first = next(iter(shapes.values()))
    rows = len(shapes)
    objects = Objects(
        np.arange(rows),
        np.zeros(rows, dtype=np.int64),
        np.stack([shape.points for shape in shapes.values()]),
        np.full((rows, 4), np.nan),
        list(shapes),
    )
    schema = Schema.create([UNNAMED_CLASS], first.names, first.edges)
    return build_dataset(schema, places, objects, problems, offset=0.5, keep=keep)


def _read_pts(path: Path) -> _Shape:
    """Read a .pts, counted from 0 then."""
    lines = [line.strip() for line in read_text(path, _MAX_BYTES).splitlines()]
    head = dict(line.split(":", 1) for line in lines[: lines.index("{") if "{" in lines else 0] if ":" in line)
    stated = head.get("n_points", "").strip()
    if "{" not in lines or not stated.isdecimal() or len(stated) > 9 or not 0 < int(stated) <= _MAX_POINTS:
        raise DekeyError(f"{path} has no n_points with points between braces; expected a .pts file")
    stop = lines.index("}") if "}" in lines else len(lines)
    rows = [line.split() for line in lines[lines.index("{") + 1 : stop] if line]
    if len(rows) != int(stated):
        raise DekeyError(f"{path} holds {len(rows)} points but states n_points: {stated}; mend it")
    try:
        points = np.array([[float(x), float(y), VISIBLE] for x, y in rows])
    except ValueError as error:
        raise DekeyError(f"{path} holds a line that is not x y ({error}); mend it") from error
    points[:, :2] -= 1
    return _Shape(points, unnamed_keypoints(len(points)))


def _read_ljson(path: Path) -> _Shape:
    content = read_json(path)
    groups = content.get("groups") if isinstance(content, dict) else None
    if isinstance(groups, dict):
        if len(groups) != 1:
            raise DekeyError(f"{path} holds {len(groups)} groups of landmarks, expected one; export one group")
        content = next(iter(groups.values()))
    landmarks = content.get("landmarks") if isinstance(content, dict) else None
    points = landmarks.get("points") if isinstance(landmarks, dict) else None
    if not isinstance(points, list) or not 0 < len(points) <= _MAX_POINTS:
        raise DekeyError(f"{path} has no landmarks with points; expected a .ljson file of version 2 or 3")
    triples = np.zeros((len(points), 3))
    for index, point in enumerate(points):
        if not (isinstance(point, list) and len(point) == 2 and all(v is None or type(v) in (int, float) for v in point)):
            raise DekeyError(f"point {index} of {path} is {short(point)}, expected [y, x]; mend it")
        if None not in point and all(math.isfinite(value) for value in point):
            triples[index] = point[1], point[0], VISIBLE
    edges = landmarks.get("connectivity") if isinstance(landmarks, dict) else None
    pairs = [pair for pair in edges if _is_edge(pair, len(points))] if isinstance(edges, list) else []
    return _Shape(triples, _names(content.get("labels"), len(points)), tuple((a, b) for a, b in pairs))


def _is_edge(pair: Any, count: int) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(index) is int and 0 <= index < count for index in pair)


def _names(labels: Any, count: int) -> tuple[str, ...]:
    """Name points by the labels where these hold every point once."""
    names: dict[int, str] = {}
    for label in labels if isinstance(labels, list) else []:
        mask = label.get("mask") if isinstance(label, dict) else None
        mask = mask if isinstance(mask, list) else []
        for place, index in enumerate(mask):
            if type(index) is not int or index in names:
                return unnamed_keypoints(count)
            names[index] = f"{label.get('label')}_{place}" if len(mask) > 1 else str(label.get("label"))
    if set(names) != set(range(count)) or len(set(names.values())) < count:
        return unnamed_keypoints(count)
    return tuple(names[index] for index in range(count))


def write(dataset: Dataset, path: Path) -> None:
    """Write a new folder with one .pts an image and a copy of the image beside it.

    Raises:
        DekeyError: if the folder exists and is not empty, an image has no file, or two images would share a .pts.
    """
    names = written_names(dataset, path)
    files = label_names(names, ".pts")
    with new_folder(path) as folder:
        for index, (name, file) in enumerate(zip(names, files, strict=True)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            copy_picture(dataset, index, folder / name)
            points = (dataset[index].instances.keypoints[0] + 0.5).round(_DIGITS).tolist()
            lines = ["version: 1", f"n_points: {len(points)}", "{", *(f"{x!r} {y!r}" for x, y in points), "}"]
            (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")

"""The data.yaml of an Ultralytics YOLO-pose data set, see `dekey.formats.yolo`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dekey.data.dataset import Problem
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.formats.coco_categories import Categories, read_categories
from dekey.formats.coco_objects import short
from dekey.formats.files import head, read_yaml
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints

# A description is a page of text; a hundred classes of a hundred keypoints each take 0.2 MB.
_MAX_BYTES = 4 * 1024**2
_HEAD_BYTES = 65_536
_MAX_KEYPOINTS = 10_000
_SHAPE = re.compile(rb"^[\"']?kpt_shape[\"']?[ \t]*:", re.MULTILINE)
_NAMES = re.compile(rb"^[\"']?(names|nc)[\"']?[ \t]*:", re.MULTILINE)
_SPLITS = re.compile(rb"^[\"']?(train|val)[\"']?[ \t]*:", re.MULTILINE)
# Keys under which tools write the names of keypoints: Ultralytics, sleap-io.
_KEYPOINT_KEYS = ("kpt_names", "node_names")


@dataclass(frozen=True)
class Description:
    """What a data.yaml states.

    Attributes:
        path: the file.
        categories: classes and keypoints; `categories.columns` tells where the columns of a class lie in the schema.
        values: numbers a keypoint, 2 or 3.
        root: folder where the splits start, relative to the file's own folder; that itself where it lies elsewhere.
        splits: sources of each split as written.
    """

    path: Path
    categories: Categories
    values: int
    root: PurePosixPath
    splits: dict[str, tuple[str, ...]]


def describes(path: Path, *, poses: bool) -> bool:
    """Tell by its first 64 KiB whether a file is a data.yaml, of poses or of anything."""
    start = head(path, _HEAD_BYTES) if path.suffix.lower() in (".yaml", ".yml") else b""
    return bool(_SHAPE.search(start)) or (not poses and bool(_NAMES.search(start) and _SPLITS.search(start)))


def read_description(path: Path, problems: list[Problem]) -> Description:
    """Read a data.yaml.

    Raises:
        DekeyError: if it is no YAML, states no keypoints, or contradicts itself.
    """
    values = read_yaml(path, _MAX_BYTES)
    if not isinstance(values, dict):
        raise DekeyError(f"{path} holds {short(values)}, expected the keys kpt_shape, names and train")
    count, numbers = _shape(values.get("kpt_shape"), path)
    classes = _classes(values, path)
    keypoints = _keypoints(values, len(classes), count, path)
    flip = values.get("flip_idx")
    records = [
        {"id": index, "name": name, "keypoints": list(own)} | ({"flip_indices": flip} if flip not in (None, []) else {})
        for index, (name, own) in enumerate(zip(classes, keypoints, strict=True))
    ]
    try:
        categories = read_categories(records, count, problems)
    except DekeyError as error:
        raise DekeyError(f"{path}: {error}") from error
    schema = _with_edges(categories, values.get("skeleton"), problems)
    root = values.get("path")
    return Description(
        path,
        replace(categories, schema=schema),
        numbers,
        (inside(root) if isinstance(root, str) else None) or PurePosixPath(),
        {key: _sources(values[key], key, path) for key in ("train", "val", "validation", "test") if values.get(key)},
    )


def _shape(value: Any, path: Path) -> tuple[int, int]:
    if value is None:
        raise DekeyError(f"{path} states no kpt_shape, so it describes boxes without keypoints; expected a pose data set")
    sound = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    if not sound or not 0 < value[0] <= _MAX_KEYPOINTS or value[1] not in (2, 3):
        raise DekeyError(f"kpt_shape in {path} is {short(value)}, expected [keypoints, 2] or [keypoints, 3]")
    return value[0], value[1]


def _classes(values: dict[str, Any], path: Path) -> list[str]:
    names, count = values.get("names"), values.get("nc")
    if names is None:
        if type(count) is not int or not 0 < count <= _MAX_KEYPOINTS:
            raise DekeyError(f"{path} states neither names nor nc; name the classes")
        return [UNNAMED_CLASS] if count == 1 else [f"class_{index}" for index in range(count)]
    listed = _in_order(names, "names", path) if isinstance(names, dict) else names
    classes = _words(listed, "names", path)
    if not classes:
        raise DekeyError(f"{path} names no class; name at least one")
    if type(count) is int and count != len(classes):
        raise DekeyError(f"{path} names {len(classes)} classes but states nc: {count}; mend one of them")
    return classes


def _keypoints(values: dict[str, Any], classes: int, count: int, path: Path) -> list[tuple[str, ...]]:
    """Give the names of the columns for each class."""
    key = next((key for key in _KEYPOINT_KEYS if values.get(key)), None)
    if key is None:
        return [unnamed_keypoints(count)] * classes
    stated = values[key]
    rows = _in_order(stated, key, path) if isinstance(stated, dict) else stated
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list):
        rows = [rows]
    if len(rows) not in (1, classes):
        raise DekeyError(f"{key} in {path} has names for {len(rows)} classes, expected one row or {classes}")
    own = [tuple(_words(row, key, path)) for row in rows]
    for row in own:
        if len(row) != count:
            raise DekeyError(f"{key} in {path} lists {len(row)} names, but kpt_shape states {count}; mend one of them")
    return own * classes if len(own) == 1 else own


def _in_order(table: dict[Any, Any], key: str, path: Path) -> list[Any]:
    """Turn {0: a, 1: b} into [a, b]."""
    numbers = {int(name) if isinstance(name, str) and name.isdecimal() else name: value for name, value in table.items()}
    if set(numbers) != set(range(len(numbers))):
        raise DekeyError(f"{key} in {path} is numbered {short(list(table))}, expected 0 to {len(table) - 1}")
    return [numbers[index] for index in range(len(numbers))]


def _words(values: Any, key: str, path: Path) -> list[str]:
    if not isinstance(values, list):
        raise DekeyError(f"{key} in {path} is {short(values)}, expected a list of names")
    for value in values:
        if type(value) not in (str, int, float):
            raise DekeyError(f"{key} in {path} holds {short(value)}, expected a name; put it in quotes")
    return [str(value) for value in values]


def _with_edges(categories: Categories, skeleton: Any, problems: list[Problem]) -> Schema:
    """Read the skeleton, pairs of columns counted from 0."""
    if skeleton is None:
        return categories.schema
    edges: dict[tuple[int, int], None] = {}
    count = len(categories.columns[0])
    for pair in skeleton if isinstance(skeleton, list) else [skeleton]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 0 <= n < count for n in pair)):
            problems.append(problem("bad-skeleton", f"edge {short(pair)} of {count} keypoints, counted from 0"))
            continue
        for columns in categories.columns:
            edge = int(columns[pair[0]]), int(columns[pair[1]])
            if edge[::-1] not in edges:
                edges[edge] = None
    return replace(categories.schema, edges=np.array(list(edges), dtype=np.int64).reshape(-1, 2))


def _sources(value: Any, key: str, path: Path) -> tuple[str, ...]:
    listed: Sequence[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) and each for each in listed):
        raise DekeyError(f"{key} in {path} is {short(value)}, expected a folder, a list of images, or several of them")
    return tuple(listed)


def inside(name: str) -> PurePosixPath | None:
    """Take off '../' in front, as Ultralytics does where nothing lies there; None for what leads out of the folder anyhow."""
    path = PurePosixPath(name.replace("\\", "/"))
    while path.parts[:1] == ("..",):
        path = PurePosixPath(*path.parts[1:])
    outside = path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name
    return None if outside else path

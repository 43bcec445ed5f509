"""COCO categories to a `Schema` and back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Problem
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema, mirror_from_names
from dekey.errors import DekeyError


@dataclass(frozen=True)
class Categories:
    """The categories of a file.

    Attributes:
        schema: the union of all categories.
        ids: C category ids.
        columns: C arrays; where in `schema.keypoints` each keypoint of the category lies, in the category's order.
    """

    schema: Schema
    ids: tuple[int, ...]
    columns: tuple[NDArray[np.int64], ...]


def read_categories(records: Any, annotated: int, problems: list[Problem]) -> Categories:
    """Join the categories into one schema; keypoints are the same where their names are.

    The order of the keypoints is that of the first category; a name that only a later one has comes behind the name that
    precedes it there, so that every category keeps its own order unless two contradict each other.

    Args:
        records: the value of ``categories``.
        annotated: the largest number of keypoints that an object of the file carries.
        problems: what is wrong but can be left out is appended here.

    Raises:
        DekeyError: if there are no categories, one has no id or name, or none has keypoints.
    """
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise DekeyError("`categories` is not a list of records; a COCO keypoints file names its keypoints there")
    ids, classes, names = [], [], []
    for record in records:
        if type(record.get("id")) is not int or abs(record["id"]) >= 2**63 or not isinstance(record.get("name"), str):
            raise DekeyError(f"the category {_short(record)} has no whole `id` or no `name`; give it both")
        keypoints = record.get("keypoints")
        own = list(keypoints) if isinstance(keypoints, list | array) else []
        if (keypoints is not None and not isinstance(keypoints, list | array)) or not all(isinstance(k, str) for k in own):
            raise DekeyError(f"the keypoints of category '{record['name']}' are not names; list one string a keypoint")
        if len(set(own)) < len(own):
            raise DekeyError(f"category '{record['name']}' names a keypoint twice; give every keypoint a name of its own")
        ids.append(record["id"])
        classes.append(record["name"])
        names.append(own)
    if len(set(ids)) < len(ids):
        raise DekeyError("two categories have the same id; give every category an id of its own")
    if not any(names):
        what = f"none of the {len(records)} categories ({', '.join(classes[:4])}) names keypoints"
        if annotated:
            raise DekeyError(f"{what}, but objects carry {annotated} of them; list their names in the category's `keypoints`")
        raise DekeyError(
            f"{what}, and no object has any; this looks like a COCO detection file, expected a COCO keypoints file"
        )
    union = _union(names, classes, problems)
    index = {name: position for position, name in enumerate(union)}
    columns = tuple(np.array([index[name] for name in own], dtype=np.int64) for own in names)
    present = np.zeros((len(classes), len(union)), dtype=np.bool_)
    for row, column in zip(present, columns, strict=True):
        row[column] = True
    mirror, mirror_note = _mirror(records, classes, names, columns, union, problems)
    # Schema.create derives a mirror where it is given none; the identity stands in where it was decided that there is none.
    schema = Schema.create(
        classes,
        union,
        _edges(records, classes, columns, problems),
        range(len(union)) if mirror is None else mirror,
        _sigmas(records, columns, len(union), problems),
        present,
    )
    return Categories(replace(schema, mirror=mirror, mirror_note=mirror_note), tuple(ids), columns)


def write_categories(schema: Schema, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Give the category records of a schema, keypoints in the schema's order, with edges, flip_indices and sigmas."""
    records = []
    for row, (name, category_id) in enumerate(zip(schema.classes, ids, strict=True)):
        columns = np.flatnonzero(schema.present[row])
        own = {int(column): position for position, column in enumerate(columns)}
        record: dict[str, Any] = {
            "id": category_id,
            "name": name,
            "supercategory": name,
            "keypoints": [schema.keypoints[column] for column in columns],
            "skeleton": [[own[a] + 1, own[b] + 1] for a, b in schema.edges.tolist() if a in own and b in own],
        }
        if schema.mirror is not None and all(int(schema.mirror[column]) in own for column in columns):
            record["flip_indices"] = [own[int(schema.mirror[column])] for column in columns]
        if schema.sigmas is not None:
            record["sigmas"] = schema.sigmas[columns].tolist()
        records.append(record)
    return records


def _union(names: Sequence[Sequence[str]], classes: Sequence[str], problems: list[Problem]) -> list[str]:
    union: list[str] = []
    for own in names:
        # A class that shares no keypoint follows the others; one that does is woven in around what it shares.
        position = 0 if set(own) & set(union) else len(union)
        for name in own:
            if name in union:
                position = union.index(name) + 1
            else:
                union.insert(position, name)
                position += 1
    for own, name in zip(names, classes, strict=True):
        places = [union.index(keypoint) for keypoint in own]
        if places != sorted(places):
            problems.append(
                problem("keypoint-order", f"category '{name}' orders its keypoints unlike the categories before it")
            )
    return union


def _edges(
    records: Sequence[dict[str, Any]],
    classes: Sequence[str],
    columns: Sequence[NDArray[np.int64]],
    problems: list[Problem],
) -> list[tuple[int, int]]:
    edges: dict[tuple[int, int], None] = {}
    for record, name, column in zip(records, classes, columns, strict=True):
        skeleton = record.get("skeleton") or []
        pairs = [pair for pair in skeleton if _is_pair(pair)] if isinstance(skeleton, list) else []
        base = 0 if any(0 in pair for pair in pairs) else 1
        if base == 0:
            problems.append(problem("zero-based-skeleton", f"the skeleton of category '{name}' holds index 0"))
        sound = [pair for pair in pairs if base <= min(pair) and max(pair) < len(column) + base]
        if not isinstance(skeleton, list) or len(sound) < len(skeleton):
            wrong = next((pair for pair in skeleton if pair not in sound), "?") if isinstance(skeleton, list) else skeleton
            problems.append(problem("bad-skeleton", f"edge {_short(wrong)} of category '{name}' with {len(column)} keypoints"))
        for a, b in sound:
            edge = int(column[a - base]), int(column[b - base])
            if edge not in edges and edge[::-1] not in edges:
                edges[edge] = None
    return list(edges)


def _mirror(
    records: Sequence[dict[str, Any]],
    classes: Sequence[str],
    names: Sequence[Sequence[str]],
    columns: Sequence[NDArray[np.int64]],
    union: Sequence[str],
    problems: list[Problem],
) -> tuple[NDArray[np.int64] | None, str]:
    """Take the pairs from ``flip_indices`` where a category states them, else from its names."""
    stated = [record.get("flip_indices", record.get("flip_idx")) for record in records]
    if all(table is None for table in stated):
        return mirror_from_names(union)
    mirror = np.full(len(union), -1)
    notes = []
    for table, name, own, column in zip(stated, classes, names, columns, strict=True):
        if not len(own):
            continue
        if table is None:
            partner, note = mirror_from_names(own)
            if partner is None:
                return None, f"category '{name}' states no flip_indices and {note}"
            notes.append(note)
        else:
            message = _mirror_mistake(table, own)
            if message:
                problems.append(problem("bad-mirror", f"flip_indices of category '{name}' {message}"))
                return None, f"flip_indices of category '{name}' cannot be used"
            partner = np.array(table, dtype=np.int64)
        target = column[partner]
        conflict = (mirror[column] >= 0) & (mirror[column] != target)
        if conflict.any():
            where = own[int(np.flatnonzero(conflict)[0])]
            problems.append(problem("bad-mirror", f"category '{name}' mirrors '{where}' unlike a category before it"))
            return None, "the categories contradict each other about left and right"
        mirror[column] = target
    return mirror, notes[0] if notes else "left and right as the file states them"


def _mirror_mistake(table: Any, own: Sequence[str]) -> str | None:
    if not isinstance(table, list) or any(type(index) is not int or not 0 <= index < len(own) for index in table):
        return f"are not indices from 0 to {len(own) - 1}"
    if len(table) != len(own):
        return f"hold {len(table)} indices for {len(own)} keypoints"
    wrong = [index for index in range(len(own)) if table[table[index]] != index]
    return f"send '{own[wrong[0]]}' to '{own[table[wrong[0]]]}' but not back" if wrong else None


def _sigmas(
    records: Sequence[dict[str, Any]], columns: Sequence[NDArray[np.int64]], count: int, problems: list[Problem]
) -> NDArray[np.float64] | None:
    sigmas = np.full(count, np.nan)
    if all(record.get("sigmas") is None for record in records):
        return None
    for record, column in zip(records, columns, strict=True):
        values = record.get("sigmas")
        name = record["name"]
        if values is None:
            continue
        sound = isinstance(values, list) and all(type(value) in (int, float) and 0 < value < 1e6 for value in values)
        if not sound or len(values) != len(column):
            problems.append(
                problem("bad-sigmas", f"category '{name}' needs {len(column)} positive sigmas, found {_short(values)}")
            )
            return None
        known = sigmas[column]
        if np.any(np.isfinite(known) & (known != values)):
            problems.append(
                problem("bad-sigmas", f"category '{name}' gives a keypoint another sigma than a category before it")
            )
            return None
        sigmas[column] = values
    if np.isnan(sigmas).any():
        problems.append(problem("bad-sigmas", "some categories state sigmas and others do not"))
        return None
    return sigmas


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(index) is int for index in pair)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

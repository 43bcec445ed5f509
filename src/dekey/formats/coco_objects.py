"""Annotations of a COCO file to checked columns, in bulk."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import PictureFiles, Problem
from dekey.data.instances import UNLABELLED, Instances
from dekey.data.problem_kinds import problem
from dekey.formats.coco_categories import Categories
from dekey.formats.columns import numbers, row_lengths, stacked, whole_numbers
from dekey.formats.triples import DOUBTS, Flags, lost, unknown_code, usable

Ints = NDArray[np.int64]
# Rows of keypoints unpacked at a time.
_ROWS = 65_536


@dataclass(frozen=True)
class _Report:
    """What is needed to name an object in a problem; `sound` (M,) is cleared for every object that an error names."""

    problems: list[Problem]
    files: PictureFiles
    ids: Ints
    image_of: Ints
    placed: Flags
    sound: Flags

    def add(self, kind: str, wrong: Flags, message: Callable[[int], str]) -> None:
        for index in np.flatnonzero(wrong).tolist():
            name = self.files.names[self.image_of[index]] if self.placed[index] else None
            found = problem(kind, message(index), name, int(self.ids[index]))
            self.problems.append(found)
            if found.severity == "error":
                self.sound[index] = False


def read_objects(
    records: list[Any], categories: Categories, files: PictureFiles, image_ids: Ints, problems: list[Problem], keep: bool
) -> tuple[Instances, Ints, Ints]:
    """Give the instances in the file's order, the position of each one's image (M,), and the annotation ids (M,).

    Args:
        records: the annotations; number lists as arrays of doubles.
        categories: what they refer to.
        files: the S images.
        image_ids: (S,) their ids, each once.
        problems: mistakes are appended here.
        keep: keep objects whose keypoints, box or area cannot be read, without them; otherwise they are left out.
    """
    records = only_objects(records, "annotations", problems)
    count = len(records)
    ids, known = _ids(records)
    image_of, has_image = _positions([record.get("image_id") for record in records], image_ids)
    labels, has_class = _positions([record.get("category_id") for record in records], np.array(categories.ids, dtype=np.int64))
    report = _Report(problems, files, ids, image_of, has_image, np.ones(count, dtype=np.bool_))
    report.add("unreadable-record", ~known, lambda index: f"annotation {short(records[index])} has no whole id")
    report.add("unknown-image", ~has_image, lambda index: f"image_id {short(records[index].get('image_id'))} is not usable")
    report.add(
        "unknown-category", ~has_class, lambda index: f"category_id {short(records[index].get('category_id'))} is not listed"
    )
    boxes = _boxes(records, report)
    areas, readable = numbers([record.get("area") for record in records])
    report.add("unreadable-record", ~readable, lambda index: f"area is {short(records[index]['area'])}, expected a number")
    crowd = np.array([record.get("iscrowd") in (1, True) for record in records], dtype=np.bool_)
    placed = known & has_image & has_class
    keypoints, visibility = _keypoints(records, categories, labels, placed, report)
    instances = Instances(boxes, labels, keypoints, visibility, crowd, areas)
    chosen = placed if keep else placed & report.sound
    if chosen.all():
        return instances, image_of, ids
    return instances[chosen], image_of[chosen], ids[chosen]


def only_objects(records: list[Any], what: str, problems: list[Problem]) -> list[dict[str, Any]]:
    """Leave out the entries that are no JSON objects, and say so."""
    if set(map(type, records)) <= {dict}:
        return records
    for index, record in enumerate(records):
        if type(record) is not dict:
            problems.append(problem("unreadable-record", f"entry {index} of {what} is {short(record)}, expected an object"))
    return [record for record in records if type(record) is dict]


def short(value: Any) -> str:
    """Show a value in at most 60 characters."""
    if type(value) is array:
        value = value[:8].tolist()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _ids(records: Sequence[dict[str, Any]]) -> tuple[Ints, Flags]:
    """Read the ids; a file that gives none at all is numbered from 1."""
    values = [record.get("id") for record in records]
    if all(value is None for value in values):
        return np.arange(1, len(values) + 1), np.ones(len(values), dtype=np.bool_)
    return whole_numbers(values)


def _positions(values: Sequence[Any], ids: Ints) -> tuple[Ints, Flags]:
    """Find values among distinct ids: their positions (0 where not found), and which were found."""
    wanted, whole = whole_numbers(values)
    order = np.argsort(ids)
    place = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    found = whole & (ids[place] == wanted)
    return np.where(found, place, 0), found


def _boxes(records: Sequence[dict[str, Any]], report: _Report) -> NDArray[np.float64]:
    """Read x, y, width, height to corners (M, 4) px; NaN where there is none."""
    rows = [record.get("bbox") for record in records]
    lengths = row_lengths(rows)
    boxes = np.full((len(rows), 4), np.nan)
    given = np.flatnonzero(lengths == 4)
    boxes[given] = stacked([rows[index] for index in given.tolist()], 4)
    wrong = (lengths == -2) | (lengths > 0)
    wrong[given] = ~usable(boxes[given])
    boxes[wrong] = np.nan
    report.add("unreadable-box", wrong, lambda index: f"bbox is {short(rows[index])}, expected four numbers")
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _keypoints(
    records: Sequence[dict[str, Any]], categories: Categories, labels: Ints, placed: Flags, report: _Report
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Read x, y, v triples to (M, K, 2) px in the continuous frame and (M, K) codes, mapped by name."""
    count, names = len(records), categories.schema.keypoints
    keypoints = np.full((count, len(names), 2), np.nan)
    visibility = np.full((count, len(names)), UNLABELLED, dtype=np.uint8)
    rows: list[Any] = [record.get("keypoints") for record in records]
    lengths = row_lengths(rows)
    expected = np.array([3 * len(columns) for columns in categories.columns], dtype=np.int64)[labels]
    absent = (lengths == -1) | (lengths == 0)
    report.add(
        "wrong-length",
        placed & ~absent & (lengths != expected),
        lambda index: (
            f"{int(lengths[index])} numbers for {expected[index] // 3} keypoints, expected {expected[index]}"
            if lengths[index] >= 0
            else f"keypoints is {short(rows[index])}, expected numbers"
        ),
    )
    doubtful = {kind: np.zeros(count, dtype=np.bool_) for kind in DOUBTS}
    for label, columns in enumerate(categories.columns):
        chosen = np.flatnonzero(placed & (labels == label) & (lengths == expected) & ~absent)
        for start in range(0, len(chosen), _ROWS):
            part = chosen[start : start + _ROWS]
            triples = stacked([rows[index] for index in part.tolist()], 3 * len(columns)).reshape(len(part), -1, 3)
            for kind, test in DOUBTS.items():
                doubtful[kind][part] = test(triples).any(axis=1)
            codes = triples[..., 2]
            good = (codes > 0) & ~unknown_code(triples) & ~lost(triples)
            keypoints[part[:, None], columns] = np.where(good[..., None], triples[..., :2] + 0.5, np.nan)
            visibility[part[:, None], columns] = np.where(good, codes, UNLABELLED).astype(np.uint8)

    def first(index: int, test: Callable[[NDArray[np.float64]], Flags]) -> str:
        columns = categories.columns[labels[index]]
        triples = stacked([rows[index]], 3 * len(columns)).reshape(-1, 3)
        here = int(test(triples).argmax())
        return f"keypoint '{names[columns[here]]}' is x, y, v = {', '.join(f'{value:.6g}' for value in triples[here])}"

    for kind, test in DOUBTS.items():
        report.add(kind, doubtful[kind], partial(first, test=test))
    return keypoints, visibility

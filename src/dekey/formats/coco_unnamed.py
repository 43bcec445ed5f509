"""COCO files whose categories name no keypoints, as MMPose and others write them for faces."""

from __future__ import annotations

from array import array
from typing import Any

from dekey.data.dataset import Problem
from dekey.data.problem_kinds import problem
from dekey.formats.names import unnamed_keypoints


def name_keypoints(categories: Any, annotations: list[Any], problems: list[Problem]) -> None:
    """Call keypoints without a name ``point_0``, ``point_1``, … where all objects that have any have as many; and say so.

    Nothing happens where one category names its keypoints, or where the numbers differ: then nobody knows which is which.

    Args:
        categories: the records, changed in place.
        annotations: the records; number lists as arrays of doubles.
        problems: the note is appended here.
    """
    if not isinstance(categories, list) or not all(type(record) is dict for record in categories):
        return
    if any(record.get("keypoints") for record in categories):
        return
    lengths: set[int] = set()
    owners: set[Any] = set()
    for record in annotations:
        row = record.get("keypoints") if type(record) is dict else None
        if type(row) is array and len(row):
            lengths.add(len(row))
            if type(owner := record.get("category_id")) in (int, float, str):
                owners.add(owner)
    if len(lengths) != 1 or min(lengths) % 3:
        return
    count = lengths.pop() // 3
    for record in categories:
        identity = record.get("id")
        if type(identity) is int and (identity in owners or str(identity) in owners):
            record["keypoints"] = list(unnamed_keypoints(count))
            message = (
                f"category '{record.get('name')}' names none of its {count} keypoints; they are called point_0, point_1, …"
            )
            problems.append(problem("unnamed-keypoints", message))

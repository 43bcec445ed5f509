"""COCO results: what a model found, as a JSON list (cocodataset.org/#format-results).

Layout: one record an object with image_id, category_id, bbox (x, y, width, height), score, and keypoints as x, y and the
keypoint's score, in the order of the category. Two fields are not in the standard: ``file_name`` where an image has no id
of its own, and ``visibility`` (0, 1, 2 a keypoint) where some found keypoint is occluded.

Frame: as in COCO's annotations; keypoints are pixel indices (0.5 is added when read and taken off when written), boxes are
continuous. A keypoint that was not found is 0, 0, 0 in the file and NaN here.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.data.geometry import box_sizes
from dekey.data.instances import UNLABELLED, VISIBLE, Instances
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.coco import compact, keypoint_triples, plain_numbers
from dekey.formats.coco_objects import short
from dekey.formats.files import read_json
from dekey.formats.triples import FARTHEST, usable


class _Find(NamedTuple):
    """One record: score, label, box (4,), triples (K, 3) in the continuous frame, codes (K,)."""

    score: float
    label: int
    box: NDArray[np.float64]
    triples: NDArray[np.float64]
    codes: NDArray[np.uint8]


def read_results(path: Path, dataset: Dataset) -> list[Instances]:
    """Read what was found on the images of a data set.

    Args:
        path: the JSON file.
        dataset: the data set whose image and category ids the file uses; keypoints are in its schema's order.

    Returns:
        One Instances an image, in the order of the data set, best score first; with scores and keypoint scores.

    Raises:
        DekeyError: if the file is no results file, or a record names an unknown image or category or does not fit it
            or holds numbers that are none.
    """
    path = Path(path)
    content = read_json(path, compact)
    if not isinstance(content, list):
        raise DekeyError(f"{path} holds {type(content).__name__}, expected COCO results: a list of records with a score")
    schema = dataset.schema
    columns = [np.flatnonzero(row) for row in schema.present]
    labels = {category_id: label for label, category_id in enumerate(category_ids(dataset))}
    position = {int(image_id): index for index, image_id in enumerate(dataset.image_ids)}
    by_name = {dataset.picture_name(index): index for index in range(len(dataset))}
    found: list[list[_Find]] = [[] for _ in range(len(dataset))]
    for number, record in enumerate(content):
        where = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise DekeyError(f"{where} is {short(record)}, expected an object; write one object a find")
        image = position.get(_id(record, "image_id")) if "image_id" in record else by_name.get(str(record.get("file_name")))
        if image is None:
            named = short(record.get("image_id", record.get("file_name")))
            raise DekeyError(f"{where} names image {named}, which the data set does not hold; name the data it was found on")
        label = labels.get(_id(record, "category_id"))
        if label is None:
            raise DekeyError(f"{where} names category {short(record.get('category_id'))}, known: {sorted(labels)}")
        found[image].append(_parsed(record, label, columns[label], len(schema.keypoints), where))
    return [_instances(objects, len(schema.keypoints)) for objects in found]


def write_results(
    found: Sequence[Instances],
    images: Dataset | Sequence[int] | Sequence[str],
    path: Path,
    *,
    schema: Schema | None = None,
) -> None:
    """Write what was found; an existing file is replaced only when the new one is whole.

    Args:
        found: one Instances an image, with scores.
        images: the data set they were found on, or the ids of the images, or their file names.
        path: the JSON file.
        schema: says which class has which keypoint; taken from the data set where one is given. Without one, every
            object gets all keypoints and category ids count from 1.

    Raises:
        DekeyError: if the folder does not exist.
    """
    with replaced(Path(path)) as stream:
        stream.write("[")
        comma = "\n"
        for record in result_records(found, images, schema=schema):
            stream.write(comma + json.dumps(record, ensure_ascii=False, allow_nan=False))
            comma = ",\n"
        stream.write("\n]\n")


def result_records(
    found: Sequence[Instances],
    images: Dataset | Sequence[int] | Sequence[str],
    *,
    schema: Schema | None = None,
) -> Iterator[dict[str, Any]]:
    """Give what was found as the records of a results file, one an object; arguments as for `write_results`."""
    if len(found) != len(images):
        raise ValueError(f"found holds {len(found)} images, expected {len(images)}")
    ids: Sequence[int] | None = None
    if isinstance(images, Dataset):
        schema, ids = images.schema, category_ids(images)
        names: list[int] | list[str] = images.image_ids.tolist()
    else:
        names = list(images)  # type: ignore[assignment]
    columns = None if schema is None else [np.flatnonzero(row) for row in schema.present]
    for name, instances in zip(names, found, strict=True):
        for record in _records(instances, columns, ids):
            yield {"image_id": name, **record} if isinstance(name, int) else {"file_name": name, **record}


def category_ids(dataset: Dataset) -> tuple[int, ...]:
    """Give the ids of the classes: those of the file, or 1 … C."""
    return dataset.category_ids or tuple(range(1, len(dataset.schema.classes) + 1))


def _records(
    instances: Instances, columns: Sequence[NDArray[np.int64]] | None, ids: Sequence[int] | None
) -> list[dict[str, Any]]:
    count, keypoint_count = instances.visibility.shape
    scores = np.ones(count) if instances.scores is None else instances.scores
    keypoint_scores = instances.keypoint_scores
    if keypoint_scores is None:
        keypoint_scores = (instances.visibility > UNLABELLED).astype(np.float64)
    triples = keypoint_triples(instances.keypoints, keypoint_scores)
    boxes = np.concatenate([instances.boxes[:, :2], box_sizes(instances.boxes)], axis=1).round(9)
    records = []
    for index, label in enumerate(instances.labels.tolist()):
        own = np.arange(keypoint_count) if columns is None else columns[label]
        record: dict[str, Any] = {
            "category_id": label + 1 if ids is None else ids[label],
            "score": float(scores[index]),
            "keypoints": plain_numbers(triples[index, own]),
        }
        if np.isfinite(boxes[index]).all():
            record["bbox"] = plain_numbers(boxes[index])
        here = np.isfinite(instances.keypoints[index, own]).all(-1)
        codes = instances.visibility[index, own]
        if (codes[here] != VISIBLE).any():
            record["visibility"] = codes.tolist()
        records.append(record)
    return records


def _parsed(record: dict[str, Any], label: int, columns: NDArray[np.int64], count: int, where: str) -> _Find:
    score, values, bbox = record.get("score"), record.get("keypoints"), record.get("bbox")
    if (type(score) is not float and type(score) is not int) or not abs(score) < FARTHEST:
        raise DekeyError(f"{where} has the score {short(score)}, expected a number; results carry one score an object")
    if type(values) is not array or len(values) != 3 * len(columns):
        raise DekeyError(f"{where} has the keypoints {short(values)}, expected x, y, score for {len(columns)} keypoints")
    if bbox is not None and (type(bbox) is not array or len(bbox) != 4):
        raise DekeyError(f"{where} has the bbox {short(bbox)}, expected x, y, width, height")
    box = np.full(4, np.nan) if bbox is None else np.array([bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]])
    if bbox is not None and not usable(box):
        raise DekeyError(f"{where} has the bbox {short(bbox)}, expected four usable numbers: x, y, width, height")
    own = np.array(values).reshape(-1, 3)
    if not usable(own).all():
        raise DekeyError(f"{where} has the keypoints {short(values)}, expected usable numbers: 0, 0, 0 where none was found")
    triples = np.full((count, 3), np.nan)
    triples[columns] = np.where((own == 0).all(-1, keepdims=True), np.nan, own + np.array([0.5, 0.5, 0.0]))
    triples[np.isnan(triples[:, 0]), 2] = 0.0
    codes = np.where(np.isfinite(triples).all(-1), VISIBLE, UNLABELLED).astype(np.uint8)
    stated = record.get("visibility")
    if stated is not None:
        if not isinstance(stated, list) or len(stated) != len(columns) or any(code not in (0, 1, 2) for code in stated):
            raise DekeyError(f"{where} has the visibility {short(stated)}, expected 0, 1 or 2 for {len(columns)} keypoints")
        codes[columns] = np.where(codes[columns] > UNLABELLED, stated, UNLABELLED)  # what has no place was not found
    return _Find(float(score), label, box, triples, codes)


def _instances(objects: list[_Find], count: int) -> Instances:
    objects.sort(key=lambda each: -each.score)
    triples = np.array([each.triples for each in objects]).reshape(-1, count, 3)
    return Instances.create(
        triples[..., :2],
        boxes=np.array([each.box for each in objects]).reshape(-1, 4),
        labels=[each.label for each in objects],
        visibility=np.array([each.codes for each in objects], dtype=np.uint8).reshape(-1, count),
        scores=np.array([each.score for each in objects]),
        keypoint_scores=triples[..., 2],
    )


def _id(record: dict[str, Any], key: str) -> int:
    value = record.get(key)
    return value if type(value) is int else -(2**62)

"""Records of a COCO file to the columns of a `Dataset`, in bulk."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, PictureFiles, Problem
from dekey.data.images import image_size
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.coco_categories import read_categories
from dekey.formats.coco_objects import only_objects, read_objects, short
from dekey.formats.coco_unnamed import name_keypoints
from dekey.formats.coco_wholebody import BODY, widen
from dekey.formats.columns import whole_numbers
from dekey.formats.pictures import MAX_SIDE, picture_files


def build_dataset(content: dict[str, Any], path: Path, images: Path | None, keep: bool) -> Dataset:
    """Build the data set of a parsed file; `content` is emptied on the way, so that its memory is free again.

    Args:
        content: lists of ``images``, ``annotations`` and ``categories``; number lists as arrays of doubles.
        path: where the file lies.
        images: the image folder, or None.
        keep: keep objects whose keypoints or box cannot be read, without them.

    Raises:
        DekeyError: if the categories make no schema, or no image can be used.
    """
    problems: list[Problem] = []
    annotations = content["annotations"]
    name_keypoints(content["categories"], annotations, problems)
    if any("wholebody" in record for record in annotations if type(record) is dict):
        for record in content["categories"]:
            names = record.get("keypoints") if type(record) is dict else None
            if type(names) is list and len(names) == BODY and all(type(name) is str for name in names):
                widen(record)
    rows = (record.get("keypoints") for record in annotations if type(record) is dict)
    annotated = max((len(row) // 3 for row in rows if type(row) is array), default=0)
    categories = read_categories(content.pop("categories"), annotated, problems)
    files, sizes, image_ids = _read_images(content.pop("images"), path, images, problems)
    del content["annotations"]
    instances, image_of, annotation_ids = read_objects(annotations, categories, files, image_ids, problems, keep)
    order = np.argsort(image_of, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        instances, annotation_ids = instances[order], annotation_ids[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(image_of, minlength=len(files)))]).astype(np.int64)
    return Dataset(
        categories.schema, files, sizes, instances, starts, image_ids, annotation_ids, tuple(problems), categories.ids
    )


def _labelled_images(records: list[dict[str, Any]], problems: list[Problem]) -> list[dict[str, Any]]:
    """Leave out the frames that PoseTrack lists and nobody labelled; tell of regions whose objects nobody labelled."""
    ignored = sum(bool(record.get("ignore_regions_x")) for record in records)
    if ignored:
        message = f"{ignored} images name regions (ignore_regions_x) with objects that are not labelled; they are not read"
        problems.append(problem("unread-field", message))
    open_frames = sum(record.get("is_labeled") is False for record in records)
    if not open_frames:
        return records
    problems.append(
        problem("unread-field", f"{open_frames} images say that they are not labelled (is_labeled); they are left out")
    )
    return [record for record in records if record.get("is_labeled") is not False]


def _read_images(
    records: list[Any], path: Path, images: Path | None, problems: list[Problem]
) -> tuple[PictureFiles, NDArray[np.int64], NDArray[np.int64]]:
    """Read names, sizes (S, 2) H, W and ids (S,) of the images that can be used."""
    records = _labelled_images(only_objects(records, "images", problems), problems)
    before = len(problems)
    ids, sound = whole_numbers([record.get("id") for record in records])
    names = [record.get("file_name") for record in records]
    named = np.array([type(name) is str for name in names], dtype=np.bool_)
    for index in np.flatnonzero(~(sound & named)).tolist():
        what = "file_name" if sound[index] else "whole id"
        name = names[index] if named[index] else None
        problems.append(problem("unreadable-record", f"image {short(records[index])} has no {what}", name))
    files, refused = picture_files(path, [name if type(name) is str else "-" for name in names], images)
    for index, reason in refused.items():
        if sound[index]:
            problems.append(problem("unsafe-path", f"the name of image {ids[index]} {reason}", short(names[index])))
    height, has_height = whole_numbers([record.get("height") for record in records])
    width, has_width = whole_numbers([record.get("width") for record in records])
    sizes = np.stack([height, width], axis=1)
    usable = sound & named
    usable[list(refused)] = False
    sized = has_height & has_width & ((sizes > 0) & (sizes < MAX_SIDE)).all(axis=1)
    for index in np.flatnonzero(usable & ~sized).tolist():
        # Only for images whose size the file does not state is the header read.
        try:
            sizes[index] = image_size(files[index])
        except DekeyError as error:
            usable[index] = False
            reason = str(error).split(";")[0]
            problems.append(problem("missing-size", f"no usable width and height, and {reason}", names[index]))
    _, first = np.unique(ids[usable], return_index=True)
    repeated = np.setdiff1d(np.arange(int(usable.sum())), first)
    for index in np.flatnonzero(usable)[repeated].tolist():
        usable[index] = False
        problems.append(problem("duplicate-image-id", f"image id {ids[index]} occurs more than once", names[index]))
    chosen = np.flatnonzero(usable)
    if not len(chosen):
        told = (problems[before:] or problems)[0]
        raise DekeyError(f"none of the {len(usable)} images can be used, the first because: {told}")
    if len(chosen) < len(files):
        files = files.take(chosen)
    return files, sizes[chosen], ids[chosen]

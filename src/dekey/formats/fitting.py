"""A data set made fit for a format that cannot hold all of it, without a false label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dekey.data.dataset import Dataset
from dekey.data.geometry import hulls
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE
from dekey.errors import DekeyError
from dekey.formats.base import Format
from dekey.formats.losses import FEATURES, grave_images, lost_features


def fitted(dataset: Dataset, format: Format, *, drop: bool = False) -> Dataset:  # noqa: A002 - as on the command line
    """Give the data set as the format can hold it.

    Occluded keypoints become visible where the format knows one kind only, objects without a box get the hull of their
    labelled keypoints where it needs one, images without objects go where it lists none.

    Args:
        dataset: the data set.
        format: the format.
        drop: leave out images that the format cannot hold truly, instead of refusing.

    Raises:
        DekeyError: if a loss would make labels wrong (a grave feature of `dekey.formats.losses.FEATURES`) and `drop` does
            not help, or the format would give the keypoints names of its own that are not theirs.
    """
    _check_names(dataset, format)
    lost = lost_features(dataset, format)
    grave = [name for name in lost if FEATURES[name].grave]
    if "classes" in grave:
        raise DekeyError(f"{lost['classes']} in {format.title}; write another format, or one class at a time")
    if grave and not drop:
        raise DekeyError(f"{lost[grave[0]]} ({format.title}); write another format, or leave those images out with --drop")
    keep = np.ones(len(dataset), dtype=np.bool_)
    for rows in grave_images(dataset, format.holds).values():
        keep &= ~rows
    if "images_without_objects" not in format.holds:
        keep &= np.diff(dataset.starts) > 0
    if not keep.any():
        raise DekeyError(f"no image is left that {format.title} can hold: {'; '.join(lost.values())}; write another format")
    return _without_details(dataset if keep.all() else dataset.subset(np.flatnonzero(keep)), format.holds)


def _check_names(dataset: Dataset, format: Format) -> None:  # noqa: A002
    """Refuse keypoints or classes that the format would take for others, see `Format.fixed`."""
    fixed = format.fixed
    if fixed is None or len(dataset.schema.keypoints) != len(fixed.keypoints):
        return
    pairs = zip(fixed.keypoints, dataset.schema.keypoints, strict=True)
    count = len(fixed.keypoints)
    others = [
        f"keypoint {index} of {count} for {meant}, and here it is {own}"
        for index, (meant, own) in enumerate(pairs)
        if meant != own
    ]
    used = [dataset.schema.classes[index] for index in np.unique(dataset.instances.labels).tolist()]
    others += [
        f"what has {count} keypoints for a {fixed.classes[0]}, and here it is a {name}"
        for name in used
        if name not in fixed.classes
    ]
    if others:
        raise DekeyError(f"{format.title} takes {others[0]}; write another format")


def _without_details(dataset: Dataset, holds: frozenset[str]) -> Dataset:
    objects = dataset.instances
    changed: dict[str, Any] = {}
    if "occluded" not in holds and (objects.visibility == OCCLUDED).any():
        changed["visibility"] = np.where(objects.visibility == OCCLUDED, VISIBLE, objects.visibility).astype(np.uint8)
    if "boxes" in holds and "objects_without_boxes" not in holds:
        bare = np.isnan(objects.boxes).any(axis=1, keepdims=True)
        if bare.any():
            points = np.where((objects.visibility != UNLABELLED)[..., None], objects.keypoints, np.nan)
            changed["boxes"] = np.where(bare, hulls(points), objects.boxes)
    return replace(dataset, instances=replace(objects, **changed)) if changed else dataset

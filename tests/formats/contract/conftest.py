"""Data sets for the laws of label formats, and what of one differs in another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Sample, Schema, embedded
from dekey.data.dataset import PictureFiles
from dekey.data.geometry import hulls
from dekey.formats import read
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints

Differences = Callable[[Dataset, Dataset], set[str]]
# More than this is no rounding.
_ROUNDING = 0.51
_EXACT = 1e-6


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Small pictures that use every feature of `FEATURES`; a crab has a, b, c, a fish c, d and a point that is never labelled.

    The names of the pictures are not in order, no number counts from 1, and no coordinate is whole.
    """
    folder = tmp_path_factory.mktemp("everything") / "images"
    folder.mkdir()
    keypoints = ("claw_left", "claw_right", "eye", "fin", "spare")
    schema = Schema.create(
        ["crab", "fish", "ghost"],
        keypoints,
        edges=[(0, 2), (2, 3)],
        mirror=range(5),  # against the names, which say that the claws change places
        sigmas=[0.02, 0.03, 0.05, 0.07, 0.11],
        present=[[True, True, True, False, False], [False, False, True, True, True], [True, True, True, False, False]],
    )
    rng = np.random.default_rng(7)
    next_id = iter(range(40, 100, 3))

    def thing(label: int, codes: str, *, box: bool = True, crowd: bool = False, area: bool = False) -> Instances:
        visibility = np.zeros((1, 5), dtype=np.uint8)
        visibility[0, np.flatnonzero(schema.present[label])] = [int(code) for code in codes]
        points = np.where(visibility[..., None] > 0, rng.uniform(6, 30, (1, 5, 2)), np.nan)
        boxes = np.concatenate([rng.uniform(1, 5, (1, 2)), rng.uniform(31, 36, (1, 2))], axis=1)
        return Instances.create(
            points,
            boxes if box else None,
            [label],
            visibility,
            [crowd],
            [float(rng.uniform(300, 500))] if area else None,
        )

    content = {
        "two": [thing(0, "222", area=True), thing(1, "210")],
        "one": [thing(0, "222", area=True)],
        "hidden": [thing(0, "212")],
        "gap": [thing(0, "202")],
        "box_only": [thing(0, "000")],
        "crowd": [thing(0, "222"), thing(0, "000", crowd=True)],
        "no_box": [thing(0, "222", box=False)],
        "nothing": [],
        "ghostly": [thing(0, "000", box=False)],
        "fish": [thing(1, "220")],
        "again": [thing(0, "222")],
    }
    content["again"][0].keypoints[0, 2] = 60.5, 20.25  # to the right of its image
    samples = []
    for number, (name, objects) in enumerate(content.items()):
        size = (40 + number, 48)
        path = folder / f"{name}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        ids = np.array([next(next_id) for _ in objects], dtype=np.int64)
        samples.append(Sample(path, size, Instances.concatenate(objects, 5), 17 + 5 * number, ids))
    dataset = Dataset.from_samples(schema, samples)
    names = [path.name for path in dataset.pictures if isinstance(path, Path)]
    return replace(dataset, pictures=PictureFiles(folder, names), category_ids=(5, 9, 2))


@pytest.fixture(scope="session")
def tubes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve of the embedded photographs, with all their tubes."""
    source = embedded.path("test")
    dataset = read(source).subset(range(12))
    folder = tmp_path_factory.mktemp("tubes") / "images"
    folder.mkdir()
    for picture in dataset.pictures:
        assert isinstance(picture, Path)
        shutil.copy(picture, folder / picture.name)
    names = [os.path.basename(str(picture)) for picture in dataset.pictures]  # noqa: PTH119
    return replace(dataset, pictures=PictureFiles(folder, names))


@pytest.fixture(scope="session")
def differences() -> Differences:
    """Tells which features of one data set are missing in another; a word that is no feature is a label made wrong."""
    return _differences


def _differences(one: Dataset, other: Dataset) -> set[str]:
    found: set[str] = set()
    places = {_name(other, index): index for index in range(len(other))}
    shared = [index for index in range(len(one)) if _name(one, index) in places]
    gone = [index for index in range(len(one)) if index not in shared]
    if gone:
        empty = np.diff(one.starts)[gone] == 0
        found |= {"images_without_objects"} if empty.all() else {"images went"}
    if len(other) != len(shared):
        found.add("images came")
    one, other = one.subset(shared), other.subset([places[_name(one, index)] for index in shared])
    if not np.array_equal(one.sizes, other.sizes):
        found.add("sizes are wrong")
    if not np.array_equal(one.image_ids, other.image_ids):
        found.add("image_ids")
    if not np.array_equal(one.starts, other.starts):
        return found | {"objects came or went"}
    if not np.array_equal(one.annotation_ids, other.annotation_ids):
        found.add("annotation_ids")
    if not np.array_equal(one.instances.crowd, other.instances.crowd):
        found.add("crowd")
    return found | _schemas(one, other) | _boxes(one, other)


def _schemas(one: Dataset, other: Dataset) -> set[str]:
    found: set[str] = set()
    mine, theirs = one.schema, other.schema
    classes = theirs.classes
    if set(classes) - set(mine.classes):
        if classes != (UNNAMED_CLASS,):
            return {"classes are wrong"}
        classes = (mine.classes[int(one.instances.labels[0])],)
        found.add("class_names")
    names = theirs.keypoints
    if set(names) - set(mine.keypoints):
        if names != unnamed_keypoints(len(mine.keypoints)):
            return {"keypoints are wrong"}
        names = mine.keypoints
        found.add("keypoint_names")
    rows = [mine.classes.index(name) for name in classes]
    columns = [mine.keypoints.index(name) for name in names]
    if len(rows) < len(mine.classes) or len(columns) < len(mine.keypoints):
        found.add("unused_names")
    if rows != sorted(rows) or columns != sorted(columns):
        found.add("order")
    if not np.array_equal(np.array(rows)[other.instances.labels], one.instances.labels):
        found.add("labels are wrong")
    found |= _keypoints(one.instances, other.instances, columns)
    if not np.array_equal(mine.present[np.ix_(rows, columns)], theirs.present):
        found.add("class_keypoints")
    lines = {frozenset((mine.keypoints[a], mine.keypoints[b])) for a, b in mine.edges.tolist()}
    if lines != {frozenset((names[a], names[b])) for a, b in theirs.edges.tolist()}:
        found.add("edges")
    if _pairs(mine, mine.keypoints, names) != _pairs(theirs, names, names):
        found.add("mirror")
    sigmas = None if mine.sigmas is None else mine.sigmas[columns].tolist()
    if sigmas != (None if theirs.sigmas is None else theirs.sigmas.tolist()):
        found.add("sigmas")
    counted = tuple(range(1, len(mine.classes) + 1))
    if [(one.category_ids or counted)[row] for row in rows] != list(other.category_ids or counted[: len(rows)]):
        found.add("category_ids")
    return found


def _pairs(schema: Schema, names: tuple[str, ...], of: tuple[str, ...]) -> dict[str, str] | None:
    if schema.mirror is None:
        return None
    return {names[index]: names[partner] for index, partner in enumerate(schema.mirror.tolist()) if names[index] in of}


def _keypoints(one: Instances, other: Instances, columns: list[int]) -> set[str]:
    found: set[str] = set()
    before, after = one.visibility[:, columns], other.visibility
    if np.delete(one.visibility, columns, axis=1).any() or not np.array_equal(before > 0, after > 0):
        found.add("labelled keypoints are wrong")
    else:
        if (before != after).any():
            found |= {"occluded"} if (after[before != after] == 2).all() else {"visibility is wrong"}
        found |= _distance(one.keypoints[:, columns][before > 0], other.keypoints[before > 0])
    if not np.isnan(other.keypoints[after == 0]).all():
        found.add("unlabelled keypoints have a place")
    return found


def _boxes(one: Dataset, other: Dataset) -> set[str]:
    found: set[str] = set()
    mine, theirs = one.instances, other.instances
    before, after = np.isfinite(mine.boxes).all(axis=1), np.isfinite(theirs.boxes).all(axis=1)
    if (before & ~after).any():
        found.add("boxes")
    both = before & after
    found |= _distance(mine.boxes[both], theirs.boxes[both])
    made = after & ~before
    if made.any():
        hull = hulls(mine.keypoints)[made]
        found |= {"objects_without_boxes"} if np.abs(hull - theirs.boxes[made]).max() < _ROUNDING else {"boxes are invented"}
    given = np.isfinite(mine.areas)
    if (given & ~np.isfinite(theirs.areas)).any():
        found.add("areas")
    if (~given & np.isfinite(theirs.areas)).any():
        found.add("areas are invented")
    if not np.allclose(mine.areas[given & np.isfinite(theirs.areas)], theirs.areas[given & np.isfinite(theirs.areas)]):
        found.add("areas are wrong")
    return found


def _distance(before: NDArray[np.float64], after: NDArray[np.float64]) -> set[str]:
    worst = float(np.abs(before - after).max(initial=0.0))
    if not worst <= _ROUNDING:
        return {"coordinates are wrong"}
    return set() if worst <= _EXACT else {"exact_coordinates"}


def _name(dataset: Dataset, index: int) -> str:
    return dataset.picture_name(index).rpartition("/")[2]

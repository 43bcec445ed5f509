"""Images and objects that a reader has gathered, into the columns of a `Dataset`, with the checks that all formats share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dekey.data.dataset import Dataset, PictureFiles, Problem
from dekey.data.images import image_size
from dekey.data.instances import UNLABELLED, Instances
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.formats.pictures import MAX_SIDE, picture_files
from dekey.formats.triples import DOUBTS, lost, unknown_code, usable

# From so many images on, their headers are read in threads.
_MANY = 64


@dataclass(frozen=True)
class Images:
    """The images of a label file.

    Attributes:
        files: S files.
        sizes: (S, 2) int64 H, W px; 0 where it is not known.
        sound: (S,) bool, which of them can be used.
    """

    files: PictureFiles
    sizes: NDArray[np.int64]
    sound: NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """The objects of a label file as it states them, M rows in any order.

    Attributes:
        image_of: (M,) int64, position of the image among `Images`.
        labels: (M,) int64 class index.
        points: (M, K, 3) x, y, visibility; x and y in the numbers of the file.
        boxes: (M, 4) x1, y1, x2, y2 px, continuous frame; NaN where there is none.
        places: M places in the file, such as "line 3 of a.txt".
        broken: (M,) bool, rows of which a problem has been told already; they are left out unless asked for.
        crowd: (M,) bool or None.
        areas: (M,) px² or None.
        ids: (M,) int64 ids of the file, or None: they are numbered from 1.
    """

    image_of: NDArray[np.int64]
    labels: NDArray[np.int64]
    points: NDArray[np.float64]
    boxes: NDArray[np.float64]
    places: Sequence[str]
    broken: NDArray[np.bool_] | None = None
    crowd: NDArray[np.bool_] | None = None
    areas: NDArray[np.float64] | None = None
    ids: NDArray[np.int64] | None = None


def place_images(
    path: Path,
    names: Sequence[str],
    images: Path | None,
    problems: list[Problem],
    *,
    sizes: NDArray[np.int64] | None = None,
    root: Path | None = None,
    told: Path | None = None,
) -> Images:
    """Find the image files, and read the headers of those whose size the label file does not state.

    Args:
        path: the label file or folder, for the rules of `picture_files`.
        names: S image names.
        images: folder where they start, as the caller says, or None.
        problems: names that leave the folder, missing and broken images are appended here.
        sizes: (S, 2) H, W px, 0 where the file states none; None where it never does. What no picture can have is not believed.
        root: folder where the names start, already decided; then `images` and the rules are not asked.
        told: what a sentence names, where `path` is no file that the user knows.
    """
    files, refused = picture_files(path, names, root or images)
    if root is not None:
        files = PictureFiles(root, files.names)
    found = np.zeros((len(names), 2), dtype=np.int64) if sizes is None else sizes.copy()
    sound = np.ones(len(names), dtype=np.bool_)
    for index, reason in refused.items():
        sound[index] = False
        problems.append(problem("unsafe-path", f"the name {reason}", names[index][:200] or None))
    unknown = np.flatnonzero(sound & ((found <= 0) | (found >= MAX_SIDE)).any(axis=1))

    def size(index: int) -> tuple[int, int] | Problem:
        file = files[index]
        try:
            return image_size(file)
        except DekeyError as error:
            if not file.is_file():
                return problem("missing-image", f"{file} does not exist", names[index])
            return problem("broken-image", str(error).split(";")[0], names[index])

    # A thread costs more to start than a few headers to read: `map` alone until there are many.
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as threads:
        answers = (threads.map if len(unknown) >= _MANY else map)(size, unknown.tolist())
        for index, answer in zip(unknown.tolist(), answers, strict=True):
            if isinstance(answer, Problem):
                sound[index] = False
                problems.append(answer)
            else:
                found[index] = answer
    if not sound.any():
        first = problems[-len(names)]
        raise DekeyError(f"{told or path}: none of the {len(names)} images can be used, the first because: {first}")
    return Images(files, found, sound)


def build_dataset(
    schema: Schema,
    images: Images,
    objects: Objects,
    problems: list[Problem],
    *,
    scale: ArrayLike = 1.0,
    offset: ArrayLike = 0.0,
    keep: bool = False,
    image_ids: NDArray[np.int64] | None = None,
) -> Dataset:
    """Check the objects and put everything in columns, in the order of the images.

    Objects of images that cannot be used are left out: the image's problem says so.

    Args:
        schema: what the labels and the columns of `objects.points` mean.
        images: S images.
        objects: M objects.
        problems: what the reader met; unusable triples and boxes are appended.
        scale: file numbers times this, plus `offset`, are px in the continuous frame; broadcast to (M, K, 2).
        offset: see `scale`.
        keep: keep objects of which an error tells, without what is unusable.
        image_ids: (S,) ids of the file, or None: they are numbered from 1.
    """
    points, image_of, count = objects.points, objects.image_of, len(objects.points)
    ids = np.arange(1, count + 1) if objects.ids is None else objects.ids
    sound = images.sound[image_of] if count else np.zeros(0, dtype=np.bool_)
    whole = np.ones(count, dtype=np.bool_) if objects.broken is None else ~objects.broken

    def report(kind: str, wrong: NDArray[np.bool_], message: Callable[[int], str]) -> None:
        for index in np.flatnonzero(wrong & sound).tolist():
            name = images.files.names[image_of[index]]
            told = problem(kind, f"{objects.places[index]}: {message(index)}", name, int(ids[index]))
            problems.append(told)
            whole[index] &= told.severity != "error"

    for kind, test in DOUBTS.items():
        doubtful = test(points)

        def first(index: int, doubtful: NDArray[np.bool_] = doubtful) -> str:
            here = int(doubtful[index].argmax())
            numbers = ", ".join(f"{value:.6g}" for value in points[index, here])
            return f"keypoint '{schema.keypoints[here]}' is x, y, v = {numbers}"

        report(kind, np.asarray(doubtful.any(axis=1)), first)
    absent = np.isnan(objects.boxes).all(axis=1)
    unreadable = ~absent & ~usable(objects.boxes)
    report("unreadable-box", unreadable, lambda index: "the box is not four usable numbers")
    codes = points[..., 2]
    good = (codes > 0) & ~unknown_code(points) & ~lost(points)
    with np.errstate(invalid="ignore", over="ignore"):
        keypoints = np.where(good[..., None], points[..., :2] * np.asarray(scale) + np.asarray(offset), np.nan)
    instances = Instances.create(
        keypoints,
        np.where(unreadable[:, None], np.nan, objects.boxes),
        objects.labels,
        np.where(good, codes, UNLABELLED),
        objects.crowd,
        objects.areas,
    )
    chosen = np.flatnonzero(sound & (whole | keep))
    chosen = chosen[np.argsort(image_of[chosen], kind="stable")]
    position = np.cumsum(images.sound) - 1
    counts = np.bincount(position[image_of[chosen]], minlength=int(images.sound.sum()))
    usable_images = np.flatnonzero(images.sound)
    return Dataset(
        schema,
        images.files.take(usable_images),
        images.sizes[usable_images],
        instances[chosen],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        (np.arange(1, len(images.sound) + 1) if image_ids is None else image_ids)[usable_images],
        ids[chosen],
        tuple(problems),
    )

"""The checks that find what is wrong with a data set.

Readers report what they cannot represent; `find_problems` checks everything else on the columns of a `Dataset`, whatever
format it came from. Every kind is in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE
from dekey.data.picture_problems import picture_problems
from dekey.data.problem_kinds import KINDS, Kind, problem

__all__ = ["KINDS", "Kind", "find_problems", "problem", "without_problems"]

Progress = Callable[[int, int], None]


def find_problems(
    dataset: Dataset, *, images: bool | Literal["decode"] = True, progress: Progress | None = None
) -> list[Problem]:
    """List what the reader met and what the columns and the image files show.

    Args:
        dataset: the data set.
        images: True reads the header of every image, "decode" decodes it whole, False leaves the files alone.
        progress: called with (images done, images in all) now and then.

    Returns:
        Problems of every kind in `KINDS`: the reader's first, then those of the schema, the images and the objects.
    """
    found = [*dataset.problems, *_schema_problems(dataset), *_image_entry_problems(dataset), *_object_problems(dataset)]
    if images:
        found += picture_problems(dataset, decode=images == "decode", progress=progress)
    return found


def without_problems(dataset: Dataset, problems: Sequence[Problem]) -> Dataset:
    """Leave out every image and every object that an error names.

    An error that names an annotation takes out the object, one that names only an image takes out the image.

    Args:
        dataset: the data set.
        problems: what `find_problems` gave for it.
    """
    errors = [each for each in problems if each.severity == "error"]
    objects = {(each.image, each.annotation_id) for each in errors if each.annotation_id is not None}
    pictures = {each.image for each in errors if each.annotation_id is None}
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    ids, image_of = dataset.annotation_ids.tolist(), dataset.image_of_instance().tolist()
    keep = np.array([(names[image], id_) not in objects for image, id_ in zip(image_of, ids, strict=True)], dtype=np.bool_)
    chosen = np.array([index for index, name in enumerate(names) if name not in pictures], dtype=np.int64)
    return dataset.select_objects(keep).subset(chosen)


def _schema_problems(dataset: Dataset) -> list[Problem]:
    schema, found = dataset.schema, []
    if schema.mirror is None and schema.keypoints:
        found.append(problem("undecided-mirror", schema.mirror_note or "the file states no left-right pairs"))
    codes = dataset.instances.visibility
    occluded = int((codes == OCCLUDED).sum())
    if occluded and not (codes == VISIBLE).any():
        found.append(problem("only-occluded", f"{occluded:,} keypoints are labelled, and every one of them as occluded (1)"))
    if len(dataset.instances):
        used = dataset.instances.labelled.any(axis=0)
        found += [
            problem("unused-keypoint", f"keypoint '{schema.keypoints[index]}' is labelled in no object")
            for index in np.flatnonzero(~used)
        ]
    return found


def _image_entry_problems(dataset: Dataset) -> list[Problem]:
    found = []
    for index in _repeated(dataset.image_ids):
        message = f"image id {dataset.image_ids[index]} occurs more than once"
        found.append(problem("duplicate-image-id", message, dataset.picture_name(index)))
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    if len(set(names)) < len(names):
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if name in seen and str(dataset.pictures[index]) == str(dataset.pictures[seen[name]]):
                message = f"listed as image {dataset.image_ids[seen[name]]} and as image {dataset.image_ids[index]}"
                found.append(problem("duplicate-image", message, name))
            seen.setdefault(name, index)
    return found


def _object_problems(dataset: Dataset) -> list[Problem]:
    instances, found = dataset.instances, []
    image_of = dataset.image_of_instance()
    sizes = dataset.sizes[image_of]  # (M, 2) H, W
    width, height = sizes[:, 1].astype(np.float64), sizes[:, 0].astype(np.float64)
    labelled = instances.labelled

    def report(kind: str, objects: NDArray[np.int64], message: Callable[[int], str]) -> None:
        for index in objects.tolist():
            name, annotation_id = dataset.picture_name(int(image_of[index])), int(dataset.annotation_ids[index])
            found.append(problem(kind, message(index), name, annotation_id))

    def keypoints_in(mask: NDArray[np.bool_], index: int) -> str:
        return _listed([dataset.schema.keypoints[column] for column in np.flatnonzero(mask[index])])

    ids = dataset.annotation_ids
    report("duplicate-annotation-id", _repeated(ids), lambda index: f"annotation id {ids[index]} occurs more than once")

    x1, y1, x2, y2 = instances.boxes.T
    given = np.isfinite(instances.boxes).all(axis=1)
    # Comparisons with NaN are false, so objects without a box pass.
    empty = given & ((x2 <= x1) | (y2 <= y1))
    outside = given & ~empty & ((x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height))
    over = given & ~empty & ~outside & ((x1 < -1) | (y1 < -1) | (x2 > width + 1) | (y2 > height + 1))

    def box_text(index: int) -> str:
        numbers = ", ".join(f"{value:.6g}" for value in instances.boxes[index])
        return f"the box ({numbers}) in an image of {sizes[index, 1]}x{sizes[index, 0]}"

    report("empty-box", np.flatnonzero(empty), lambda index: f"{box_text(index)} has no area")
    report("box-outside", np.flatnonzero(outside), lambda index: f"{box_text(index)} lies outside")
    report("box-over-edge", np.flatnonzero(over), lambda index: f"{box_text(index)} reaches over the edge")

    x, y = instances.keypoints[..., 0], instances.keypoints[..., 1]
    finite = np.isfinite(x) & np.isfinite(y)
    lost = labelled & ~finite
    report(
        "labelled-without-coordinates",
        np.flatnonzero(lost.any(axis=1)),
        lambda index: f"{keypoints_in(lost, index)} labelled but without coordinates",
    )
    with np.errstate(invalid="ignore"):
        beyond = labelled & finite & ((x < -1) | (y < -1) | (x > width[:, None] + 1) | (y > height[:, None] + 1))
        # (0, 0) as pixel index is (0.5, 0.5) in the continuous frame; formats that are continuous give (0, 0).
        origin = labelled & finite & (((x == 0.5) & (y == 0.5)) | ((x == 0) & (y == 0)))
        unit = ~labelled | ((x >= 0) & (x <= 1.5) & (y >= 0) & (y <= 1.5))
    far = (given & ((x1 > 1) | (y1 > 1))) | (origin.sum(axis=1) > 1)
    count = labelled.sum(axis=1)
    tiny = (count > 1) & unit.all(axis=1) & ~origin.any(axis=1) & (width > 4) & (height > 4)
    report(
        "keypoint-outside",
        np.flatnonzero(beyond.any(axis=1) & ~tiny),
        lambda index: f"{keypoints_in(beyond, index)} outside the image of {sizes[index, 1]}x{sizes[index, 0]}",
    )
    report(
        "keypoint-at-origin",
        np.flatnonzero(origin.any(axis=1) & far),
        lambda index: f"{keypoints_in(origin, index)} labelled at (0, 0)",
    )
    report("normalised-coordinates", np.flatnonzero(tiny), lambda index: "all labelled keypoints lie between 0 and 1")
    expected: NDArray[np.bool_] = np.asarray(dataset.schema.present.any(axis=1))[instances.labels]
    bare = (instances.visibility == UNLABELLED).all(axis=1) & ~instances.crowd & expected
    report("no-keypoints", np.flatnonzero(bare), lambda index: "no keypoint is labelled")
    return found


def _repeated(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the positions of all but the first occurrence of each id, in order."""
    _, first = np.unique(ids, return_index=True)
    return np.setdiff1d(np.arange(len(ids)), first)


def _listed(names: Sequence[str]) -> str:
    """Name up to four things, and count the rest.

    >>> _listed(["nose"]), _listed(["a", "b", "c", "d", "e", "f"])
    ("'nose' is", "'a', 'b', 'c', 'd' and 2 more are")
    """
    quoted = ", ".join(f"'{name}'" for name in names[:4])
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{quoted}{rest} {'is' if len(names) == 1 else 'are'}"

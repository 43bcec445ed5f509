"""Label Studio's JSON export.

Layout: a list of tasks, each with ``data`` (which names the image) and ``annotations``, one for each person who labelled it,
whose ``result`` lists regions and relations. Evidence: labelstud.io/guide/task_format, labelstud.io/tags/keypointlabels and
labelstud.io/tags/rectanglelabels. A region of type ``keypointlabels`` is a keypoint, ``rectanglelabels`` a box; regions of the
plain tags (``keypoint``, ``rectangle``) are read with the ``labels`` of the same id. A ``relation`` (from_id, to_id) or a
``parentID`` joins regions: what hangs together is an object, with at most one box, whose label is the class. Keypoints that
are joined with nothing are one object together, as long as no name comes twice. An object without a box has the class
`object`. A class has the keypoints that its objects use; their order is that of the file.

Frame: per cent of width and height of the image, from edge to edge, so that x · width / 100 is in continuous pixels; nothing is
added. Evidence: the pages above ("x coordinate by percentage of the image size (0-100)"), and a box reaches from 0 to 100.

Visibility: Label Studio has no word for it. What is labelled is visible, or occluded where a choice for the region
(``perRegion`` Choices) says ``occluded``, ``hidden`` or ``invisible``. The ``hidden`` of a region says whether the tool shows
it, not what is to be seen, and is ignored.

Predictions are ignored, so are cancelled annotations; a task without any other is not labelled yet and left out. Of several
annotations the one marked as ground truth counts; without such a mark they contradict each other, which is an error. Results
of other kinds (polygons, brushes, texts) are ignored.

Images are named by upload (``/data/upload/1/0a1b2c3d-name.png``), local storage (``/data/local-files/?d=folder/name.png``), a
bucket or an address: nothing is fetched, the file is looked for by its whole path, its name, and its name without the eight
digits that an upload puts before it.

Written are tasks with local storage, each object a rectangle with its keypoints related to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.formats.columns import whole_numbers
from dekey.formats.files import head, read_json
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.label_studio_tasks import Thing, image_reference, labelled_result, readings, things
from dekey.formats.label_studio_writing import write_file
from dekey.formats.losses import ALL
from dekey.formats.names import UNNAMED_CLASS
from dekey.formats.references import likeliest

HOLDS: Final = ALL - {
    "crowd",
    "empty_objects",
    "objects_without_boxes",
    "areas",
    "unused_names",
    "order",
    "edges",
    "mirror",
    "sigmas",
    "annotation_ids",
    "category_ids",
}
_HEAD_BYTES: Final = 65_536


def recognises(path: Path) -> bool:
    """Tell by its first 64 KiB whether a file is a JSON list of tasks."""
    start = head(path, _HEAD_BYTES)
    tasks = b'"annotations"' in start or b'"completions"' in start
    return start.startswith(b"[") and tasks and (b'"result"' in start or b'"data"' in start)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read an export without touching an image.

    The ids of the tasks are those of the images, where they differ; objects count from 1.

    Args:
        path: the JSON file.
        images: folder where the images lie; by default the file's folder or its ``images/``.
        keep: keep objects whose regions cannot be read whole, without what is unusable, and of several annotations of a
            task the last one.

    Raises:
        DekeyError: if the file is no JSON export of tasks, or nothing in it has keypoints.
    """
    tasks = _checked(read_json(path), path)
    problems: list[Problem] = []
    chosen, results = [], []
    for task in tasks:
        result = labelled_result(task, problems, keep)
        if result is not None:
            chosen.append(task)
            results.append(result)
    if not chosen:
        raise DekeyError(_nothing(path, problems, "no task that is labelled; label some, or accept predictions, and export"))
    references = [image_reference(task) for task in chosen]
    found = [things(result, reference, problems) for result, reference in zip(results, references, strict=True)]
    owners = [index for index, objects in enumerate(found) for _ in objects]
    objects = [each for own in found for each in own]
    if not any(each.keypoints for each in objects):
        raise DekeyError(_nothing(path, problems, "no keypoints, expected results of type keypointlabels; label some"))
    schema = _schema(objects)
    records = [[*result, task.get("data")] for task, result in zip(chosen, results, strict=True)]
    sizes = np.array([_size(own) for own in records], dtype=np.int64).reshape(-1, 2)
    folder, names = likeliest(readings(references, [path.parent, path.parent / "images"] if images is None else [images]))
    pictures = place_images(path, names, images, problems, sizes=sizes, root=folder)
    ids, whole = whole_numbers([task.get("id") for task in chosen])
    distinct = whole.all() and len(np.unique(ids)) == len(ids)
    image_of = np.array(owners, dtype=np.int64)
    scale = pictures.sizes[image_of][:, ::-1] / 100
    return build_dataset(
        schema,
        pictures,
        _columns(objects, image_of, schema, scale),
        problems,
        scale=scale[:, None],
        keep=keep,
        image_ids=ids if distinct else None,
    )


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set as tasks for import; an existing file is replaced only when the new one is whole.

    Image names are written relative to the file's folder where all images lie in it, else relative to the folder that
    holds them all; Label Studio needs that folder as local storage.

    Raises:
        DekeyError: if an image has no file, or the folder does not exist.
    """
    write_file(dataset, path)


def _checked(content: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not content or not all(isinstance(task, dict) for task in content):
        raise DekeyError(f"{path} holds no list of tasks; export as JSON from Label Studio")
    if not any("annotations" in task or "completions" in task for task in content):
        found = ", ".join(map(str, list(content[0])[:6]))
        raise DekeyError(
            f"{path} has tasks without 'annotations' (found: {found}); export as JSON, since JSON-MIN does not say which "
            "keypoints belong together"
        )
    return content


def _nothing(path: Path, problems: Sequence[Problem], what: str) -> str:
    """Say why nothing is left: the first error, or what the file lacks."""
    errors = [str(each) for each in problems if each.severity == "error"]
    return f"{path}: {errors[0]}" if errors else f"{path} holds {what}"


def _size(records: Sequence[Any]) -> tuple[int, int]:
    """Give H, W as the first region states them, or the task's data; 0, 0 where none does."""
    for record in records:
        for prefix in ("original_", "") if isinstance(record, dict) else ():
            sides, whole = whole_numbers([record.get(f"{prefix}height"), record.get(f"{prefix}width")])
            if whole.all() and (sides > 0).all():
                return int(sides[0]), int(sides[1])
    return 0, 0


def _schema(objects: Sequence[Thing]) -> Schema:
    classes = list(dict.fromkeys(each.label or UNNAMED_CLASS for each in objects))
    names = list(dict.fromkeys(name for each in objects for name in each.keypoints))
    present = np.zeros((len(classes), len(names)), dtype=np.bool_)
    column = {name: index for index, name in enumerate(names)}
    for each in objects:
        present[classes.index(each.label or UNNAMED_CLASS), [column[name] for name in each.keypoints]] = True
    return Schema.create(classes, names, present=present)


def _columns(objects: Sequence[Thing], image_of: NDArray[np.int64], schema: Schema, scale: NDArray[np.float64]) -> Objects:
    """Put the objects into columns: keypoints in per cent, boxes in px."""
    points = np.full((len(objects), len(schema.keypoints), 3), np.nan)
    points[..., 2] = UNLABELLED
    column = {name: index for index, name in enumerate(schema.keypoints)}
    for row, each in enumerate(objects):
        for name, (x, y, occluded) in each.keypoints.items():
            points[row, column[name]] = x, y, OCCLUDED if occluded else VISIBLE
    boxes = np.array([each.box for each in objects], dtype=np.float64).reshape(-1, 4)
    return Objects(
        image_of,
        np.array([schema.classes.index(each.label or UNNAMED_CLASS) for each in objects], dtype=np.int64),
        points,
        boxes * np.concatenate([scale, scale], axis=1),
        [each.place for each in objects],
        np.array([each.broken for each in objects], dtype=np.bool_),
    )

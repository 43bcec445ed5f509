"""Ultralytics YOLO-pose: a data.yaml, a folder of images, and beside it a folder of labels with one text file an image.

Layout: ``data.yaml`` states ``train``, ``val``, ``test`` (a folder of images, a text file that lists images, or several of
them, relative to ``path`` or to the file's own folder), ``names`` of the classes (list, or table by number), ``kpt_shape`` [K,
2 or 3], ``flip_idx`` (where each keypoint goes under a left-right flip, from 0), ``kpt_names`` (one list a class), and, by
sleap-io, ``skeleton`` (pairs from 0) and ``node_names``. The labels of ``images/train/a.jpg`` are ``labels/train/a.txt``: the
last ``images`` in the path becomes ``labels``; without one the text lies beside the image. A line is an object: class, x, y,
width, height of the box with x, y its centre, then x, y or x, y, visibility for every keypoint. An image without a text
has no objects. Evidence: ``img2label_paths``, ``verify_image_label``, ``check_det_dataset`` in ultralytics/data/utils.py;
sleap_io/io/ultralytics.py for the two keys of its own.

One data set is one split: ``train`` (or the first that is stated), unless the folder of another split or its list of images is
named. `path` in another folder's name and '../' in front of a split are ignored: files beside the data.yaml are found,
files outside its folder are not read.

Frame: shares of width and height, x · W and y · H are continuous pixels, nothing is added. Evidence: Ultralytics multiplies by
the size, letterboxes, and compares with cells whose centres lie at (j + 0.5) · stride (``make_anchors``). Tools that divide
pixel indices by the size, as Ultralytics' own converter of COCO does, write points half a pixel too far up and left; the
file does not tell.

Visibility: 0 unlabelled (0, 0 when written), 1 occluded, 2 visible. With two values a keypoint, one with a negative coordinate
is unlabelled and every other visible (``verify_image_label``); so a point at 0, 0 is labelled there, which `dekey inspect`
doubts. Sizes come from the headers of the images.

Keypoints outside: read and written as they are, but Ultralytics takes an image for corrupt and ignores it if a coordinate lies
more than a hundredth of the side outside (``verify_image_label``), which is told before writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.geometry import box_sizes
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.files import new_folder, write_text
from dekey.formats.copies import copy_picture
from dekey.formats.files import read_text
from dekey.formats.gather import Images, Objects, build_dataset, place_images
from dekey.formats.losses import ALL
from dekey.formats.pictures import label_names, written_names
from dekey.formats.yolo_description import Description, describes, read_description
from dekey.formats.yolo_files import descriptions, find_description, find_split, label_of, split_root

HOLDS: Final = ALL - {
    "crowd",
    "empty_objects",
    "objects_without_boxes",
    "outside_points",
    "areas",
    "class_keypoints",
    "sigmas",
    "image_ids",
    "annotation_ids",
    "category_ids",
    "image_sizes",
}
# A label file of 16 MB holds some 30 000 objects of 17 keypoints.
_MAX_LABEL_BYTES = 16 * 1024**2
# Digits after the point: of an image 10 000 px wide, a hundred millionth of a pixel.
_DIGITS = 12


def recognises(path: Path) -> bool:
    """Tell whether a path is a data.yaml, a folder that holds one of poses, or a split of such a data set."""
    if describes(path, poses=False):
        return True
    if path.is_dir() and descriptions(path):
        return True
    return split_root(path) is not None


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read one split of a YOLO-pose data set.

    Args:
        path: the data.yaml or its folder; or the folder of a split, or a text file that lists its images.
        images: folder in which the split's folder of images lies, or that holds the images itself; then only those that
            have a label file count.
        keep: keep an object whose keypoints cannot be read, without them, instead of leaving it out.

    Returns:
        The data set, images by name; what was left out is in its `problems`.

    Raises:
        DekeyError: if there is no data.yaml, it cannot be read, or there are no images or no labels.
    """
    problems: list[Problem] = []
    file = find_description(path)
    description = read_description(file, problems)
    source = None if path == file or path in file.parents else path
    root, pairs = find_split(description, source, images, problems)
    found = place_images(file, [name for name, _ in pairs], None, problems, root=root)
    objects = _read_objects(description, found, [label for _, label in pairs], file.parent, problems)
    scale = found.sizes[objects.image_of][:, None, ::-1]
    return build_dataset(description.categories.schema, found, objects, problems, scale=scale, keep=keep)


def _read_objects(
    description: Description, images: Images, labels: Sequence[Path], home: Path, problems: list[Problem]
) -> Objects:
    categories = description.categories
    count, values = len(categories.columns[0]), description.values
    image_of: list[int] = []
    rows: list[list[float]] = []
    broken: list[bool] = []
    places: list[str] = []
    for index in np.flatnonzero(images.sound).tolist():
        if not labels[index].is_file() or labels[index].stat().st_size == 0:
            continue
        short = labels[index].relative_to(home) if labels[index].is_relative_to(home) else labels[index]
        name = images.files.names[index]
        for number, line in enumerate(read_text(labels[index], _MAX_LABEL_BYTES).splitlines(), 1):
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            place = f"line {number} of {short}"
            row, wrong = _row(parts, 5 + count * values, len(categories.ids))
            if wrong is not None:
                kind, message = wrong
                problems.append(problem(kind, f"{place}: {message}", name, len(rows) + 1 if row else None))
            if row:
                image_of.append(index)
                rows.append(row)
                broken.append(wrong is not None)
                places.append(place)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5 + count * values)
    owners = np.array(image_of, dtype=np.int64)
    classes = table[:, 0].astype(np.int64)
    # No share is a billion; what is beyond lies outside every image all the same, and its product with a size stays a number.
    table[:, 1:] = np.clip(table[:, 1:], -1e9, 1e9)
    sizes = images.sizes[owners][:, [1, 0, 1, 0]].astype(np.float64)
    centre, size = table[:, 1:3], table[:, 3:5]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1) * sizes
    own = _triples(table[:, 5:].reshape(len(rows), count, values))
    points = np.zeros((len(rows), len(categories.schema.keypoints), 3))
    for label, columns in enumerate(categories.columns):
        chosen = np.flatnonzero(classes == label)
        points[chosen[:, None], columns] = own[chosen]
    return Objects(owners, classes, points, boxes, places, np.array(broken, dtype=np.bool_))


def _row(parts: Sequence[str], expected: int, classes: int) -> tuple[list[float], tuple[str, str] | None]:
    """Read the numbers of a line, `expected` of them or none, and say what is wrong with them."""
    try:
        row = [float(part) for part in parts]
    except ValueError:
        wrong = next(part for part in parts if not _is_number(part))
        return [], ("unreadable-record", f"'{wrong[:40]}' is no number")
    if not (row[0].is_integer() and 0 <= row[0] < classes):
        return [], ("unknown-category", f"class {parts[0][:40]} is not among 0 to {classes - 1}")
    if len(row) == expected:
        return row, None
    wrong_length = ("wrong-length", f"{len(row)} numbers, expected {expected}: class, box and {expected - 5} of keypoints")
    return (row[:5] + [0.0] * (expected - 5) if len(row) >= 5 else []), wrong_length


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _triples(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give points of two values the visibility that Ultralytics gives them; those of three stay as they are."""
    if points.shape[-1] == 3:
        return points
    absent = (points < 0).any(axis=-1, keepdims=True)
    return np.concatenate([np.where(absent, 0.0, points), np.where(absent, UNLABELLED, VISIBLE)], axis=-1)


def write(dataset: Dataset, path: Path) -> None:
    """Write a new folder: data.yaml, labels/train and a copy of the images in images/train, which Ultralytics needs there.

    The labels of an image whose name has a folder ``images`` of its own lie beside that folder, where Ultralytics looks.
    The data set is one split; ``val`` names the same images, since Ultralytics wants both keys.

    Raises:
        DekeyError: if the folder exists and is not empty, an image has no file, or two images would share a label file.
    """
    names = written_names(dataset, path)
    label_names(names, ".txt")
    with new_folder(path) as folder:
        write_text(folder / "data.yaml", _described(dataset))
        for index, name in enumerate(names):
            own = PurePosixPath("images/train") / name
            image, text = folder / own, folder / label_of(own)
            image.parent.mkdir(parents=True, exist_ok=True)
            text.parent.mkdir(parents=True, exist_ok=True)
            copy_picture(dataset, index, image)
            text.write_text("".join(f"{line}\n" for line in _lines(dataset, index)), encoding="utf-8")


def _described(dataset: Dataset) -> str:
    import yaml

    schema = dataset.schema
    content: dict[str, Any] = {
        "train": "images/train",
        "val": "images/train",
        "names": dict(enumerate(schema.classes)),
        "kpt_shape": [len(schema.keypoints), 3],
    }
    if schema.mirror is not None:
        content["flip_idx"] = schema.mirror.tolist()
    content["kpt_names"] = {index: list(schema.keypoints) for index in range(len(schema.classes))}
    content["skeleton"] = schema.edges.tolist()
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120))


def _lines(dataset: Dataset, index: int) -> Iterator[str]:
    own = dataset[index].instances
    size = dataset.sizes[index, ::-1].astype(np.float64)
    boxes = np.concatenate([(own.boxes[:, :2] + own.boxes[:, 2:]) / 2, box_sizes(own.boxes)], axis=1) / np.tile(size, 2)
    points = np.where(own.labelled[..., None], own.keypoints / size, 0.0)
    for label, box, row, codes in zip(own.labels.tolist(), boxes, points, own.visibility.tolist(), strict=True):
        pairs = (f"{_text(x)} {_text(y)} {code}" for (x, y), code in zip(row.tolist(), codes, strict=True))
        yield " ".join([str(label), *map(_text, box.tolist()), *pairs])


def _text(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")

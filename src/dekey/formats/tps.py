"""TPS files of geometric morphometrics (tpsDig, tpsUtil, geomorph, ImageJ plug-ins).

Layout: one record after another: ``LM=K``, K lines of x y, then ``IMAGE=``, ``ID=``, ``SCALE=`` and others in any order.
Several records of one image are several objects; ``LM=0``, as tpsUtil writes for images that are still to be digitised, is an
image without objects. ``CURVES=`` with their ``POINTS=`` are ignored with a warning: their points are no landmarks. ``SCALE``
turns pixels into millimetres for others, the numbers in the file are pixels, and it is not applied. ``LM3=`` is
three-dimensional and refused. Evidence: readland.tps of geomorph, read_tps in utils.py of ml-morph, tpsDig's files.

Frame: y is measured upwards from the bottom edge of the image, so its height is needed and its header read: y here is height
− y (ml-morph: ``sz-bbox[1]``). Whether a number means the corner or the centre of a pixel nobody states; it is taken as
continuous, nothing is added, and is half a pixel wrong at most.

Visibility: a point with a negative coordinate is unlabelled (tpsDig writes -1 -1 for a missing landmark; ``negNA`` of
geomorph), every other visible. There are no names, boxes and classes. An image name with a path that leaves the folder, as
tpsDig on Windows writes it, counts by its last part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.files import head, read_text
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints
from dekey.formats.pictures import with_suffixes, written_names

HOLDS: Final = frozenset(
    {"several_objects", "unlabelled_points", "images_without_objects", "outside_points", "exact_coordinates"}
)
_HEAD_BYTES = 4096
_MAX_POINTS = 100_000
_DIGITS = 9


@dataclass
class _Record:
    """A specimen: K points in the numbers of the file, its image, and the line where it begins."""

    line: int
    points: list[list[float]] = field(default_factory=list)
    image: str = ""
    mistake: str = ""


def recognises(path: Path) -> bool:
    """Tell by its first line of text whether a file is a TPS file."""
    key, equals, rest = head(path, _HEAD_BYTES).split(b"\n")[0].partition(b"=")
    return key.strip().upper() in (b"LM", b"LM3") and bool(equals) and rest.strip().isdigit()


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a TPS file; the headers of the images are read.

    Args:
        path: the file, at most 1 GiB.
        images: folder of the images; by default the file's folder or its ``images/``.
        keep: keep a specimen whose points cannot be read, without them, instead of leaving it out.

    Returns:
        The data set, images in the order in which they first occur; what was left out is in its `problems`.

    Raises:
        DekeyError: if the file is no TPS file of two dimensions, or holds no landmarks.
    """
    problems: list[Problem] = []
    records = _records(path, problems)
    counts = [len(record.points) for record in records if record.points and not record.mistake]
    if not counts:
        raise DekeyError(f"{path} holds no landmarks, only images that are still to be digitised; digitise some")
    count = max(set(counts), key=counts.count)
    named = [record for record in records if record.image]
    for record in records:
        if not record.image:
            problems.append(problem("unreadable-record", f"the specimen of line {record.line} names no IMAGE"))
    order = {name: index for index, name in enumerate(dict.fromkeys(record.image for record in named))}
    places = place_images(path, with_suffixes(path, list(order), images), images, problems)
    shapes = [record for record in named if record.points or record.mistake]
    points = np.zeros((len(shapes), count, 3))
    broken = np.zeros(len(shapes), dtype=np.bool_)
    for row, record in enumerate(shapes):
        if record.mistake or len(record.points) != count:
            message = record.mistake or f"{len(record.points)} landmarks, where most specimens have {count}"
            kind = "unreadable-record" if record.mistake else "wrong-length"
            problems.append(problem(kind, f"the specimen of line {record.line}: {message}", record.image, row + 1))
            broken[row] = True
            continue
        xy = np.array(record.points)
        absent = (xy < 0).any(axis=1, keepdims=True)
        points[row] = np.concatenate([np.where(absent, 0.0, xy), np.where(absent, UNLABELLED, VISIBLE)], axis=1)
    owners = np.array([order[record.image] for record in shapes], dtype=np.int64)
    objects = Objects(
        owners,
        np.zeros(len(shapes), dtype=np.int64),
        points,
        np.full((len(shapes), 4), np.nan),
        [f"the specimen of line {record.line}" for record in shapes],
        broken,
    )
    offset = np.zeros((len(shapes), 1, 2))
    offset[:, 0, 1] = places.sizes[owners, 0]
    schema = Schema.create([UNNAMED_CLASS], unnamed_keypoints(count))
    return build_dataset(schema, places, objects, problems, scale=[1.0, -1.0], offset=offset, keep=keep)


def _records(path: Path, problems: list[Problem]) -> list[_Record]:
    """Divide the file into specimens; curves are left out with a warning."""
    records: list[_Record] = []
    wanted = skipped = 0
    curves = 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text:
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        key = key.upper()
        record = records[-1] if records else None
        if equals and key == "LM3":
            raise DekeyError(f"{path} holds landmarks in three dimensions (LM3); expected two, as measured in an image")
        if wanted and (equals or record is None):
            _mistaken(record, f"{wanted} of its landmarks are missing")
            wanted = 0
        if equals and key == "LM":
            if not value.isdecimal() or not 0 <= int(value[:9]) <= _MAX_POINTS:
                raise DekeyError(f"line {number} of {path} is '{text[:40]}', expected LM= and a number of landmarks")
            records.append(_Record(number))
            wanted, skipped = int(value), 0
        elif record is None:
            raise DekeyError(f"line {number} of {path} is '{text[:40]}', expected LM= first; this is no TPS file")
        elif equals and key == "IMAGE":
            record.image = _image_name(value)
        elif equals and key == "POINTS" and value.isdecimal():
            skipped, curves = int(value[:9]), curves + 1
        elif equals or skipped:
            skipped = 0 if equals else skipped - 1
        elif wanted:
            wanted -= 1
            parts = text.split()
            try:
                x, y = (float(part.replace(",", ".")) for part in parts)
            except ValueError:
                _mistaken(record, f"line {number} is '{text[:40]}', expected x y")
            else:
                record.points.append([x, y])
        else:
            _mistaken(record, f"line {number}, '{text[:40]}', is more than its LM announces")
    if wanted:
        _mistaken(records[-1], f"{wanted} of its landmarks are missing")
    if curves:
        problems.append(problem("ignored-shape", f"{curves} curves, whose points are no landmarks"))
    return records


def _mistaken(record: _Record | None, mistake: str) -> None:
    if record is not None and not record.mistake:
        record.mistake = mistake


def _image_name(value: str) -> str:
    name = PurePosixPath(value.replace("\\", "/"))
    return name.name if name.is_absolute() or ".." in name.parts or ":" in value else str(name)


def write(dataset: Dataset, path: Path) -> None:
    """Write a TPS file.

    Raises:
        DekeyError: if an image has no file, a labelled point would be written as a negative number, which means that it is
            missing, or the folder does not exist.
    """
    names = written_names(dataset, path.parent)
    objects, image_of = dataset.instances, dataset.image_of_instance()
    offset = np.zeros((len(objects), 1, 2))
    offset[:, 0, 1] = dataset.sizes[image_of, 0]
    upwards = np.where(objects.labelled[..., None], objects.keypoints * [1.0, -1.0] + offset, 0.0).round(_DIGITS)
    beyond = (upwards < 0).any(axis=2)
    if beyond.any():
        row, column = np.argwhere(beyond)[0].tolist()
        keypoint, image = dataset.schema.keypoints[column], names[int(image_of[row])]
        x, y = objects.keypoints[row, column].tolist()
        raise DekeyError(
            f"keypoint '{keypoint}' of {image} lies left of the image or below it, at x, y = {x:.6g}, {y:.6g}, and TPS takes "
            "negative numbers for missing points; move it into the image, or write another format"
        )
    count = 0
    with replaced(path) as stream:
        for index, name in enumerate(names):
            own = dataset[index].instances
            height = float(dataset.sizes[index, 0])
            rows = np.where(own.labelled[..., None], own.keypoints * [1.0, -1.0] + [0.0, height], -1.0).round(_DIGITS)
            for points in rows.tolist() if len(own) else [[]]:
                lines = [f"LM={len(points)}", *(f"{x!r} {y!r}" for x, y in points), f"IMAGE={name}", f"ID={count}"]
                stream.write("\n".join(lines) + "\n")
                count += 1

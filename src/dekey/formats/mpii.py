"""MPII human pose as the JSON of SimpleBaseline and HRNet.

Layout: a list of persons with ``image``, ``joints`` (x, y for each joint), ``joints_vis`` (one number a joint), ``center``
(x, y) and ``scale``. Evidence: lib/dataset/mpii.py of SimpleBaseline and HRNet, and MPII's own description of its
annotations.

Names: 16 joints have the order and the names of MPII and belong to a person, which the format fixes (``num_joints``,
``flip_pairs`` and ``parent_ids`` there); another number of joints has no names and no class.

Frame: counted from 1 ("MPII uses matlab format, index is based 1", HRNet takes 1 off), so 0.5 is taken off.

Visibility: ``joints_vis`` 1 is labelled, 0 not. MPII labels joints behind something as well, and this file does not say which
those are; all are called visible.

Boxes: none are read. ``center`` and ``scale`` (height of the person / 200 px) are rough, and HRNet does not take them as a box
either: it moves the centre down by 15 · scale, enlarges by 1.25 and cuts out a square. A box made of them would be an
invention; the hull of the joints serves better. They are written, because those tools cut by them: so that HRNet's square has
the middle of the object's box, and a side of 1.25 times the box's longer one. Without a box the hull of the labelled joints
takes its place; what has no extent, one point, is taken to be as large as the shorter side of its image.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Problem
from dekey.data.geometry import hulls
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats.coco_objects import only_objects, short
from dekey.formats.files import head, read_json
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints
from dekey.formats.pictures import written_names

HOLDS: Final = frozenset({"several_objects", "unlabelled_points", "outside_points", "exact_coordinates"})
_JOINTS: Final = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "upper_neck",
    "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_EDGES: Final = (
    (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12), (12, 7), (13, 7), (13, 14),
    (14, 15),
)  # fmt: skip
FIXED: Final = Schema.create(["person"], _JOINTS, _EDGES)
"""What a file of 16 joints means without saying so."""
_HEAD_BYTES = 65_536
# How tall a person of scale 1 is, px; how far HRNet moves the centre down, px for scale 1.
_TALL, _DOWN = 200.0, 15.0
_DIGITS = 9


def recognises(path: Path) -> bool:
    """Tell by its first 64 KiB whether a file is a list with MPII's keys."""
    start = head(path, _HEAD_BYTES)
    keys = (b'"joints"', b'"joints_vis"', b'"image"')
    return start.startswith(b"[") and all(key in start for key in keys)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read an MPII JSON file; the headers of the images are read, since it states no sizes.

    Args:
        path: the file.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        keep: keep a person whose joints cannot be read, without them, instead of leaving it out.

    Returns:
        The data set, images in the order in which they first occur; what was left out is in its `problems`.

    Raises:
        DekeyError: if the file is no such list, or no person has joints.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise DekeyError(f"{path} holds {short(content)}, expected a list of persons with image, joints and joints_vis")
    problems: list[Problem] = []
    records = only_objects(content, path.name, problems)
    named = [record for record in records if isinstance(record.get("image"), str) and record["image"]]
    for record in records:
        if not isinstance(record.get("image"), str) or not record["image"]:
            problems.append(problem("unreadable-record", f"person {short(record)} names no image"))
    counts = [len(record["joints"]) for record in named if isinstance(record.get("joints"), list)]
    count = max(set(counts), key=counts.count) if counts else 0
    if not count:
        raise DekeyError(f"no person in {path} has joints; expected MPII's training or validation annotations")
    order = {name: index for index, name in enumerate(dict.fromkeys(record["image"] for record in named))}
    points = np.zeros((len(named), count, 3))
    broken = np.zeros(len(named), dtype=np.bool_)
    for row, record in enumerate(named):
        triples = _triples(record, count)
        if isinstance(triples, str):
            problems.append(problem("wrong-length", f"person {row}: {triples}", record["image"], row + 1))
            broken[row] = True
        else:
            points[row] = triples
    objects = Objects(
        np.array([order[record["image"]] for record in named], dtype=np.int64),
        np.zeros(len(named), dtype=np.int64),
        points,
        np.full((len(named), 4), np.nan),
        [f"person {row}" for row in range(len(named))],
        broken,
    )
    schema = FIXED if count == len(_JOINTS) else Schema.create([UNNAMED_CLASS], unnamed_keypoints(count))
    places = place_images(path, list(order), images, problems)
    return build_dataset(schema, places, objects, problems, offset=-0.5, keep=keep)


def _triples(record: dict[str, Any], count: int) -> np.ndarray[Any, np.dtype[np.float64]] | str:
    """Give (count, 3) x, y, visibility, or say why that cannot be."""
    joints, codes = record.get("joints"), record.get("joints_vis")
    if not isinstance(joints, list) or not isinstance(codes, list) or len(joints) != count or len(codes) != count:
        found = f"{len(joints) if isinstance(joints, list) else 'no'} joints"
        return f"{found} with {len(codes) if isinstance(codes, list) else 'no'} joints_vis, expected {count} of each"
    with suppress(TypeError, ValueError, OverflowError):
        points = np.array(joints, dtype=np.float64)
        labelled = np.array(codes, dtype=np.float64)
        if points.shape == (count, 2) and labelled.shape == (count,):
            # 1 is labelled; whatever is neither 0 nor 1 stays and is told as an unknown code.
            return np.concatenate([points, np.where(labelled == 1, VISIBLE, np.where(labelled == 0, 0, -1))[:, None]], axis=1)
    return "joints that are not numbers x, y"


def write(dataset: Dataset, path: Path) -> None:
    """Write a list of persons, one object each; an existing file is replaced only when the new one is whole.

    Raises:
        DekeyError: if an image has no file, or the folder does not exist.
    """
    names = written_names(dataset, path.parent)
    centres, scales = _centres_and_scales(dataset)
    labelled = dataset.instances.visibility != UNLABELLED
    joints = np.where(labelled[..., None], dataset.instances.keypoints + 0.5, -1.0).round(_DIGITS)
    with replaced(path) as stream:
        stream.write("[")
        for row, image in enumerate(dataset.image_of_instance().tolist()):
            record = {
                "image": names[image],
                "joints": joints[row].tolist(),
                "joints_vis": labelled[row].astype(int).tolist(),
                "center": centres[row].tolist(),
                "scale": float(scales[row]),
            }
            stream.write((",\n" if row else "\n") + json.dumps(record, ensure_ascii=False, allow_nan=False))
        stream.write("\n]\n")


def _centres_and_scales(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give (N, 2) centres, counted from 1, and (N,) scales as the module's docstring says."""
    objects = dataset.instances
    points = np.where((objects.visibility != UNLABELLED)[..., None], objects.keypoints, np.nan)
    boxed = np.isfinite(objects.boxes).all(axis=1, keepdims=True)
    boxes = np.where(boxed, objects.boxes, hulls(points))
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    scales = np.where(side > 0, side, dataset.sizes[dataset.image_of_instance()].min(axis=1)) / _TALL
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + 0.5
    centres[:, 1] -= _DOWN * scales
    return centres.round(_DIGITS), scales.round(_DIGITS)

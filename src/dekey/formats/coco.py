"""COCO keypoints JSON (cocodataset.org/#format-data).

Layout: one object with ``images`` (id, file_name, width, height), ``categories`` (id, name, keypoints, skeleton counting
from 1) and ``annotations`` (id, image_id, category_id, bbox, area, iscrowd, keypoints). Two fields of a category are not
in the standard and are optional: ``flip_indices`` (or ``flip_idx``), counting from 0, where each keypoint goes under a
left-right flip, and ``sigmas``, the OKS constants.

Frame: keypoints are indices of pixels, so the centre of the first pixel is (0, 0) in the file and (0.5, 0.5) here: 0.5 is
added when read and taken off when written. Evidence: COCO's keypoints are whole numbers from 0 to width − 1, and
detectron2 reads them so. Boxes are continuous (they come from polygons in [0, width]) and stay as they are, x, y, width,
height in the file, corners here.

Visibility: 0 not labelled (coordinates are then NaN here, 0, 0 in the file), 1 labelled but occluded, 2 visible.

Segmentations are ignored, and so are ``center`` and ``scale``, which are crops for a network and no boxes. A missing box or
area is NaN, a missing keypoint list means that none is labelled. Categories that name no keypoints: `coco_unnamed`; the extra
points of COCO-WholeBody: `coco_wholebody`. Of PoseTrack, images with ``is_labeled`` false are left out, since nobody says what
is in them, and ``ignore_regions_x`` are told as a problem.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.data.geometry import box_sizes
from dekey.errors import DekeyError
from dekey.files import replaced
from dekey.formats import coco_wholebody
from dekey.formats.coco_categories import write_categories
from dekey.formats.coco_records import build_dataset
from dekey.formats.files import read_json
from dekey.formats.losses import ALL
from dekey.formats.pictures import written_names

HOLDS: Final = ALL
_HEAD_BYTES = 65_536
# Keys of which a file has one near its start or its end; categories alone are other tools' too.
_SIGNS = ((b'"images"',), (b'"annotations"',), (b'"categories"', b'"image_id"'))
# Records turned into text at a time when writing.
_CHUNK = 4096
# Digits kept after the point when writing; it takes off what adding and subtracting the half pixel leaves behind.
_DIGITS = 9


def recognises(path: Path) -> bool:
    """Tell by the first and the last 64 KiB whether a file is a JSON object with COCO's keys."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        stream.seek(max(path.stat().st_size - _HEAD_BYTES, 0))
        tail = stream.read()
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    return any(all(key in head + tail for key in keys) for keys in _SIGNS)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a COCO keypoints file without touching an image.

    Ids of categories, images and annotations stay. Images come in the order of the file, the objects of an image too.

    Args:
        path: the JSON file, at most 4 GiB.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        keep: keep an object whose keypoints or box cannot be read, without them, instead of leaving it out.

    Returns:
        The data set; what was left out is in its `problems`.

    Raises:
        DekeyError: if the file is no COCO keypoints file, says how it is broken or what is in it instead.
    """
    content = read_json(path, compact)
    _check_content(content, path)
    try:
        return build_dataset(content, path, images, keep)
    except DekeyError as error:
        raise DekeyError(f"{path}: {error}") from error


def compact(record: dict[str, Any]) -> dict[str, Any]:
    """Shrink a record while the file is parsed: lists of numbers to arrays, no segmentation."""
    for key in ("keypoints", "bbox"):
        values = record.get(key)
        if type(values) is list:
            with suppress(TypeError, OverflowError):
                record[key] = array("d", values)
    if "face_kpts" in record:
        coco_wholebody.merge(record)
    record.pop("segmentation", None)
    return record


def _check_content(content: Any, path: Path) -> None:
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
        if "image_id" in first and "score" in first:
            raise DekeyError(
                f"{path} holds COCO results (a list with scores), expected annotations; name the file of the truth"
            )
        raise DekeyError(f"{path} holds a list of {len(content)}, expected an object with images, annotations and categories")
    if not isinstance(content, dict):
        raise DekeyError(f"{path} holds {type(content).__name__}, expected an object with images, annotations and categories")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            found = ", ".join(str(name) for name in list(content)[:8]) or "nothing"
            raise DekeyError(f"{path} has no list of {key} (found: {found}); expected a COCO keypoints file")
    for key in ("images", "annotations"):
        if not content[key]:
            raise DekeyError(f"{path} lists no {key}, so there is nothing to learn or measure; label at least one image")


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set as a COCO keypoints file; an existing one is replaced only when the new one is whole.

    Image names are written relative to the file's folder where all images lie in it, else relative to the folder that
    holds them all; then the reader needs that folder. Keypoints of a class are written in the schema's order.

    Raises:
        DekeyError: if an image has no file, or the folder does not exist.
    """
    names = written_names(dataset, path.parent)
    ids = dataset.category_ids or tuple(range(1, len(dataset.schema.classes) + 1))
    with replaced(path) as stream:
        stream.write('{\n"info": {"description": "written by dekey"},\n"licenses": [],\n"categories": ')
        stream.write(_dump(write_categories(dataset.schema, ids)))
        stream.write(',\n"images": [\n')
        for start in range(0, len(dataset), _CHUNK):
            stop = min(start + _CHUNK, len(dataset))
            records = [
                {"id": image_id, "file_name": name, "width": width, "height": height}
                for image_id, name, (height, width) in zip(
                    dataset.image_ids[start:stop].tolist(), names[start:stop], dataset.sizes[start:stop].tolist(), strict=True
                )
            ]
            stream.write((",\n" if start else "") + ",\n".join(map(_dump, records)))
        stream.write('\n],\n"annotations": [\n')
        image_ids = dataset.image_ids[dataset.image_of_instance()]
        for start in range(0, len(dataset.instances), _CHUNK):
            records = _annotations(dataset, ids, image_ids, slice(start, start + _CHUNK))
            stream.write((",\n" if start else "") + ",\n".join(map(_dump, records)))
        stream.write("\n]\n}\n")


def _annotations(
    dataset: Dataset, category_ids: Sequence[int], image_ids: NDArray[np.int64], part: slice
) -> list[dict[str, Any]]:
    chosen = dataset.instances[part]
    boxes = np.concatenate([chosen.boxes[:, :2], box_sizes(chosen.boxes)], axis=1).round(_DIGITS)
    columns = [np.flatnonzero(row) for row in dataset.schema.present]
    labelled = np.where(chosen.labelled[..., None], chosen.keypoints, np.nan)
    triples = keypoint_triples(labelled, chosen.visibility)
    records = []
    for index, (annotation_id, image_id, label) in enumerate(
        zip(dataset.annotation_ids[part].tolist(), image_ids[part].tolist(), chosen.labels.tolist(), strict=True)
    ):
        own = triples[index, columns[label]]
        record: dict[str, Any] = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_ids[label],
            "iscrowd": int(chosen.crowd[index]),
            "num_keypoints": int((own[:, 2] > 0).sum()),
            "keypoints": plain_numbers(own),
        }
        if np.isfinite(boxes[index]).all():
            record["bbox"] = plain_numbers(boxes[index])
        if np.isfinite(chosen.areas[index]):
            record["area"] = float(chosen.areas[index])
        records.append(record)
    return records


def keypoint_triples(keypoints: NDArray[np.float64], third: NDArray[Any]) -> NDArray[np.float64]:
    """Put keypoints (N, K, 2) px, continuous frame, and a third number (N, K) into COCO's triples at pixel indices.

    A keypoint without coordinates becomes 0, 0, 0.
    """
    triples = np.concatenate([(keypoints - 0.5).round(_DIGITS), third[..., None]], axis=-1)
    return np.where(np.isfinite(triples).all(-1, keepdims=True), triples, 0.0)


def plain_numbers(values: NDArray[np.float64]) -> list[int | float]:
    """Flatten to a list in which whole numbers have no decimal point, as COCO's own files write them."""
    return [int(value) if value.is_integer() else value for value in values.ravel().tolist()]


def _dump(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False)

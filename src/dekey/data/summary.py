"""Numbers that describe a data set: counts, visibility, sizes, memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, PictureFiles
from dekey.data.geometry import box_sizes
from dekey.data.instances import OCCLUDED, VISIBLE

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "max": 1.0}


def summarise(dataset: Dataset) -> dict[str, Any]:
    """Describe a data set in plain numbers, ready for JSON.

    Returns:
        ``images``, ``objects``, ``crowds``, ``objects_without_box`` and ``objects_without_area``: counts ·
        ``objects_per_class``: {class: count} · ``objects_per_image``: {count of objects: count of images} ·
        ``keypoints``: a record a keypoint with ``name``, ``visible``, ``occluded``, ``unlabelled``: counts over the
        objects, crowds left out, whose class has the keypoint · ``image_sizes``: distinct sizes, the most frequent as
        width and height, and quantiles of ``width`` and ``height`` px · ``box_sizes``: quantiles of ``width`` and
        ``height`` px and of ``share``, the square root of the box's part of the image · ``bytes``: memory held. A group
        of quantiles is None where there is nothing to measure.
    """
    instances, schema = dataset.instances, dataset.schema
    counted = ~instances.crowd
    codes = instances.visibility[counted]
    has = schema.present[instances.labels[counted]]
    keypoints = [
        {
            "name": name,
            "visible": int((codes[:, index] == VISIBLE).sum()),
            "occluded": int((codes[:, index] == OCCLUDED).sum()),
            "unlabelled": int((has[:, index] & (codes[:, index] == 0)).sum()),
        }
        for index, name in enumerate(schema.keypoints)
    ]
    per_image, images = np.unique(np.diff(dataset.starts), return_counts=True)
    return {
        "images": len(dataset),
        "objects": len(instances),
        "crowds": int(instances.crowd.sum()),
        "objects_without_box": int(np.isnan(instances.boxes).any(axis=1).sum()),
        "objects_without_area": int(np.isnan(instances.areas).sum()),
        "objects_per_class": {name: int((instances.labels == label).sum()) for label, name in enumerate(schema.classes)},
        "objects_per_image": {str(count): int(number) for count, number in zip(per_image, images, strict=True)},
        "keypoints": keypoints,
        "image_sizes": _image_sizes(dataset),
        "box_sizes": _box_sizes(dataset),
        "bytes": memory(dataset),
    }


def memory(dataset: Dataset) -> int:
    """Count the bytes that a data set holds, images that are arrays included."""
    instances = dataset.instances
    columns: list[NDArray[Any]] = [
        dataset.sizes,
        dataset.starts,
        dataset.image_ids,
        dataset.annotation_ids,
        instances.boxes,
        instances.labels,
        instances.keypoints,
        instances.visibility,
        instances.crowd,
        instances.areas,
    ]
    held = sum(column.nbytes for column in columns)
    pictures = dataset.pictures
    if isinstance(pictures, PictureFiles):
        return held + sum(map(sys.getsizeof, pictures.names)) + 8 * len(pictures)
    return held + sum(picture.nbytes if isinstance(picture, np.ndarray) else len(str(picture)) + 49 for picture in pictures)


def _image_sizes(dataset: Dataset) -> dict[str, Any] | None:
    if not len(dataset):
        return None
    sizes, counts = np.unique(dataset.sizes, axis=0, return_counts=True)
    height, width = sizes[counts.argmax()].tolist()
    return {
        "distinct": len(sizes),
        "most_frequent": [width, height],
        "width": _quantiles(dataset.sizes[:, 1]),
        "height": _quantiles(dataset.sizes[:, 0]),
    }


def _box_sizes(dataset: Dataset) -> dict[str, Any] | None:
    given = np.isfinite(dataset.instances.boxes).all(axis=1)
    if not given.any():
        return None
    sizes = box_sizes(dataset.instances.boxes[given])
    areas = dataset.sizes[dataset.image_of_instance()[given]].prod(axis=1)
    share = np.sqrt(np.clip(sizes, 0, None).prod(axis=1) / np.maximum(areas, 1))
    return {"width": _quantiles(sizes[:, 0]), "height": _quantiles(sizes[:, 1]), "share": _quantiles(share)}


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    found = np.quantile(values, list(_QUANTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(_QUANTILES, found, strict=True)}

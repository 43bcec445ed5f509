"""What label formats can hold, and what of a data set is lost in one.

The table `FEATURES` names everything that one format can keep and another cannot. A loss is grave where the file would state
something false: an image with three objects cannot become an image with one. Grave losses are refused
(`dekey.formats.fitting`), all others are told by `losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.data.geometry import box_sizes, hulls
from dekey.data.instances import OCCLUDED, UNLABELLED
from dekey.data.schema import Schema, mirror_from_names
from dekey.formats.base import Format
from dekey.formats.names import UNNAMED_CLASS, unnamed_keypoints

FAR: Final = 0.01
"""How far outside its image, as a share of the side, a keypoint may lie before ``outside_points`` counts it."""


@dataclass(frozen=True)
class Feature:
    """Something that a label format can hold.

    Attributes:
        meaning: what a format that holds it keeps, as the documentation states it.
        grave: whether a file that lost it would be wrong rather than poorer.
    """

    meaning: str
    grave: bool = False


FEATURES: Final[dict[str, Feature]] = {
    "several_objects": Feature("more than one object in an image", grave=True),
    "classes": Feature("objects of more than one class", grave=True),
    "crowd": Feature("regions of uncounted objects, told apart from single objects", grave=True),
    "unlabelled_points": Feature("an object some of whose keypoints are not labelled", grave=True),
    "objects_without_keypoints": Feature("an object with a box and no labelled keypoint", grave=True),
    "empty_objects": Feature(
        "an object with neither box nor labelled keypoint; where a box is needed, one whose keypoints span none", grave=True
    ),
    "images_without_objects": Feature("images with no object, which say that there is nothing in them"),
    "occluded": Feature("keypoints labelled as occluded apart from visible ones"),
    "boxes": Feature("a box for each object, whatever its keypoints"),
    "objects_without_boxes": Feature("an object without a box; elsewhere it gets the hull of its keypoints"),
    "areas": Feature("the area of an object, where it is not that of its box"),
    "class_names": Feature("the names of the classes"),
    "class_keypoints": Feature("classes with different keypoints"),
    "keypoint_names": Feature("the names of the keypoints"),
    "unused_names": Feature("classes and keypoints of which the data hold none"),
    "order": Feature("the order of classes and keypoints"),
    "outside_points": Feature("keypoints far outside the image, by more than a hundredth of its side"),
    "edges": Feature("the lines drawn between keypoints"),
    "mirror": Feature("which keypoints a left-right flip exchanges, where the names do not say so"),
    "sigmas": Feature("the OKS constants"),
    "image_ids": Feature("the numbers of the images"),
    "annotation_ids": Feature("the numbers of the objects"),
    "category_ids": Feature("the numbers of the classes"),
    "image_sizes": Feature("width and height of the images, so that they can be read without the images"),
    "exact_coordinates": Feature("coordinates without rounding (to 1e-6 px)"),
}
"""Every feature by its name, graver ones first."""

ALL: Final = frozenset(FEATURES)
"""The names of all features, for a format that holds everything."""


def losses(dataset: Dataset, format: Format) -> list[str]:  # noqa: A002 - the word that the command line uses too
    """Say in sentences what of this data set would be lost in a format; only what it really uses."""
    return list(lost_features(dataset, format).values())


def lost_features(dataset: Dataset, format: Format) -> dict[str, str]:  # noqa: A002
    """Give each feature that the data set uses and the format does not hold, with a sentence that says what is lost."""
    holds = format.holds | _meant(dataset.schema, format.fixed)
    return {name: text for name, text in _used(dataset, holds).items() if name not in holds}


def _meant(schema: Schema, fixed: Schema | None) -> set[str]:
    """Name what of the schema a file holds without stating it, because the format fixes it."""
    if fixed is None or schema.keypoints != fixed.keypoints:
        return set()
    held = {"keypoint_names"}
    if schema.classes == fixed.classes:
        held |= {"class_names", "unused_names", "order"}
    if {frozenset(edge) for edge in schema.edges.tolist()} == {frozenset(edge) for edge in fixed.edges.tolist()}:
        held.add("edges")
    if schema.mirror is not None and fixed.mirror is not None and np.array_equal(schema.mirror, fixed.mirror):
        held.add("mirror")
    return held


def grave_images(dataset: Dataset, holds: frozenset[str]) -> dict[str, NDArray[np.bool_]]:
    """Tell for each grave loss but `classes` which images (S,) suffer it in a format that holds these features."""
    objects = dataset.instances
    counts = np.diff(dataset.starts)
    labelled = objects.visibility != UNLABELLED
    present = dataset.schema.present[objects.labels] if "class_keypoints" in holds else np.ones_like(labelled)
    blank = ~labelled.any(axis=1)
    spanned = ~blank
    if "boxes" in holds and "objects_without_boxes" not in holds:  # a box is made of the keypoints, and must have an area
        hull = hulls(np.where(labelled[..., None], objects.keypoints, np.nan))
        spanned &= (box_sizes(hull) > 0).all(axis=1)
    gaps = (present & ~labelled).any(axis=1) & ~blank
    if "unlabelled_points" in holds:
        gaps[:] = False
    images = dataset.image_of_instance()

    def touched(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        result = np.zeros(len(dataset), dtype=np.bool_)
        result[images[chosen]] = True
        return result

    found = {
        "several_objects": counts > 1,
        "empty_objects": touched(~spanned & ~np.isfinite(objects.boxes).all(axis=1)),
        "crowd": touched(objects.crowd),
        "unlabelled_points": touched(gaps),
        "objects_without_keypoints": touched(blank),
    }
    return {name: rows for name, rows in found.items() if name not in holds and rows.any()}


def _used(dataset: Dataset, holds: frozenset[str]) -> dict[str, str]:
    """Give a sentence for each feature that the data set uses, as a format with `holds` would lose it."""
    schema, objects = dataset.schema, dataset.instances
    labelled = objects.visibility != UNLABELLED
    boxed = np.isfinite(objects.boxes).all(axis=1)
    in_use = np.unique(objects.labels)
    sorted_names = _sorted_names(dataset)
    # Names that no object uses go where a format lists only what objects have; then a pair may lack one of its two.
    whole = "unused_names" in holds
    columns = [index for index, used in enumerate(labelled.any(axis=0).tolist()) if used or whole]
    rows = [index for index in range(len(schema.classes)) if whole or index in in_use]
    names = schema.keypoints if "keypoint_names" in holds else unnamed_keypoints(len(schema.keypoints))
    ids = dataset.category_ids or tuple(range(1, len(schema.classes) + 1))
    unused = [name for index, name in enumerate(schema.classes) if index not in in_use]
    unused += [name for name, any_labelled in zip(schema.keypoints, labelled.any(axis=0), strict=True) if not any_labelled]
    occluded = int((objects.visibility == OCCLUDED).sum())
    grave = {name: int(rows.sum()) for name, rows in grave_images(dataset, holds).items()}
    empty = int((np.diff(dataset.starts) == 0).sum())
    unboxed = int((~boxed).sum()) if "boxes" in holds else 0
    areas = int(np.isfinite(objects.areas).sum())
    images = dataset.image_of_instance()
    sizes = dataset.sizes[images][:, None, ::-1]
    far = ((objects.keypoints < -FAR * sizes) | (objects.keypoints > (1 + FAR) * sizes)).any(axis=2) & labelled
    outside = len(np.unique(images[far.any(axis=1)]))
    own_keypoints = not schema.present[in_use].all()
    said = {
        "several_objects": (
            grave.get("several_objects", 0),
            "{} images hold several objects, and the format keeps one an image",
        ),
        "classes": (len(in_use) > 1, f"objects of {len(in_use)} classes cannot be told apart"),
        "crowd": (grave.get("crowd", 0), "crowd regions of {} images cannot be told from objects"),
        "unlabelled_points": (
            grave.get("unlabelled_points", 0),
            "{} images hold objects with unlabelled keypoints, which the format cannot leave open",
        ),
        "objects_without_keypoints": (
            grave.get("objects_without_keypoints", 0),
            "{} images hold objects without labelled keypoints, which the format cannot hold",
        ),
        "empty_objects": (
            grave.get("empty_objects", 0),
            "{} images hold objects with neither a box nor keypoints that span one, which the format cannot hold",
        ),
        "images_without_objects": (empty, "{} images without objects are left out"),
        "occluded": (occluded, "{} occluded keypoints become visible"),
        "boxes": (int(boxed.sum()), "{} boxes are left out"),
        "objects_without_boxes": (unboxed, "{} objects without a box get the hull of their labelled keypoints for one"),
        "areas": (areas, "{} areas are left out"),
        "class_names": (schema.classes != (UNNAMED_CLASS,), f"the class names are lost: {_some(schema.classes)}"),
        "class_keypoints": (
            own_keypoints,
            "which class has which keypoints is lost; what a class does not have becomes unlabelled",
        ),
        "keypoint_names": (
            schema.keypoints != unnamed_keypoints(len(schema.keypoints)),
            f"the keypoint names are lost: {_some(schema.keypoints)}",
        ),
        "unused_names": (len(unused), f"names that no object uses are left out: {_some(unused)}"),
        "order": (
            len(schema.classes) > 1 or len(schema.keypoints) > 1,
            "the order of classes and keypoints may change; they keep their names",
        ),
        "outside_points": (
            outside,
            "{} images have keypoints far outside them, and Ultralytics trains on no image that has such",
        ),
        "edges": (len(schema.edges), "{} lines between keypoints are left out"),
        "mirror": (
            not _derivable(schema.mirror, [names[index] for index in columns], columns),
            "which keypoints a left-right flip exchanges is left out",
        ),
        "sigmas": (schema.sigmas is not None, "the OKS sigmas are left out"),
        "image_ids": (not (sorted_names and _counts_up(dataset.image_ids)), "the numbers of the images are made anew"),
        "annotation_ids": (
            not (sorted_names and _counts_up(dataset.annotation_ids)),
            "the numbers of the objects are made anew",
        ),
        "category_ids": (
            not _counts_up(np.array([ids[row] for row in rows], dtype=np.int64)),
            "the numbers of the classes are made anew",
        ),
        "image_sizes": (len(dataset), "image sizes are left out, so that reading needs the images"),
        "exact_coordinates": (bool(boxed.any() or labelled.any()), "coordinates are rounded"),
    }
    return {name: text.format(f"{count:,}") for name, (count, text) in said.items() if count}


def _sorted_names(dataset: Dataset) -> bool:
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    return names == sorted(names)


def _counts_up(ids: NDArray[np.int64]) -> bool:
    return bool(np.array_equal(ids, np.arange(1, len(ids) + 1)))


def _derivable(mirror: NDArray[np.int64] | None, names: Sequence[str], columns: Sequence[int]) -> bool:
    """Tell whether the names of the keypoints that are kept say the same of left and right as the schema does."""
    derived, _ = mirror_from_names(names)
    if mirror is None or derived is None:
        return mirror is None and derived is None
    return list(mirror[columns].tolist()) == [columns[partner] for partner in derived.tolist()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

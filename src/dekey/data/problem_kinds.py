"""The table of everything that can be wrong with a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dekey.data.dataset import Problem

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        severity: an ``error`` stops training, a ``warning`` does not.
        meaning: what is wrong, as the documentation states it.
        advice: what to do about it.
    """

    severity: Severity
    meaning: str
    advice: str


KINDS: dict[str, Kind] = {
    # Found while a file is read: such a record has no place in the columns, or only half of one.
    "unreadable-record": Kind("error", "a record lacks a field or holds the wrong type", "mend the record in the file"),
    "unsafe-path": Kind("error", "an image name leaves the image folder", "name the folder that holds it with --images"),
    "missing-size": Kind("error", "an image has no size, neither in the file nor on disk", "add width and height"),
    "duplicate-image-id": Kind("error", "two images have the same id", "give every image an id of its own"),
    "unknown-image": Kind("error", "an object names an image that is not listed", "list the image or remove the object"),
    "unknown-category": Kind("error", "an object names a category that is not listed", "add the category or mend the id"),
    "ambiguous-group": Kind(
        "error", "it is undecided which box and keypoints are one object", "give every object a group of its own"
    ),
    "several-annotations": Kind(
        "error", "several people labelled an image, and nobody says whose labels count", "mark one as the ground truth"
    ),
    "unlabelled-image": Kind("warning", "an image is not labelled yet and left out", "label it, be it as empty"),
    "wrong-length": Kind("error", "a keypoint list does not fit its category", "write x, y, v for every keypoint"),
    "unreadable-box": Kind("error", "a box is not four numbers", "write x, y, width, height, or leave the box out"),
    "bad-visibility": Kind("error", "a visibility code is unknown", "write 0 unlabelled, 1 occluded or 2 visible"),
    "labelled-without-coordinates": Kind(
        "error", "a labelled keypoint has no usable coordinates", "give it coordinates, or visibility 0"
    ),
    "coordinates-without-label": Kind(
        "warning",
        "an unlabelled keypoint has coordinates, which are ignored",
        "set its visibility to 1 or 2 if they are meant",
    ),
    "bad-mirror": Kind("error", "the table of left-right pairs is no involution", "let every pair name each other"),
    "bad-sigmas": Kind(
        "error", "the OKS sigmas are not usable", "give one positive number a keypoint, the same in every class"
    ),
    "ignored-shape": Kind(
        "warning", "a shape is neither a point nor a box, or belongs to no landmark", "nothing, if it serves something else"
    ),
    "bad-skeleton": Kind("warning", "an edge names a keypoint that does not exist", "mend the edge; it only serves drawing"),
    "zero-based-skeleton": Kind("warning", "the edges count from 0 where the format counts from 1", "count from 1"),
    "keypoint-order": Kind(
        "warning",
        "two categories list the same keypoints in different order",
        "mind that results are written in the schema's order",
    ),
    "unnamed-keypoints": Kind(
        "warning", "the file names no keypoints, so they are numbered", "name them in the file, so that results can be read"
    ),
    "unread-field": Kind(
        "warning", "the file holds something about its objects that is not read", "see whether your labels need it"
    ),
    # Found on the columns, whatever the format.
    "missing-image": Kind("error", "an image file does not exist", "restore it, or name its folder with --images"),
    "broken-image": Kind("error", "an image file cannot be opened or decoded", "replace the file or take it out"),
    "wrong-size": Kind("error", "an image is not as large as annotated", "use the version that was labelled"),
    "swapped-size": Kind(
        "error",
        "width and height are exchanged: the labels ignore the EXIF orientation, or follow one that was lost",
        "restore the image that was labelled, or turn image and labels alike",
    ),
    "duplicate-annotation-id": Kind("warning", "two objects have the same id", "give every object an id of its own"),
    "duplicate-image": Kind("warning", "the same image file is listed twice", "put all objects of an image under one entry"),
    "empty-box": Kind("error", "a box has no width or no height", "draw the box again, or leave it out"),
    "box-outside": Kind("error", "a box lies wholly outside its image", "check the size of the image and the unit of the box"),
    "box-over-edge": Kind("warning", "a box reaches more than a pixel over the edge", "nothing, if the object is cut off"),
    "keypoint-outside": Kind(
        "warning",
        "a labelled keypoint lies more than a pixel outside its image",
        "move it, or set its visibility to 0 if it is cut off",
    ),
    "keypoint-at-origin": Kind(
        "error", "a labelled keypoint lies in the corner (0, 0), far from its object", "set its visibility to 0"
    ),
    "normalised-coordinates": Kind(
        "error", "all keypoints of an object lie between 0 and 1", "multiply by width and height; pixels are expected"
    ),
    "no-keypoints": Kind("warning", "an object has no labelled keypoint", "nothing, if that is meant; it serves boxes only"),
    "only-occluded": Kind(
        "warning",
        "every labelled keypoint is occluded and none is visible; some tools write 1 for every labelled keypoint",
        "write 2 for keypoints that can be seen, or a model learns that all are hidden",
    ),
    "unused-keypoint": Kind("warning", "a keypoint is never labelled", "label it, or take it out of the categories"),
    "undecided-mirror": Kind(
        "warning", "left and right are undecided, so images are not flipped", "state flip_indices in the categories"
    ),
    # Found by comparing the objects and the pictures with each other: a matter of degree, with a doubt.
    "swapped-sides": Kind(
        "warning",
        "left and right keypoints of an object look exchanged",
        "look at it, and exchange the labels if they are",
    ),
    "seen-from-both-sides": Kind(
        "warning",
        "many objects look like the others' mirror image, so exchanged sides cannot be told from the view",
        "nothing, if objects are seen from both sides; else look which side is which",
    ),
    "unlikely-keypoint": Kind(
        "warning",
        "a keypoint lies far from where the object's other keypoints put it",
        "look at it, and move it if it is wrong",
    ),
    "point-order": Kind(
        "warning",
        "several objects have their keypoints in another order than the rest",
        "look at one, and reorder the labels of all",
    ),
    "near-duplicate-image": Kind(
        "warning", "images of the file look the same", "keep one, or keep them in one part when the file is split"
    ),
    "leaked-image": Kind(
        "warning",
        "an image looks the same as one of the other file",
        "take it out of one of them: what is measured on it says nothing",
    ),
    "rare-keypoint": Kind("warning", "a keypoint is labelled far less often than the others", "label more, or take it out"),
    "tiny-box": Kind(
        "warning", "a box is too small for what a network sees of it", "check it; leave it out, or train on larger images"
    ),
    "keypoint-outside-box": Kind(
        "warning", "a keypoint lies well outside the box of its object", "draw the box around the whole object"
    ),
}


def problem(
    kind: str,
    message: str,
    image: str | None = None,
    annotation_id: int | None = None,
    *,
    doubt: float | None = None,
    keypoints: tuple[str, ...] = (),
    expected: tuple[tuple[float, float], ...] = (),
    other: str | None = None,
    annotation_ids: tuple[int, ...] = (),
    images: tuple[str, ...] = (),
) -> Problem:
    """Make a problem of a kind in `KINDS`, with the severity and the advice written there; the rest as in `Problem`."""
    found = KINDS[kind]
    return Problem(
        kind,
        found.severity,
        message,
        found.advice,
        image,
        annotation_id,
        doubt,
        keypoints,
        expected,
        other,
        annotation_ids,
        images,
    )

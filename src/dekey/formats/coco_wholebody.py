"""COCO-WholeBody: the foot, face and hand points that its annotations carry beside ``keypoints``.

Layout (github.com/jin-s13/COCO-WholeBody, data_format.md): ``foot_kpts`` (6), ``face_kpts`` (68), ``lefthand_kpts`` and
``righthand_kpts`` (21 each) are x, y, v triples of their own, with ``foot_valid``, ``face_valid`` and so on; the categories
name the 17 points of the body only. Read together they are 133 keypoints, in the order and with the names of MMPose
(configs/_base_/datasets/coco_wholebody.py).

Visibility: body and feet use COCO's codes. Of face and hands the specification says "some keypoints may have float
visibility; v > 0 means that the keypoint is reliable", and that only what is clear enough to be seen was labelled: v > 0 is
visible, all else unlabelled. A part that is not valid is unlabelled.

Frame: pixel indices, like COCO's.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from typing import Any, Final

BODY: Final = 17
"""Keypoints of COCO's person."""

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")


def _hand(side: str) -> list[str]:
    return [f"{side}_hand_root", *(f"{side}_{finger}{joint}" for finger in _FINGERS for joint in (1, 2, 3, 4))]


_PARTS: Final = {
    "foot": [f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")],
    "face": [f"face-{index}" for index in range(68)],
    "lefthand": _hand("left"),
    "righthand": _hand("right"),
}
EXTRA_NAMES: Final = [name for names in _PARTS.values() for name in names]
"""The 116 names that follow the 17 of the body."""

# First and last of each row of face points whose two ends are each other's mirror image: the contour, the brows, the nostrils,
# the eyes from outer to inner corner and their lower lids, the lips; the ridge of the nose (27 to 30) lies in the middle.
_FACE_ROWS = ((0, 16), (17, 26), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67))
_FACE_PAIRS = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))


def merge(record: dict[str, Any]) -> None:
    """Put the extra points of an annotation behind its ``keypoints``, where all are whole; else leave the record as it is."""
    joined = array("d")
    with suppress(KeyError, TypeError, OverflowError):
        joined.extend(record["keypoints"])
        for part, names in _PARTS.items():
            values = array("d", record.get(f"{part}_kpts") or [0.0] * (3 * len(names)))
            if len(values) != 3 * len(names):
                return
            if record.get(f"{part}_valid", True) is False:
                values = array("d", [0.0]) * (3 * len(names))
            elif part != "foot":
                for place in range(2, len(values), 3):
                    values[place] = 2.0 if values[place] > 0 else 0.0
                    if not values[place]:
                        values[place - 2] = values[place - 1] = 0.0
            joined.extend(values)
        if len(joined) == 3 * (BODY + len(EXTRA_NAMES)):
            record["keypoints"] = joined
            record["wholebody"] = True
            for part in _PARTS:
                record.pop(f"{part}_kpts", None)


def widen(category: dict[str, Any]) -> None:
    """Give a category of 17 keypoints the names of the other 116, and the left-right pairs of all where its names tell them."""
    own = list(category["keypoints"])
    category["keypoints"] = own + EXTRA_NAMES
    if category.get("flip_indices") is None and category.get("flip_idx") is None:
        index = {name: place for place, name in enumerate(category["keypoints"])}
        other = {**_mirrored_face(), **{name: _other_side(name) for name in index if not name.startswith("face-")}}
        flips = [index.get(other[name], -1) for name in index]
        if len(index) == len(own) + len(EXTRA_NAMES) and min(flips) >= 0:
            category["flip_indices"] = flips


def _mirrored_face() -> dict[str, str]:
    other = list(range(68))
    for first, last in _FACE_ROWS:
        for place in range(first, last + 1):
            other[place] = first + last - place
    for one, two in _FACE_PAIRS:
        other[one], other[two] = two, one
    return {f"face-{place}": f"face-{partner}" for place, partner in enumerate(other)}


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name

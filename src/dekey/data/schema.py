"""What can be found in an image: classes, keypoints, edges, mirror pairs and OKS sigmas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError, nearest

COCO_PERSON_KEYPOINTS = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
# Published with COCO's evaluation code (cocodataset.org/#keypoints-eval); they hold for these 17 points alone.
COCO_PERSON_SIGMAS = [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
]  # fmt: skip

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD = re.compile(r"[^\W\d_]+|\d+|[\W_]+")  # letters of any script, digits, what separates them
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]")


@dataclass(frozen=True, eq=False)
class Schema:
    """Classes and keypoints of a data set, and what belongs to them.

    Attributes:
        classes: names of the C classes.
        keypoints: names of the K keypoints, shared by all classes.
        edges: (E, 2) int64, pairs of keypoint indices joined by a line when drawn.
        mirror: (K,) int64, where each keypoint goes when an image is flipped left to right; an involution.
            None where the names do not decide it: then images are never flipped, see `mirror_note`.
        sigmas: (K,) float64 OKS constants, or None where nobody stated them; there is no default.
        present: (C, K) bool, which class has which keypoint.
        mirror_note: one sentence on where `mirror` comes from, or why it is None.
    """

    classes: tuple[str, ...]
    keypoints: tuple[str, ...]
    edges: NDArray[np.int64]
    mirror: NDArray[np.int64] | None
    sigmas: NDArray[np.float64] | None
    present: NDArray[np.bool_]
    mirror_note: str = ""

    @classmethod
    def create(
        cls,
        classes: Sequence[str],
        keypoints: Sequence[str],
        edges: Sequence[Sequence[int]] | NDArray[np.int64] = (),
        mirror: Sequence[int] | NDArray[np.int64] | None = None,
        sigmas: Sequence[float] | NDArray[np.float64] | None = None,
        present: Sequence[Sequence[bool]] | NDArray[np.bool_] | None = None,
    ) -> Schema:
        """Check the parts and fill in what follows from them.

        Without `mirror` it is derived from the names by `mirror_from_names`; without `sigmas`, COCO's seventeen person
        keypoints get COCO's own and all others get None; without `present` every class has every keypoint.

        Raises:
            DekeyError: on names that repeat, indices out of range, a mirror that is no involution, or sigmas that are
                not positive.

        >>> Schema.create(["face"], ["left_eye", "right_eye", "nose"]).mirror
        array([1, 0, 2])
        """
        classes, keypoints = tuple(classes), tuple(keypoints)
        for what, names in (("class", classes), ("keypoint", keypoints)):
            repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
            if repeated:
                raise DekeyError(f"the {what} name '{repeated[0]}' occurs twice; give every {what} a name of its own")
        count = len(keypoints)
        edge_array = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
        if edge_array.size and not (edge_array.min() >= 0 and edge_array.max() < count):
            wrong = edge_array.max() if edge_array.min() >= 0 else edge_array.min()
            raise DekeyError(f"an edge names keypoint {wrong} but there are {count}; count from 0 to {count - 1}")
        if mirror is None:
            mirror_array, note = mirror_from_names(keypoints)
        else:
            mirror_array, note = _checked_mirror(mirror, keypoints), "left and right as the file states them"
        if sigmas is None and list(keypoints) == COCO_PERSON_KEYPOINTS:
            sigmas = COCO_PERSON_SIGMAS
        schema = cls(
            classes,
            keypoints,
            edge_array,
            mirror_array,
            None,
            np.ones((len(classes), count), dtype=np.bool_) if present is None else np.asarray(present, dtype=np.bool_),
            note,
        )
        if schema.present.shape != (len(classes), count):
            raise DekeyError(f"`present` has shape {schema.present.shape}, expected {(len(classes), count)}")
        return schema if sigmas is None else schema.with_sigmas(sigmas)

    def with_sigmas(self, sigmas: float | Sequence[float] | NDArray[np.float64]) -> Schema:
        """Return a copy with these OKS sigmas: one for all keypoints, or (K,).

        Raises:
            DekeyError: if the number of values is neither 1 nor K, or one is not positive.
        """
        values = np.atleast_1d(np.asarray(sigmas, dtype=np.float64))
        if values.size == 1:
            values = np.repeat(values, len(self.keypoints))
        if values.shape != (len(self.keypoints),):
            raise DekeyError(f"found {values.size} sigmas for {len(self.keypoints)} keypoints; give one, or one a keypoint")
        if not np.all(np.isfinite(values) & (values > 0)):
            raise DekeyError(f"sigmas must be positive numbers, found {values.tolist()}")
        return replace(self, sigmas=values)

    def keypoint_index(self, name: str) -> int:
        """Find a keypoint by name; raises DekeyError with the nearest name."""
        if name not in self.keypoints:
            raise DekeyError(
                f"there is no keypoint '{name}'{nearest(name, self.keypoints)}; known: {', '.join(self.keypoints)}"
            )
        return self.keypoints.index(name)

    def to_dict(self) -> dict[str, Any]:
        """Give the schema as plain lists and strings, ready for JSON."""
        return {
            "classes": list(self.classes),
            "keypoints": list(self.keypoints),
            "edges": self.edges.tolist(),
            "mirror": None if self.mirror is None else self.mirror.tolist(),
            "sigmas": None if self.sigmas is None else self.sigmas.tolist(),
            "present": self.present.tolist(),
            "mirror_note": self.mirror_note,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Undo `to_dict`; raises DekeyError on what is missing or does not fit together."""
        try:
            mirror, note = values["mirror"], str(values.get("mirror_note", ""))
            schema = cls.create(
                values["classes"],
                values["keypoints"],
                values["edges"],
                mirror if mirror is not None else range(len(values["keypoints"])),
                values["sigmas"],
                values["present"],
            )
            if not all(isinstance(name, str) for name in (*schema.classes, *schema.keypoints)):
                raise TypeError("a name that is no text")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DekeyError(f"the stored schema is not whole ({error!r}); export or train the model again") from error
        return replace(schema, mirror=schema.mirror if mirror is not None else None, mirror_note=note)

    def __eq__(self, other: object) -> bool:
        """Compare everything but `mirror_note`, which tells where the mirror came from and not what it is."""
        if not isinstance(other, Schema):
            return NotImplemented
        return replace(self, mirror_note="").to_dict() == replace(other, mirror_note="").to_dict()

    def __hash__(self) -> int:
        return hash((self.classes, self.keypoints))


def mirror_from_names(keypoints: Sequence[str]) -> tuple[NDArray[np.int64] | None, str]:
    """Derive the left-right permutation from keypoint names.

    A name has a side if one of its words is left/right or l/r (`left_eye`, `eye_l`, `LEye`, `wingR`, `hand-left`); its
    partner is the same name with the side exchanged. Names without a side stay where they are. The answer is None,
    with the reason, where that would be a guess: a side without partner, no side anywhere, or a numbered row without
    sides (`jaw_0 … jaw_16`) whose ends may well be each other's mirror image.

    Args:
        keypoints: K names.

    Returns:
        The permutation (K,) int64 or None, and one sentence that says why.

    >>> mirror_from_names(["nose", "eye_l", "eye_r"])[0]
    array([0, 2, 1])
    >>> mirror_from_names(["head", "tail"])[0] is None
    True
    """
    if len(keypoints) <= 1:
        return np.arange(len(keypoints)), "a single keypoint mirrors onto itself"
    index = {_key(name): position for position, name in enumerate(keypoints)}
    if len(index) < len(keypoints):
        return None, "two keypoint names differ only in spelling, so left and right are undecided"
    permutation = np.arange(len(keypoints))
    sided = False
    for position, name in enumerate(keypoints):
        partners = _exchanged(_key(name))
        if not partners:
            continue
        sided = True
        found = [index[partner] for partner in partners if partner in index]
        if len(found) != 1:
            return None, f"keypoint '{name}' has a side but no partner, so left and right are undecided"
        permutation[position] = found[0]
    if not sided:
        return None, "no keypoint name says left or right, so left and right are undecided"
    rows: dict[tuple[str, ...], int] = {}
    for name in keypoints:
        words = _key(name)
        if not _exchanged(words) and any(word.isdigit() for word in words):
            row = tuple(word for word in words if not word.isdigit())
            rows[row] = rows.get(row, 0) + 1
    doubtful = [row for row, members in rows.items() if members > 1]
    if doubtful:
        return None, f"the numbered keypoints '{'_'.join(doubtful[0])}_…' name no side, so left and right are undecided"
    if not np.array_equal(permutation[permutation], np.arange(len(keypoints))):
        return None, "the names pair up more than once, so left and right are undecided"
    return permutation, "left and right derived from the keypoint names"


def _key(name: str) -> tuple[str, ...]:
    """Split a name into lower-case words: at separators, digits and humps (`LEye` gives l, eye; `wingR` wing, r)."""
    words: list[str] = []
    for part in _WORD.findall(name):
        if part.isdigit():
            words.append(part)
        elif part.isalpha():
            if len(part) > 1 and part[0] in "LR" and part[1].isupper() and not part.isupper():
                words.append(part[0].lower())
                part = part[1:]
            words.extend(word.lower() for word in (_HUMP.findall(part) if part.isascii() else [part]))
    return tuple(words)


def _exchanged(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """List the names one gets by exchanging the side of one word."""
    return [(*words[:i], _SIDES[word], *words[i + 1 :]) for i, word in enumerate(words) if word in _SIDES]


def _checked_mirror(mirror: Sequence[int] | NDArray[np.int64], keypoints: tuple[str, ...]) -> NDArray[np.int64]:
    permutation = np.asarray(mirror, dtype=np.int64)
    count = len(keypoints)
    if permutation.shape != (count,) or (count and not (permutation.min() >= 0 and permutation.max() < count)):
        raise DekeyError(f"the mirror table {permutation.tolist()} does not name {count} keypoints from 0 to {count - 1}")
    wrong = np.flatnonzero(permutation[permutation] != np.arange(count))
    if wrong.size:
        here = int(wrong[0])
        raise DekeyError(
            f"the mirror table sends '{keypoints[here]}' to '{keypoints[permutation[here]]}' but not back; "
            "mirroring twice must give the same keypoint"
        )
    return permutation

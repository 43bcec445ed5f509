"""`Evaluation`: the numbers of one measurement, with a sentence for each that has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError, nearest
from dekey.metrics.failures import Failures

_ARRAYS = ("errors", "normalisers")
# Beginnings of the numbers that only a model which finds objects by itself is asked for.
_OF_OBJECTS = ("box_", "occluded_")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` measured. Nothing in it is NaN but `errors` and `normalisers`.

    Attributes:
        values: the defined numbers by name; see docs/concepts/metrics.md for each.
        notes: one sentence for every number that is not defined, under its name, and for what the numbers rest on, under
            ``normaliser``, ``sigmas``, ``areas``, ``boxes``, ``scores``, ``pairs``, ``threshold``.
        normaliser: name of the length by which NME, PCK and its area divide.
        per_keypoint: the distance numbers and ``keypoints`` (how many are labelled) of each keypoint; a keypoint that is
            never labelled has no entry but a note ``per_keypoint.NAME``.
        per_visibility: the same for ``visible`` and ``occluded``.
        per_class: the same, with average precision, of each class, where there are several.
        pck_curve: thresholds (T,) in units of the normaliser, and the share (T,) of keypoints within each; the shares
            are empty where nothing defines them.
        errors: (M, K) px for the M objects of the data set; NaN where not labelled, not paired or not found.
        normalisers: (M,) px; NaN where an object has none.
        found_of_truth: (M,) int64, position within its image's found objects of each object's partner, −1 for none.
        score_threshold: the score from which an object counted as found, outside average precision; 0 or less takes all.
        boxes: whether the found boxes were the model's own and were measured.
        failures: the kinds of mistakes, or None where they were not stored.
    """

    values: dict[str, float]
    notes: dict[str, str]
    normaliser: str
    per_keypoint: dict[str, dict[str, float]]
    per_visibility: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    pck_curve: tuple[NDArray[np.float64], NDArray[np.float64]]
    errors: NDArray[np.float64] = field(repr=False)
    normalisers: NDArray[np.float64] = field(repr=False)
    found_of_truth: NDArray[np.int64] = field(repr=False)
    score_threshold: float = 0.0
    boxes: bool = False
    failures: Failures | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> float:
        """Give one number.

        Raises:
            DekeyError: with the reason if it is not defined here, or with the nearest name if there is no such number.
        """
        if name in self.values:
            return self.values[name]
        if name in self.notes:
            raise DekeyError(self.notes[name])
        known = list(self.values)
        raise DekeyError(f"there is no number '{name}'{nearest(name, known)}; known: {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        """Tell whether the number is defined here."""
        return name in self.values

    def sentences(self) -> list[str]:
        """Give every note once, in order; numbers that lack the same thing share a sentence.

        Unless boxes were measured, why there are no numbers on boxes and occlusion is left out: nobody asked for them.
        """
        asked = (note for name, note in self.notes.items() if self.boxes or not name.startswith(_OF_OBJECTS))
        return list(dict.fromkeys(asked))

    def to_dict(self, *, arrays: bool = True) -> dict[str, Any]:
        """Give plain lists and numbers, ready for JSON; NaN becomes None.

        Args:
            arrays: with the error of every single keypoint; without it `from_dict` gives back empty arrays.
        """
        thresholds, shares = self.pck_curve
        result: dict[str, Any] = {
            "values": dict(self.values),
            "notes": dict(self.notes),
            "normaliser": self.normaliser,
            "per_keypoint": {name: dict(values) for name, values in self.per_keypoint.items()},
            "per_visibility": {name: dict(values) for name, values in self.per_visibility.items()},
            "per_class": {name: dict(values) for name, values in self.per_class.items()},
            "pck_curve": {"thresholds": thresholds.tolist(), "shares": shares.tolist()},
            "score_threshold": self.score_threshold,
            "boxes": self.boxes,
        }
        if self.failures is not None:
            result["failures"] = self.failures.to_dict(examples=arrays)
        if arrays:
            for name in _ARRAYS:
                array: NDArray[np.float64] = getattr(self, name)
                result[name] = _with_none(array)
            result["found_of_truth"] = self.found_of_truth.tolist()
        return result

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Evaluation:
        """Undo `to_dict`.

        Raises:
            DekeyError: if a part is missing or of the wrong kind.
        """
        try:
            rows = stored.get("errors", [])
            curve = stored["pck_curve"]
            return cls(
                _numbers(stored["values"]),
                {str(name): str(note) for name, note in stored["notes"].items()},
                str(stored["normaliser"]),
                {str(name): _numbers(values) for name, values in stored["per_keypoint"].items()},
                {str(name): _numbers(values) for name, values in stored["per_visibility"].items()},
                {str(name): _numbers(values) for name, values in stored["per_class"].items()},
                (np.array(curve["thresholds"], dtype=np.float64), np.array(curve["shares"], dtype=np.float64)),
                np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0),
                np.array(stored.get("normalisers", []), dtype=np.float64),
                np.array(stored.get("found_of_truth", []), dtype=np.int64),
                float(stored.get("score_threshold", 0.0)),
                bool(stored.get("boxes", False)),
                Failures.from_dict(stored["failures"]) if "failures" in stored else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DekeyError(f"the stored evaluation is not whole ({error!r}); measure again with dekey evaluate") from error


def _with_none(array: NDArray[np.float64]) -> list[Any]:
    values = array.astype(object)
    values[np.isnan(array)] = None
    listed: list[Any] = values.tolist()
    return listed


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}

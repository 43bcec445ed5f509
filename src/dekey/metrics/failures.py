"""What kind of mistake each found keypoint and object is.

Source: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances
from dekey.metrics.matching import scored
from dekey.metrics.oks import object_areas

KEYPOINT_KINDS: Final = ("good", "jitter", "inversion", "swap", "miss")
OBJECT_KINDS: Final = ("found", "missed", "invented")
GOOD: Final = 0.85
CLOSE: Final = 0.5
# Where nobody stated sigmas: with it a point is good within 0.057 of the root of the object's area, and close within 0.118.
STAND_IN_SIGMA: Final = 0.05
MAX_EXAMPLES: Final = 16


class FailureExample(NamedTuple):
    """A single mistake.

    Attributes:
        image: position of the image in the data set.
        truth: position of the object among those of its image, −1 for an invented one.
        found: position among the found objects of the image, −1 for a missed object.
        keypoint: index of the keypoint, −1 for objects.
        severity: distance to the truth over the root of the object's area; of a missed object the root of its area, px;
            of an invented one its score.
        near_truth: position in its image of the object that the point lies at, where that is an inversion or a swap.
        near_keypoint: the keypoint of that object.
    """

    image: int
    truth: int
    found: int
    keypoint: int
    severity: float
    near_truth: int = -1
    near_keypoint: int = -1


@dataclass(frozen=True, eq=False)
class Failures:
    """How many keypoints and objects of each kind, and the worst of each.

    A keypoint's kind follows from its similarity exp(−d² / (2·(2σ)²·area)) to true keypoints, d being the distance, σ and
    area those of the true keypoint and its object. Of each labelled keypoint of an object with a partner: ``good`` from
    0.85 to its own truth on, ``jitter`` from 0.5 on; else ``inversion`` where it is close, 0.5 or more, to another
    keypoint of the same object, ``swap`` where it is closer to a keypoint of another object of the image; else ``miss``, as
    is one without a place.

    Attributes:
        keypoints: count of each of `KEYPOINT_KINDS`.
        objects: count of each of `OBJECT_KINDS`: truths with a partner, truths without, found objects without.
        examples: for each kind but good and found the worst, at most `MAX_EXAMPLES`, one an object, worst first.
        note: what the similarity rests on.
    """

    keypoints: dict[str, int]
    objects: dict[str, int]
    examples: dict[str, tuple[FailureExample, ...]]
    note: str

    def to_dict(self, *, examples: bool = True) -> dict[str, Any]:
        """Give plain lists and numbers, ready for JSON, with or without the examples."""
        result: dict[str, Any] = {"keypoints": dict(self.keypoints), "objects": dict(self.objects), "note": self.note}
        if examples:
            result["examples"] = {kind: [one._asdict() for one in rows] for kind, rows in self.examples.items()}
        return result

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Failures:
        """Undo `to_dict`; raises KeyError, TypeError or ValueError where a part is missing or of the wrong kind."""
        return cls(
            {str(kind): int(count) for kind, count in stored["keypoints"].items()},
            {str(kind): int(count) for kind, count in stored["objects"].items()},
            {str(kind): tuple(FailureExample(**one) for one in rows) for kind, rows in stored.get("examples", {}).items()},
            str(stored["note"]),
        )


def failures(
    dataset: Dataset,
    found: Sequence[Instances],
    found_of_truth: NDArray[np.int64],
    extra: Sequence[NDArray[np.int64]],
    errors: NDArray[np.float64],
    counts: NDArray[np.bool_],
    sigmas: NDArray[np.float64] | None,
) -> Failures:
    """Sort every labelled keypoint of a paired object, every missed and every invented object into its kind.

    Args:
        dataset: M objects.
        found: the found objects of each image.
        found_of_truth: (M,) position within its image's found objects of each object's partner, −1 for none.
        extra: for each image the positions of the found objects that pair with nothing.
        errors: (M, K) px, NaN where not found.
        counts: (M,) the truths that count.
        sigmas: (K,), or None where nobody stated any; then `STAND_IN_SIGMA`.
    """
    truth = dataset.instances
    areas, source = object_areas(truth)
    note = _note(sigmas, source[counts])
    if sigmas is None:
        sigmas = np.full(len(dataset.schema.keypoints), STAND_IN_SIGMA)
    with np.errstate(over="ignore", invalid="ignore"):
        own = np.exp(-np.square(errors) / (8 * np.square(sigmas) * areas[:, None]))
    judged = truth.labelled & (counts & (found_of_truth >= 0) & np.isfinite(areas))[:, None]
    kinds = np.full(errors.shape, -1, dtype=np.int64)
    kinds[judged] = np.select([own >= GOOD, own >= CLOSE], [0, 1], 4)[judged]
    near = np.full((*errors.shape, 2), -1, dtype=np.int64)
    images = dataset.image_of_instance()
    positions = np.arange(len(truth)) - dataset.starts[images]
    usable = scored(truth) & np.isfinite(areas)
    for index in np.flatnonzero((kinds == 4).any(1)):
        first, last = dataset.starts[images[index]], dataset.starts[images[index] + 1]
        others = np.arange(first, last)[usable[first:last]]
        columns = np.flatnonzero((kinds[index] == 4) & np.isfinite(errors[index]))
        points = found[images[index]].keypoints[found_of_truth[index], columns]
        similarity = _similarity(points, truth[others], areas[others], sigmas)
        for column, table in zip(columns, similarity, strict=True):
            # Equally close to both, the point is taken for one of its own object's.
            table[others == index] *= 1 + 1e-9
            best, keypoint = np.unravel_index(table.argmax(), table.shape)
            if table[best, keypoint] >= CLOSE:
                kinds[index, column] = 2 if others[best] == index else 3
                near[index, column] = positions[others[best]], keypoint
    lengths = np.sqrt(np.nan_to_num(areas))
    with np.errstate(divide="ignore", invalid="ignore"):
        # A point without a place makes no picture: it comes behind those that have one.
        severity = np.nan_to_num(errors / lengths[:, None], nan=0.0, posinf=0.0)
    examples = {}
    for code, kind in enumerate(KEYPOINT_KINDS[1:], start=1):
        worst = np.where(kinds == code, severity, -1.0)
        examples[kind] = _worst(
            FailureExample(
                int(images[index]),
                int(positions[index]),
                int(found_of_truth[index]),
                int(column),
                float(worst[index, column]),
                *near[index, column].tolist(),
            )
            for index, column in enumerate(worst.argmax(1).tolist() if worst.size else ())
            if worst[index, column] >= 0
        )
    missed = np.flatnonzero(counts & (found_of_truth < 0))
    examples["missed"] = _worst(
        FailureExample(int(images[index]), int(positions[index]), -1, -1, float(lengths[index])) for index in missed
    )
    examples["invented"] = _worst(
        FailureExample(image, -1, int(place), -1, _score(found[image], int(place)))
        for image, places in enumerate(extra)
        for place in places
    )
    return Failures(
        {kind: int((kinds == code).sum()) for code, kind in enumerate(KEYPOINT_KINDS)},
        {
            "found": int((counts & (found_of_truth >= 0)).sum()),
            "missed": len(missed),
            "invented": sum(len(places) for places in extra),
        },
        examples,
        note,
    )


def _similarity(
    points: NDArray[np.float64], truth: Instances, areas: NDArray[np.float64], sigmas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compare points (P, 2) px with every keypoint of the truths: (P, N, K) in [0, 1], 0 where unlabelled."""
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.square(points[:, None, None] - truth.keypoints).sum(-1)
        similarity = np.exp(-squared / (8 * np.square(sigmas) * areas[:, None]))
    return np.where(truth.labelled & np.isfinite(similarity), similarity, 0.0)


def _worst(examples: Iterable[FailureExample]) -> tuple[FailureExample, ...]:
    ordered = sorted(examples, key=lambda one: (-one.severity, one.image, one.truth, one.found))
    return tuple(ordered[:MAX_EXAMPLES])


def _score(found: Instances, index: int) -> float:
    return 1.0 if found.scores is None else float(found.scores[index])


def _note(sigmas: NDArray[np.float64] | None, source: NDArray[np.int64]) -> str:
    if sigmas is None:
        note = (
            f"nobody stated sigmas, so the kinds of mistakes rest on a fixed {STAND_IN_SIGMA} for every keypoint; no average "
            "precision does"
        )
    else:
        note = "the kinds of mistakes rest on the sigmas of OKS"
    stand_ins = int(((source == 1) | (source == 2)).sum())
    if stand_ins:
        note += f"; {stand_ins} of {len(source)} objects have no annotated area and get that of their box or keypoints"
    without = int((source == 3).sum())
    if without:
        note += f"; {without} of {len(source)} objects have neither area, box nor extent, and their keypoints are left out"
    return note

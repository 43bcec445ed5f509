"""What is doubtful in a data set when its objects and pictures are compared with each other, and how good its labels are.

`dekey.data.problems` finds what is wrong with a record on its own; here stands what only the whole shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data import shape_order
from dekey.data.box_doubts import box_doubts, rare_keypoints
from dekey.data.dataset import Dataset, Problem
from dekey.data.label_noise import noise_from_frames, noise_from_shape
from dekey.data.picture_hash import LEAST_LIKENESS, Fingerprints, fingerprints, groups_of, likeness, near_pairs
from dekey.data.problem_kinds import problem
from dekey.data.shape import points_of
from dekey.data.shape_faults import BOTH_SIDES, FEWEST_OBJECTS, Measured, Suspect, measure, misplaced, swapped

Progress = Callable[[str, int, int], None]
# Names and numbers that a sentence lists.
_LISTED = 5


@dataclass(frozen=True)
class Doubts:
    """What was found.

    Attributes:
        problems: each with a doubt, the most doubtful of a kind first.
        facts: ``shape``, for each class how its objects were compared or why not, and ``label_noise``, upper bounds in px
            with what they rest on.
    """

    problems: list[Problem]
    facts: dict[str, Any]


def find_doubts(
    dataset: Dataset,
    others: Sequence[tuple[str, Dataset]] = (),
    *,
    images: bool = True,
    progress: Progress | None = None,
) -> Doubts:
    """Compare the objects of a data set with each other, and its pictures with each other and with those of other files.

    Args:
        dataset: the data set.
        others: other files by name, such as the validation part: their pictures are compared with these, and the order of
            their keypoints is.
        images: whether to open the pictures.
        progress: called with (what is done, how far, of how many).
    """
    found = [*rare_keypoints(dataset), *box_doubts(dataset)]
    facts: dict[str, Any] = {"shape": {}, "label_noise": {}}
    spreads, classes = [], len(dataset.schema.classes)
    stage = _Stage(progress, "comparing shapes")
    for label, name in enumerate(dataset.schema.classes):
        rows = np.flatnonzero((dataset.instances.labels == label) & ~dataset.instances.crowd)
        points = points_of(dataset.instances[rows])
        measured = measure(points, stage.part(label / classes, (label + 0.5) / classes))
        if measured is None:
            facts["shape"][name] = (
                f"not compared: that takes {FEWEST_OBJECTS} objects with three labelled keypoints, "
                f"found {int((np.isfinite(points).sum(axis=1) >= 3).sum())}"
            )
            continue
        facts["shape"][name] = f"{len(measured.order)} objects compared"
        found += _shape_problems(dataset, rows, measured, name, stage.part((label + 0.5) / classes, (label + 1) / classes))
        found += _order_of_others(dataset, others, name, measured)
        spreads.append(measured)
    if spreads:
        facts["label_noise"]["shape"] = noise_from_shape(spreads, dataset.schema)
    if images:
        own = fingerprints(dataset, _Stage(progress, "comparing pictures"))
        pairs = near_pairs(own, progress=_Stage(progress, "looking for pictures that look the same"))
        found += _near_duplicates(dataset, own, pairs)
        frames = noise_from_frames(dataset, pairs)
        if frames:
            facts["label_noise"]["frames"] = frames
        for name, other in others:
            found += _leaks(dataset, own, name, other, fingerprints(other, _Stage(progress, f"comparing pictures of {name}")))
    kinds = list(dict.fromkeys(each.kind for each in found))
    return Doubts(sorted(found, key=lambda each: (kinds.index(each.kind), -(each.doubt or 0))), facts)


class _Stage:
    """Tells the caller's progress what is being done, too."""

    def __init__(self, progress: Progress | None, text: str) -> None:
        self._progress, self._text = progress, text

    def __call__(self, done: int, total: int) -> None:
        if self._progress:
            self._progress(self._text, done, total)

    def part(self, start: float, stop: float) -> Callable[[int, int], None]:
        """Give what tells of a part of the stage, from `start` to `stop` of the whole 1, in per cent of the whole."""
        return lambda done, total: self(round(100 * (start + (stop - start) * done / total)), 100)


def _shape_problems(
    dataset: Dataset, rows: NDArray[np.int64], measured: Measured, class_name: str, advance: Callable[[int, int], None]
) -> list[Problem]:
    """Look for each kind of fault in the objects `rows` of a class; `advance` is called with (kinds done, kinds)."""
    schema, found = dataset.schema, []
    reordered = shape_order.reordered_within(measured, schema)
    advance(1, 3)
    explained: set[int] = set()
    for group in reordered:
        explained |= set(group.objects.tolist())
        image, annotation = _place(dataset, int(rows[group.objects[0]]))
        ids = tuple(dataset.annotation_ids[rows[group.objects]].tolist())
        message = (
            f"{len(group.objects)} objects of '{class_name}' fit far better with their keypoints "
            f"{shape_order.describe(group.order)}; annotations {_some(ids)}{_all(ids)}"
        )
        concerned = np.flatnonzero(group.order != np.arange(len(group.order)))
        names = tuple(schema.keypoints[index] for index in concerned)
        points = points_of(dataset.instances[rows[group.objects[:1]]])[0][group.order[concerned]]
        found.append(
            problem(
                "point-order",
                message,
                image,
                annotation,
                doubt=group.doubt,
                keypoints=names,
                expected=_pairs(points),
                annotation_ids=ids,
            )
        )
    suspects, share = swapped(measured, schema)
    advance(2, 3)
    suspects = [each for each in suspects if each.index not in explained]
    explained |= {each.index for each in suspects}
    if share > BOTH_SIDES:
        message = f"{share:.0%} of the objects of '{class_name}' are likelier with left and right exchanged"
        found.append(problem("seen-from-both-sides", message, doubt=share))
    for suspect in [*suspects, *misplaced(measured, sorted(explained))]:
        found.append(_suspect_problem(dataset, rows, suspect))
    advance(3, 3)
    return found


def _suspect_problem(dataset: Dataset, rows: NDArray[np.int64], suspect: Suspect) -> Problem:
    names = tuple(dataset.schema.keypoints[index] for index in suspect.keypoints)
    index = int(rows[suspect.index])
    expected = np.array(suspect.expected)
    if suspect.kind == "swapped-sides":
        message = f"{_names(names)} would fit far better exchanged"
    else:
        points = points_of(dataset.instances[index : index + 1])[0]
        away = [f"'{name}' {abs(points[k] - e):.0f} px" for name, k, e in zip(names, suspect.keypoints, expected, strict=True)]
        rest = f" and {len(away) - 4} more" if len(away) > 4 else ""
        message = f"{', '.join(away[:4])}{rest} from where the other keypoints put {'it' if len(names) == 1 else 'them'}"
    return problem(
        suspect.kind,
        message,
        *_place(dataset, index),
        doubt=round(suspect.doubt, 4),
        keypoints=names,
        expected=_pairs(expected),
    )


def _order_of_others(
    dataset: Dataset, others: Sequence[tuple[str, Dataset]], class_name: str, measured: Measured
) -> list[Problem]:
    found = []
    for file, other in others:
        if set(other.schema.keypoints) != set(dataset.schema.keypoints) or class_name not in other.schema.classes:
            continue
        columns = [other.schema.keypoints.index(name) for name in dataset.schema.keypoints]
        own = (other.instances.labels == other.schema.classes.index(class_name)) & ~other.instances.crowd
        points = points_of(other.instances[own])[:, columns]
        for group in shape_order.reordered_between(points, measured, dataset.schema):
            message = (
                f"{len(group.objects)} of {len(points)} objects of '{class_name}' in {file} fit this file far better with "
                f"their keypoints {shape_order.describe(group.order)}"
            )
            concerned = np.flatnonzero(group.order != np.arange(len(group.order)))
            names = tuple(dataset.schema.keypoints[index] for index in concerned)
            ids = tuple(other.annotation_ids[own][group.objects].tolist())
            found.append(problem("point-order", message, doubt=group.doubt, keypoints=names, other=file, annotation_ids=ids))
    return found


def _near_duplicates(dataset: Dataset, own: Fingerprints, pairs: NDArray[np.int64]) -> list[Problem]:
    groups = groups_of(pairs, len(dataset))
    alike = _doubt_of_likeness(likeness(own, pairs))
    best: dict[int, tuple[float, int, int]] = {}
    members: dict[int, set[int]] = {}
    for (first, second), doubt in zip(pairs.tolist(), alike.tolist(), strict=True):
        group = int(groups[first])
        best[group] = max(best.get(group, (0.0, 0, 0)), (doubt, first, second))
        members.setdefault(group, set()).update((first, second))
    found = []
    for group, (doubt, first, second) in best.items():
        rest = [dataset.picture_name(index) for index in sorted(members[group] - {first, second})]
        more = f", and as {_some(rest)}{_all(rest)}" if rest else ""
        message = f"looks the same as {dataset.picture_name(second)}{more}"
        name, partner = dataset.picture_name(first), dataset.picture_name(second)
        everyone = (name, partner, *rest)
        found.append(problem("near-duplicate-image", message, name, doubt=doubt, other=partner, images=everyone))
    return found


def _leaks(dataset: Dataset, own: Fingerprints, file: str, other: Dataset, prints: Fingerprints) -> list[Problem]:
    pairs = near_pairs(own, prints)
    alike = _doubt_of_likeness(likeness(own, pairs, prints))
    found, seen = [], set()
    for place in np.argsort(-alike, kind="stable"):
        first, second = pairs[place].tolist()
        if first in seen:
            continue
        seen.add(first)
        partner = other.picture_name(second)
        message = f"looks the same as {partner} of {file}"
        found.append(
            problem("leaked-image", message, dataset.picture_name(first), doubt=float(alike[place]), other=f"{file}: {partner}")
        )
    return found


def _doubt_of_likeness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    doubt: NDArray[np.float64] = np.clip(0.5 + 0.5 * (values - LEAST_LIKENESS) / (1 - LEAST_LIKENESS), 0.5, 1).round(4)
    return doubt


def _place(dataset: Dataset, index: int) -> tuple[str, int]:
    image = int(np.searchsorted(dataset.starts, index, side="right")) - 1
    return dataset.picture_name(image), int(dataset.annotation_ids[index])


def _pairs(points: NDArray[np.complex128]) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(each.real), 2), round(float(each.imag), 2)) for each in points)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _some(values: Sequence[Any]) -> str:
    rest = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(str(each) for each in values[:_LISTED]) + rest


def _all(values: Sequence[Any]) -> str:
    """Say where the rest is listed that `_some` leaves out."""
    return " (--json lists all)" if len(values) > _LISTED else ""

"""Average precision and recall by COCO's rules, whatever the similarity: OKS of poses or IoU of boxes.

Source: cocodataset.org/#detection-eval and its evaluation code, pycocotools 2.0.11; the numbers are equal to that code's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
RECALLS: Final = np.linspace(0.0, 1.0, 101)
# Precision (T, 101) at the recalls, and the final recall (T,).
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Record:
    """One image and class: scores (D,) in falling order, outcome (A, T, D) 1 right, −1 wrong, 0 ignored; truths (A,)."""

    image_id: int
    scores: NDArray[np.float64]
    outcome: NDArray[np.int8]
    truths: NDArray[np.int64]


def record(
    image_id: int,
    scores: NDArray[np.float64],
    similarity: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    areas: NDArray[np.float64],
    found_areas: NDArray[np.float64],
    ranges: Ranges,
) -> Record:
    """Judge the found objects of one image and class at every threshold and size range.

    Args:
        image_id: the rank of the image among equal scores.
        scores: (D,) in falling order.
        similarity: (D, N) of each found object with each truth, in [0, 1].
        ignored: (N,) truths that count in no size range.
        crowd: (N,) truths that any number of found objects may match.
        areas: (N,) px² of the truths; one outside a size range is ignored there.
        found_areas: (D,) px²; an unmatched found object outside a size range is ignored there.
        ranges: A size ranges, name to lowest and highest area, px², both inside.
    """
    low, high = (np.array(ends)[:, None] for ends in zip(*ranges.values(), strict=True))
    with np.errstate(invalid="ignore"):
        out = ignored | (areas < low) | (areas > high)
    hit, hit_ignored = match(similarity, out, crowd)
    skipped = hit_ignored | (~hit & ((found_areas < low) | (found_areas > high))[:, None])
    outcome = np.where(skipped, 0, np.where(hit, 1, -1)).astype(np.int8)
    return Record(image_id, scores, outcome, (~out).sum(1))


def match(
    similarity: NDArray[np.float64], ignored: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Assign found objects, best score first, to truths, at all thresholds and size ranges at once.

    Each takes the free truth of the greatest similarity at or above the threshold, an ignored one only where no other is
    left; of equal ones the last. A crowd is never used up.

    Args:
        similarity: (D, N), rows by falling score.
        ignored: (A, N).
        crowd: (N,).

    Returns:
        Whether each found object got a truth, (A, T, D), and whether that truth is an ignored one.
    """
    found_count, truth_count = similarity.shape
    ranges = ignored.shape[0]
    hit = np.zeros((ranges, THRESHOLDS.size, found_count), dtype=np.bool_)
    hit_ignored = np.zeros_like(hit)
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    # Whole numbers instead of similarities: their order is the same, ties go to the last, and counted truths lead.
    rank = np.argsort(np.argsort(similarity, axis=1, kind="stable"), axis=1)
    key = rank[:, None] + truth_count * ~ignored
    free = np.ones((ranges, THRESHOLDS.size, truth_count), dtype=np.bool_)
    range_index, threshold_index = np.ogrid[:ranges, : THRESHOLDS.size]
    for index in range(found_count):
        if not truth_count or similarity[index].max() < THRESHOLDS[0]:
            continue
        candidates = np.where(free & (similarity[index] >= limits), key[index][:, None], -1)
        best = candidates.argmax(-1)
        matched = candidates[range_index, threshold_index, best] >= 0
        hit[..., index] = matched
        hit_ignored[..., index] = matched & ignored[range_index, best]
        free[range_index, threshold_index, best] &= ~(matched & ~crowd[best])
    return hit, hit_ignored


def curves(records: Sequence[Record], ranges: int, limit: int | None = None) -> list[Curve | None]:
    """Give the curve of each size range, or None where no truth falls in it.

    Args:
        records: of one class; equal scores are ranked by image id.
        ranges: A, how many size ranges the records have.
        limit: how many found objects an image count, those of the highest score; without it all that were judged.
    """
    if not records:
        return [None] * ranges
    ordered = sorted(records, key=lambda one: one.image_id)
    scores = np.concatenate([one.scores[:limit] for one in ordered])
    order = np.argsort(-scores, kind="stable")
    outcome = np.concatenate([one.outcome[..., :limit] for one in ordered], axis=2)[:, :, order]
    truths = np.sum([one.truths for one in ordered], axis=0)
    return [_precision_recall(outcome[row], int(count)) if count else None for row, count in enumerate(truths)]


def _precision_recall(outcome: NDArray[np.int8], truth_count: int) -> Curve:
    """Give precision at the 101 recalls (T, 101) and the final recall (T,) from outcomes (T, D) by falling score."""
    right = np.cumsum(outcome == 1, axis=1, dtype=np.float64)
    wrong = np.cumsum(outcome == -1, axis=1, dtype=np.float64)
    recall = right / truth_count
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    interpolated = np.zeros((outcome.shape[0], RECALLS.size))
    if not outcome.shape[1]:
        return interpolated, np.zeros(outcome.shape[0])
    for row in range(outcome.shape[0]):
        places = np.searchsorted(recall[row], RECALLS, side="left")
        reached = places < outcome.shape[1]
        interpolated[row, reached] = precision[row, places[reached]]
    return interpolated, recall[:, -1]


def averages(classes: Sequence[Sequence[Curve | None]], ranges: Ranges) -> dict[str, float]:
    """Give AP and AR, each the mean over the classes that have a truth in the size range.

    Args:
        classes: for each class the curves of the size ranges.
        ranges: the size ranges; the one called ``all`` gives AP, AR and those at the thresholds 0.5 and 0.75, another
            gives ``AP_name`` and ``AR_name``.
    """
    values: dict[str, float] = {}
    for row, name in enumerate(ranges):
        known = [curve for curve in (one[row] for one in classes) if curve is not None]
        if not known:
            continue
        precision, recall = np.stack([curve[0] for curve in known]), np.stack([curve[1] for curve in known])
        suffix = "" if name == "all" else f"_{name}"
        values[f"AP{suffix}"], values[f"AR{suffix}"] = float(precision.mean()), float(recall.mean())
        if name == "all":
            for percent, threshold in (("50", 0), ("75", 5)):
                values[f"AP{percent}"], values[f"AR{percent}"] = (
                    float(precision[:, threshold].mean()),
                    float(recall[:, threshold].mean()),
                )
    return values

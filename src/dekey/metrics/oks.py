"""Object keypoint similarity, and average precision and recall over it by COCO's rules.

Source: cocodataset.org/#keypoints-eval and its evaluation code, pycocotools 2.0.11; the numbers are equal to that code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.errors import DekeyError

THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
RECALLS: Final = np.linspace(0.0, 1.0, 101)
# Sizes by the annotated area, px²; COCO counts keypoints of no object smaller than 32² as small, medium or large.
AREA_RANGES: Final = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MAX_FOUND: Final = 20
OKS_VALUES: Final = (
    "AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large",
)  # fmt: skip

_LOW = np.array([low for low, _ in AREA_RANGES.values()])[:, None]
_HIGH = np.array([high for _, high in AREA_RANGES.values()])[:, None]
# COCO compares pixel indices of keypoints with continuous box edges; the half pixel keeps our number equal to its.
_INDEX_SHIFT = 0.5


def oks(
    truth_keypoints: NDArray[np.float64],
    visibility: NDArray[np.uint8],
    areas: NDArray[np.float64],
    found_keypoints: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    boxes: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Compare every truth with every found pose: mean over the labelled keypoints of exp(−d² / (2·(2σ)²·area)).

    Occluded keypoints count like visible ones. A found keypoint that is NaN adds 0. A truth without labelled keypoint is
    an ignore region: the distance is that of each found keypoint to the truth's box, enlarged on each side by its whole
    width and height.

    Args:
        truth_keypoints: (N, K, 2) px.
        visibility: (N, K), above 0 where labelled.
        areas: (N,) px²; where NaN the similarity is 0.
        found_keypoints: (D, K, 2) px, NaN where not found.
        sigmas: (K,).
        boxes: (N, 4) px, used for truths without labelled keypoint; without them those have similarity 0.

    Returns:
        (N, D) in [0, 1].

    >>> truth, found = np.array([[[10.0, 10.0]]]), np.array([[[10.0, 10.0]], [[12.0, 10.0]]])
    >>> oks(truth, np.array([[2]]), np.array([100.0]), found, np.array([0.1])).round(3)
    array([[1.   , 0.607]])
    """
    used: NDArray[np.bool_] = np.asarray(visibility > 0)
    region = np.asarray(~used.any(1))
    with np.errstate(over="ignore", invalid="ignore"):
        delta = found_keypoints[None] - truth_keypoints[:, None]
        if region.any():
            edges = np.full((int(region.sum()), 4), np.nan) if boxes is None else boxes[region]
            sizes = geometry.box_sizes(edges)
            low, high = (edges[:, :2] - sizes)[:, None, None], (edges[:, 2:] + sizes)[:, None, None]
            indices = found_keypoints[None] - _INDEX_SHIFT
            delta[region] = np.maximum(low - indices, 0) + np.maximum(indices - high, 0)
            used = used | region[:, None]
        squared = np.square(delta).sum(-1)
        exponent = squared / np.square(2 * sigmas) / (areas + np.spacing(1))[:, None, None] / 2
        similarity = np.where(used[:, None] & np.isfinite(squared), np.exp(-exponent), 0.0)
    similarity = np.where(np.isfinite(similarity), similarity, 0.0)
    mean: NDArray[np.float64] = similarity.sum(-1) / np.maximum(used.sum(1), 1)[:, None]
    return mean


def object_areas(truth: Instances) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Choose the area that scales each object's OKS, and say where it comes from.

    The rule: the annotated area; where there is none, the area of the box; where there is no box either, the area of the
    upright hull of the labelled keypoints; where that has no extent, NaN.

    Args:
        truth: N objects.

    Returns:
        Areas (N,) px², and their source (N,): 0 annotated, 1 box, 2 hull of the keypoints, 3 none.
    """
    keypoints = np.where(truth.labelled[..., None], truth.keypoints, np.nan)
    candidates = [truth.areas]
    for boxes in (truth.boxes, geometry.hulls(keypoints)):
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = geometry.box_sizes(boxes)
            candidates.append(np.where((sizes > 0).all(1), sizes.prod(1), np.nan))
    known = np.isfinite(np.stack(candidates))
    source = np.where(known.any(0), known.argmax(0), len(candidates))
    areas = np.select(list(known), candidates, np.nan)
    return areas, source


@dataclass(frozen=True, eq=False)
class _Record:
    """One image and class: scores (D,) in falling order, outcome (A, T, D) 1 right, −1 wrong, 0 ignored; truths (A,)."""

    image_id: int
    scores: NDArray[np.float64]
    outcome: NDArray[np.int8]
    truths: NDArray[np.int64]


class OksAveragePrecision:
    """Average precision and recall over OKS thresholds 0.5, 0.55 … 0.95, by COCO's rules.

    Images enter by `update` in any order; found objects of equal score are ranked by image id, then in the order in which
    they were given, as pycocotools does. Crowds, objects without labelled keypoint, and objects outside a size range
    (by annotated area) are ignored: to match them is neither right nor wrong. Per image and class the 20 found objects
    of the highest score count. An unmatched found object whose keypoints' extent lies outside a size range is ignored
    there.
    """

    def __init__(self, sigmas: NDArray[np.float64], class_count: int = 1, present: NDArray[np.bool_] | None = None) -> None:
        """Begin with no images.

        Args:
            sigmas: (K,).
            class_count: C.
            present: (C, K) which class has which keypoint; without it every class has all. The others are left out.
        """
        self._sigmas = np.asarray(sigmas, dtype=np.float64)
        self._present = np.ones((class_count, self._sigmas.size), dtype=np.bool_) if present is None else present
        self._records: list[list[_Record]] = [[] for _ in range(class_count)]

    def update(self, truth: Instances, found: Instances, image_id: int) -> None:
        """Add one image.

        Args:
            truth: N objects; those without annotated area get one by `object_areas`.
            found: D objects; without scores they rank in the order given.
            image_id: the rank of the image among equal scores.

        Raises:
            DekeyError: if an object that counts has no area and no extent to take one from.
        """
        areas = truth.areas if np.isfinite(truth.areas).all() else object_areas(truth)[0]
        ignored = truth.crowd | ~truth.labelled.any(1)
        if np.isnan(areas[~ignored]).any():
            raise DekeyError(
                f"an object of image {image_id} has no area, no box and no two keypoints apart, so its OKS has no scale; "
                "annotate boxes"
            )
        scores = np.ones(len(found)) if found.scores is None else found.scores
        for label in range(len(self._records)):
            of_truth, of_found = np.flatnonzero(truth.labels == label), np.flatnonzero(found.labels == label)
            if not of_truth.size and not of_found.size:
                continue
            of_found = of_found[np.argsort(-scores[of_found], kind="stable")[:MAX_FOUND]]
            columns = np.flatnonzero(self._present[label])
            keypoints = found.keypoints[of_found][:, columns]
            similarity = oks(
                truth.keypoints[of_truth][:, columns],
                truth.visibility[of_truth][:, columns],
                areas[of_truth],
                keypoints,
                self._sigmas[columns],
                truth.boxes[of_truth],
            )
            with np.errstate(invalid="ignore"):
                outside = (areas[of_truth] < _LOW) | (areas[of_truth] > _HIGH)
            out = ignored[of_truth] | outside
            hit, hit_ignored = _match(similarity.T, out, truth.crowd[of_truth])
            extents = _extents(keypoints)
            skipped = hit_ignored | (~hit & ((extents < _LOW) | (extents > _HIGH))[:, None])
            outcome = np.where(skipped, 0, np.where(hit, 1, -1)).astype(np.int8)
            self._records[label].append(_Record(image_id, scores[of_found], outcome, (~out).sum(1)))

    def merge(self, other: OksAveragePrecision) -> None:
        """Take in the images of another; raises DekeyError unless both have the same sigmas and classes."""
        if not (np.array_equal(self._present, other._present) and np.array_equal(self._sigmas, other._sigmas)):
            raise DekeyError("the two measurements differ in sigmas or classes; merge only what was measured alike")
        for own, others in zip(self._records, other._records, strict=True):
            own.extend(others)

    def compute(self) -> dict[str, float]:
        """Give the defined ones among `OKS_VALUES`, each the mean over classes that have a truth in the size range.

        A value is left out where no truth falls in its size range.
        """
        return _values([self._curves(records) for records in self._records])

    def compute_class(self, label: int) -> dict[str, float]:
        """Give the same for one class alone."""
        return _values([self._curves(self._records[label])])

    def _curves(self, records: Sequence[_Record]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
        """Give per size range precision (T, 101) and recall (T,), or None where no truth falls in it."""
        if not records:
            return [None] * len(AREA_RANGES)
        ordered = sorted(records, key=lambda record: record.image_id)
        scores = np.concatenate([record.scores for record in ordered])
        order = np.argsort(-scores, kind="stable")
        outcome = np.concatenate([record.outcome for record in ordered], axis=2)[:, :, order]
        truths = np.sum([record.truths for record in ordered], axis=0)
        return [_precision_recall(outcome[row], int(count)) if count else None for row, count in enumerate(truths)]


def _extents(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give (D,) px²: the area of the upright hull of the found keypoints, 0 where there is none, as loadRes does."""
    with np.errstate(over="ignore"):
        areas = geometry.box_sizes(geometry.hulls(keypoints)).prod(1)
    return np.where(np.isnan(areas), 0.0, areas)


def _match(
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


def _precision_recall(outcome: NDArray[np.int8], truth_count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _values(classes: Sequence[list[tuple[NDArray[np.float64], NDArray[np.float64]] | None]]) -> dict[str, float]:
    values: dict[str, float] = {}
    for row, name in enumerate(AREA_RANGES):
        curves = [curve for curve in (one[row] for one in classes) if curve is not None]
        if not curves:
            continue
        precision, recall = np.stack([curve[0] for curve in curves]), np.stack([curve[1] for curve in curves])
        suffix = "" if name == "all" else f"_{name}"
        values[f"AP{suffix}"], values[f"AR{suffix}"] = float(precision.mean()), float(recall.mean())
        if name == "all":
            for percent, threshold in (("50", 0), ("75", 5)):
                values[f"AP{percent}"], values[f"AR{percent}"] = (
                    float(precision[:, threshold].mean()),
                    float(recall[:, threshold].mean()),
                )
    return {name: values[name] for name in OKS_VALUES if name in values}

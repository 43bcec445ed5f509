"""Object keypoint similarity, and average precision and recall over it by COCO's rules.

Source: cocodataset.org/#keypoints-eval and its evaluation code, pycocotools 2.0.11; the numbers are equal to that code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.errors import DekeyError
from dekey.metrics.precision import Record, averages, curves, record

# Sizes by the annotated area, px²; COCO counts keypoints of no object smaller than 32² as small, medium or large.
AREA_RANGES: Final = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MAX_FOUND: Final = 20
OKS_VALUES: Final = (
    "AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large",
)  # fmt: skip

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

    The rule: the annotated area; where there is none, or 0, the area of the box; where there is no box either, the area of the
    upright hull of the labelled keypoints; where that has no extent, NaN.

    Args:
        truth: N objects.

    Returns:
        Areas (N,) px², and their source (N,): 0 annotated, 1 box, 2 hull of the keypoints, 3 none.
    """
    keypoints = np.where(truth.labelled[..., None], truth.keypoints, np.nan)
    candidates = [np.where(truth.areas > 0, truth.areas, np.nan)]  # 0 is what tools write who know of none
    for boxes in (truth.boxes, geometry.hulls(keypoints)):
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = geometry.box_sizes(boxes)
            candidates.append(np.where((sizes > 0).all(1), sizes.prod(1), np.nan))
    known = np.isfinite(np.stack(candidates))
    source = np.where(known.any(0), known.argmax(0), len(candidates))
    areas = np.select(list(known), candidates, np.nan)
    return areas, source


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
        self._records: list[list[Record]] = [[] for _ in range(class_count)]

    def update(self, truth: Instances, found: Instances, image_id: int) -> None:
        """Add one image.

        Args:
            truth: N objects; those without annotated area get one by `object_areas`.
            found: D objects; without scores they rank in the order given.
            image_id: the rank of the image among equal scores.

        Raises:
            DekeyError: if an object that counts has no area and no extent to take one from.
        """
        areas = truth.areas if (np.isfinite(truth.areas) & (truth.areas > 0)).all() else object_areas(truth)[0]
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
            own = (ignored[of_truth], truth.crowd[of_truth], areas[of_truth], _extents(keypoints))
            self._records[label].append(record(image_id, scores[of_found], similarity.T, *own, AREA_RANGES))

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
        return _values(self._records)

    def compute_class(self, label: int) -> dict[str, float]:
        """Give the same for one class alone."""
        return _values([self._records[label]])


def _extents(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give (D,) px²: the area of the upright hull of the found keypoints, 0 where there is none, as loadRes does."""
    with np.errstate(over="ignore"):
        areas = geometry.box_sizes(geometry.hulls(keypoints)).prod(1)
    return np.where(np.isnan(areas), 0.0, areas)


def _values(classes: Sequence[Sequence[Record]]) -> dict[str, float]:
    values = averages([curves(records, len(AREA_RANGES)) for records in classes], AREA_RANGES)
    return {name: values[name] for name in OKS_VALUES if name in values}

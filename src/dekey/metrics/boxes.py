"""Box average precision and recall: intersection over union of boxes, COCO's rules.

Source: cocodataset.org/#detection-eval and its evaluation code, pycocotools 2.0.11; the numbers are equal to that code's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.errors import DekeyError
from dekey.metrics.matching import box_overlaps, has_box
from dekey.metrics.precision import Record, averages, curves, record

# Sizes by the annotated area, px².
AREA_RANGES: Final = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MAX_FOUND: Final = 100
BOX_VALUES: Final = (
    "box_AP", "box_AP50", "box_AP75", "box_AP_small", "box_AP_medium", "box_AP_large",
    "box_AR1", "box_AR10", "box_AR", "box_AR_small", "box_AR_medium", "box_AR_large",
)  # fmt: skip


def box_areas(instances: Instances) -> NDArray[np.float64]:
    """Give (N,) px² by which an object's size is judged: the annotated area, else that of the box; NaN without both."""
    with np.errstate(over="ignore", invalid="ignore"):
        own = np.where(has_box(instances), geometry.box_sizes(instances.boxes).prod(1), np.nan)
    return np.where(np.isfinite(instances.areas) & (instances.areas > 0), instances.areas, own)


class BoxAveragePrecision:
    """Average precision and recall over IoU thresholds 0.5, 0.55 … 0.95, by COCO's rules.

    Images enter by `update` in any order; found objects of equal score are ranked by image id, then in the order in which
    they were given, as pycocotools does. Crowds and objects outside a size range are ignored: to match them is neither
    right nor wrong. Per image and class the 100 found objects of the highest score count, for AR1 and AR10 one and ten.
    An unmatched found object whose box's area lies outside a size range is ignored there. Keypoints play no part.
    """

    def __init__(self, class_count: int = 1) -> None:
        """Begin with no images and C = `class_count` classes."""
        self._records: list[list[Record]] = [[] for _ in range(class_count)]

    def update(self, truth: Instances, found: Instances, image_id: int) -> None:
        """Add one image.

        Args:
            truth: N objects; the size of one without annotated area is that of its box.
            found: D objects; without scores they rank in the order given. One without box is wrong.
            image_id: the rank of the image among equal scores.

        Raises:
            DekeyError: if a truth that is no crowd has no box.
        """
        areas, crowd = box_areas(truth), truth.crowd
        if not (has_box(truth) | crowd).all():
            raise DekeyError(f"an object of image {image_id} has no box, so no overlap can be measured; annotate boxes")
        scores = np.ones(len(found)) if found.scores is None else found.scores
        found_areas = np.nan_to_num(np.where(has_box(found), geometry.box_sizes(found.boxes).prod(1), 0.0))
        for label in range(len(self._records)):
            of_truth, of_found = np.flatnonzero(truth.labels == label), np.flatnonzero(found.labels == label)
            if not of_truth.size and not of_found.size:
                continue
            of_found = of_found[np.argsort(-scores[of_found], kind="stable")[:MAX_FOUND]]
            overlap = box_overlaps(truth.boxes[of_truth], found.boxes[of_found], crowd[of_truth])
            own = (crowd[of_truth], crowd[of_truth], areas[of_truth], found_areas[of_found])
            self._records[label].append(record(image_id, scores[of_found], overlap.T, *own, AREA_RANGES))

    def merge(self, other: BoxAveragePrecision) -> None:
        """Take in the images of another; raises DekeyError unless both have the same number of classes."""
        if len(self._records) != len(other._records):
            raise DekeyError(
                f"found measurements of {len(self._records)} and {len(other._records)} classes; merge only what was measured "
                "alike"
            )
        for own, others in zip(self._records, other._records, strict=True):
            own.extend(others)

    def compute(self) -> dict[str, float]:
        """Give the defined ones among `BOX_VALUES`, each the mean over classes that have a truth in the size range.

        A value is left out where no truth falls in its size range.
        """
        return _values(self._records)

    def compute_class(self, label: int) -> dict[str, float]:
        """Give the same for one class alone."""
        return _values([self._records[label]])


def _values(classes: list[list[Record]]) -> dict[str, float]:
    values = averages([curves(records, len(AREA_RANGES)) for records in classes], AREA_RANGES)
    for limit in (1, 10):
        few = averages([curves(records, len(AREA_RANGES), limit) for records in classes], AREA_RANGES)
        values |= {f"AR{limit}": few["AR"]} if few else {}
    named = {f"box_{name}": value for name, value in values.items()}
    return {name: named[name] for name in BOX_VALUES if name in named}

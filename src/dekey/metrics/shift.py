"""Systematic shift: do the answers lie to one side of the labels, for all objects alike?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dekey.data import Dataset, Instances
from dekey.metrics.result import Evaluation

# A shift is told if it is this many standard errors from none, and this share of the median error.
STANDARD_ERRORS = 5.0
SHARE_OF_ERROR = 0.2


@dataclass(frozen=True)
class Shift:
    """Mean of found minus labelled over the objects.

    Attributes:
        x: px, positive where the answers lie to the right of the labels.
        y: px, positive where they lie below.
        standard_error: px, of the larger of the two, objects taken as independent.
        objects: how many it rests on.
    """

    x: float
    y: float
    standard_error: float
    objects: int

    def sentence(self, median_px: float) -> str | None:
        """Tell of the shift, or None where it may be chance or is small beside the median error."""
        largest = max(abs(self.x), abs(self.y))
        if self.objects < 10 or largest < STANDARD_ERRORS * self.standard_error or largest < SHARE_OF_ERROR * median_px:
            return None
        sides = [
            f"{abs(value):.2f} px {words[value > 0]}"
            for value, words in ((self.x, ("to the left", "to the right")), (self.y, ("above", "below")))
            if abs(value) >= 0.5 * largest
        ]
        return (
            f"On average over {self.objects} objects the answers lie {' and '.join(sides)} of the labels: labels that are "
            "systematically to one side do this where training also shows flipped or turned pictures, which contradict them. "
            "Look at the labels at high magnification, or train with augment.flip=0."
        )


def systematic_shift(dataset: Dataset, found: Sequence[Instances], evaluation: Evaluation) -> Shift | None:
    """Measure the mean displacement of the answers from the labels.

    Args:
        dataset: the truth.
        found: one Instances an image.
        evaluation: of the two; says which found object belongs to which truth.

    Returns:
        None where no object has a partner with a labelled keypoint.
    """
    truth, image_of = dataset.instances, dataset.image_of_instance()
    shifts = []
    for index in np.flatnonzero(evaluation.found_of_truth >= 0):
        answer = found[image_of[index]].keypoints[evaluation.found_of_truth[index]]
        difference = (answer - truth.keypoints[index])[truth.labelled[index]]
        difference = difference[np.isfinite(difference).all(axis=1)]
        if len(difference):
            shifts.append(difference.mean(axis=0))
    if not shifts:
        return None
    values = np.array(shifts)
    errors = values.std(axis=0) / np.sqrt(len(values))
    x, y = values.mean(axis=0)
    return Shift(float(x), float(y), float(errors[int(abs(y) > abs(x))]), len(values))

"""Whether what is found to be occluded is occluded."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import OCCLUDED, VISIBLE, Instances

OCCLUSION_VALUES: Final = ("occluded_precision", "occluded_recall", "occluded_f1")


def occlusion(
    truth: Instances, found: Instances, found_of_truth: NDArray[np.int64], counted: NDArray[np.bool_]
) -> tuple[dict[str, float], dict[str, str]]:
    """Give precision, recall and F1 of the state occluded over the counted keypoints that were found.

    Args:
        truth: M objects.
        found: all found objects; a keypoint whose visibility is 0 or whose place is not finite was not found.
        found_of_truth: (M,) index into `found`, −1 where a truth has no partner.
        counted: (M, K) keypoints to look at; labelled, of counted truths.

    Returns:
        The defined ones among `OCCLUSION_VALUES`, and a sentence for each other. None is defined unless the counted
        truths have both occluded and visible keypoints: with one state alone every answer is right.
    """
    for state, word in ((OCCLUDED, "occluded"), (VISIBLE, "visible")):
        if not (counted & (truth.visibility == state)).any():
            note = (
                f"{' and '.join(OCCLUSION_VALUES[:2])} are not defined: no counted keypoint of the data set is labelled {word}"
            )
            return {}, dict.fromkeys(OCCLUSION_VALUES, note)
    rows = np.flatnonzero(found_of_truth >= 0)
    answers = found_of_truth[rows]
    compared = counted[rows] & found.labelled[answers] & np.isfinite(found.keypoints[answers]).all(-1)
    occluded = (truth.visibility[rows] == OCCLUDED)[compared]
    called = (found.visibility[answers] == OCCLUDED)[compared]
    right, wrong, missed = (int(part.sum()) for part in (occluded & called, ~occluded & called, occluded & ~called))
    shares = (
        (right, right + wrong, "no found keypoint is called occluded"),
        (right, right + missed, "none of the occluded keypoints was found"),
        (2 * right, 2 * right + wrong + missed, "no keypoint is both labelled and found, or called, occluded"),
    )
    values, notes = {}, {}
    for name, (part, whole, reason) in zip(OCCLUSION_VALUES, shares, strict=True):
        if whole:
            values[name] = part / whole
        else:
            notes[name] = f"{name} is not defined: {reason}"
    return values, notes

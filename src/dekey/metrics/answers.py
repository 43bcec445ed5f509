"""What was found, checked against the data set, and paired with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances
from dekey.errors import DekeyError
from dekey.metrics.matching import pair


@dataclass(frozen=True, eq=False)
class Partners:
    """Who is whom in a data set.

    Attributes:
        found_of_truth: (M,) position within its image's found objects of each object's partner, −1 for none.
        extra: for each image the positions of the found objects that count and pair with nothing.
    """

    found_of_truth: NDArray[np.int64]
    extra: list[NDArray[np.int64]]


def checked(dataset: Dataset, found: Sequence[Instances], notes: dict[str, str]) -> list[Instances]:
    """Check what was found and give every image's objects scores; raises DekeyError where it does not fit."""
    if isinstance(found, (Instances, str, bytes)) or not isinstance(found, Sequence):
        raise DekeyError(
            f"found {type(found).__name__} to measure, expected a list of Instances, one an image, or a model that dekey.load "
            "opened"
        )
    if len(found) != len(dataset):
        raise DekeyError(
            f"found answers for {len(found)} images but the data set has {len(dataset)}; give one Instances an image, "
            "empty where nothing was found, in the order of the data set"
        )
    keypoints, classes = len(dataset.schema.keypoints), len(dataset.schema.classes)
    result = []
    for position, one in enumerate(found):
        if not isinstance(one, Instances):
            raise DekeyError(f"the answer for image {position} is a {type(one).__name__}, expected Instances")
        if one.keypoints.shape[1] != keypoints:
            raise DekeyError(
                f"the answer for image {position} has {one.keypoints.shape[1]} keypoints an object but the data set has "
                f"{keypoints}; measure with the schema that the model was trained on"
            )
        if len(one) and not (one.labels.min() >= 0 and one.labels.max() < classes):
            raise DekeyError(
                f"the answer for image {position} names class {one.labels.max() if one.labels.min() >= 0 else one.labels.min()}"
                f" but the data set has {classes}, counted from 0; measure with the schema that the model was trained on"
            )
        scores = one.scores
        if scores is None:
            if len(one):
                notes["scores"] = "found objects without scores are ranked as given, as if each had score 1"
            scores = np.ones(len(one))
        if not np.isfinite(scores).all():
            raise DekeyError(f"the answer for image {position} has a score that is no number; give every object a finite score")
        result.append(replace(one, scores=scores, keypoint_scores=None))
    return result


def partners(
    dataset: Dataset,
    found: Sequence[Instances],
    score_threshold: float,
    counts: NDArray[np.bool_],
    lone_pairs: bool,
) -> Partners:
    """Pair image by image.

    Args:
        dataset: M objects.
        found: with scores.
        score_threshold: objects with a lower score take no part; 0 takes all, whatever their score.
        counts: (M,) the truths that count.
        lone_pairs: as `pair` has it.
    """
    found_of_truth = np.full(len(dataset.instances), -1, dtype=np.int64)
    extra = []
    for position, one in enumerate(found):
        assert one.scores is not None
        above = np.flatnonzero((one.scores >= score_threshold) | (score_threshold <= 0))
        own = slice(int(dataset.starts[position]), int(dataset.starts[position + 1]))
        height, width = dataset.sizes[position].tolist()
        pairs = pair(dataset.instances[own], one[above], (height, width), counts=counts[own], lone_pairs=lone_pairs)
        chosen = pairs.found_of_truth
        # One place more, so that -1 stays -1.
        found_of_truth[own] = np.append(above, -1)[chosen]
        extra.append(above[pairs.extra])
    return Partners(found_of_truth, extra)

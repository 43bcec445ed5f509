"""The mean pose: what one can say of the keypoints without looking at the image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dekey.data import VISIBLE, Dataset, Instances
from dekey.errors import DekeyError
from dekey.metrics.matching import has_box, scored


def mean_pose_baseline(train: Dataset, held_out: Dataset, region: Literal["box", "image"] = "box") -> list[Instances]:
    """Put the mean pose of one data set into every object of another.

    Each keypoint's place is the mean, over the labelled objects of its class in `train`, of its position relative to the
    region, (0, 0) at its top-left corner and (1, 1) at its bottom-right one. A model that does not beat this has learned
    nothing from the pixels.

    Args:
        train: where the mean is taken.
        held_out: where it is put; nothing but its regions and labels is read.
        region: the object's annotated ``box``, or the whole ``image``.

    Returns:
        Per held-out image one found object for each annotated one but crowds, with score 1; keypoints (N, K, 2) px of the
        held-out image. A keypoint that its class never has in `train` is NaN. Boxes are the regions.

    Raises:
        DekeyError: if the two schemas differ, or an object has no box where `region` is ``box``.
    """
    if (train.schema.classes, train.schema.keypoints) != (held_out.schema.classes, held_out.schema.keypoints):
        raise DekeyError("the two data sets differ in classes or keypoints; the mean pose needs the same in both")
    means = _mean_poses(train, region)
    truth = held_out.instances
    keep = ~truth.crowd
    regions = _regions(held_out, region, keep)
    poses = regions[:, None, :2] + means[truth.labels] * (regions[:, 2:] - regions[:, :2])[:, None]
    visibility = np.where(np.isfinite(poses).all(-1), VISIBLE, 0)
    found = Instances.create(poses, regions, truth.labels, visibility, scores=np.ones(len(truth)))
    slices = zip(held_out.starts[:-1].tolist(), held_out.starts[1:].tolist(), strict=True)
    return [found[start + np.flatnonzero(keep[start:stop])] for start, stop in slices]


def _mean_poses(dataset: Dataset, region: Literal["box", "image"]) -> NDArray[np.float64]:
    """Give the mean relative pose (C, K, 2) of each class, NaN where a keypoint is never labelled."""
    truth = dataset.instances
    keep = scored(truth)
    regions = _regions(dataset, region, keep)[keep]
    relative = (truth.keypoints[keep] - regions[:, None, :2]) / (regions[:, 2:] - regions[:, :2])[:, None]
    labelled = truth.labelled[keep] & np.isfinite(relative).all(-1)
    shape = (len(dataset.schema.classes), len(dataset.schema.keypoints))
    sums, counts = np.zeros((*shape, 2)), np.zeros(shape)
    np.add.at(sums, truth.labels[keep], np.where(labelled[..., None], relative, 0.0))
    np.add.at(counts, truth.labels[keep], labelled)
    return np.where(counts[..., None] > 0, sums / np.maximum(counts, 1)[..., None], np.nan)


def _regions(dataset: Dataset, region: Literal["box", "image"], needed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give every object's region (M, 4) px; raises DekeyError where a needed object has no box."""
    if region == "image":
        sizes = dataset.sizes[dataset.image_of_instance()].astype(np.float64)
        return np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], axis=1)
    missing = needed & ~has_box(dataset.instances)
    if missing.any():
        raise DekeyError(
            f"{int(missing.sum())} of {int(needed.sum())} objects have no box to put the mean pose into; "
            "annotate boxes or use region='image'"
        )
    return dataset.instances.boxes

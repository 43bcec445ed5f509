"""Doubtful boxes, and keypoints that are labelled far less often than the others."""

from __future__ import annotations

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import UNLABELLED
from dekey.data.problem_kinds import problem

# Below as many pixels on its longer side a box holds too little to place a keypoint in: three cells of stride 4.
_TINY = 12.0
# The longer side to which a network reduces whole images; 640 is usual.
_INPUT = 640.0
# A keypoint may lie this far outside its box, in its longer side, and two pixels: boxes are drawn roughly.
_OUTSIDE, _ROUGHLY = 0.1, 2.0
# From this share of the objects on it is a habit of the data set, told once.
_HABIT = 0.2
_RARE, _RARE_AGAINST_OTHERS = 0.05, 0.2
_FEWEST = 20


def box_doubts(dataset: Dataset) -> list[Problem]:
    """Find boxes that are tiny, also after the image is reduced to a network's input, or leave keypoints outside."""
    instances = dataset.instances
    image_of = dataset.image_of_instance()
    boxes = instances.boxes
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=-np.inf)
    real = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & ~instances.crowd
    longest = dataset.sizes[image_of].max(axis=1, initial=1)
    left = side * np.minimum(_INPUT / longest, 1)
    found, tiny = [], np.flatnonzero(real & (left < _TINY))

    def report(kind: str, index: int, message: str, doubt: float, keypoints: tuple[str, ...] = ()) -> None:
        name, annotation = dataset.picture_name(int(image_of[index])), int(dataset.annotation_ids[index])
        found.append(problem(kind, message, name, annotation, doubt=round(doubt, 4), keypoints=keypoints))

    for index in tiny.tolist():
        reduced = f", {left[index]:.1f} px where the image is reduced to {_INPUT:.0f}" if left[index] < side[index] else ""
        report("tiny-box", index, f"the longer side of the box is {side[index]:.1f} px{reduced}", _TINY / (_TINY + left[index]))

    points = instances.keypoints
    labelled = instances.labelled & np.isfinite(points).all(axis=-1)
    beyond = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]).max(axis=-1, initial=-np.inf)
    beyond = np.where(labelled & real[:, None], beyond, -np.inf)
    share = (beyond - _ROUGHLY) / np.where(real, side, 1)[:, None]
    outside = share > _OUTSIDE
    rows = np.flatnonzero(outside.any(axis=1))
    if len(rows) > _HABIT * max(int(real.sum()), 1) and len(rows) >= _FEWEST:
        message = f"{len(rows)} of {int(real.sum())} boxes leave keypoints outside by more than {_OUTSIDE:.0%} of their side"
        return [*found, problem("keypoint-outside-box", message, doubt=round(len(rows) / int(real.sum()), 4))]
    for index in rows.tolist():
        columns = np.flatnonzero(outside[index])
        names = tuple(dataset.schema.keypoints[column] for column in columns)
        worst = float(share[index].max())
        message = f"'{names[0]}' lies {beyond[index, columns[0]]:.0f} px outside a box of {side[index]:.0f} px"
        rest = f", and {len(names) - 1} more keypoints do" if len(names) > 1 else ""
        report("keypoint-outside-box", index, message + rest, worst / (worst + _OUTSIDE), names)
    return found


def rare_keypoints(dataset: Dataset) -> list[Problem]:
    """Find keypoints that are labelled in few of the objects that could have them, and far less often than others."""
    instances, schema, found = dataset.instances, dataset.schema, []
    possible = schema.present[instances.labels] & ~instances.crowd[:, None] if len(instances) else np.zeros((0, 0))
    if len(possible) == 0 or not schema.keypoints:
        return []
    counts = possible.sum(axis=0)
    shares = ((instances.visibility != UNLABELLED) & possible).sum(axis=0) / np.maximum(counts, 1)
    usual = float(np.median(shares))
    for index in np.flatnonzero((counts >= _FEWEST) & (shares > 0) & (shares < min(_RARE, _RARE_AGAINST_OTHERS * usual))):
        name = schema.keypoints[index]
        message = f"'{name}' is labelled in {shares[index]:.1%} of {counts[index]} objects, the usual one in {usual:.0%}"
        doubt = round(_RARE / (_RARE + float(shares[index])), 4)
        found.append(problem("rare-keypoint", message, doubt=doubt, keypoints=(name,)))
    return found

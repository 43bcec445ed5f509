"""A second look, close to each object that was found: small objects are found in the whole picture, and read close by.

A detector that is shown a large picture fitted into its input sees a small object as a few cells, enough to find it and too
few to tell its keypoints apart. Tiles show all of the picture larger, mostly background. Here the first look says where to look
closer: one more view for each object, as large as training showed objects close by. The idea is that of a second stage which
reads what a first one proposes (Ren et al., "Faster R-CNN", NeurIPS 2015), with one network for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dekey.data import Instances, geometry
from dekey.data.geometry import Affine, Size
from dekey.data.suppress import distinct

# An answer of the second look is of the same object if their boxes overlap by this.
SAME_BOX = 0.4
# A view that is not this much closer than the first tells nothing new.
CLOSER = 1.25


def close_views(found: Instances, size: Size, input_size: Size, share: float) -> list[Affine | None]:
    """Give the view for a second look at each object.

    Args:
        found: N objects in image px.
        size: (H0, W0) px of the image.
        input_size: (H, W) px of the network's input.
        share: length of the object's longer side in the view, as a share of the input's shorter side.

    Returns:
        image_to_input of each, with the object in the middle; None where the first look was as close.
    """
    fitted = min(input_size[0] / size[0], input_size[1] / size[1])
    sides = geometry.box_sizes(found.boxes).max(axis=1)
    factors = share * min(input_size) / np.maximum(sides, 1e-6)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    extent = np.array([input_size[1], input_size[0]])
    return [
        geometry.crop(np.concatenate([centre - extent / factor / 2, centre + extent / factor / 2]), input_size)
        if factor >= CLOSER * fitted
        else None
        for centre, factor in zip(centres, factors, strict=True)
    ]


def taken_over(first: Instances, second: Sequence[Instances | None]) -> Instances:
    """Let the second look say where each object and its keypoints are.

    Args:
        first: N objects of the first look, with scores, in image px.
        second: for each what was found in its own view, in image px; None where there was none.

    Returns:
        The objects by falling score. Of each view the object of the same class whose box overlaps the first one most, by
        `SAME_BOX` or more, takes the first one's place and the higher score of the two; without one the first stays. Two
        objects that turn out to be one are one.
    """
    assert first.scores is not None
    chosen = [_match(first[index : index + 1], found) for index, found in enumerate(second)]
    answer = Instances.concatenate(chosen, first.keypoints.shape[1]) if chosen else first
    return answer[distinct(answer)]


def _match(first: Instances, found: Instances | None) -> Instances:
    """Give the object (N = 1) of a second look that is the first one, or the first one."""
    assert first.scores is not None
    if found is None or not len(found):
        return first
    overlaps = np.where(found.labels == first.labels[0], geometry.iou(first.boxes, found.boxes)[0], 0.0)
    best = int(overlaps.argmax())
    if overlaps[best] < SAME_BOX:
        return first
    assert found.scores is not None
    return replace(found[best : best + 1], scores=np.maximum(first.scores, found.scores[best]))

"""Which family of models suits a data set."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dekey.data import Dataset, geometry

Kind = Literal["heatmap", "center", "article"]

# An object that takes this share of its image's longer side fills it.
FILLS = 0.5


def choose_family(
    dataset: Dataset, asked: Literal["auto", "heatmap", "center", "article"], region: Literal["auto", "box", "image"]
) -> tuple[Kind, str]:
    """Choose the family and say why.

    Crops that are asked for, and images with exactly one object that fills most of them, suit a heatmap model, which is
    told or need not know where the object is. All else takes a center model, which finds the objects itself.

    Args:
        dataset: what is learned from.
        asked: a family decides; auto looks at the data.
        region: "box" and "image" ask for crops and for whole images of one object.

    Returns:
        The family, and the reason in a few words.
    """
    if asked != "auto":
        return asked, "as asked"
    if region != "auto":
        return (
            "heatmap",
            "crops around boxes were asked for" if region == "box" else "whole images of one object were asked for",
        )
    instances = dataset.instances[~dataset.instances.crowd]
    counts = np.bincount(dataset.image_of_instance()[~dataset.instances.crowd], minlength=len(dataset))
    if not (counts == 1).all():
        others = int((counts != 1).sum())
        return (
            "center",
            f"{others} of {len(dataset)} images have not exactly one object; --model heatmap would learn from crops",
        )
    if len(dataset.schema.classes) > 1:
        return "center", f"there are {len(dataset.schema.classes)} classes to tell apart"
    sides = geometry.box_sizes(np.where(np.isfinite(instances.boxes), instances.boxes, geometry.hulls(instances.keypoints)))
    shares = sides.max(axis=1) / dataset.sizes.max(axis=1)
    share = float(np.nanmedian(shares)) if np.isfinite(shares).any() else 1.0
    if share >= FILLS:
        return "heatmap", f"every image has one object, which takes {share:.0%} of its length"
    return (
        "center",
        f"objects take {share:.0%} of their image's length, so they must be found; --model heatmap would learn from crops",
    )

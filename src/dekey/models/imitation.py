"""What a student still lacks to answer as its teacher does, on top of what the labels ask of it.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015: the teacher's answers say more than labels do,
here how sure it is of each place and what it sees where nothing is labelled. Every map is compared with the teacher's, on the
whole picture: inside crowds and for keypoints that nobody labelled, where labels must stay silent, the teacher speaks. The
terms are those that a family learns labels by, so a weight of 1 asks as much for the teacher's word as for the labels'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dekey.codecs.cells import local_peaks
from dekey.models.center import BOX_WEIGHT, HEATMAP_WEIGHT, VECTOR_WEIGHT, CenterDetector
from dekey.models.heatmap import HeatmapModel
from dekey.models.losses import giou, heatmap_cross_entropy, heatmap_mse, quality_focal
from dekey.models.resample import Passage

Maps = dict[str, Tensor]

# Where a teacher of objects is less sure than this that there is one, what it says about box and keypoints is noise.
SEEN = 0.1


def heatmap_answers(maps: Maps, passage: Passage) -> Maps:
    """Give the maps of a HeatmapModel in a student's frame."""
    return {
        "keypoint_heatmap": passage.heatmap(maps["keypoint_heatmap"].clamp(0, 1)),
        "visibility_logits": maps["visibility_logits"],
    }


def center_answers(maps: Maps, passage: Passage) -> Maps:
    """Give the maps of a CenterDetector in a student's frame, probabilities in the place of the heatmaps' logits."""
    return {
        "center_heatmap": passage.peaks(maps["center_heatmap"].sigmoid()),
        "corner_heatmap": passage.heatmap(maps["corner_heatmap"].sigmoid()),
        "keypoint_heatmap": passage.heatmap(maps["keypoint_heatmap"].sigmoid()),
        "center_offset": passage.lengths(maps["center_offset"]),
        "box_size": passage.logarithms(maps["box_size"]),
        "keypoint_vectors": passage.lengths(maps["keypoint_vectors"]),
        "visibility_logits": passage.levels(maps["visibility_logits"]),
    }


def imitate_heatmap(student: HeatmapModel, maps: Maps, taught: Maps) -> Maps:
    """Give the terms of a HeatmapModel.

    Args:
        student: whose weights of the terms are taken.
        maps: what it answered.
        taught: `heatmap_answers` of its teacher.
    """
    everything = torch.ones_like(taught["visibility_logits"])
    area = 2 * math.pi * student.codec.sigma**2
    found, truth = maps["keypoint_heatmap"], taught["keypoint_heatmap"]
    terms = {"heatmap": heatmap_mse(found, truth, everything, area, student.peak_weight)}
    if student.visibility_weight:
        excess = _excess(maps["visibility_logits"], taught["visibility_logits"])
        terms["visibility"] = student.visibility_weight * excess.mean()
    return terms


def imitate_center(student: CenterDetector, maps: Maps, taught: Maps) -> Maps:
    """Give the terms of a CenterDetector; boxes and vectors count where the teacher sees an object, by how sure it is.

    Args:
        student: whose weights of the terms are taken.
        maps: what it answered.
        taught: `center_answers` of its teacher.
    """
    objects = taught["center_heatmap"] * (taught["center_heatmap"] > SEEN)
    count = (objects * local_peaks(taught["center_heatmap"])).sum().clamp(min=1)
    terms = {"center": quality_focal(maps["center_heatmap"], taught["center_heatmap"]).sum() / count}
    area = 2 * math.pi * student.codec.sigma**2
    for name in ("corner_heatmap", "keypoint_heatmap"):
        everywhere = torch.ones_like(taught[name])
        excess = heatmap_cross_entropy(maps[name], taught[name], everywhere, student.peak_weight)
        terms[name] = HEATMAP_WEIGHT / area * excess
    image, row, column = torch.nonzero(objects.amax(1), as_tuple=True)
    weights = objects.amax(1)[image, row, column]
    total = weights.sum().clamp(min=1)
    at = {name: values[image, :, row, column] for name, values in maps.items()}
    truth_at = {name: values[image, :, row, column] for name, values in taught.items()}
    found, truth = _boxes(at), _boxes(truth_at)
    sides = (truth[:, 2:] - truth[:, :2]).clamp(min=1.0)
    edges = ((found - truth) / sides.repeat(1, 2)).abs().mean(1)
    terms["box"] = BOX_WEIGHT * ((1 - giou(found, truth)) * weights).sum() / total
    terms["box_edges"] = (edges * weights).sum() / total
    scale = sides.prod(1, keepdim=True).sqrt()
    vectors = ((at["keypoint_vectors"] - truth_at["keypoint_vectors"]).abs() / scale).mean(1)
    terms["vectors"] = VECTOR_WEIGHT * (vectors * weights).sum() / total
    if student.visibility_weight:
        points = taught["keypoint_heatmap"] * (taught["keypoint_heatmap"] > SEEN)
        excess = _excess(maps["visibility_logits"], taught["visibility_logits"])
        terms["visibility"] = student.visibility_weight * (excess * points).sum() / points.sum().clamp(min=1)
    return terms


def _boxes(values: Maps) -> Tensor:
    """Give the boxes (M, 4) of M cells, x1 y1 x2 y2 in cells from the middle of each."""
    halves = values["box_size"].clamp(-8, 8).exp() / 2
    return torch.cat([values["center_offset"] - halves, values["center_offset"] + halves], dim=1)


def _excess(logits: Tensor, truth: Tensor) -> Tensor:
    """Give the cross-entropy of logits against others of the same shape above its least, 0 where they agree."""
    probability = truth.float().sigmoid()
    least = functional.binary_cross_entropy_with_logits(truth.float(), probability, reduction="none")
    return functional.binary_cross_entropy_with_logits(logits.float(), probability, reduction="none") - least


ANSWERS: dict[str, Callable[[Maps, Passage], Maps]] = {"heatmap": heatmap_answers, "center": center_answers}
"""How a teacher's maps come into its student's frame, by the kind of both."""

IMITATIONS: dict[str, Callable[[Any, Maps, Maps], Maps]] = {"heatmap": imitate_heatmap, "center": imitate_center}
"""What a student is to learn from them."""

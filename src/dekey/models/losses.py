"""Losses, each a masked mean that stays finite and differentiable when its mask is empty."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values (any shape) where mask (same shape, 0 or 1) says so; zero, with a gradient, where nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def heatmap_mse(found: Tensor, truth: Tensor, mask: Tensor, cells: float, peak_weight: float = 0.0) -> Tensor:
    """Mean squared error of heatmaps, the article's loss.

    The squares of a map are summed and divided by `cells`, the area of a target, so that the number does not depend on
    the size of the map; then maps are averaged.

    Args:
        found: (B, K, h, w).
        truth: (B, K, h, w) in [0, 1].
        mask: (B, K), 1 where the keypoint is annotated.
        cells: area to divide by, e.g. 2πσ² cells.
        peak_weight: how much more a cell at a peak counts than one in the background.
    """
    squares = (found.float() - truth) ** 2
    if peak_weight:
        squares = squares * (1 + peak_weight * truth)
    return masked_mean(squares.sum(dim=(2, 3)) / cells, mask)


def visibility_bce(logits: Tensor, visible: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of visible against occluded.

    Args:
        logits: (B, K).
        visible: (B, K), 1 visible, 0 occluded.
        mask: (B, K), 1 where the keypoint is annotated.
    """
    return masked_mean(functional.binary_cross_entropy_with_logits(logits.float(), visible, reduction="none"), mask)


def center_focal(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Penalty-reduced focal loss of centre heatmaps, per object.

    A cell whose truth is 1 is an object; all others are background, the less so the nearer they are to one. Computed in
    fp32 from logits: in half precision 1 − p would round to 0 (Law and Deng, "CornerNet", ECCV 2018; Zhou et al., "Objects
    as Points", 2019).

    Args:
        logits: (B, C, h, w).
        truth: (B, C, h, w) in [0, 1].
        mask: (B, 1, h, w), 0 where nothing is asked.
    """
    logits = logits.float()
    probability = torch.sigmoid(logits)
    positive = (truth == 1).float()
    losses = torch.where(
        truth == 1,
        (1 - probability) ** 2 * functional.softplus(-logits),
        (1 - truth) ** 4 * probability**2 * functional.softplus(logits),
    )
    return (losses * mask).sum() / positive.sum().clamp(min=1)


def quality_focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss towards probabilities instead of labels, 0 where they are met: the same shape.

    Li et al., "Generalized Focal Loss", NeurIPS 2020 (its quality focal loss, β = 2): what is nearly right hardly counts, so
    the few cells of objects are not drowned by the many of the background.

    Args:
        logits: any shape.
        truth: the same shape, in [0, 1].
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (torch.sigmoid(logits) - truth) ** 2 * entropy


def heatmap_cross_entropy(logits: Tensor, truth: Tensor, mask: Tensor, peak_weight: float) -> Tensor:
    """Cross-entropy of heatmaps above its least value, per map that has a peak.

    Least where the sigmoid of the logits is the Gaussian itself, flanks included, so that its peak can be read to a fraction
    of a cell.

    Args:
        logits: (B, K, h, w).
        truth: (B, K, h, w) in [0, 1].
        mask: (B, K, h, w), 0 where nothing is asked.
        peak_weight: how much more a cell at a peak counts than one in the background.
    """
    # Written out, for torch refuses its own under CUDA's autocast, whatever the numbers' precision.
    least = -(torch.xlogy(truth, truth) + torch.xlogy(1 - truth, 1 - truth))
    excess = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none") - least
    keypoints = truth.amax(dim=(2, 3)) > 0.5
    return (excess * mask * (1 + peak_weight * truth)).sum() / keypoints.sum().clamp(min=1)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Give the generalised IoU (...) in [−1, 1] of boxes (..., 4) and others (..., 4) x1 y1 x2 y2.

    Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019: unlike the IoU it tells boxes apart that do not
    touch.
    """
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - shared
    outer = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    hull = outer.prod(-1).clamp(min=1e-6)
    return shared / union.clamp(min=1e-6) - (hull - union) / hull

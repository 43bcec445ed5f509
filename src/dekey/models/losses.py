"""Losses, each a masked mean that stays finite and differentiable when its mask is empty."""

from __future__ import annotations

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

"""Metrics for `compile` that mean something for boxes and keypoints; the rules are those of `dekey.metrics`.

Truth and answer are shares of the input as `dekey.keras.arrays` gives them. A keypoint whose truth lies beyond the input, as −1
does, is not labelled and does not count; nor does what a sample weight of 0 leaves out.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

from dekey.errors import DekeyError


class _Mean(keras.metrics.Metric):
    """The mean over everything counted since the last reset; 0 where nothing was."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def _add(self, values: Any, counted: Any) -> None:
        """Add values (...) where counted (...) is true."""
        counted = ops.cast(counted, self.dtype)
        # A value that does not count may be anything, NaN too.
        kept = ops.where(counted > 0, ops.cast(values, self.dtype), 0.0)
        self.total.assign_add(ops.sum(kept))
        self.count.assign_add(ops.sum(counted))

    def result(self) -> Any:
        """Give the mean."""
        return ops.divide_no_nan(self.total, self.count)


class _Distances(_Mean):
    """What is taken from the distances of keypoints (..., K, 2)."""

    def __init__(self, input_size: tuple[int, int], name: str) -> None:
        super().__init__(name)
        height, width = input_size
        self.input_size = (int(height), int(width))

    def _measured(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Give truth (..., K, 2) px, distances (..., K) px and which of them count (..., K)."""
        height, width = self.input_size
        extent = ops.convert_to_tensor([width, height], dtype=self.dtype)
        truth, found = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        counted = ops.all(ops.logical_and(truth >= 0, truth <= 1), axis=-1)
        if sample_weight is not None:
            weight = ops.cast(sample_weight, self.dtype)
            while len(weight.shape) < len(counted.shape):
                weight = ops.expand_dims(weight, -1)
            counted = ops.logical_and(counted, ops.broadcast_to(weight > 0, ops.shape(counted)))
        distances = ops.sqrt(ops.sum(ops.square((found - truth) * extent), axis=-1))
        return truth * extent, distances, counted

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor."""
        return {"input_size": list(self.input_size), "name": self.name}


@keras.saving.register_keras_serializable(package="dekey")
class PixelError(_Distances):
    """Mean distance of keypoints, px of the input: ``mean_px`` of `dekey.metrics`.

    Args:
        input_size: (H, W) px that the shares are of.
        name: in logs.
    """

    def __init__(self, input_size: tuple[int, int], name: str = "mean_px") -> None:
        super().__init__(input_size, name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count keypoints (..., K, 2) of truth and answer; weights (..., K) or (B,) above 0 count."""
        _, distances, counted = self._measured(y_true, y_pred, sample_weight)
        self._add(distances, counted)


@keras.saving.register_keras_serializable(package="dekey")
class PCK(_Distances):
    """Share of keypoints found within a limit: ``pck`` of `dekey.metrics`.

    Args:
        limit: largest distance that counts as right, in units of the normaliser.
        input_size: (H, W) px that the shares are of.
        normaliser: "pixels" of the input, or "hull_diagonal", the diagonal of the upright hull of the object's labelled
            keypoints; an object whose hull is a point does not count.
        name: in logs; without it ``pck@LIMIT``, with px behind it for pixels.

    Raises:
        DekeyError: if the limit is not positive or the normaliser unknown.
    """

    def __init__(
        self,
        limit: float,
        input_size: tuple[int, int],
        normaliser: Literal["pixels", "hull_diagonal"] = "pixels",
        name: str | None = None,
    ) -> None:
        if not (math.isfinite(limit) and limit > 0):
            raise DekeyError(f"found a PCK limit of {limit}, expected a positive number such as 5")
        if normaliser not in ("pixels", "hull_diagonal"):
            raise DekeyError(
                f"found the normaliser '{normaliser}', expected pixels or hull_diagonal, which keypoints alone give; "
                "dekey.evaluate knows others"
            )
        super().__init__(input_size, name or f"pck@{limit:g}{'px' if normaliser == 'pixels' else ''}")
        self.limit = limit
        self.normaliser = normaliser

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count keypoints (..., K, 2) of truth and answer; weights (..., K) or (B,) above 0 count."""
        truth, distances, counted = self._measured(y_true, y_pred, sample_weight)
        allowed: Any = self.limit
        if self.normaliser == "hull_diagonal":
            known = ops.expand_dims(counted, -1)
            low = ops.min(ops.where(known, truth, math.inf), axis=-2)
            high = ops.max(ops.where(known, truth, -math.inf), axis=-2)
            sides = ops.where(high >= low, high - low, 0.0)
            diagonal = ops.sqrt(ops.sum(ops.square(sides), axis=-1, keepdims=True))
            counted = ops.logical_and(counted, diagonal > 0)
            allowed = self.limit * diagonal
        # A distance that is no number is not within any limit.
        self._add(distances <= allowed, counted)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor."""
        return {**super().get_config(), "limit": self.limit, "normaliser": self.normaliser}


@keras.saving.register_keras_serializable(package="dekey")
class BoxIoU(_Mean):
    """Mean intersection over union of boxes (..., 4) as centre x, centre y, width, height.

    Args:
        name: in logs.
    """

    def __init__(self, name: str = "box_iou") -> None:
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count boxes (..., 4) of truth and answer; weights (...) above 0 count."""
        truth, found = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        low = ops.maximum(truth[..., :2] - truth[..., 2:] / 2, found[..., :2] - found[..., 2:] / 2)
        high = ops.minimum(truth[..., :2] + truth[..., 2:] / 2, found[..., :2] + found[..., 2:] / 2)
        shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
        union = ops.prod(truth[..., 2:], axis=-1) + ops.prod(found[..., 2:], axis=-1) - shared
        counted = ops.ones_like(shared) if sample_weight is None else ops.cast(sample_weight, self.dtype) > 0
        self._add(ops.divide_no_nan(shared, union), counted)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments of the constructor."""
        return {"name": self.name}

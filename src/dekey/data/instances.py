"""Checked arrays for the objects (`Instances`) and the interest points (`Points`) of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dekey.data import geometry

UNLABELLED: Final = 0
OCCLUDED: Final = 1
VISIBLE: Final = 2

Index = slice | NDArray[Any] | Sequence[int]


@dataclass(eq=False)
class Instances:
    """N objects of one image (or, in a `Dataset`, of all its images), annotated or found.

    Frame: continuous pixels of the image, the top-left corner of the first pixel is (0, 0).

    Attributes:
        boxes: (N, 4) float64 x1, y1, x2, y2 px; NaN where an object has no box.
        labels: (N,) int64 class index.
        keypoints: (N, K, 2) float64 x, y px; NaN where not annotated or not found.
        visibility: (N, K) uint8, 0 unlabelled, 1 occluded, 2 visible.
        crowd: (N,) bool, a region of uncounted objects that no metric scores.
        areas: (N,) float64 px², the annotated area; NaN where none is given.
        scores: (N,) float64 confidence of found objects, None for annotated ones.
        keypoint_scores: (N, K) float64 confidence of found keypoints, None for annotated ones.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    visibility: NDArray[np.uint8]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None
    keypoint_scores: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        count, keypoint_count = self.keypoints.shape[:2]
        expected = {
            "boxes": (count, 4),
            "labels": (count,),
            "keypoints": (count, keypoint_count, 2),
            "visibility": (count, keypoint_count),
            "crowd": (count,),
            "areas": (count,),
            "scores": (count,),
            "keypoint_scores": (count, keypoint_count),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"Instances.{name} has shape {value.shape}, expected {shape}")

    @classmethod
    def create(
        cls,
        keypoints: ArrayLike,
        boxes: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        visibility: ArrayLike | None = None,
        crowd: ArrayLike | None = None,
        areas: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        keypoint_scores: ArrayLike | None = None,
    ) -> Instances:
        """Make instances from anything array-like; what is left out becomes NaN boxes and areas, class 0, no crowd.

        Without `visibility` every keypoint with finite coordinates is visible. Shapes as in the class.

        >>> Instances.create([[[3.0, 4.0], [np.nan, np.nan]]]).visibility
        array([[2, 0]], dtype=uint8)
        """
        xy = np.asarray(keypoints, dtype=np.float64)
        count = xy.shape[0]
        if visibility is None:
            visibility = np.where(np.isfinite(xy).all(-1), VISIBLE, UNLABELLED)
        return cls(
            np.full((count, 4), np.nan) if boxes is None else np.asarray(boxes, dtype=np.float64).reshape(count, 4),
            np.zeros(count, dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64),
            xy,
            np.asarray(visibility, dtype=np.uint8),
            np.zeros(count, dtype=np.bool_) if crowd is None else np.asarray(crowd, dtype=np.bool_),
            np.full(count, np.nan) if areas is None else np.asarray(areas, dtype=np.float64),
            None if scores is None else np.asarray(scores, dtype=np.float64),
            None if keypoint_scores is None else np.asarray(keypoint_scores, dtype=np.float64),
        )

    @classmethod
    def empty(cls, keypoint_count: int) -> Instances:
        """Make an Instances of no objects with K = `keypoint_count`."""
        return cls.create(np.zeros((0, keypoint_count, 2)))

    @classmethod
    def concatenate(cls, parts: Sequence[Instances], keypoint_count: int) -> Instances:
        """Join several; scores stay only if every part has them. A single part is given back as it is."""
        if not parts:
            return cls.empty(keypoint_count)
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, Any] = {}
        for field in fields(cls):
            values = [getattr(part, field.name) for part in parts]
            columns[field.name] = None if any(value is None for value in values) else np.concatenate(values)
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: Index) -> Instances:
        """Select objects by slice, mask or index array; a slice gives views."""
        columns: dict[str, Any] = {}
        for name in _COLUMNS:
            value = getattr(self, name)
            columns[name] = None if value is None else value[index]
        return Instances(**columns)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N, K) bool: the keypoint is annotated (or found), occluded or not."""
        return self.visibility > UNLABELLED

    def mapped(self, affine: NDArray[np.float64]) -> Instances:
        """Carry boxes, keypoints and areas through an affine (2, 3) that maps this frame to another.

        A box becomes the upright hull of its four mapped corners; areas grow by the determinant.
        """
        return Instances(
            geometry.apply_to_boxes(affine, self.boxes),
            self.labels,
            geometry.apply(affine, self.keypoints),
            self.visibility,
            self.crowd,
            self.areas * abs(np.linalg.det(affine[:, :2])),
            self.scores,
            self.keypoint_scores,
        )


_COLUMNS: Final = tuple(field.name for field in fields(Instances))


@dataclass(eq=False)
class Points:
    """P interest points of one image.

    Attributes:
        xy: (P, 2) float64 x, y px, continuous frame.
        scores: (P,) float64, higher is more repeatable.
        descriptors: (P, D) float32 or uint8, or None.
        sizes: (P,) float64 diameter px, or None.
        angles: (P,) float64 rad, or None.
    """

    xy: NDArray[np.float64]
    scores: NDArray[np.float64]
    descriptors: NDArray[Any] | None = None
    sizes: NDArray[np.float64] | None = None
    angles: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        count = self.xy.shape[0]
        if self.xy.shape != (count, 2):
            raise ValueError(f"Points.xy has shape {self.xy.shape}, expected (P, 2)")
        for name in ("scores", "descriptors", "sizes", "angles"):
            value = getattr(self, name)
            if value is not None and value.shape[0] != count:
                raise ValueError(f"Points.{name} holds {value.shape[0]} points, expected {count}")

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, index: Index) -> Points:
        """Select points by slice, mask or index array."""
        columns: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            columns[field.name] = None if value is None else value[index]
        return Points(**columns)

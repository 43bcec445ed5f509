"""What every model consumes and offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B images in the network's input frame with their N (padded) objects.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        boxes: (B, N, 4) float32 x1 y1 x2 y2 input px.
        labels: (B, N) int64.
        keypoints: (B, N, K, 2) float32 input px, NaN where not annotated.
        visibility: (B, N, K) uint8, 0 unlabelled, 1 occluded, 2 visible.
        valid: (B, N) bool, False for padding.
        image_to_input: (B, 2, 3) float64 affines.
        names: B names of the images, for messages.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    keypoints: Tensor
    visibility: Tensor
    valid: Tensor
    image_to_input: Tensor
    names: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) px of the images."""
        return self.images.shape[2], self.images.shape[3]

    def __getitem__(self, index: slice) -> Batch:
        """Give some of the images as a batch."""
        return Batch(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def to(self, device: Any) -> Batch:
        """Copy the tensors to a device."""
        moved: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                moved[item.name] = value.to(device, non_blocking=True)
        return replace(self, **moved)


class KeypointModel(Protocol):
    """Three verbs; nothing above a model knows which family it is."""

    kind: str
    input_size: tuple[int, int]

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise DekeyError where the network cannot learn from images of (H, W) px."""
        ...

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give the raw maps of images (B, 3, H, W) uint8."""
        ...

    def loss(self, batch: Batch, maps: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Give named scalar terms; the loss is their sum.

        Args:
            batch: what to learn from.
            maps: what `forward` gave for its images, where that is known already.
        """
        ...

    def detect(self, images: Tensor) -> dict[str, Tensor]:
        """Give arrays of fixed shape for images (B, 3, H, W) uint8, as exported."""
        ...

"""Batches of a data set in the form in which Keras takes them: pictures, and a dictionary of what is in them."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor

from dekey.errors import DekeyError
from dekey.models.base import Batch
from dekey.training.augment import Augment
from dekey.training.stream import BatchStream, collate
from dekey.training.views import Views

PARTS = ("boxes", "labels", "keypoints", "visibility", "valid")


class Batches(keras.utils.PyDataset):
    """A data set as ``(pictures (B, H, W, 3) uint8, {part: array})``, the parts being those of a `Batch`, px of the input.

    Args:
        views: what to draw from.
        batch_size: B.
        augment: how to bend training batches, which come in another order each epoch; None gives every view once, in order and
            unbent.
        seed: decides order and augmentation.

    Raises:
        DekeyError: if the batch size is below 1, or pictures are to be flipped whose schema has no mirror pairs.
    """

    def __init__(self, views: Views, batch_size: int = 16, augment: Augment | None = None, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise DekeyError(f"found a batch size of {batch_size}, expected 1 or more")
        if augment is not None and augment.flip and views.dataset.schema.mirror is None:
            raise DekeyError(
                f"pictures cannot be flipped: {views.dataset.schema.mirror_note}; set flip to 0 or name the mirror pairs"
            )
        self.views = views
        self.batch_size = batch_size
        self.stream = None if augment is None else BatchStream(views, augment, batch_size, seed)
        self.epoch = 0

    def __len__(self) -> int:
        """Give the batches of an epoch."""
        return math.ceil(len(self.views) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        """Make batch `index` of the present epoch."""
        return as_arrays(self.batch(index))

    def batch(self, index: int) -> Batch:
        """Make batch `index` of the present epoch, as dekey's models take it."""
        if self.stream is not None:
            return self.stream.batch(self.epoch * len(self) + index)
        chosen = range(index * self.batch_size, min((index + 1) * self.batch_size, len(self.views)))
        drawn = [self.views.draw(one, Augment(), np.random.default_rng(0)) for one in chosen]
        pictures, instances, affines = zip(*drawn, strict=True)
        names = [self.views.dataset[int(self.views.images[one])].name for one in chosen]
        return collate(np.stack(pictures), instances, np.stack(affines), names)

    def on_epoch_end(self) -> None:
        """Go on with the next batches of the endless row."""
        self.epoch += 1


def as_arrays(batch: Batch) -> tuple[Any, dict[str, Any]]:
    """Give a batch in Keras's form, see `Batches`."""
    pictures = batch.images.permute(0, 2, 3, 1).numpy()
    return pictures, {name: getattr(batch, name).numpy() for name in PARTS}


def as_batch(pictures: Any, parts: dict[str, Any]) -> Batch:
    """Undo `as_arrays`, on arrays or tensors; what Keras made of the numbers' types is put right.

    Raises:
        DekeyError: if a part is missing or the pictures are of another form.
    """
    missing = [name for name in PARTS if not isinstance(parts, dict) or name not in parts]
    if missing:
        raise DekeyError(
            f"found targets without {', '.join(missing)}, expected the parts of a batch; give fit a label file or a Dataset"
        )
    images = as_images(pictures)
    tensors: dict[str, Tensor] = {name: keras.ops.convert_to_tensor(parts[name]) for name in PARTS}
    return Batch(
        images=images,
        boxes=tensors["boxes"].float(),
        labels=tensors["labels"].long(),
        keypoints=tensors["keypoints"].float(),
        visibility=tensors["visibility"].to(torch.uint8),
        valid=tensors["valid"].bool(),
        image_to_input=torch.eye(3, dtype=torch.float64, device=images.device)[:2].expand(len(images), 2, 3),
    )


def as_images(pictures: Any) -> Tensor:
    """Turn pictures (B, H, W, 3) with values 0 to 255, array or tensor, into a tensor (B, 3, H, W), without a copy.

    Raises:
        DekeyError: if they are of another form.
    """
    if pictures.ndim != 4 or pictures.shape[3] != 3:
        raise DekeyError(f"found pictures of shape {tuple(pictures.shape)}, expected (B, H, W, 3) RGB with values 0 to 255")
    images: Tensor = keras.ops.convert_to_tensor(pictures)
    return images.permute(0, 3, 1, 2)

"""`Views`: what a batch is drawn from, whether objects cut out one by one or whole scenes; pictures kept in memory."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Sample, geometry
from dekey.data.geometry import Affine
from dekey.data.images import ReducedImage
from dekey.training.augment import Augment

# Largest magnification that augmentation may add to a view before a kept picture would be too coarse for it.
_ZOOM = 1.4


class Views(Protocol):
    """Pictures of one size with their objects, one for each position.

    Attributes:
        dataset: where they come from.
        images: position of each view's image in the data set.
        input_size: (H, W) px.
    """

    dataset: Dataset
    images: NDArray[np.int64]
    input_size: tuple[int, int]

    def __len__(self) -> int: ...

    def draw(self, index: int, augment: Augment, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Instances, Affine]:
        """Make one training view.

        Args:
            index: which one.
            augment: how far to bend it.
            rng: source of chance; the same state gives the same view.

        Returns:
            The picture (H, W, 3) uint8, its objects in input coordinates, and image_to_input.
        """
        ...


@dataclass
class KeptPictures:
    """Decoded parts of pictures, reduced to what the input can resolve, until `memory` bytes are used.

    Beyond that pictures are decoded each time.
    """

    memory: int = 0
    _kept: dict[int, tuple[NDArray[np.uint8], Affine]] = field(default_factory=dict, init=False)
    _used: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def get(self, key: int) -> tuple[NDArray[np.uint8], Affine] | None:
        """Give what is kept under a key: a picture and image_to_picture."""
        return self._kept.get(key)

    def keep(self, key: int, picture: NDArray[np.uint8], image_to_picture: Affine) -> None:
        """Keep a picture, if memory allows."""
        with self._lock:
            if key not in self._kept and self._used + picture.nbytes <= self.memory:
                self._kept[key] = picture, image_to_picture
                self._used += picture.nbytes


def read_for(sample: Sample, magnification: float) -> ReducedImage:
    """Decode an image to no fewer pixels than views of it show, however augmentation enlarges them.

    Args:
        sample: the image.
        magnification: input px a px of the image, without augmentation.

    Raises:
        DekeyError: if it cannot be read.
    """
    return sample.read_reduced(magnification * _ZOOM)


def reduced(picture: NDArray[np.uint8], image_to_picture: Affine, magnification: float) -> tuple[NDArray[np.uint8], Affine]:
    """Shrink a picture where views of it, at this magnification, could not tell the difference.

    Args:
        picture: (h, w, 3) uint8, a part of an image, perhaps reduced when it was decoded.
        image_to_picture: how; no turn, no mirror.
        magnification: input px a px of the image, without augmentation.

    Returns:
        The picture, 1/2, 1/3 … of the image where that shrinks it, and image_to_picture.
    """
    factor = math.floor(1 / max(magnification * _ZOOM, 1e-9))
    rest = factor * image_to_picture[0, 0]
    if rest <= 1:
        return np.ascontiguousarray(picture), image_to_picture
    height, width = max(int(picture.shape[0] / rest), 1), max(int(picture.shape[1] / rest), 1)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    shrink = geometry.scale(width / picture.shape[1], height / picture.shape[0])
    return small, geometry.compose(image_to_picture, shrink)  # type: ignore[return-value]

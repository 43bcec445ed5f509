"""Every object of a data set as a crop: what the network is trained on, cut and kept in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, geometry
from dekey.data.covered import cover_labels
from dekey.data.geometry import Affine
from dekey.data.turned import turned_boxes
from dekey.errors import DekeyError
from dekey.training.augment import Augment, flip_labels
from dekey.training.views import KeptPictures, read_for, reduced

Region = Literal["box", "image"]
# Room around a crop that a turned, shrunk or shifted view can reach into.
_MARGIN = 1.6


def choose_region(dataset: Dataset) -> Region:
    """Crop to the boxes where every object has one, else take whole images.

    Raises:
        DekeyError: if neither works: several objects in an image, and not all have boxes.
    """
    objects = dataset.instances[~dataset.instances.crowd]
    if len(objects) and np.isfinite(objects.boxes).all():
        return "box"
    most = int(np.bincount(dataset.image_of_instance()[~dataset.instances.crowd], minlength=1).max(initial=0))
    if most > 1:
        raise DekeyError(
            f"an image has {most} objects and not every object has a box; add boxes to the labels, "
            "so that each object can be cut out"
        )
    return "image"


@dataclass
class CropSet:
    """The trainable objects of a data set as crops of one size.

    An object is trainable if it is no crowd and has at least one labelled keypoint. Pictures are decoded once; the part
    that augmentation can reach is kept, reduced to what the input can resolve, until `memory` bytes are used. Beyond
    that pictures are decoded each time.

    Attributes:
        dataset: where the objects come from.
        region: crop around the object's box, or take the whole image.
        input_size: (H, W) px.
        padding: how much larger than the box the crop is.
        memory: bytes that kept pictures may take.
    """

    dataset: Dataset
    region: Region
    input_size: tuple[int, int]
    padding: float = 1.25
    memory: int = 0
    objects: NDArray[np.int64] = field(init=False)
    images: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        instances = self.dataset.instances
        self.objects = np.flatnonzero(~instances.crowd & instances.labelled.any(axis=1))
        self.images = self.dataset.image_of_instance()[self.objects]
        if not len(self.objects):
            raise DekeyError(
                f"found {len(instances)} objects but none has a labelled keypoint, expected at least one; "
                "`dekey inspect` shows what the file holds"
            )
        self._pictures = KeptPictures(self.memory)

    def __len__(self) -> int:
        return len(self.objects)

    def image_to_input(self, index: int) -> Affine:
        """Give the affine of crop `index`, without augmentation."""
        if self.region == "box":
            box = self.dataset.instances.boxes[self.objects[index]]
        else:
            height, width = self.dataset.sizes[self.images[index]]
            box = np.array([0.0, 0.0, width, height])
        return geometry.crop(box, self.input_size, self.padding if self.region == "box" else 1.0)

    def instance(self, index: int) -> Instances:
        """Give object `index` in image coordinates, N = 1."""
        position = int(self.objects[index])
        return self.dataset.instances[position : position + 1]

    def draw(self, index: int, augment: Augment, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Instances, Affine]:
        """Make one training view.

        Args:
            index: which crop.
            augment: how far to bend it.
            rng: source of chance; the same state gives the same view.

        Returns:
            The picture (H, W, 3) uint8, the object in input coordinates (N = 1), and image_to_input.
        """
        bent, flipped = augment.draw_affine(rng, self.input_size)
        image_to_input = geometry.compose(self.image_to_input(index), bent)
        part, image_to_part = self._picture(index)
        part_to_input = geometry.compose(geometry.invert(image_to_part), image_to_input)
        view = geometry.warp(part, part_to_input, self.input_size)
        own = self.instance(index)
        instance = replace(own.mapped(image_to_input), boxes=turned_boxes(own, image_to_input))
        mirror = self.dataset.schema.mirror
        if flipped and mirror is not None:
            instance = flip_labels(instance, mirror)
        picture, covered = augment.change_picture(rng, view, instance.boxes)
        return picture, cover_labels(instance, covered), image_to_input

    def _picture(self, index: int) -> tuple[NDArray[np.uint8], Affine]:
        """Give the part of the image that crop `index` can see, and image_to_part."""
        kept = self._pictures.get(index)
        if kept is None:
            kept = self._cut(index)
            self._pictures.keep(index, *kept)
        return kept

    def _cut(self, index: int) -> tuple[NDArray[np.uint8], Affine]:
        height, width = self.input_size
        input_to_image = geometry.invert(self.image_to_input(index))
        magnification = 1 / input_to_image[0, 0]
        image = read_for(self.dataset[int(self.images[index])], magnification)
        reach = np.array([[width / 2, height / 2]]) + 0.5 * _MARGIN * math.hypot(width, height) * np.array([[-1, -1], [1, 1]])
        low, high = geometry.apply(geometry.compose(input_to_image, image.image_to_pixels), reach)
        left, top = max(math.floor(low[0]), 0), max(math.floor(low[1]), 0)
        right, bottom = min(math.ceil(high[0]), image.pixels.shape[1]), min(math.ceil(high[1]), image.pixels.shape[0])
        if right <= left or bottom <= top:
            left, top, right, bottom = 0, 0, 1, 1
        image_to_part = geometry.compose(image.image_to_pixels, geometry.translate(-left, -top))
        return reduced(image.pixels[top:bottom, left:right], image_to_part, magnification)

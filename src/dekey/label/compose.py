"""Scenes composed of segmented objects on other grounds, for detectors to learn from.

After Dwibedi et al., "Cut, Paste and Learn", ICCV 2017, and Ghiasi et al., "Simple Copy-Paste", CVPR 2021. The rules:

- An object's size is the longer side of its box, drawn log-uniformly; it lies whole inside the scene, flipped one time in two.
- A pixel shows an object where its opacity is at least a half. An object is placed where it hides at most `overlap` of every
  object already there; after ten places without success it is left out.
- The box of an object is that of the whole object, whatever hides it, and so are its area and its keypoints. A keypoint in a
  pixel that shows a later object is occluded (1), every other one visible (2).
- A scene is a function of the seed, the stream and its number: scenes can be made in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, Schema, geometry
from dekey.data.covered import cover_labels
from dekey.errors import DekeyError
from dekey.label.backgrounds import lay_ground, without_object
from dekey.label.segmentation import Labelled

OPAQUE = 0.5
_PLACES = 10
_PAD = 4
# Colours at the outline are mixed with the old ground; opacities from here up to there are spread over 0 to 1.
_CLEAR, _SOLID = 0.35, 0.75

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """What scenes look like.

    Attributes:
        size: (H, W) px.
        objects: least and most objects a scene.
        lengths: least and most px of the longer side of an object's box.
        overlap: largest share of an object that a later one hides.
        seed: of every draw.
    """

    size: tuple[int, int] = (320, 320)
    objects: tuple[int, int] = (1, 4)
    lengths: tuple[float, float] = (64.0, 160.0)
    overlap: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(32 <= side <= 4096 for side in self.size):
            raise DekeyError(f"found scenes of {self.size[1]}x{self.size[0]} px, expected sides from 32 to 4096")
        if not 1 <= self.objects[0] <= self.objects[1] <= 100:
            raise DekeyError(f"found {self.objects[0]} to {self.objects[1]} objects a scene, expected 1 to 100, least first")
        if not 8 <= self.lengths[0] <= self.lengths[1] <= min(self.size):
            low, high = self.lengths
            raise DekeyError(
                f"found objects of {low:g} to {high:g} px, expected from 8 to the scene's shorter side of {min(self.size)}, "
                "least first"
            )


class Composer:
    """Makes scenes of some labelled pictures and no others.

    Args:
        layout: what scenes look like.
        schema: of the labels.
        labelled: whose objects are placed, and whose grounds are used where no other ones are given.
        read: gives the picture of a labelled one by its index.
        grounds: gives a ground picture by a number, and how many there are; None takes the pictures' own, painted over.
        stream: scenes of another stream differ from those of the same seed and number.
    """

    def __init__(
        self,
        layout: Layout,
        schema: Schema,
        labelled: Sequence[Labelled],
        read: Callable[[int], Picture],
        grounds: tuple[Callable[[int], Picture], int] | None = None,
        stream: int = 0,
    ) -> None:
        if not labelled:
            raise DekeyError("found no labelled picture to compose scenes of; lower --quality or give more pictures")
        self._layout = layout
        self._stream = stream
        self._schema = schema
        self._labelled = labelled
        self._read = read
        self._grounds = grounds or (self._own_ground, len(labelled))
        self._by_class: list[list[int]] = [[] for _ in schema.classes]
        for position, each in enumerate(labelled):
            self._by_class[int(each.instances.labels[0])].append(position)
        self._classes = [label for label, members in enumerate(self._by_class) if members]

    def scene(self, number: int) -> tuple[Picture, Instances, list[int]]:
        """Compose a scene; every class is drawn equally often.

        Returns:
            The picture (H, W, 3) uint8, its objects, and the index of the picture that each object comes from.
        """
        layout = self._layout
        rng = np.random.default_rng([layout.seed, self._stream, number])
        read_ground, count = self._grounds
        outlines = [self._labelled[int(rng.integers(len(self._labelled)))].opacity for _ in range(3)]
        picture = lay_ground(rng, layout.size, lambda: read_ground(int(rng.integers(count))), outlines)
        instances = Instances.empty(len(self._schema.keypoints))
        shown: list[NDArray[np.bool_]] = []
        sources: list[int] = []
        for _ in range(int(rng.integers(layout.objects[0], layout.objects[1] + 1))):
            members = self._by_class[self._classes[int(rng.integers(len(self._classes)))]]
            donor = self._labelled[members[int(rng.integers(len(members)))]]
            placed = self._place(rng, donor, shown)
            if placed is None:
                continue
            pasted, opacity, one = placed
            picture = (picture + (pasted - picture.astype(np.float32)) * opacity[..., None]).round().astype(np.uint8)
            solid = opacity >= OPAQUE
            shown = [each & ~solid for each in shown] + [solid]
            instances = Instances.concatenate([cover_labels(instances, solid), one], len(self._schema.keypoints))
            sources.append(donor.index)
        return picture, instances, sources

    def _place(
        self, rng: np.random.Generator, donor: Labelled, shown: Sequence[NDArray[np.bool_]]
    ) -> tuple[Picture, NDArray[np.float32], Instances] | None:
        """Draw size, flip and place of an object; None where it would hide too much of others everywhere."""
        layout = self._layout
        one, box = donor.instances, donor.instances.boxes[0]
        low, high = layout.lengths
        factor = math.exp(rng.uniform(math.log(low), math.log(high))) / float((box[2:] - box[:2]).max())
        affine = geometry.scale(factor)
        if self._schema.mirror is not None and rng.random() < 0.5:
            affine = geometry.compose(geometry.mirror(donor.size[1]), affine)
            one = replace(
                one, keypoints=one.keypoints[:, self._schema.mirror], visibility=one.visibility[:, self._schema.mirror]
            )
        one = one.mapped(affine)
        room = np.array(layout.size[::-1]) - (one.boxes[0, 2:] - one.boxes[0, :2])
        picture = self._read(donor.index)
        for _ in range(_PLACES):
            corner = rng.random(2) * np.maximum(room, 0)
            move = geometry.translate(*(corner - one.boxes[0, :2]))
            picture_to_scene = geometry.compose(affine, move)
            opacity = opacity_in_scene(donor, picture_to_scene, layout.size)
            solid = opacity >= OPAQUE
            if all((each & solid).sum() <= layout.overlap * each.sum() for each in shown):
                padded = np.pad(picture, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="edge")
                padded_to_scene = geometry.compose(geometry.translate(-_PAD, -_PAD), picture_to_scene)
                return geometry.warp(padded, padded_to_scene, layout.size), opacity, one.mapped(move)
        return None

    def _own_ground(self, number: int) -> Picture:
        each = self._labelled[number]
        return without_object(self._read(each.index), each.opacity)


def opacity_in_scene(donor: Labelled, picture_to_scene: geometry.Affine, size: tuple[int, int]) -> NDArray[np.float32]:
    """Give how much of each pixel of a scene of `size` (H, W) shows the object, (H, W) float32 from 0 to 1."""
    work_to_scene = geometry.compose(geometry.invert(donor.picture_to_work), picture_to_scene)
    grey = np.repeat(donor.opacity[..., None], 3, axis=2)
    large = geometry.warp(grey, work_to_scene, size)[..., 0].astype(np.float32) / 255
    return np.clip((large - _CLEAR) / (_SOLID - _CLEAR), 0, 1).astype(np.float32)

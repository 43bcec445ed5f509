"""Augmentation: one affine drawn and applied once, then colour, blur and occluders on the small picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.geometry import Affine
from dekey.data.instances import Instances
from dekey.training.cover import cover_picture, places_on, random_place

# Turns that remain beside quarter turns, degrees: estimates of boxes are hardly off there.
SETTLED_TURN = 15.0
_GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augment:
    """How far training may bend its pictures; zero everywhere leaves them as they are.

    Attributes:
        rotate: largest turn, degrees to either side; 180 for objects seen from above.
        quarters: turn by a random multiple of 90 degrees besides, which leaves boxes exact.
        scale: largest change of size, as likely down as up; 0.3 draws from 1/1.3 to 1.3.
        shift: largest shift, as a share of the input's size.
        flip: chance of a left-right flip; only where the schema knows the mirror pairs.
        colour: strength of brightness, contrast, saturation and tint changes, 0 to 1.
        blur: chance of a Gaussian blur.
        erase: chance that one to three occluders lie anywhere in the picture.
        cover: chance of each object that an occluder hides 5 to 40 % of its box.
        zoom: chance that a scene is shown close to one of its objects; crops know nothing of it.
        paste: chance that an object of another image is pasted into a scene; crops know nothing of it.
    """

    rotate: float = 0.0
    quarters: bool = False
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    cover: float = 0.0
    zoom: float = 0.0
    paste: float = 0.0

    def draw_affine(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Affine, bool]:
        """Draw how the input frame is bent.

        Args:
            rng: source of chance.
            size: (H, W) of the input, px.

        Returns:
            The affine from the straight input frame to the bent one, and whether it flips.
        """
        height, width = size
        angle = math.radians(self.rotate) * _bell(rng) if self.rotate < 180 else rng.uniform(-math.pi, math.pi)
        if self.quarters:
            angle += math.pi / 2 * int(rng.integers(4))
        factor = (1 + self.scale) ** _bell(rng)
        shift_x, shift_y = self.shift * width * _bell(rng), self.shift * height * _bell(rng)
        flipped = bool(rng.random() < self.flip)
        bent = geometry.compose(
            geometry.translate(-width / 2, -height / 2),
            geometry.rotate(angle),
            geometry.scale(factor),
            geometry.translate(width / 2 + shift_x, height / 2 + shift_y),
        )
        return (geometry.compose(bent, geometry.mirror(width)) if flipped else bent), flipped

    def settled(self, has_boxes: bool) -> Augment:
        """Give what the end of a run shows: labels as nearly as they were drawn as the data allow.

        Flips contradict labels that lie systematically to one side. The box of a turned object is an estimate; where full
        turns are asked for and boxes are learned, quarter turns take their place, with the least of turns besides.

        Args:
            has_boxes: boxes are learned.
        """
        if has_boxes and self.rotate >= 180:
            return replace(self, flip=0.0, rotate=SETTLED_TURN, quarters=True)
        return replace(self, flip=0.0)

    def change_picture(
        self,
        rng: np.random.Generator,
        image: NDArray[np.uint8],
        boxes: NDArray[np.float64] | None = None,
        other: NDArray[np.uint8] | None = None,
        other_boxes: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Change colours, blur and cover parts of a picture; the geometry stays. Its labels belong through `cover_labels`.

        Args:
            rng: source of chance; the same state gives the same view.
            image: (H, W, 3) uint8 RGB, left as it is.
            boxes: (N, 4) x1 y1 x2 y2 px of the objects in the picture, for occluders that aim at them; nothing that shows most
                of one of them is used as an occluder.
            other: (H2, W2, 3) uint8 RGB, a second picture to cut occluders from.
            other_boxes: (M, 4) px of the objects in `other`.

        Returns:
            The picture, and which of its pixels are covered, (H, W) bool, or None where none is.
        """
        if self.colour:
            image = self._recolour(rng, image)
        if rng.random() < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))  # type: ignore[assignment]
        size = image.shape[0], image.shape[1]
        places = [random_place(rng, size) for _ in range(rng.integers(1, 4))] if rng.random() < self.erase else []
        places += places_on(rng, boxes, size, self.cover)
        if not places:
            return image, None
        return cover_picture(rng, image, places, boxes, other, other_boxes)

    def _recolour(self, rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Apply one 3×4 colour matrix: saturation, then contrast about mid-grey with a tint, then brightness."""
        saturation = max(1 + self.colour * rng.uniform(-1, 1), 0.0)
        contrast = (1 + 0.6 * self.colour) ** rng.uniform(-1, 1)
        tint = 1 + 0.15 * self.colour * rng.uniform(-1, 1, 3)
        brightness = 50 * self.colour * rng.uniform(-1, 1)
        matrix = saturation * np.eye(3) + (1 - saturation) * _GREY
        matrix = contrast * tint[:, None] * matrix
        offset = 127.5 - contrast * 127.5 + brightness
        return cv2.transform(image, np.hstack([matrix, np.full((3, 1), offset)]))  # type: ignore[return-value]


def flip_labels(instances: Instances, mirror: NDArray[np.int64]) -> Instances:
    """Exchange left and right keypoints, as a flipped picture demands; coordinates are not touched."""
    return Instances(
        instances.boxes,
        instances.labels,
        instances.keypoints[:, mirror],
        instances.visibility[:, mirror],
        instances.crowd,
        instances.areas,
        instances.scores,
        None if instances.keypoint_scores is None else instances.keypoint_scores[:, mirror],
    )


def _bell(rng: np.random.Generator) -> float:
    """Draw from (−1, 1), small values more often than large ones."""
    return float((rng.random() + rng.random()) - 1)

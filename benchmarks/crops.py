"""Top-down crops for the peers: the same geometry as dekey's own, so that only the methods differ.

A crop is the truth box, 1.25 times its size, fitted into a square input with its aspect kept. Decoded images stay in
memory: a plain script that read every file anew would lose time that has nothing to do with its method.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, geometry

PADDING = 1.25
ROTATION = np.deg2rad(40.0)
SCALE = 0.3
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
# Above this many bytes of decoded images the rest is read again at every use.
MEMORY = 6 * 2**30


@dataclass(frozen=True)
class Crop:
    """One object in the frame of the network input.

    Attributes:
        image: (H, W, 3) uint8 RGB, black outside the picture.
        keypoints: (K, 2) float64 px of the input, NaN where not annotated.
        image_to_input: (2, 3) affine.
    """

    image: NDArray[np.uint8]
    keypoints: NDArray[np.float64]
    image_to_input: geometry.Affine


@dataclass
class Crops:
    """Every object of a data set as a crop of its own.

    Attributes:
        dataset: images with boxes and keypoints.
        input_size: side of the square input, px.
    """

    dataset: Dataset
    input_size: int
    _decoded: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _bytes: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        instances = self.dataset.instances
        whole = np.isfinite(instances.boxes).all(axis=1) & ~instances.crowd & instances.labelled.any(axis=1)
        if not whole.any():
            raise SystemExit("no object with a box and a labelled keypoint; the top-down recipe needs both")
        self.objects = np.flatnonzero(whole)
        self.image_of_object = self.dataset.image_of_instance()

    def __len__(self) -> int:
        return len(self.objects)

    def plain(self, index: int) -> Crop:
        """Give object `index` upright and centred."""
        return self._crop(index, self.image_to_input(index), flipped=False)

    def augmented(self, index: int, random: np.random.Generator) -> Crop:
        """Give object `index` rotated by up to 40 degrees, resized by up to 30 % and, half of the time, mirrored.

        Without a mirror permutation in the schema nothing is mirrored.
        """
        box, half = self.dataset.instances.boxes[self.objects[index]], self.input_size / 2
        padding = PADDING * random.uniform(1 - SCALE, 1 + SCALE)
        flipped = self.dataset.schema.mirror is not None and bool(random.random() < 0.5)
        image_to_input = geometry.compose(
            geometry.crop(box, (self.input_size, self.input_size), padding),
            geometry.translate(-half, -half),
            geometry.rotate(random.uniform(-ROTATION, ROTATION)),
            geometry.translate(half, half),
            geometry.mirror(self.input_size) if flipped else geometry.identity(),
        )
        return self._crop(index, image_to_input, flipped)

    def found(self, keypoints: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Instances]:
        """Carry answers in the upright crops back into the images: one Instances an image, in the order of the data set.

        Args:
            keypoints: (N, K, 2) px of the input, one row a crop.
            scores: (N, K).
        """
        instances = self.dataset.instances
        places = np.full((len(instances), *keypoints.shape[1:]), np.nan)
        heights = np.zeros(places.shape[:2])
        for index, position in enumerate(self.objects):
            places[position] = geometry.apply(geometry.invert(self.image_to_input(index)), keypoints[index])
            heights[position] = scores[index]
        answers = []
        for image in range(len(self.dataset)):
            own = self.objects[self.image_of_object[self.objects] == image]
            truth = instances[own]
            answers.append(
                Instances.create(
                    places[own],
                    boxes=truth.boxes,
                    labels=truth.labels,
                    scores=heights[own].mean(axis=1),
                    keypoint_scores=heights[own],
                )
            )
        return answers

    def image_to_input(self, index: int) -> geometry.Affine:
        """Give the affine of object `index` upright and centred."""
        box = self.dataset.instances.boxes[self.objects[index]]
        return geometry.crop(box, (self.input_size, self.input_size), PADDING)

    def _crop(self, index: int, image_to_input: geometry.Affine, flipped: bool) -> Crop:
        instance = self.objects[index]
        keypoints = geometry.apply(image_to_input, self.dataset.instances.keypoints[instance])
        keypoints = np.where(self.dataset.instances.labelled[instance][:, None], keypoints, np.nan)
        if flipped and self.dataset.schema.mirror is not None:
            keypoints = keypoints[self.dataset.schema.mirror]
        image = self._image(int(self.image_of_object[instance]))
        return Crop(geometry.warp(image, image_to_input, (self.input_size,) * 2), keypoints, image_to_input)

    def _image(self, position: int) -> NDArray[np.uint8]:
        if position in self._decoded:
            return self._decoded[position]
        image = self.dataset[position].read_image()
        if self._bytes + image.nbytes <= MEMORY:
            self._decoded[position] = image
            self._bytes += image.nbytes
        return image

"""Every image as a whole with all its objects: what a detector is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, geometry
from dekey.data.covered import cover_labels, covered_shares
from dekey.data.geometry import Affine
from dekey.data.turned import turned_boxes
from dekey.training.augment import Augment, flip_labels
from dekey.training.paste import copy_paste, cut_donor, zoom_affine
from dekey.training.views import KeptPictures, read_for, reduced

# An object that a view cuts is still an example of itself if this share of its box is seen; else nothing is asked there.
SMALLEST_SEEN = 0.6
# An object of which occluders hide more than this is not asked for.
HIDDEN = 0.8
# How much larger than in the whole image an object may be shown.
CLOSEST = 3.0
# A box that is made of keypoints reaches beyond their hull by this share of its longer side.
HULL_MARGIN = 0.1


def with_boxes(dataset: Dataset) -> Dataset:
    """Give a box to every object that has keypoints but none: their upright hull, and a tenth of its longer side around it.

    An object with a single keypoint, or whose keypoints coincide, stays without.
    """
    instances = dataset.instances
    known = np.where(instances.labelled[..., None], instances.keypoints, np.nan)
    hulls = geometry.hulls(known)
    margin = HULL_MARGIN * geometry.box_sizes(hulls).max(axis=1, keepdims=True)
    made = np.concatenate([hulls[:, :2] - margin, hulls[:, 2:] + margin], axis=1)
    usable = np.isfinite(made).all(axis=1) & (margin[:, 0] > 0)
    missing = ~np.isfinite(instances.boxes).all(axis=1) & usable
    if not missing.any():
        return dataset
    return replace(dataset, instances=replace(instances, boxes=np.where(missing[:, None], made, instances.boxes)))


@dataclass
class SceneSet:
    """The images of a data set, letterboxed into the input, with every object; see `Views`.

    Crowds and objects of which a view shows too little come back with ``crowd`` set: nothing is asked in their boxes.

    Attributes:
        dataset: where the images come from; every object has a box.
        input_size: (H, W) px.
        memory: bytes that kept pictures may take.
        zoom: how much larger than letterboxed views are that must be sharp.
    """

    dataset: Dataset
    input_size: tuple[int, int]
    memory: int = 0
    zoom: float = 1.0
    images: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.images = np.arange(len(self.dataset), dtype=np.int64)
        self._pictures = KeptPictures(self.memory)

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, index: int, augment: Augment, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Instances, Affine]:
        """Make one training view, see `Views.draw`."""
        straight = geometry.letterbox(self._size(index), self.input_size)
        bent, flipped = augment.draw_affine(rng, self.input_size)
        if rng.random() < augment.zoom:
            bent = geometry.compose(self._zoom(rng, index, straight), bent)
        image_to_input = geometry.compose(straight, bent)
        view = self._view(index, image_to_input)
        instances = self._seen(self.dataset[index].instances, image_to_input)
        mirror = self.dataset.schema.mirror
        if flipped and mirror is not None:
            instances = flip_labels(instances, mirror)
        if rng.random() < augment.paste:
            content = geometry.apply_to_boxes(bent, self._content(index, straight))[0]
            view, instances = self._paste(rng, view, instances, content, mirror if augment.flip else None)
        picture, covered = augment.change_picture(rng, view, instances.boxes)
        if covered is not None:
            hidden = covered_shares(instances.boxes, covered) > HIDDEN
            instances = cover_labels(replace(instances, crowd=instances.crowd | hidden), covered)
        return picture, instances, image_to_input

    def _size(self, index: int) -> tuple[int, int]:
        height, width = self.dataset.sizes[index]
        return int(height), int(width)

    def _content(self, index: int, straight: Affine) -> NDArray[np.float64]:
        """Give the part (1, 4) px of the input that an image fills."""
        height, width = self._size(index)
        return geometry.apply_to_boxes(straight, np.array([[0.0, 0.0, width, height]]))

    def _zoom(self, rng: np.random.Generator, index: int, straight: Affine) -> Affine:
        """Draw a view close to one of the objects, up to `CLOSEST` times as large as it is."""
        boxes = geometry.apply_to_boxes(straight, self.dataset[index].instances.boxes)
        usable = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (geometry.box_sizes(boxes) > 1).all(axis=1))
        if not usable.size:
            return geometry.identity()
        box = boxes[rng.choice(usable)]
        share = min(float((box[2:] - box[:2]).max()) / min(self.input_size), 0.9)
        return zoom_affine(rng, box, self.input_size, (share, min(CLOSEST * share, 0.9)))

    def _paste(
        self,
        rng: np.random.Generator,
        view: NDArray[np.uint8],
        instances: Instances,
        content: NDArray[np.float64],
        mirror: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.uint8], Instances]:
        """Paste an object of another image into a view; `content` (4,) px is where the view shows an image and no border."""
        other = int(rng.integers(len(self)))
        straight = geometry.letterbox(self._size(other), self.input_size)
        seen = self._seen(self.dataset[other].instances, straight)
        if not len(seen):
            return view, instances
        donor = cut_donor(self._view(other, straight), seen, int(rng.integers(len(seen))))
        if donor is None:
            return view, instances
        height, width = self.input_size
        within = np.clip(content, 0, [width, height, width, height])
        return copy_paste(rng, view, instances, [donor], mirror=mirror, within=within)

    def _view(self, index: int, image_to_input: Affine) -> NDArray[np.uint8]:
        magnification = geometry.letterbox(self._size(index), self.input_size)[0, 0]
        picture, image_to_picture = self._picture(index, magnification * self.zoom)
        return geometry.warp(picture, geometry.compose(geometry.invert(image_to_picture), image_to_input), self.input_size)

    def _picture(self, index: int, magnification: float) -> tuple[NDArray[np.uint8], Affine]:
        kept = self._pictures.get(index)
        if kept is None:
            image = read_for(self.dataset[index], magnification)
            kept = reduced(image.pixels, image.image_to_pixels, magnification)
            self._pictures.keep(index, *kept)
        return kept

    def _seen(self, instances: Instances, image_to_input: Affine) -> Instances:
        """Carry the objects into a view: boxes clipped to it, those that it hardly shows marked, those outside left out."""
        mapped = replace(instances.mapped(image_to_input), boxes=turned_boxes(instances, image_to_input))
        height, width = self.input_size
        clipped = np.clip(mapped.boxes, 0, [width, height, width, height])
        whole = np.maximum(geometry.box_sizes(mapped.boxes).prod(axis=1), 1e-9)
        share = geometry.box_sizes(clipped).prod(axis=1) / whole
        hidden = ~(share >= SMALLEST_SEEN)
        return replace(mapped, boxes=clipped, crowd=mapped.crowd | hidden)[~(share <= 0)]

"""The one Predictor: image in, Instances out, whatever runs the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dekey.data import OCCLUDED, UNLABELLED, VISIBLE, Dataset, Instances, Schema, geometry
from dekey.data.align import Alignment
from dekey.data.geometry import Affine, Size
from dekey.data.images import ReducedImage, read_header, read_reduced
from dekey.data.suppress import Views, distinct, merged
from dekey.errors import DekeyError
from dekey.runtime.backends import Arrays, Backend
from dekey.runtime.given import Image, check_threshold, checked_boxes, checked_image
from dekey.runtime.second_look import close_views, taken_over
from dekey.runtime.views import check_views, views

Advance = Callable[[int], None]

WEAKEST = 0.01
"""Score from which a detector's answers are measured: average precision needs the weak ones too, and below it lies noise."""

WORTH_A_LOOK = 0.1
"""Score from which an object is looked at again; the weaker ones are mostly noise, and each look costs as much as an image."""


class Predictor:
    """Cuts out, runs the network, maps back.

    A batch gives the same answers as its images one by one. Validation during training, the command line and the
    library all come through here.

    Args:
        backend: what runs the network.
        batch_size: crops that go through the network together.
        threshold: score from which an object counts as found, for models that look at whole images; the model's own
            where None.
        tiles: side px of squares that a detector is shown one by one besides the whole image, for small objects.
        overlap: share of a tile's side by which neighbours overlap; objects up to that size lie whole in one of them.
        scales: how many times as large as when fitted into the input a detector is shown the image, see
            `dekey.runtime.views`; the whole image once where empty.
        once: look at objects only once, even if the model was taught to look at each again from close by, see
            `dekey.runtime.second_look`.

    Attributes:
        manifest: what the model is.
        schema: what it finds.
        threshold: score from which an object counts as found.

    Raises:
        DekeyError: if `batch_size` is below 1, or threshold, tiles, overlap or scales are out of range or do not apply.
    """

    def __init__(
        self,
        backend: Backend,
        batch_size: int = 16,
        threshold: float | None = None,
        tiles: int | None = None,
        overlap: float = 0.2,
        scales: Sequence[float] = (),
        once: bool = False,
    ) -> None:
        if batch_size < 1:
            raise DekeyError(f"found a batch size of {batch_size}, expected 1 or more")
        self.backend = backend
        self.manifest = backend.manifest
        self.schema = self.manifest.schema_found
        self.batch_size = batch_size
        if threshold is not None:
            check_threshold(threshold)
            if self.manifest.region == "box":
                raise DekeyError(
                    f"found a threshold of {threshold:g} for a model of crops, which answers each box; leave it out"
                )
        check_views(tiles, overlap, scales)
        # Shown a part in which its object is not, a model that always answers with one would make one up.
        if (tiles is not None or len(scales)) and not (self.manifest.finds_boxes and self.manifest.objects > 1):
            what = "crop" if self.manifest.region == "box" else "image"
            raise DekeyError(
                f"found tiles or scales for a model of one object for each {what}, which takes neither; leave them out"
            )
        if once and not self.manifest.second_look:
            raise DekeyError("found once for a model that looks only once anyway; leave it out")
        self.tiles, self.overlap, self.scales, self.once = tiles, overlap, tuple(scales), once
        self.threshold = self.manifest.object_threshold if threshold is None else threshold

    def __call__(self, image: Image, boxes: NDArray[np.float64] | None = None) -> Instances:
        """Find the keypoints in one image.

        Args:
            image: (H0, W0, 3) uint8 RGB, or what `read` gave.
            boxes: (N, 4) x1 y1 x2 y2 px of the objects; without them the whole image is the crop of one object. A
                detector finds the objects by itself and takes none.

        Returns:
            Instances in image coordinates; `keypoint_scores` and `scores` in [0, 1]. One for each box given, else those
            whose score is not below `threshold`. The boxes of a detector end at the border of the image; a keypoint that
            its class lacks is NaN.

        Raises:
            DekeyError: if the image is not (H0, W0, 3) uint8, the boxes are not (N, 4), a box is not finite or has no
                area, or the model is a detector and boxes are given.
        """
        return self.batch([image], None if boxes is None else [boxes])[0]

    def read(self, path: str | os.PathLike[str], boxes: NDArray[np.float64] | None = None) -> ReducedImage:
        """Decode an image file to no more pixels than the network is going to see, which is quicker the larger it is.

        Args:
            path: the file.
            boxes: those that the image is going to be given with.

        Raises:
            DekeyError: if the file is missing, broken or too large, or the boxes are wrong.
        """
        header = read_header(path)
        return read_reduced(header, self._magnification(header.size, None if boxes is None else checked_boxes(boxes)))

    def batch(self, images: Sequence[Image], boxes: Sequence[NDArray[np.float64] | None] | None = None) -> list[Instances]:
        """Find the keypoints in several images; see `__call__`. Always a list, one entry an image."""
        return self._batch(images, boxes, self.threshold)

    def _batch(
        self, given_images: Sequence[Image], boxes: Sequence[NDArray[np.float64] | None] | None, threshold: float
    ) -> list[Instances]:
        images = [checked_image(image) for image in given_images]
        given = [None] * len(images) if boxes is None else [None if one is None else checked_boxes(one) for one in boxes]
        if len(given) != len(images):
            raise DekeyError(f"found boxes for {len(given)} images, expected {len(images)}; give one array (or None) an image")
        if self.manifest.finds_boxes and any(one is not None for one in given):
            raise DekeyError("found boxes for a model that finds the objects of an image by itself; give the image alone")
        crops = [self._crops(image.size, box) for image, box in zip(images, given, strict=True)]
        flat = [(image, affine) for image, affines in zip(images, crops, strict=True) for affine in affines]
        answers = self._run(flat)
        # Weak answers of several views are merged too, so that what is measured and what is shown differ by the threshold
        # alone. Of one view none becomes stronger by them, and the strong ones are chosen first.
        one_look = self.tiles is None and not self.scales and (self.once or not self.manifest.second_look)
        weakest = threshold if one_look else min(WEAKEST, threshold)
        found = []
        for image, affines, own in zip(images, crops, given, strict=True):
            mine = [next(answers) for _ in affines]
            instances = self._instances(mine, affines, own)
            if own is None and self.manifest.finds_boxes:
                instances = self._distinct(instances, None if one_look else affines, image.size, weakest)
            found.append(instances)
        if one_look and self.manifest.finds_boxes:
            return found  # without those below the threshold
        if self.manifest.second_look and not self.once:
            found = self._again(images, found)
        for position, (instances, own) in enumerate(zip(found, given, strict=True)):
            if own is None:
                assert instances.scores is not None
                found[position] = instances[instances.scores >= threshold]
        return found

    def _again(self, images: Sequence[ReducedImage], found: Sequence[Instances]) -> list[Instances]:
        """Look at the objects of each image again, each in a view of its own."""
        input_size, share = self.manifest.input_size, self.manifest.second_look
        sure = [np.asarray(one.scores) >= WORTH_A_LOOK for one in found]
        close = [
            close_views(one[these], image.size, input_size, share)
            for image, one, these in zip(images, found, sure, strict=True)
        ]
        answers = self._run(
            [(image, view) for image, views_of in zip(images, close, strict=True) for view in views_of if view is not None]
        )
        again = []
        for image, one, these, views_of in zip(images, found, sure, close, strict=True):
            second = [
                None
                if view is None
                else self._distinct(self._instances([next(answers)], [view], None), [view], image.size, WEAKEST)
                for view in views_of
            ]
            again.append(Instances.concatenate([taken_over(one[these], second), one[~these]], one.keypoints.shape[1]))
        return again

    def predict_dataset(self, dataset: Dataset, advance: Advance | None = None) -> list[Instances]:
        """Find the keypoints of every annotated object of a data set.

        A model trained on crops is given the annotated boxes and labels, one answer an object (crowds left out); a model
        trained on whole images gives one answer an image; a detector gives every object with a score of `WEAKEST` or more,
        whatever `threshold` is.

        Args:
            dataset: what to look at; the model must know the keypoints that its schema names, and a detector the classes;
                without a detector the classes are the data set's own. Answers come under the names of the data set, those
                of classes that it lacks are left out; see `dekey.data.align`.
            advance: called with the number of images done.

        Returns:
            One Instances an image, in the order of the data set.

        Raises:
            DekeyError: if the model lacks a keypoint or a class, an image cannot be read, or boxes are missing.
        """
        names = Alignment.between(dataset.schema, self.schema, classes=self.manifest.finds_boxes)
        found: list[Instances] = []
        for start in range(0, len(dataset), self.batch_size):
            samples = [dataset[index] for index in range(start, min(start + self.batch_size, len(dataset)))]
            if self.manifest.region == "image":
                images = [sample.read_reduced(self._magnification(sample.size, None)) for sample in samples]
                answers = self._batch(images, None, WEAKEST if self.manifest.finds_boxes else 0.0)
                answers = [names.apply(one) for one in answers]
            else:
                truths = [sample.instances[~sample.instances.crowd] for sample in samples]
                for sample, truth in zip(samples, truths, strict=True):
                    if not (np.isfinite(truth.boxes).all() and (geometry.box_sizes(truth.boxes) > 0).all()):
                        raise DekeyError(f"image {sample.name} has an object whose box is missing or empty; draw it again")
                boxes = [truth.boxes for truth in truths]
                images = [
                    sample.read_reduced(self._magnification(sample.size, own))
                    for sample, own in zip(samples, boxes, strict=True)
                ]
                answers = [names.apply(one) for one in self.batch(images, boxes)]
                answers = [with_labels(one, truth.labels, dataset.schema) for one, truth in zip(answers, truths, strict=True)]
            found.extend(answers)
            if advance is not None:
                advance(len(samples))
        return found

    def _magnification(self, size: Size, boxes: NDArray[np.float64] | None) -> float:
        """Tell how many px of the input an image px becomes at most."""
        if self.manifest.second_look and not self.once:
            return 1.0  # how close it goes is known only when the objects are found
        return max((float(affine[0, 0]) for affine in self._crops(size, boxes)), default=0.0)

    def _crops(self, size: Size, boxes: NDArray[np.float64] | None) -> list[Affine]:
        if boxes is None:
            return views(size, self.manifest.input_size, self.tiles, self.overlap, self.scales)
        sizes = geometry.box_sizes(boxes)
        wrong = np.flatnonzero(~(np.isfinite(boxes).all(1) & (sizes > 0).all(1)))
        if wrong.size:
            raise DekeyError(f"box {boxes[wrong[0]].tolist()} has no area, expected x1 < x2 and y1 < y2; mend or drop it")
        return [geometry.crop(box, self.manifest.input_size, self.manifest.padding) for box in boxes]

    def _run(self, crops: Sequence[tuple[ReducedImage, Affine]]) -> Iterator[Arrays]:
        """Run the network over crops and give each one's arrays."""
        height, width = self.manifest.input_size
        for start in range(0, len(crops), self.batch_size):
            part = crops[start : start + self.batch_size]
            inputs = np.empty((len(part), height, width, 3), dtype=np.uint8)
            for row, (image, image_to_input) in enumerate(part):
                pixels_to_input = geometry.compose(geometry.invert(image.image_to_pixels), image_to_input)
                inputs[row] = geometry.warp(image.pixels, pixels_to_input, (height, width), self.manifest.fill)
            arrays = self.backend.run(inputs)
            for row in range(len(part)):
                yield {name: array[row] for name, array in arrays.items()}

    def _instances(self, answers: Sequence[Arrays], affines: Sequence[Affine], boxes: NDArray[np.float64] | None) -> Instances:
        """Carry the arrays of the views of one image back into the image, N objects a view."""
        count = len(self.schema.keypoints)
        parts = []
        for answer, affine in zip(answers, affines, strict=True):
            inverse = geometry.invert(affine)
            keypoints = geometry.apply(inverse, answer["keypoints"].astype(np.float64))
            own = geometry.apply_to_boxes(inverse, answer["boxes"].astype(np.float64)) if self.manifest.finds_boxes else None
            parts.append(
                Instances.create(
                    keypoints,
                    boxes=geometry.hulls(keypoints) if own is None else own,
                    labels=answer["labels"].astype(np.int64),
                    visibility=np.where(answer["visibility"] >= 0.5, VISIBLE, OCCLUDED),
                    scores=answer["scores"],
                    keypoint_scores=answer["keypoint_scores"],
                )
            )
        if not parts:
            return replace(Instances.empty(count), scores=np.zeros(0), keypoint_scores=np.zeros((0, count)))
        found = Instances.concatenate(parts, count)
        return found if boxes is None else replace(found, boxes=boxes)

    def _distinct(self, found: Instances, affines: Sequence[Affine] | None, size: Size, weakest: float) -> Instances:
        """Drop padding and noise of a detector, end boxes at the border of the image, give one answer for each object.

        Args:
            found: the answers of all views, equally many for each.
            affines: image_to_input of each view; None for a single view of the whole image, which cuts no object.
            size: (H0, W0) px of the image.
            weakest: score below which answers are dropped.
        """
        assert found.scores is not None
        boxes = np.clip(found.boxes, 0.0, np.array([size[1], size[0], size[1], size[0]]))
        # Score 0 is padding; a box wholly outside the image holds nothing of it.
        kept = (found.scores >= weakest) & (found.scores > 0) & (geometry.box_sizes(boxes) > 0).all(1)
        kept &= np.isfinite(boxes).all(1) & np.isfinite(found.keypoints).all((1, 2))
        count = len(found)
        found = replace(found, boxes=boxes)[kept]
        if len(found) and not (found.labels.min() >= 0 and found.labels.max() < len(self.schema.classes)):
            raise DekeyError(
                f"the network answered with a class outside the {len(self.schema.classes)} of the model; export it again"
            )
        found = with_labels(found, found.labels, self.schema)
        if affines is None:
            return found[distinct(found)]
        view = np.repeat(np.arange(len(affines)), count // len(affines))[kept]
        shown = np.array([geometry.shown_region(affine, self.manifest.input_size) for affine in affines])
        pixels = np.array([1 / affine[0, 0] for affine in affines])
        return merged(found, Views(shown[view], pixels[view], size))[0]


def with_labels(found: Instances, labels: NDArray[np.int64], schema: Schema) -> Instances:
    """State the class of each object, where whoever gave the boxes knows it.

    Args:
        found: N objects with the keypoints of `schema`.
        labels: (N,) class index.
        schema: says which class has which keypoint; a keypoint that the class lacks becomes NaN, unlabelled, score 0.
    """
    present = schema.present[labels]
    if present.all():
        return found if labels is found.labels else replace(found, labels=labels)
    absent = ~present
    keypoint_scores = found.keypoint_scores
    return replace(
        found,
        labels=labels,
        keypoints=np.where(absent[..., None], np.nan, found.keypoints),
        visibility=np.where(absent, UNLABELLED, found.visibility).astype(np.uint8),
        keypoint_scores=None if keypoint_scores is None else np.where(absent, 0.0, keypoint_scores),
    )

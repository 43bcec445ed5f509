"""Batches as a pure function of the step, prepared ahead by threads.

Step s takes positions s·B … s·B + B − 1 of an endless row of shuffled passes over the data. Nothing else decides what a
batch holds: a resumed run, a run with more threads and the first run see the same pictures. Threads serve better than
processes here, because OpenCV works outside the interpreter's lock and the decoded pictures are shared.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.data.geometry import Affine
from dekey.models.base import Batch
from dekey.training.augment import Augment
from dekey.training.views import Views


@dataclass
class BatchStream:
    """An endless stream of augmented batches.

    Attributes:
        views: what to draw from.
        augment: how to bend it.
        settled: how to bend it where the run settles; as everywhere where None.
        settles_at: tells for a step whether it is there.
        small: (H, W) px of the images where the run begins; as everywhere where None.
        small_at: tells for a step whether it is there.
        batch_size: B.
        seed: decides order and augmentation.
        workers: threads that prepare batches ahead.
        waited: seconds spent waiting for batches so far.
    """

    views: Views
    augment: Augment
    batch_size: int
    seed: int
    workers: int = 1
    settled: Augment | None = None
    settles_at: Callable[[int], bool] = field(default=lambda step: False)
    small: tuple[int, int] | None = None
    small_at: Callable[[int], bool] = field(default=lambda step: False)
    waited: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def indices(self, step: int) -> list[tuple[int, int]]:
        """Give (pass over the data, crop) of each image of a step."""
        first = step * self.batch_size
        chosen = []
        for position in range(first, first + self.batch_size):
            number, place = divmod(position, len(self.views))
            chosen.append((number, int(self._permutation(number)[place])))
        return chosen

    def _permutation(self, number: int) -> NDArray[np.int64]:
        order = self._order
        if order is None or order[0] != number:
            order = (number, np.random.default_rng((self.seed, number)).permutation(len(self.views)))
            self._order = order
        return order[1]

    def batch(self, step: int) -> Batch:
        """Make the batch of a step."""
        size = self.small if self.small is not None and self.small_at(step) else self.views.input_size
        chosen = self.indices(step)
        augment = self.settled if self.settled is not None and self.settles_at(step) else self.augment
        images = np.empty((len(chosen), *size, 3), dtype=np.uint8)
        instances, affines, names = [], [], []
        for row, (number, index) in enumerate(chosen):
            rng = np.random.default_rng((self.seed, number, index))
            images[row], instance, affine = fitted(*self.views.draw(index, augment, rng), size)
            instances.append(instance)
            affines.append(affine)
            names.append(self.views.dataset[int(self.views.images[index])].name)
        return collate(images, instances, np.stack(affines), names)

    def iterate(self, first_step: int) -> Iterator[Batch]:
        """Give the batches from `first_step` on, without end, prepared ahead by `workers` threads."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="dekey-batch") as pool:
            ahead: deque[Future[Batch]] = deque()
            step = first_step
            try:
                while True:
                    while len(ahead) < self.workers + 2:
                        ahead.append(pool.submit(self.batch, step))
                        step += 1
                    started = time.perf_counter()
                    batch = ahead.popleft().result()
                    self.waited += time.perf_counter() - started
                    yield batch
            finally:
                for future in ahead:
                    future.cancel()


def fitted(
    picture: NDArray[np.uint8], instances: Instances, image_to_input: Affine, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], Instances, Affine]:
    """Give a view with (H, W) px, each the mean of the area that it covers; one that has them is given as it is."""
    if picture.shape[:2] == size:
        return picture, instances, image_to_input
    to_size = geometry.scale(size[1] / picture.shape[1], size[0] / picture.shape[0])
    smaller: NDArray[np.uint8] = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return smaller, instances.mapped(to_size), geometry.compose(image_to_input, to_size)


def collate(
    images: NDArray[np.uint8], instances: Sequence[Instances], affines: NDArray[np.float64], names: Sequence[str]
) -> Batch:
    """Put views together; rows without an object are not valid and hold NaN, crowds are not valid and keep their boxes.

    Args:
        images: (B, H, W, 3) uint8.
        instances: B, each with its N_i objects in input coordinates.
        affines: (B, 2, 3) image_to_input.
        names: B names of the images.
    """
    most = max(1, *(len(one) for one in instances))
    count, keypoints = len(instances), instances[0].keypoints.shape[1]
    boxes = np.full((count, most, 4), np.nan, dtype=np.float32)
    labels = np.zeros((count, most), dtype=np.int64)
    points = np.full((count, most, keypoints, 2), np.nan, dtype=np.float32)
    visibility = np.zeros((count, most, keypoints), dtype=np.uint8)
    valid = np.zeros((count, most), dtype=np.bool_)
    for row, one in enumerate(instances):
        own = slice(len(one))
        boxes[row, own], labels[row, own], valid[row, own] = one.boxes, one.labels, ~one.crowd
        points[row, own], visibility[row, own] = one.keypoints, one.visibility
    return Batch(
        # (B, H, W, 3) in memory is what channels_last means: no copy.
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(labels),
        keypoints=torch.from_numpy(points),
        visibility=torch.from_numpy(visibility),
        valid=torch.from_numpy(valid),
        image_to_input=torch.from_numpy(affines),
        names=names,
    )

"""Batches as a pure function of the step, prepared ahead by threads.

Step s takes positions s·B … s·B + B − 1 of an endless row of shuffled passes over the data. Nothing else decides what a
batch holds: a resumed run, a run with more threads and the first run see the same pictures. Threads serve better than
processes here, because OpenCV works outside the interpreter's lock and the decoded pictures are shared.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from dekey.models.base import Batch
from dekey.training.augment import Augment
from dekey.training.crops import CropSet


@dataclass
class BatchStream:
    """An endless stream of augmented batches.

    Attributes:
        crops: what to draw from.
        augment: how to bend it.
        flips_at: tells for a step whether pictures may be flipped.
        batch_size: B.
        seed: decides order and augmentation.
        workers: threads that prepare batches ahead.
        waited: seconds spent waiting for batches so far.
    """

    crops: CropSet
    augment: Augment
    batch_size: int
    seed: int
    workers: int = 1
    flips_at: Callable[[int], bool] = field(default=lambda step: True)
    waited: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def indices(self, step: int) -> list[tuple[int, int]]:
        """Give (pass over the data, crop) of each image of a step."""
        first = step * self.batch_size
        chosen = []
        for position in range(first, first + self.batch_size):
            number, place = divmod(position, len(self.crops))
            chosen.append((number, int(self._permutation(number)[place])))
        return chosen

    def _permutation(self, number: int) -> NDArray[np.int64]:
        order = self._order
        if order is None or order[0] != number:
            order = (number, np.random.default_rng((self.seed, number)).permutation(len(self.crops)))
            self._order = order
        return order[1]

    def batch(self, step: int) -> Batch:
        """Make the batch of a step."""
        height, width = self.crops.input_size
        chosen = self.indices(step)
        augment = self.augment if self.flips_at(step) else replace(self.augment, flip=0.0)
        images = np.empty((len(chosen), height, width, 3), dtype=np.uint8)
        instances, affines, names = [], [], []
        for row, (number, index) in enumerate(chosen):
            rng = np.random.default_rng((self.seed, number, index))
            images[row], instance, affine = self.crops.draw(index, augment, rng)
            instances.append(instance)
            affines.append(affine)
            names.append(self.crops.dataset[int(self.crops.images[index])].name)
        return Batch(
            # (B, H, W, 3) in memory is what channels_last means: no copy.
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            boxes=torch.from_numpy(np.stack([one.boxes for one in instances]).astype(np.float32)),
            labels=torch.from_numpy(np.stack([one.labels for one in instances])),
            keypoints=torch.from_numpy(np.stack([one.keypoints for one in instances]).astype(np.float32)),
            visibility=torch.from_numpy(np.stack([one.visibility for one in instances])),
            valid=torch.ones(len(chosen), 1, dtype=torch.bool),
            image_to_input=torch.from_numpy(np.stack(affines)),
            names=names,
        )

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

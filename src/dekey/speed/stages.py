"""The stages of a prediction, timed while it is made, and many images as fast as they go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.data.images import ReducedImage
from dekey.runtime.ahead import read_ahead
from dekey.runtime.backends import Arrays, Backend
from dekey.runtime.predictor import Predictor
from dekey.speed.blocks import Block

Boxes = NDArray[np.float64] | None

STAGES = ("read", "warp", "network", "answers", "whole")
"""Read and decode the file; cut out and scale; the network with its decoding; map back, one answer an object; all of it."""


class Watched:
    """A backend that notes when it is called and when it has answered.

    Args:
        backend: what runs the network.

    Attributes:
        spans: begin and end in seconds of each call since the list was emptied.
        images: what the first call was given.
    """

    def __init__(self, backend: Backend) -> None:
        self.manifest = backend.manifest
        self.spans: list[tuple[float, float]] = []
        self.images: NDArray[np.uint8] | None = None
        self._backend = backend

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run a batch, see `Backend.run`."""
        begun = time.perf_counter()
        answer = self._backend.run(images)
        self.spans.append((begun, time.perf_counter()))
        if self.images is None:
            self.images = images
        return answer


def staged(
    backend: Watched, files: Sequence[tuple[Path, Boxes]], read: Callable[[Path, Boxes], ReducedImage] | None = None
) -> Callable[[], dict[str, float]]:
    """Give a call that predicts one file after the other and tells the milliseconds of each of `STAGES`.

    Where the model looks at objects a second time, all its looks count to the network, and what lies between them to the
    answers.

    Args:
        backend: what runs the network.
        files: each with the boxes (N, 4) px of its objects, or None for a model that needs none.
        read: reads a file with such boxes; as the Predictor does where None.
    """
    predictor = Predictor(backend)
    reader = read or predictor.read
    coming = cycle(files)

    def call() -> dict[str, float]:
        file, boxes = next(coming)
        backend.spans.clear()
        begun = time.perf_counter()
        image = reader(file, boxes)
        decoded = time.perf_counter()
        predictor(image, boxes)
        end = time.perf_counter()
        network = sum(after - before for before, after in backend.spans)
        warp = backend.spans[0][0] - decoded
        seconds = (decoded - begun, warp, network, end - decoded - warp - network, end - begun)
        return {stage: 1e3 * taken for stage, taken in zip(STAGES, seconds, strict=True)}

    return call


def in_batches(predictor: Predictor, files: Sequence[Path]) -> Callable[[int], None]:
    """Give a call that predicts so many images in batches while the next ones are read."""

    def run(count: int) -> None:
        for _, images in read_ahead(list(islice(cycle(files), count)), predictor.batch_size, predictor.read):
            predictor.batch(images)

    return run


def at_once(predictor: Predictor, files: Sequence[Path], callers: int) -> Callable[[int], None]:
    """Give a call that predicts so many images, in several threads that each take one image from file to answer."""

    def run(count: int) -> None:
        parts = read_ahead(
            list(islice(cycle(files), count)), 4 * callers, lambda file: predictor(predictor.read(file)), callers
        )
        for _ in parts:
            pass

    return run


def rates(run: Callable[[int], None], step: int) -> Block[float]:
    """Make a block that predicts many images and gives how many it did a second.

    Args:
        run: predicts so many images.
        step: the fewest, and the number of which every other is a multiple.
    """

    def block(seconds: float) -> list[float]:
        begun = time.perf_counter()
        run(step)
        taken = time.perf_counter() - begun
        count = step * max(1, round(seconds / taken))
        begun = time.perf_counter()
        run(count)
        return [count / (time.perf_counter() - begun)]

    return block

"""`Bench`: a model opened to be timed; `Speed`: what came of it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dekey.data.images import image_size
from dekey.runtime.backends import OnnxBackend
from dekey.runtime.open import Runtime, open_backend
from dekey.runtime.openvino import OpenvinoBackend
from dekey.runtime.predictor import Predictor
from dekey.speed import peak
from dekey.speed.blocks import Block, Milliseconds, Waiting, calls, in_rounds, timed
from dekey.speed.memory import memory
from dekey.speed.runtimes import computing
from dekey.speed.stages import STAGES, Watched, at_once, in_batches, rates, staged

MOST_PICTURES = 64
"""Pictures that are cycled through; more would only make the measurement longer before it repeats itself."""


@dataclass(frozen=True)
class Speed:
    """What a measurement found.

    Attributes:
        stages: ms of each of `STAGES`, one image at a time, as they come one after the other.
        network: ms of the network alone, called again and again.
        images_per_second: one image at a time; in batches, read ahead; and several at once where the backend can.
        operations: multiplications and additions for one image.
        peak: operations a second that the chain of convolutions reaches.
        waited: share of the time of the network alone in which it had no core because something else used it; None where the
            system does not say.
    """

    stages: dict[str, Milliseconds]
    network: Milliseconds
    images_per_second: dict[str, float]
    operations: float
    peak: float
    waited: float | None

    @property
    def operations_per_second(self) -> float:
        """What the network alone reaches."""
        return 1e3 * self.operations / self.network.median

    @property
    def share_of_peak(self) -> float:
        """How much of what the machine could do that is."""
        return self.operations_per_second / self.peak


class Bench:
    """A model, opened and warm, to be timed.

    Args:
        path: what `dekey.load` opens.
        files: pictures to predict, in turn.
        device: see `dekey.load`.
        runtime: see `dekey.load`.
        threads: cores to use; as many as the process has where None.
        batch_size: images that go through the network together in the mode that reads ahead.

    Attributes:
        manifest: what the model is.
        computing: the runtime, its device and its precision.
        batch_size: as given.
        callers: how many images at once the throughput mode predicts; 1 where the runtime has no such mode.
        pictures: how many are predicted in turn.
        picture_size: (H, W) px of the first.
        picture_bytes: of its file.
        objects: found in a picture, on average.
        memory: of the process: before the model was opened, after one image at a time, after many images.

    Raises:
        DekeyError: as `dekey.load`; if a picture cannot be read, or threads are given for torch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        files: Sequence[Path],
        *,
        device: str = "auto",
        runtime: Runtime = "auto",
        threads: int | None = None,
        batch_size: int = 16,
    ) -> None:
        files = files[:MOST_PICTURES]
        self.batch_size, self.pictures = batch_size, len(files)
        self.picture_size = image_size(files[0])
        self.picture_bytes = files[0].stat().st_size
        start = memory()
        backend = open_backend(path, device, runtime, threads)
        self.manifest = backend.manifest
        self.computing = computing(Path(path), backend, threads)
        one_by_one = Predictor(backend)
        self.objects = sum(len(one_by_one(one_by_one.read(file))) for file in files) / len(files)
        watched = Watched(backend)
        one = staged(watched, [(file, None) for file in files])
        one()
        images = watched.images
        assert images is not None
        single = memory()
        batches = in_batches(Predictor(backend, batch_size), files)
        batches(2 * batch_size)
        self._waiting = Waiting()
        self._blocks: dict[str, Block[Any]] = {
            "stages": calls(one),
            "network": self._waiting.over(calls(timed(lambda: backend.run(images)))),
            "batches": rates(batches, batch_size),
        }
        self.callers = 1
        if isinstance(backend, (OnnxBackend, OpenvinoBackend)) and self.computing.device == "cpu":
            many = open_backend(path, device, runtime, threads, "throughput")
            assert isinstance(many, (OnnxBackend, OpenvinoBackend))
            self.callers = many.callers
            together = at_once(Predictor(many), files, many.callers)
            together(2 * many.callers)
            self._blocks["at_once"] = rates(together, many.callers)
        self.memory = {"start": start, "one_at_a_time": single, "many": memory()}
        self._operations = self.computing.operations()
        self._blocks["peak"] = calls(timed(self.computing.chain()))

    def measure(self, seconds: float, advance: Callable[[int, int], None] | None = None) -> Speed:
        """Time everything, in rounds.

        Args:
            seconds: for all of it, about; a slow model takes as long as it needs for a few calls.
            advance: called with the blocks done and all blocks.
        """
        taken = in_rounds(self._blocks, seconds, advance)
        one = taken["stages"]
        rates_of = {"one_at_a_time": [1e3 / statistics.fmean(call["whole"] for call in block) for block in one]}
        rates_of |= {
            name: [rate for block in taken[name] for rate in block] for name in ("batches", "at_once") if name in taken
        }
        return Speed(
            {stage: Milliseconds.of(call[stage] for block in one for call in block) for stage in STAGES},
            Milliseconds.of(value for block in taken["network"] for value in block),
            {name: statistics.median(values) for name, values in rates_of.items()},
            self._operations,
            1e3
            * peak.operations(self.computing.shape)
            / statistics.median(value for block in taken["peak"] for value in block),
            self._waiting.share,
        )

"""The loop everybody writes first: fp32, NCHW, torch's DataLoader, mean squared error, backward, Adam.

`plain_images_per_second` is what throughput.py runs in turn with dekey's own training, over the same network and the
same images. On its own::

    python benchmarks/plain_loop.py --data ../shared/data/faces68 --input 128 --seconds 60
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from crops import MEAN, STD, Crops
from gaussian_maps import gaussians
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

import dekey.formats

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rate:
    """What a timed loop did.

    Attributes:
        images_per_second: images over the wall clock, waiting included.
        waiting: share of the wall clock spent waiting for the next batch.
        steps: batches that were timed.
        seconds: wall clock, s.
    """

    images_per_second: float
    waiting: float
    steps: int
    seconds: float


def plain_images_per_second(module: nn.Module, make_batch: Callable[[], Batch], seconds: float) -> float:
    """Train for `seconds` with the plain loop and give images/s; see `plain_rate`."""
    return plain_rate(module, make_batch, seconds).images_per_second


def plain_rate(module: nn.Module, make_batch: Callable[[], Batch], seconds: float, warm_up: int = 3) -> Rate:
    """Train with the plain loop and time it.

    Args:
        module: maps images (B, 3, H, W) float32 to maps (B, K, h, w); trained in place.
        make_batch: gives images (B, 3, H, W) float32, normalised, and targets (B, K, h, w) float32.
        seconds: wall clock to fill, s; the step under way is finished, so that whole steps are counted.
        warm_up: steps before the clock starts: first-call costs of the kernels are nobody's throughput.

    Raises:
        TypeError: if the module does not answer with one tensor; wrap a model that answers with a mapping.
    """
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    images = steps = 0
    waited, begun = 0.0, time.perf_counter()
    for number in range(sys.maxsize):
        if number == warm_up:
            images, steps, waited, begun = 0, 0, 0.0, time.perf_counter()
        asked = time.perf_counter()
        inputs, targets = make_batch()
        waited += time.perf_counter() - asked
        maps = module(inputs)
        if not isinstance(maps, Tensor):
            raise TypeError(
                f"the module answered with {type(maps).__name__}, expected one tensor; wrap it in a module that picks"
            )
        loss = nn.functional.mse_loss(maps, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images, steps = images + len(inputs), steps + 1
        elapsed = time.perf_counter() - begun
        if number >= warm_up and elapsed >= seconds:
            return Rate(images / elapsed, waited / elapsed, steps, elapsed)
    raise AssertionError("the clock stands still")


class PlainDataset(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented crops as normalised float tensors with Gaussian targets, made one by one as a plain script does."""

    def __init__(self, crops: Crops, stride: int = 4, sigma: float = 2.0) -> None:
        self.crops, self.stride, self.sigma = crops, stride, sigma

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        # torch's generator has a seed of its own in every worker process; NumPy's would be the same in all of them.
        crop = self.crops.augmented(index, np.random.default_rng(int(torch.randint(2**31, ()))))
        image = (crop.image.astype(np.float32) / 255 - MEAN) / STD
        size = self.crops.input_size // self.stride
        targets, _ = gaussians(crop.keypoints[None] / self.stride, size, self.sigma, rounded=True)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(targets[0])


def batches(dataset: TorchDataset[Any], batch_size: int = 32, workers: int = 2) -> Callable[[], Batch]:
    """Make a `make_batch` from a torch DataLoader that begins again when it is through."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    if len(loader) == 0:
        raise SystemExit(f"fewer objects than one batch of {batch_size}; choose a smaller --batch-size")

    def forever() -> Iterator[Batch]:
        while True:
            yield from loader

    return forever().__next__


def main() -> None:
    parser = argparse.ArgumentParser(description="images/s of a plain fp32 NCHW training loop over Simple Baselines ResNet-18")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json")
    parser.add_argument("--input", type=int, default=128, help="side of the network input, px")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader; 0 for none")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    from simple_baselines import SimpleBaseline

    crops = Crops(dekey.formats.read(arguments.data / "train.json"), arguments.input)
    module = SimpleBaseline(len(crops.dataset.schema.keypoints))
    make_batch = batches(PlainDataset(crops), arguments.batch_size, arguments.workers)
    rate = plain_rate(module, make_batch, arguments.seconds)
    settings = {"data": arguments.data.name, "input_size": arguments.input, "batch_size": arguments.batch_size}
    payload = {"benchmark": "plain_loop", **settings, "workers": arguments.workers, **asdict(rate)}
    print(record.write(f"plain_loop-{arguments.data.name}", payload, begun, arguments.results))


if __name__ == "__main__":
    main()

"""The peer: Simple Baselines (Xiao, Wu, Wei: Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018).

Two recipes over one network, a ResNet-18 from scratch with three transposed convolutions of 256 channels:

* ``2018``: the paper's. fp32, NCHW, Adam at 1e-3 that drops tenfold at 70 % and 90 % of the time, Gaussian targets about
  the middle of the nearest cell, arg-max moved by a quarter of a cell towards the higher neighbour.
* ``improved``: bf16 where the CPU has AVX512-BF16 (fp32 elsewhere), channels_last, AdamW on a one-cycle schedule, an
  exponential moving average of the weights, targets that are not rounded, a parabola through the logarithms of the
  arg-max and its neighbours (after Zhang et al.: Distribution-Aware Coordinate Representation, CVPR 2020).

Both: batch 32, crops of the truth box x 1.25, rotation within 40 degrees, scale within 30 %, half of the images mirrored
where the data say what mirrors onto what, ImageNet normalisation, no flip at test time, no pretrained weights. The
Gaussian's width is 2 cells at an input of 256 px, as published, and shrinks with the root of the input (1.41 cells at 128);
the published rule for larger inputs is linear, which at 128 would leave a target of a single cell and hold the peer back.
`--sigma` sets it. The clock covers reading images and training; evaluation comes after it::

    python benchmarks/simple_baselines.py --data ../shared/data/faces68 --minutes 10 --input 128 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import memory
import numpy as np
import record
import timm
import torch
from crops import MEAN, STD, Crop, Crops
from gaussian_maps import decode_log_parabola, decode_quarter, gaussians
from numpy.typing import NDArray
from torch import Tensor, nn

import dekey.formats
import dekey.metrics
from dekey.data import Instances

STRIDE = 4
BATCH = 32


class SimpleBaseline(nn.Module):
    """ResNet-18 and three transposed convolutions: images (B, 3, H, W) to maps (B, K, H/4, W/4)."""

    def __init__(self, keypoint_count: int, channels: int = 256) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet18", pretrained=False, features_only=True, out_indices=(4,))
        layers: list[nn.Module] = []
        inputs = self.backbone.feature_info.channels()[-1]
        for _ in range(3):
            deconvolution = nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(deconvolution.weight, std=0.001)
            layers += [deconvolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            inputs = channels
        self.decoder = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, keypoint_count, 1)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to maps (B, K, H/4, W/4)."""
        maps: Tensor = self.head(self.decoder(self.backbone(images)[-1]))
        return maps


def stepped(share: float) -> float:
    """Give the learning rate of 2018 after this share of the time, relative to its start."""
    return 1.0 if share < 0.7 else 0.1 if share < 0.9 else 0.01


def one_cycle(share: float) -> float:
    """Give the one-cycle learning rate after this share of the time, relative to its peak: up for 15 %, then cosine down."""
    if share < 0.15:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share / 0.15)) / 2
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (share - 0.15) / 0.85)) / 2


@dataclass(frozen=True)
class Recipe:
    """What differs between the two ways to train the network.

    Attributes:
        method: its name in the tables.
        rounded: targets about the middles of cells.
        modern: channels_last, AdamW and a moving average; bf16 where the CPU has it.
        learning_rate: at the height of the schedule.
        schedule: share of the time to learning rate, relative.
        decode: maps to points, cells.
    """

    method: str
    rounded: bool
    modern: bool
    learning_rate: float
    schedule: Callable[[float], float]
    decode: Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.float64]]]


RECIPES = {
    "2018": Recipe("Simple Baselines ResNet-18, the 2018 recipe", True, False, 1e-3, stepped, decode_quarter),
    "improved": Recipe("Simple Baselines ResNet-18, improved recipe", False, True, 2e-3, one_cycle, decode_log_parabola),
}


@dataclass
class Trained:
    """What a run ends with: the module to predict with and how it went."""

    module: nn.Module
    images: int
    seconds: float
    waiting: float
    bf16: bool


def train(crops: Crops, recipe: Recipe, minutes: float, sigma: float, seed: int) -> Trained:
    """Train for `minutes` of wall clock, reading images included; progress goes to standard error.

    Raises:
        FloatingPointError: if the loss stops being a number.
    """
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = SimpleBaseline(len(crops.dataset.schema.keypoints))
    bf16 = recipe.modern and "avx512_bf16" in record.cpu_flags()
    layout = torch.channels_last if recipe.modern else torch.contiguous_format
    module = module.to(memory_format=layout)
    optimizer: torch.optim.Optimizer
    if recipe.modern:
        optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    else:
        optimizer = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate)
    average = copy.deepcopy(module) if recipe.modern else None
    size = crops.input_size // STRIDE
    images = steps = 0
    waited, spoken, begun = 0.0, 0.0, time.perf_counter()
    while True:
        order = random.permutation(len(crops))
        for start in range(0, len(order), BATCH):
            asked = time.perf_counter()
            share = (asked - begun) / (60 * minutes)
            if share >= 1 and steps:
                return Trained(
                    average if average is not None else module, images, asked - begun, waited / (asked - begun), bf16
                )
            batch = [crops.augmented(int(index), random) for index in order[start : start + BATCH]]
            inputs = images_of(batch).contiguous(memory_format=layout)
            cells = np.stack([crop.keypoints for crop in batch]) / STRIDE
            targets, weights = (torch.from_numpy(part) for part in gaussians(cells, size, sigma, recipe.rounded))
            waited += time.perf_counter() - asked
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * recipe.schedule(share)
            with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
                maps = module(inputs)
            loss = 0.5 * (weights * (maps.float() - targets) ** 2).mean()
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} at step {steps}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            images, steps = images + len(batch), steps + 1
            if average is not None:
                follow(average, module, min(0.99, (1 + steps) / (10 + steps)))
            elapsed = time.perf_counter() - begun
            if elapsed - spoken >= 10:
                spoken = elapsed
                progress = f"epoch {images / len(crops):.1f}, loss {loss.item():.2e}, {images / elapsed:.1f} images/s"
                print(f"{elapsed:5.0f} s of {60 * minutes:.0f}: {progress}", file=sys.stderr, flush=True)


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the averaged weights, and the statistics of the normalisation, towards the module's."""
    for kept, value in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)


def images_of(crops: list[Crop]) -> Tensor:
    """Stack crops as normalised float32 images (B, 3, H, W)."""
    stacked = torch.from_numpy(np.stack([crop.image for crop in crops])).permute(0, 3, 1, 2).float() / 255
    return (stacked - torch.from_numpy(MEAN)[:, None, None]) / torch.from_numpy(STD)[:, None, None]


@torch.inference_mode()
def predict(module: nn.Module, crops: Crops, recipe: Recipe) -> list[Instances]:
    """Find the keypoints of every object in its crop; one Instances an image, in the order of the data set."""
    module.eval()
    keypoints = np.zeros((len(crops), len(crops.dataset.schema.keypoints), 2))
    scores = np.zeros(keypoints.shape[:2])
    for start in range(0, len(crops), BATCH):
        batch = [crops.plain(index) for index in range(start, min(start + BATCH, len(crops)))]
        cells, peaks = recipe.decode(module(images_of(batch)).float().numpy())
        keypoints[start : start + len(batch)], scores[start : start + len(batch)] = cells * STRIDE, peaks
    return crops.found(keypoints, scores)


def main() -> int:
    parser = argparse.ArgumentParser(description="train and test Simple Baselines (2018) for given minutes, from scratch")
    parser.add_argument("--data", type=Path, required=True, help="folder with the training and the test annotations")
    parser.add_argument("--train", default="train.json", help="file in that folder to train on")
    parser.add_argument("--test", default="test.json", help="file in that folder to test on")
    parser.add_argument("--recipe", choices=RECIPES, default="2018")
    parser.add_argument("--minutes", type=float, default=10.0, help="wall clock of training")
    parser.add_argument("--input", type=int, default=128, help="side of the network input, px; a multiple of 32")
    parser.add_argument("--sigma", type=float, help="of the target, cells; 2·√(input/256) if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    if arguments.input % 32 or arguments.input <= 0:
        parser.error(f"--input is {arguments.input}, expected a positive multiple of 32")
    recipe, begun = RECIPES[arguments.recipe], record.facts()
    sigma = 2 * math.sqrt(arguments.input / 256) if arguments.sigma is None else arguments.sigma
    crops, test = (
        Crops(dekey.formats.read(arguments.data / part), arguments.input) for part in (arguments.train, arguments.test)
    )
    try:
        with memory.PeakMemory() as peak:
            trained = train(crops, recipe, arguments.minutes, sigma, arguments.seed)
    except KeyboardInterrupt:
        print("stopped; nothing is written, because a shorter run is another result", file=sys.stderr)
        return 130
    evaluation = dekey.metrics.evaluate(test.dataset, predict(trained.module, test, recipe), normaliser="sqrt_box_area")
    details = {
        "train": arguments.train,
        "test": arguments.test,
        "sigma_cells": round(sigma, 3),
        "bf16": trained.bf16,
        "waiting": round(trained.waiting, 3),
        "threads": torch.get_num_threads(),
        "peak_memory_mib": peak.mib,
    }
    # Another split is another data set, another width another method: such rows must not be averaged.
    usual = (arguments.train, arguments.test) == ("train.json", "test.json")
    data = arguments.data.name + ("" if usual else f"-{Path(arguments.train).stem}-{Path(arguments.test).stem}")
    payload = record.accuracy(
        data,
        recipe.method + ("" if arguments.sigma is None else f", σ of {sigma:g} cells"),
        arguments.seed,
        arguments.minutes,
        arguments.input,
        trained.images / len(crops),
        trained.images / trained.seconds,
        evaluation.values,
        details,
    )
    chosen = "" if arguments.sigma is None else f"-sigma{sigma:g}"
    run = f"{arguments.recipe}{chosen}-{arguments.input}px-{arguments.minutes:g}m-seed{arguments.seed}"
    path = record.write(f"accuracy-{data}-simple_baselines_{run}", payload, begun, arguments.results)
    print(path.read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dekey.formats
from dekey.data import Dataset, Instances, Sample, Schema, geometry
from dekey.metrics import evaluate, mean_pose_baseline
from dekey.report import HeatmapExample, Report


def perturbed(dataset: Dataset, share: float, seed: int = 0) -> list[Instances]:
    """Truth moved by noise of `share` of the box's size; a few keypoints and objects are far off or missing."""
    random = np.random.default_rng(seed)
    answers = []
    for sample in dataset:
        truth = sample.instances
        size = np.sqrt(np.maximum(geometry.box_sizes(truth.boxes).prod(1), 1.0))[:, None, None]
        keypoints = truth.keypoints + random.normal(0, share, truth.keypoints.shape) * size
        far = random.random(truth.visibility.shape) < 0.03
        keypoints[far] += 0.4 * np.broadcast_to(size, keypoints.shape)[far]
        found = Instances.create(
            keypoints,
            truth.boxes + random.normal(0, 2, truth.boxes.shape),
            truth.labels,
            visibility=np.where(random.random(truth.visibility.shape) < 0.1, np.minimum(truth.visibility, 1), truth.visibility),
            scores=random.random(len(truth)) * 0.4 + 0.6,
            keypoint_scores=random.random(truth.visibility.shape),
        )
        answers.append(found[random.random(len(truth)) > 0.03])
    return answers


def gaussian_maps(keypoints: np.ndarray, size: tuple[int, int], stride: int, sigma: float = 2.0) -> np.ndarray:
    """(K, h, w) float32 maps with a peak at each keypoint."""
    rows, columns = ((np.arange(side // stride) + 0.5) * stride for side in size)
    maps = np.zeros((len(keypoints), len(rows), len(columns)), np.float32)
    for index, (x, y) in enumerate(keypoints):
        if np.isfinite(x):
            squared = (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2
            maps[index] = 0.9 * np.exp(-squared / (2 * (sigma * stride) ** 2))
    return maps


def made_report(train: Dataset, held_out: Dataset, share: float = 0.02) -> Report:
    """A report as a run would hand it over, from data and perturbed truth."""
    found = perturbed(held_out, share)
    examples, pictures = [], []
    for sample in [held_out[index] for index in range(min(3, len(held_out)))]:
        if len(sample.instances) and np.isfinite(sample.instances.boxes[0]).all():
            image_to_crop = geometry.crop(sample.instances.boxes[0], (256, 256), 1.25)
            crop = geometry.warp(sample.read_image(), image_to_crop, (256, 256))
            keypoints = sample.instances.mapped(image_to_crop).keypoints[0]
            examples.append(HeatmapExample(crop, gaussian_maps(keypoints, (256, 256), 4), keypoints))
    for index in range(min(12, len(train))):
        sample = train[index]
        if len(sample.instances) and np.isfinite(sample.instances.boxes[0]).all():
            around = geometry.crop(sample.instances.boxes[0], (224, 224), 1.3)
            turned = geometry.compose(
                around, geometry.translate(-112, -112), geometry.rotate(0.3 * index), geometry.translate(112, 112)
            )
            pictures.append((geometry.warp(sample.read_image(), turned, (224, 224)), sample.instances[:1].mapped(turned)))
    flipped = None
    if pictures and train.schema.mirror is not None:
        image, instances = pictures[0]
        mirrored = instances.mapped(geometry.mirror(image.shape[1]))
        mirror = train.schema.mirror
        swapped = Instances.create(
            mirrored.keypoints[:, mirror], mirrored.boxes, mirrored.labels, mirrored.visibility[:, mirror]
        )
        flipped = np.ascontiguousarray(image[:, ::-1]), swapped
    log = []
    for epoch in range(40):
        row = {"epoch": float(epoch), "step": epoch * 7.0, "lr": 1e-3 * np.sin(np.pi * (epoch + 0.5) / 40)}
        row |= {"loss": 0.02 * np.exp(-epoch / 9) + 0.001, "loss/heatmap": 0.018 * np.exp(-epoch / 9) + 0.001}
        row |= {"loss/visibility": 0.002 * np.exp(-epoch / 5) + 1e-4, "images_per_second": 80 + epoch % 3, "waiting": 0.03}
        if epoch % 4 == 3:
            row |= {"val_median_px": 4 + 60 * np.exp(-epoch / 6), "val_nme": 0.03 + 0.4 * np.exp(-epoch / 6)}
        log.append(row)
    return Report(
        title="flies, heatmap model",
        train=train,
        held_out=held_out,
        found=found,
        evaluation=evaluate(held_out, found),
        baseline=evaluate(held_out, mean_pose_baseline(train, held_out)) if len(train.instances) else None,
        model={"backbone": "resnet18", "parameters": 11_523_981, "input size": [256, 256], "stride": 4},
        config={"seed": 0, "model": {"backbone": "resnet18", "decoder": {"channels": [256, 256, 256]}}, "optim": {"lr": 0.001}},
        machine={"processor": "2 cores, AVX2", "memory": "8 GB", "versions": {"dekey": "0.1.0", "torch": "2.9.1"}},
        times={"training": "2 min 4 s", "images per second": 81.2, "share of time waiting for data": 0.031},
        pretrained="The backbone started from random weights, as timm's could not be had.",
        log=log,
        heatmaps=examples,
        augmented=pictures,
        flipped=flipped,
        notes=["Flipping is on: left and right derived from the keypoint names."],
    )


def pictured(schema: Schema, instances: list[Instances], size: tuple[int, int] = (96, 128)) -> Dataset:
    """A data set of noise pictures held in memory."""
    random = np.random.default_rng(1)
    samples = []
    for index, one in enumerate(instances):
        picture = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        samples.append(Sample(picture, size, one, index, np.arange(len(one), dtype=np.int64) + 100 * index))
    return Dataset.from_samples(schema, samples)


@pytest.fixture(scope="session")
def read_set(shared_data: Path) -> Callable[[str], tuple[Dataset, Dataset]]:
    """Reads (train, test) of a real set."""

    def read(name: str) -> tuple[Dataset, Dataset]:
        return dekey.formats.read(shared_data / name / "train.json"), dekey.formats.read(shared_data / name / "test.json")

    return read


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    return made_report


@pytest.fixture(scope="session")
def in_memory() -> Callable[..., Dataset]:
    return pictured

"""From a configuration to the parts of a run: data, crops, network; every choice that "auto" leaves open is made here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.config import Config, DataConfig, read_config
from dekey.data import Dataset, geometry
from dekey.data.orientation import spread_of_orientation
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import read
from dekey.metrics.distance import check_normaliser
from dekey.training.augment import Augment
from dekey.training.crops import CropSet, Region, choose_region
from dekey.training.hardware import available_memory, choose_batch_size, cores

Say = Callable[[str], None]

SMALLEST_INPUT = 96
# Larger inputs show more, but a CPU then takes too few steps to learn from them in minutes.
LARGEST_INPUT = {"cpu": 128, "cuda": 256}
# Below this many objects every step counts more than its smoothness, and the peaks are lost among the background.
FEW_OBJECTS = 500
FEW_PEAK_WEIGHT = 10.0
# Every stride of the usual backbones divides it.
INPUT_MULTIPLE = 32
# Share of the free memory that decoded pictures may take by themselves.
PICTURE_SHARE = 0.25
SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Material:
    """What a run learns from and is measured on.

    Attributes:
        train, held_out: the two parts of the data, with one schema.
        region: crops around boxes, or whole images.
        input_size: (H, W) px.
        augment: with flips only where the schema knows the mirror pairs.
        crops: the trainable objects.
    """

    train: Dataset
    held_out: Dataset
    region: Region
    input_size: tuple[int, int]
    augment: Augment
    crops: CropSet


def prepare(config: Config, device: str, say: Say) -> Material:
    """Read and check the data and make the crops.

    Args:
        config: the configuration of the run.
        device: "cpu" or "cuda", what it runs on.
        say: told of each choice in one sentence.

    Raises:
        DekeyError: if a file cannot be read, an image is missing, or the two parts name different keypoints.
    """
    train, held_out = _read_parts(config.data, config.run.seed, say)
    say(
        f"{len(train)} images with {len(train.instances)} objects to learn from, {len(held_out)} with "
        f"{len(held_out.instances)} held out; {len(train.schema.keypoints)} keypoints"
    )
    region = choose_region(train) if config.data.region == "auto" else config.data.region
    if region == "box":
        for part in (train, held_out):
            if not np.isfinite(part.instances.boxes[~part.instances.crowd]).all():
                raise DekeyError("an object has no box, expected one for each with data.region=box; use data.region=image")
    elif len(train.schema.classes) > 1:
        raise DekeyError(
            f"found {len(train.schema.classes)} classes on whole images, which a heatmap model cannot tell apart; add a box to "
            "every object, or keep one class"
        )
    size = config.model.input_size
    input_size = _fitting_size(train, region, config.data.padding, LARGEST_INPUT[device]) if size == "auto" else size
    what = "a crop around its box" if region == "box" else "the whole image"
    say(f"each object is {what}, {input_size[1]}x{input_size[0]} px")
    settings = config.augment.model_dump(exclude={"settle"})
    if train.schema.mirror is None and config.augment.flip:
        say(f"pictures are not flipped: {train.schema.mirror_note}")
        settings["flip"] = 0.0
    if settings["rotate"] == "auto":
        spread = spread_of_orientation(train.instances)
        settings["rotate"] = _fitting_rotation(spread)
        say(f"pictures are turned by up to {settings['rotate']:.0f} degrees: the objects' own turns reach {spread:.0f}")
    gigabytes = config.data.memory_gb
    memory = int(PICTURE_SHARE * available_memory() if gigabytes == "auto" else gigabytes * 1e9)
    crops = CropSet(train, region, input_size, config.data.padding, memory)
    return Material(train, held_out, region, input_size, Augment(**settings), crops)


def resolve(config: Config, material: Material, device: str) -> Config:
    """Give the configuration with every choice that "auto" left open; resolving it again changes nothing."""
    few = len(material.crops) < FEW_OBJECTS
    batch_size = config.run.batch_size
    if batch_size == "auto":
        batch_size = choose_batch_size(device, few)
    peak_weight = config.model.peak_weight
    if peak_weight == "auto":
        peak_weight = FEW_PEAK_WEIGHT if few else 0.0
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"region": material.region}),
            "model": config.model.model_copy(update={"input_size": material.input_size, "peak_weight": peak_weight}),
            "augment": config.augment.model_copy(update={"rotate": material.augment.rotate}),
            "run": config.run.model_copy(update={"batch_size": batch_size}),
        }
    )


def workers(config: DataConfig) -> int:
    """Give the number of threads that prepare batches."""
    return min(max(cores() // 2, 1), 8) if config.workers == "auto" else max(config.workers, 1)


def _read_parts(config: DataConfig, seed: int, say: Say) -> tuple[Dataset, Dataset]:
    whole = read(config.train, images=config.images)
    held_out = None if config.val is None else read(config.val, images=config.images)
    if held_out is None:
        train, held_out = whole.split(config.val_fraction, seed)
    else:
        train = whole
        if held_out.schema.keypoints != train.schema.keypoints or held_out.schema.classes != train.schema.classes:
            raise DekeyError(
                f"{config.val} names other keypoints or classes than {config.train}, expected the same; mend the names"
            )
    if config.sigmas is not None:
        schema = train.schema.with_sigmas(config.sigmas)
        train, held_out = train.with_schema(schema), held_out.with_schema(schema)
    if config.normaliser is not None:
        check_normaliser(config.normaliser, train.schema)
    for part, path in ((train, config.train), (held_out, config.val or config.train)):
        problems = find_problems(part, progress=_now_and_then(f"checking the images of {path}", say))
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            rest = f" (and {len(errors) - 1} more problems; `dekey inspect {path}` lists them)" if len(errors) > 1 else ""
            raise DekeyError(f"{path}: {errors[0]}{rest}")
    return train, held_out


def _now_and_then(text: str, say: Say) -> Callable[[int, int], None]:
    """Give a callback that says every few seconds how far a long work is."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(f"{text}: {done} of {total}")

    return progress


def _fitting_size(dataset: Dataset, region: Region, padding: float, largest: int) -> tuple[int, int]:
    """Choose the input so that a typical object keeps its resolution and its aspect."""
    if region == "box":
        sizes = geometry.box_sizes(dataset.instances[~dataset.instances.crowd].boxes) * padding
    else:
        sizes = dataset.sizes[:, ::-1].astype(np.float64)
    width, height = np.median(sizes, axis=0)
    # A box that is hardly oblong is one because of how the object lies: square inputs serve every turn of it.
    if 2 / 3 <= height / width <= 3 / 2 or (region == "box" and spread_of_orientation(dataset.instances) > 45):
        width = height = np.median(sizes.max(axis=1))
    factor = np.clip(max(width, height), SMALLEST_INPUT, largest) / max(width, height)
    rounded = [max(round(length * factor / INPUT_MULTIPLE), 2) * INPUT_MULTIPLE for length in (height, width)]
    return rounded[0], rounded[1]


def _fitting_rotation(spread: float) -> float:
    """Choose how far to turn pictures, degrees, for objects that are turned by up to `spread` degrees.

    >>> _fitting_rotation(14.0), _fitting_rotation(0.0), _fitting_rotation(170.0)
    (31.0, 15.0, 180.0)
    """
    wanted = 1.5 * spread + 10
    return 180.0 if wanted > 90 else max(wanted, 15.0)


def held_out_crops(path: Path, most: int) -> Iterator[NDArray[np.uint8]]:
    """Give up to `most` network inputs (H, W, 3) from the held-out images of the run whose configuration lies at `path`.

    Raises:
        DekeyError: if the configuration or the data it names cannot be read.
    """
    config = read_config(path=path)
    material = prepare(config, "cpu", lambda text: None)
    crops = CropSet(material.held_out, material.region, material.input_size, config.data.padding)
    rng = np.random.default_rng(0)
    for index in range(min(most, len(crops))):
        yield crops.draw(index, Augment(), rng)[0]

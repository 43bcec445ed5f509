"""What the data decide where a run leaves it open: size of the input, how far pictures turn, how close a second look is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, geometry
from dekey.data.orientation import spread_of_orientation
from dekey.training.crops import Region

SMALLEST_INPUT = 96
# Larger inputs show more, but a CPU then takes too few steps to learn from them in minutes.
LARGEST_INPUT = {"cpu": 128, "cuda": 256}
# The same for whole scenes, in which a typical object is to span so many pixels.
SMALLEST_SCENE = 320
LARGEST_SCENE = {"cpu": 416, "cuda": 832}
OBJECT_SPAN = 48
# Every stride of the usual backbones divides it.
INPUT_MULTIPLE = 32
# How long and wide the first pictures of a run are beside the later ones: a step on them takes half as long.
SMALL = 0.7
# How much larger a second look shows a typical object than the whole picture; training goes up to `scenes.CLOSEST` times.
SECOND_LOOK = 2.5
LARGEST_SECOND_LOOK = 0.8


def fitting_size(dataset: Dataset, region: Region, padding: float, largest: int, scale: float = 1.0) -> tuple[int, int]:
    """Choose the input so that a typical object keeps its resolution and its aspect, then take it `scale` times as long."""
    if region == "box":
        sizes = geometry.box_sizes(dataset.instances[~dataset.instances.crowd].boxes) * padding
    else:
        sizes = dataset.sizes[:, ::-1].astype(np.float64)
    width, height = np.median(sizes, axis=0)
    # A box that is hardly oblong is one because of how the object lies: square inputs serve every turn of it.
    if 2 / 3 <= height / width <= 3 / 2 or (region == "box" and spread_of_orientation(dataset.instances) > 45):
        width = height = np.median(sizes.max(axis=1))
    factor = scale * np.clip(max(width, height), SMALLEST_INPUT, largest) / max(width, height)
    rounded = [max(round(length * factor / INPUT_MULTIPLE), 2) * INPUT_MULTIPLE for length in (height, width)]
    return rounded[0], rounded[1]


def scene_size(dataset: Dataset, largest: int, scale: float = 1.0) -> tuple[int, int]:
    """Choose the input so that a typical object spans `OBJECT_SPAN` px in it, and its aspect as most images have it.

    Args:
        dataset: what is learned from.
        largest: longest side, px.
        scale: the input is so many times as long as that.
    """
    counted = ~dataset.instances.crowd
    sides = np.sqrt(geometry.box_sizes(dataset.instances.boxes[counted]).prod(axis=1))
    lengths = dataset.sizes.max(axis=1)
    share = float(np.nanmedian(sides / lengths[dataset.image_of_instance()[counted]]))
    longest = scale * float(np.clip(OBJECT_SPAN / max(share, 1e-3), SMALLEST_SCENE, largest))
    aspects = np.log(dataset.sizes[:, 0] / dataset.sizes[:, 1])
    # Where some images stand and others lie, a square wastes least.
    aspect = 0.0 if np.quantile(aspects, 0.1) < 0 < np.quantile(aspects, 0.9) else float(np.median(aspects))
    height, width = longest * np.exp(min(aspect, 0.0)), longest * np.exp(min(-aspect, 0.0))
    return tuple(max(round(length / INPUT_MULTIPLE), 2) * INPUT_MULTIPLE for length in (height, width))


def small_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """Choose the size (H, W) px of the first pictures of a run.

    >>> small_size((192, 320)), small_size((96, 96))
    ((128, 224), (64, 64))
    """
    height, width = (max(round(SMALL * length / INPUT_MULTIPLE), 2) * INPUT_MULTIPLE for length in input_size)
    return height, width


def fitting_rotation(spread: float) -> float:
    """Choose how far to turn pictures, degrees, for objects that are turned by up to `spread` degrees.

    >>> fitting_rotation(14.0), fitting_rotation(0.0), fitting_rotation(170.0)
    (31.0, 15.0, 180.0)
    """
    wanted = 1.5 * spread + 10
    return 180.0 if wanted > 90 else max(wanted, 15.0)


def second_look(dataset: Dataset, input_size: tuple[int, int]) -> float:
    """Give how long a typical object is in a second look, as a share of the input's shorter side."""
    counted = ~dataset.instances.crowd
    lengths = geometry.box_sizes(dataset.instances.boxes[counted]).max(axis=1) * fitted_scales(dataset, input_size)[counted]
    return round(min(SECOND_LOOK * float(np.nanmedian(lengths)) / min(input_size), LARGEST_SECOND_LOOK), 3)


def fitted_scales(dataset: Dataset, input_size: tuple[int, int]) -> NDArray[np.float64]:
    """Give how much each object is scaled when its image is fitted into the input (H, W) px: (M,)."""
    scales: NDArray[np.float64] = np.min(np.array(input_size) / dataset.sizes[dataset.image_of_instance()], axis=1)
    return scales

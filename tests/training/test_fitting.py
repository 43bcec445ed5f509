"""The input that the data ask for, and how a preset scales it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dekey.data import Dataset, Instances
from dekey.training.crops import choose_region
from dekey.training.fitting import fitting_size, scene_size

SCALES = (0.5, 1.0, 1.25, 2.0)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scaled_input_is_so_many_times_as_long(shapes: Callable[..., Dataset], scale: float) -> None:
    scenes = shapes(6, size=(120, 200))
    for sizes in (
        [scene_size(scenes, 416, one) for one in (1.0, scale)],
        [fitting_size(scenes, "image", 1.25, 128, one) for one in (1.0, scale)],
    ):
        assert all(length % 32 == 0 and length >= 64 for size in sizes for length in size)
        # Each of the two is rounded by at most half of 32 px.
        assert np.abs(np.array(sizes[1]) - np.maximum(np.array(sizes[0]) * scale, 64)).max() <= 16 + 16 * scale


def test_the_limits_are_scaled_too(shapes: Callable[..., Dataset]) -> None:
    scenes = shapes(6, size=(200, 200))
    assert scene_size(scenes, 320) == (320, 320)
    assert scene_size(scenes, 320, 1.3) == (416, 416)
    assert fitting_size(scenes, "image", 1.25, 128) == (128, 128)
    assert fitting_size(scenes, "image", 1.25, 128, 1.5) == (192, 192)


def test_crowds_do_not_decide_how_objects_are_cut_or_how_large_they_are(shapes: Callable[..., Dataset]) -> None:
    scenes = shapes(6)

    def with_objects(choose: Callable[[Instances], Instances]) -> Dataset:
        samples = []
        for sample in scenes:
            chosen = choose(sample.instances)
            samples.append(replace(sample, instances=chosen, annotation_ids=np.arange(len(chosen))))
        return Dataset.from_samples(scenes.schema, samples)

    crowd = Instances.create(np.full((1, 4, 2), np.nan), boxes=[[0.0, 0, 96, 96]], crowd=[True])
    alone = with_objects(lambda own: own[:1])
    crowded = with_objects(lambda own: Instances.concatenate([own[:1], crowd], 4))
    assert scene_size(crowded, 416) == scene_size(alone, 416)
    boxless = replace(crowded, instances=replace(crowded.instances, boxes=np.full((12, 4), np.nan)))
    assert choose_region(boxless) == "image"

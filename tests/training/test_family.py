from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema, embedded
from dekey.training.family import FILLS, choose_family

SIZE = (100, 200)


def dataset_of(*counts: int, side: float = 150.0, classes: int = 1, boxes: bool = True, crowd: bool = False) -> Dataset:
    """Images of `SIZE` with so many objects each, `side` px long."""
    schema = Schema.create([f"class {index}" for index in range(classes)], ["head", "tail"])
    samples = []
    for index, count in enumerate(counts):
        keypoints = np.tile([[10.0, 50.0], [10.0 + side, 50.0]], (count, 1, 1))
        box = np.tile([10.0, 20.0, 10.0 + side, 60.0], (count, 1)) if boxes else None
        instances = Instances.create(keypoints, box)
        if crowd:
            region = Instances.create(np.full((1, 2, 2), np.nan), [[0.0, 0, 50, 50]], crowd=[True])
            instances = Instances.concatenate([instances, region], 2)
        ids = np.arange(len(instances)) + 10 * index
        samples.append(Sample(np.zeros((*SIZE, 3), np.uint8), SIZE, instances, index, ids))
    return Dataset.from_samples(schema, samples)


@pytest.mark.parametrize(
    ("data", "family", "reason"),
    [
        ({"counts": (1, 1, 1)}, "heatmap", "every image has one object, which takes 75% of its length"),
        ({"counts": (1, 1, 1), "boxes": False}, "heatmap", "which takes 75%"),
        ({"counts": (1, 1, 1), "crowd": True}, "heatmap", "every image has one object"),
        ({"counts": (1, 1, 1), "side": 2 * 100 * (FILLS - 0.05)}, "center", "objects take 45% of their image's length"),
        ({"counts": (1, 2, 1)}, "center", "1 of 3 images have not exactly one object"),
        ({"counts": (1, 0, 1)}, "center", "1 of 3 images have not exactly one object"),
        ({"counts": (1, 1), "classes": 2}, "center", "there are 2 classes to tell apart"),
    ],
)
def test_the_data_decide_and_the_reason_is_said(data: dict[str, Any], family: str, reason: str) -> None:
    found, why = choose_family(dataset_of(*data.pop("counts"), **data), "auto", "auto")
    assert found == family
    assert reason in why


@pytest.mark.parametrize("family", ["heatmap", "center", "article"])
def test_what_is_asked_for_is_taken(family: Any) -> None:
    assert choose_family(dataset_of(1, 2), family, "auto") == (family, "as asked")


@pytest.mark.parametrize("region", ["box", "image"])
def test_a_region_that_is_asked_for_means_one_object_at_a_time(region: Any) -> None:
    assert choose_family(dataset_of(1, 2, 3), "auto", region)[0] == "heatmap"


def test_the_embedded_photographs_take_a_detector() -> None:
    assert choose_family(embedded.load("test"), "auto", "auto")[0] == "center"

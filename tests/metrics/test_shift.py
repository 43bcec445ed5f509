from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.metrics import evaluate
from dekey.metrics.shift import systematic_shift


def truth_and_found(shift: tuple[float, float], noise: float, count: int = 60) -> tuple[Dataset, list[Instances]]:
    rng = np.random.default_rng(0)
    samples, found = [], []
    for number in range(count):
        keypoints = rng.uniform(20, 80, (1, 4, 2))
        keypoints[0, 3] = np.nan
        box = np.array([[10.0, 10, 90, 90]])
        picture = np.zeros((100, 100, 3), np.uint8)
        samples.append(Sample(picture, (100, 100), Instances.create(keypoints, boxes=box), number, np.array([number])))
        moved = np.nan_to_num(keypoints, nan=50.0) + np.array(shift) + rng.normal(0, noise, keypoints.shape)
        found.append(Instances.create(moved, boxes=box, scores=[1.0], keypoint_scores=np.ones((1, 4))))
    return Dataset.from_samples(Schema.create(["thing"], list("abcd")), samples), found


def test_a_shift_is_measured_and_told() -> None:
    dataset, found = truth_and_found((-1.5, 0.1), noise=2.0)
    evaluation = evaluate(dataset, found)
    shift = systematic_shift(dataset, found, evaluation)
    assert shift is not None
    assert (shift.x, shift.y) == (pytest.approx(-1.5, abs=0.5), pytest.approx(0.1, abs=0.5))
    sentence = shift.sentence(evaluation["median_px"])
    assert sentence is not None
    assert "px to the left of the labels" in sentence


def test_chance_is_not_told() -> None:
    dataset, found = truth_and_found((0.0, 0.0), noise=2.0)
    evaluation = evaluate(dataset, found)
    shift = systematic_shift(dataset, found, evaluation)
    assert shift is not None
    assert shift.sentence(evaluation["median_px"]) is None


def test_nothing_paired_gives_none() -> None:
    dataset, _ = truth_and_found((0.0, 0.0), noise=1.0, count=2)
    nothing = [Instances.create(np.zeros((0, 4, 2)), scores=[], keypoint_scores=np.zeros((0, 4))) for _ in range(2)]
    assert systematic_shift(dataset, nothing, evaluate(dataset, nothing)) is None

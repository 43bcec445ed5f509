from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dekey.data import VISIBLE, Dataset, Instances, Sample, Schema

pytest.importorskip("torch")

from occlusion import average_precision, paint, shape_on


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6])
def test_an_occluder_hides_the_share_of_the_box_that_was_asked_for(part: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        box = np.array([50.0, 60, 170, 140])
        drawn = shape_on(rng, box, part, (200, 220))
        assert drawn is not None
        (left, top, right, bottom), shape = drawn
        covered = np.zeros((200, 220), dtype=np.bool_)
        covered[top:bottom, left:right] = shape
        assert covered[60:140, 50:170].mean() == pytest.approx(part, abs=0.03)


def test_average_precision_is_the_step_sum_over_thresholds() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        probabilities, truth = rng.integers(0, 8, 30) / 8, rng.random(30) < 0.4
        truth[:2] = True, False
        expected, before = 0.0, 0.0
        for threshold in np.unique(probabilities)[::-1]:
            called = probabilities >= threshold
            recall = (called & truth).sum() / truth.sum()
            expected += (recall - before) * (called & truth).sum() / called.sum()
            before = recall
        assert average_precision(probabilities, truth) == pytest.approx(expected, abs=1e-4)
    assert average_precision(np.array([0.5]), np.array([True])) is None


def test_pictures_are_painted_the_same_each_time_and_labels_know(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    keypoints = rng.uniform(10, 50, (1, 40, 2))
    schema = Schema.create(["a"], [f"p{number}" for number in range(40)])
    samples = [
        Sample(
            rng.integers(0, 256, (64, 80, 3), dtype=np.uint8),
            (64, 80),
            Instances.create(keypoints, np.array([[8.0, 8, 52, 52]]), visibility=np.full((1, 40), VISIBLE)),
            number,
            np.array([number]),
        )
        for number in range(3)
    ]
    dataset = Dataset.from_samples(schema, samples)
    first, hidden, share = paint(dataset, 0.4, 0, tmp_path / "a")
    again, _, _ = paint(dataset, 0.4, 0, tmp_path / "b")
    assert share == pytest.approx(0.4, abs=0.03)
    for index, (one, other, before) in enumerate(zip(first, again, dataset, strict=True)):
        picture = one.read_image()
        np.testing.assert_array_equal(picture, other.read_image())
        changed = (picture != before.read_image()).any(axis=2)
        x, y = keypoints[0].astype(np.int64).T
        # Noise repeats a pixel's colour once in 16 million.
        np.testing.assert_array_equal(hidden[index], changed[y, x])
        np.testing.assert_array_equal(one.instances.visibility[0] != VISIBLE, hidden[index])

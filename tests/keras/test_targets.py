"""Arrays for Keras: shares of the input in the continuous frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema, geometry
from dekey.errors import DekeyError
from dekey.keras import arrays

SCHEMA = Schema.create(["thing"], ["a", "b"])


def sample(keypoints: list[list[list[float]]], boxes: list[list[float]], crowd: list[bool] | None = None) -> Sample:
    """A picture of 40×20 px whose left half is white."""
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    picture[:, :20] = 255
    instances = Instances.create(keypoints, boxes, crowd=crowd)
    return Sample(picture, (20, 40), instances, 1, np.arange(len(instances)))


def data(*samples: Sample) -> Dataset:
    return Dataset.from_samples(SCHEMA, samples)


WHOLE = sample([[[0.0, 0.0], [30.0, 5.0]]], [[10.0, 5.0, 30.0, 15.0]])


def test_shares_by_hand() -> None:
    """40×20 into 32×32: 0.8 px a px, 8 px of border above and below."""
    x, y, weights = arrays(data(WHOLE), (32, 32), keypoints=True)
    assert x.shape == (1, 32, 32, 3)
    assert x.dtype == np.uint8
    assert (x[0, 10:22, :15] == 255).all()
    assert (x[0, 10:22, 17:] == 0).all()
    np.testing.assert_allclose(y["box"], [[0.5, 0.5, 0.5, 0.25]], atol=1e-6)
    np.testing.assert_allclose(y["keypoints"], [[[0.0, 0.25], [0.75, 0.375]]], atol=1e-6)
    np.testing.assert_array_equal(weights["keypoints"], [[1, 1]])


def test_shares_lead_back_to_the_labels(one_each: Dataset) -> None:
    _, y, _ = arrays(one_each, (48, 64), keypoints=True)
    for index, one in enumerate(one_each):
        back = geometry.invert(geometry.letterbox(one.size, (48, 64)))
        found = geometry.apply(back, y["keypoints"][index].astype(np.float64) * [64, 48])
        np.testing.assert_allclose(found, one.instances.keypoints[0], atol=1e-3)


def test_the_article_has_boxes_alone(one_each: Dataset) -> None:
    x, y, weights = arrays(one_each)
    assert (x.shape, y.shape, weights.tolist()) == ((8, 32, 32, 3), (8, 4), [1.0] * 8)
    np.testing.assert_array_equal(y, arrays(one_each, keypoints=True).y["box"])


def test_what_is_not_labelled_or_lies_beyond_counts_nothing() -> None:
    one = sample([[[np.nan, np.nan], [45.0, 5.0]]], [[30.0, 5.0, 60.0, 15.0]])
    _, y, weights = arrays(data(one, WHOLE), (32, 32), keypoints=True)
    np.testing.assert_array_equal(weights["keypoints"], [[0, 0], [1, 1]])
    assert (y["keypoints"][0] == -1).all()
    np.testing.assert_allclose(y["box"][0], [0.875, 0.5, 0.25, 0.25])  # as far as it lies in the picture


def test_crowds_are_no_objects() -> None:
    box = [10.0, 5.0, 30.0, 15.0]
    points = [[0.0, 0.0], [30.0, 5.0]]
    _, y, _ = arrays(data(sample([points, points], [[0.0, 0.0, 40.0, 20.0], box], crowd=[True, False])))
    np.testing.assert_allclose(y, [[0.5, 0.5, 0.5, 0.25]], atol=1e-6)


def test_what_cannot_be_a_target_is_told() -> None:
    two = sample([[[0, 0], [1, 1]]] * 2, [[0, 0, 5, 5]] * 2)
    none = sample(np.zeros((0, 2, 2)).tolist() or np.zeros((0, 2, 2)), np.zeros((0, 4)))  # type: ignore[arg-type]
    for wrong in (two, none):
        with pytest.raises(DekeyError, match="1 of 2 images have not exactly one object"):
            arrays(data(WHOLE, wrong))
    with pytest.raises(DekeyError, match="1 of 1 objects have no box"):
        arrays(data(sample([[[0, 0], [1, 1]]], [[np.nan] * 4])))
    with pytest.raises(DekeyError, match="lies outside it"):
        arrays(data(sample([[[0, 0], [1, 1]]], [[50, 0, 60, 10]])))
    with pytest.raises(DekeyError, match="no image"):
        arrays(data())
    boxes_alone = Dataset.from_samples(
        Schema.create(["thing"], []), [replace(WHOLE, instances=Instances.create(np.zeros((1, 0, 2)), [[1, 1, 5, 5]]))]
    )
    assert arrays(boxes_alone).y.shape == (1, 4)
    with pytest.raises(DekeyError, match="schema without keypoints"):
        arrays(boxes_alone, keypoints=True)

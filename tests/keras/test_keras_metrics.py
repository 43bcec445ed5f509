"""Keras's metrics are those of dekey.metrics."""

from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Instances, Schema, geometry
from dekey.errors import DekeyError
from dekey.keras import PCK, BoxIoU, PixelError
from dekey.metrics import distance

keras = pytest.importorskip("keras")

SIZE = (48, 64)
EXTENT = np.array([64, 48])
LIMITS = {"mean_px": PixelError(SIZE), "pck@5px": PCK(5, SIZE), "pck@0.1": PCK(0.1, SIZE, "hull_diagonal")}


@pytest.fixture(scope="module")
def shares() -> tuple[np.ndarray, np.ndarray]:
    """Truth and answers (40, 3, 2); every fifth keypoint is not labelled, one object has a single one."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (40, 3, 2)).astype(np.float32)
    found = (truth + rng.normal(0, 0.08, truth.shape)).astype(np.float32)
    truth.reshape(-1, 2)[::5] = -1
    truth[7, 1:] = -1
    return truth, found


def ours(truth: np.ndarray, found: np.ndarray, normaliser: str) -> dict[str, float]:
    known = np.where(truth >= 0, truth * EXTENT, np.nan)
    objects = Instances.create(known)
    errors = distance.pixel_errors(objects, Instances.create(found * EXTENT), np.arange(len(truth)))
    sizes = np.tile(SIZE, (len(truth), 1))
    lengths = distance.normalisers(normaliser, objects, sizes, Schema.create(["one"], ["a", "b", "c"]))
    return distance.summarise(errors, lengths, objects.labelled, 0.2)


@pytest.mark.parametrize("name", LIMITS)
def test_numbers_are_those_of_dekey(name: str, shares: tuple[np.ndarray, np.ndarray]) -> None:
    truth, found = shares
    expected = ours(truth, found, "hull_diagonal")[name]
    metric = LIMITS[name]
    metric.reset_state()
    for rows in (slice(0, 15), slice(15, 40)):  # halves of different size: a mean of means would be another number
        metric.update_state(truth[rows], found[rows])
    assert float(metric.result()) == pytest.approx(expected, abs=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    again.update_state(truth, found)
    assert (again.name, float(again.result())) == (name, pytest.approx(expected, abs=1e-5))


@pytest.mark.parametrize("metric", [PixelError(SIZE), PCK(5, SIZE), PCK(0.1, SIZE, "hull_diagonal")])
def test_a_weight_of_zero_leaves_out(metric: object, shares: tuple[np.ndarray, np.ndarray]) -> None:
    truth, found = shares
    without = truth.copy()
    without[3], without[:, 1] = -1, -1
    metric.reset_state()
    metric.update_state(without, found)
    expected = float(metric.result())
    weights = np.ones(truth.shape[:2], dtype=np.float32)
    weights[3], weights[:, 1] = 0, 0
    metric.reset_state()
    metric.update_state(truth, np.where(weights[..., None] > 0, found, np.nan), weights)
    assert float(metric.result()) == pytest.approx(expected)
    metric.reset_state()
    metric.update_state(truth, found, np.zeros(len(truth)))
    assert float(metric.result()) == 0


def test_an_answer_that_is_no_number_is_wrong() -> None:
    metric = PCK(5, SIZE)
    metric.update_state(np.full((1, 2, 2), 0.5), np.array([[[0.5, 0.5], [np.nan, 0.5]]]))
    assert float(metric.result()) == 0.5


def test_the_overlap_of_boxes_is_that_of_dekey() -> None:
    rng = np.random.default_rng(1)
    truth, found = rng.uniform(0.3, 0.7, (2, 20, 4)).astype(np.float32)
    found[:3] = truth[:3]
    found[3:5, 2:] = 0.01

    def corners(boxes: np.ndarray) -> np.ndarray:
        return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1).astype(np.float64)

    overlaps = np.diag(geometry.iou(corners(truth), corners(found)))
    metric = BoxIoU()
    metric.update_state(truth[:8], found[:8])
    metric.update_state(truth[8:], found[8:])
    assert float(metric.result()) == pytest.approx(overlaps.mean(), abs=1e-6)
    metric.reset_state()
    metric.update_state(truth, found, np.arange(20) < 3)
    assert float(metric.result()) == pytest.approx(1)


def test_what_is_no_limit_is_told() -> None:
    with pytest.raises(DekeyError, match="limit of 0"):
        PCK(0, SIZE)
    with pytest.raises(DekeyError, match="sqrt_box_area"):
        PCK(0.1, SIZE, "sqrt_box_area")  # type: ignore[arg-type]

"""The peer's targets and decoding: a peer that is measured with a fault in it would flatter us."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "gaussian_maps.py"
_SPEC = importlib.util.spec_from_file_location("benchmarks_gaussian_maps", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
maps = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(maps)


@pytest.fixture
def keypoints() -> np.ndarray:
    return np.random.default_rng(0).uniform(3, 29, (4, 6, 2))


@pytest.mark.parametrize("sigma", [1.0, 1.41, 2.0])
def test_the_log_parabola_undoes_an_unrounded_target(keypoints: np.ndarray, sigma: float):
    targets, weights = maps.gaussians(keypoints, 32, sigma, rounded=False)
    points, peaks = maps.decode_log_parabola(targets)
    np.testing.assert_allclose(points, keypoints, atol=1e-3)
    assert (weights == 1).all()
    assert (peaks <= 1).all()


def test_the_quarter_offset_stays_within_a_quarter_of_a_rounded_target(keypoints: np.ndarray):
    targets, _ = maps.gaussians(keypoints, 32, 2.0, rounded=True)
    points, peaks = maps.decode_quarter(targets)
    np.testing.assert_array_equal(points, np.floor(keypoints) + 0.5)
    np.testing.assert_array_equal(peaks, 1)
    targets, _ = maps.gaussians(keypoints, 32, 2.0, rounded=False)
    points, _ = maps.decode_quarter(targets)
    assert np.abs(points - keypoints).max() <= 0.25 + 1e-6


def test_columns_are_x_and_rows_are_y():
    targets, _ = maps.gaussians(np.array([[[3.5, 9.5]]]), 16, 1.0, rounded=True)
    assert targets[0, 0, 9, 3] == 1
    for decode in (maps.decode_quarter, maps.decode_log_parabola):
        np.testing.assert_allclose(decode(targets)[0][0, 0], [3.5, 9.5], atol=1e-6)


def test_a_maximum_on_the_border_stays_where_it_is():
    values = np.zeros((1, 2, 8, 8), dtype=np.float32)
    values[0, 0, 0, 0] = values[0, 1, 7, 7] = 1
    for decode in (maps.decode_quarter, maps.decode_log_parabola):
        np.testing.assert_array_equal(decode(values)[0][0], [[0.5, 0.5], [7.5, 7.5]])


def test_flat_and_negative_maps_decode_to_cells():
    for values in (np.zeros((1, 1, 8, 8), dtype=np.float32), np.full((1, 1, 8, 8), -1, dtype=np.float32)):
        for decode in (maps.decode_quarter, maps.decode_log_parabola):
            assert np.isfinite(decode(values)[0]).all()


@pytest.mark.parametrize("rounded", [True, False])
def test_a_point_that_is_absent_or_far_outside_weighs_nothing(rounded: bool):
    points = np.array([[[np.nan, np.nan], [-20.0, 4.0], [-1.0, 4.0], [4.0, 4.0]]])
    targets, weights = maps.gaussians(points, 8, 1.0, rounded)
    assert weights[0, :, 0, 0].tolist() == [0, 0, 1, 1]
    assert np.isfinite(targets).all()
    assert targets[0, :2].max() == 0

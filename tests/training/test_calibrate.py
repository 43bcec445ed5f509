from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dekey.training.calibrate import (
    FEWEST_OUTCOMES,
    HIGHEST,
    LOWEST,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def drawn(temperature: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes that happen with probability sigmoid(logits / temperature)."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, count) * temperature
    return logits, random.uniform(size=count) < sigmoid(logits / temperature)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits, outcomes = drawn(temperature)
    assert fit_temperature(logits, outcomes) == pytest.approx(temperature, rel=0.04)


def test_the_minimum_is_that_of_a_fine_grid() -> None:
    logits, outcomes = drawn(2.5, 500)
    grid = np.geomspace(0.5, 10, 2001)
    best = grid[np.argmin([negative_log_likelihood(logits, outcomes, each) for each in grid])]
    assert fit_temperature(logits, outcomes) == pytest.approx(best, rel=0.002)


@given(st.integers(0, 10_000), st.integers(0, 60), st.floats(0.01, 100), st.floats(-5, 5), st.floats(0, 1))
def test_it_never_raises_the_negative_log_likelihood(seed: int, count: int, scale: float, shift: float, noise: float) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(shift, scale, count)
    outcomes = np.where(random.uniform(size=count) < noise, random.uniform(size=count) < 0.5, logits > 0)
    temperature = fit_temperature(logits, outcomes)
    assert LOWEST <= temperature <= HIGHEST
    if count:
        after = negative_log_likelihood(logits, outcomes, temperature)
        assert after <= negative_log_likelihood(logits, outcomes) * (1 + 1e-12) + 1e-12


def test_scaled_logits_scale_the_temperature_and_leave_the_probabilities() -> None:
    logits, outcomes = drawn(1.0, 300)
    one, four = fit_temperature(logits, outcomes), fit_temperature(4 * logits, outcomes)
    assert four == pytest.approx(4 * one, rel=1e-9)


@pytest.mark.parametrize(
    ("logits", "outcomes", "sentence"),
    [
        (np.linspace(-3, 3, 50), np.ones(50, bool), "found 50 of 50 outcomes true"),
        (np.linspace(-3, 3, 50), np.zeros(50, bool), "found 0 of 50 outcomes true"),
        (np.zeros(0), np.zeros(0, bool), "found 0 of 0 outcomes true"),
        (np.linspace(-3, 3, 50), np.arange(50) < FEWEST_OUTCOMES - 1, "hold out more images"),
        (np.full(50, np.nan), np.arange(50) < 25, "no finite number"),
        (np.linspace(3, -3, 50), np.arange(50) >= 25, "no better than chance"),
        (np.zeros(50), np.arange(50) >= 25, "no better than chance"),
    ],
    ids=["all true", "all false", "none", "few", "nan", "reversed", "constant"],
)
def test_what_cannot_be_calibrated_stays_and_says_why(
    logits: np.ndarray, outcomes: np.ndarray, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dekey.training.calibrate"):
        assert fit_temperature(logits, outcomes) == 1.0
    assert sentence in caplog.text


def test_perfect_ranking_ends_at_the_lowest_temperature() -> None:
    logits = np.linspace(-3.03, 3, 60)
    assert fit_temperature(logits, logits > 0) == LOWEST


def test_large_logits_overflow_nowhere() -> None:
    with np.errstate(all="raise", under="ignore"):
        logits = np.concatenate([np.full(30, 1e4), np.full(30, -1e4)])
        outcomes = np.arange(60) < 30
        outcomes[[3, 40]] = [False, True]
        assert fit_temperature(logits, outcomes) == HIGHEST
        assert math.isfinite(negative_log_likelihood(logits, outcomes))


def test_calibration_lowers_the_calibration_error() -> None:
    logits, outcomes = drawn(3.0)
    before = expected_calibration_error(sigmoid(logits), outcomes)
    after = expected_calibration_error(sigmoid(logits / fit_temperature(logits, outcomes)), outcomes)
    assert before > 0.1
    assert after < 0.01


def test_calibration_error_of_the_perfect_and_of_the_wrong() -> None:
    outcomes = np.arange(40) % 4 == 0
    assert expected_calibration_error(outcomes.astype(float), outcomes) == 0
    assert expected_calibration_error(np.full(40, 0.25), outcomes) == 0
    assert expected_calibration_error(1.0 - outcomes, outcomes) == 1
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_calibration_error_by_hand() -> None:
    """Part [0, 0.5): |0.3 − 1/2| of two; part [0.5, 1]: |0.8 − 1/3| of three."""
    probabilities = np.array([0.2, 0.4, 0.5, 0.9, 1.0])
    outcomes = np.array([False, True, False, True, False])
    expected = 2 / 5 * abs(0.3 - 0.5) + 3 / 5 * abs(0.8 - 1 / 3)
    assert expected_calibration_error(probabilities, outcomes, bins=2) == pytest.approx(expected)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="expected"):
        fit_temperature(np.zeros(3), np.zeros(2, bool))
    with pytest.raises(ValueError, match="not logits"):
        expected_calibration_error(np.array([2.0]), np.array([True]))

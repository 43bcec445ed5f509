"""Probabilities that mean what they say: one temperature for all logits, and how far probabilities are from frequencies.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for two outcomes: the logits z of a trained network are
divided by one number T, chosen on held-out data so that sigmoid(z / T) has the least negative log-likelihood. T moves no
probability across one half and changes no order; it only makes them more or less sure.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

# With fewer outcomes of either kind, T is mostly chance: its relative error is about one over the root of their number.
FEWEST_OUTCOMES: Final = 10
# A temperature beyond these says that the logits rank nothing, or everything without an error; both are not measured well.
LOWEST, HIGHEST = 0.05, 20.0

logger = logging.getLogger(__name__)


def fit_temperature(logits: NDArray[np.floating], outcomes: NDArray[np.bool_]) -> float:
    """Choose the temperature T of the least negative log-likelihood of sigmoid(logits / T).

    The likelihood is convex in 1 / T, so that halving the interval finds the one minimum. T ends at `LOWEST` and `HIGHEST`.

    Args:
        logits: (M,) of outcomes that are known, none of them used in training.
        outcomes: (M,) bool, what happened.

    Returns:
        T; 1.0, with a sentence in the log, where a value is not finite, either outcome occurs fewer than `FEWEST_OUTCOMES`
        times, or the logits tell the outcomes apart no better than chance.

    Raises:
        ValueError: if the shapes differ.

    >>> fit_temperature(np.zeros(3), np.array([True, False, True]))
    1.0
    """
    z, happened = np.asarray(logits, dtype=np.float64), np.asarray(outcomes, dtype=np.bool_)
    if z.ndim != 1 or z.shape != happened.shape:
        raise ValueError(f"found logits {z.shape} and outcomes {happened.shape}, expected (M,) and (M,)")
    reason = _why_not(z, happened)
    if not reason and _slope(0.0, z, happened) >= 0:
        reason = "the logits tell the outcomes apart no better than chance"
    if reason:
        logger.info("probabilities are not calibrated: %s", reason)
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    if _slope(low, z, happened) >= 0:
        return HIGHEST
    if _slope(high, z, happened) <= 0:
        return LOWEST
    # 60 halvings leave no digit of a float64 undecided.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(middle, z, happened) < 0 else (low, middle)
    return 2 / (low + high)


def negative_log_likelihood(logits: NDArray[np.floating], outcomes: NDArray[np.bool_], temperature: float = 1.0) -> float:
    """Give the mean of −log of the probability that sigmoid(logits / temperature) had for what happened, in nats.

    Args:
        logits: (M,).
        outcomes: (M,) bool.
        temperature: what the logits are divided by.
    """
    signed = np.where(outcomes, logits, -np.asarray(logits, dtype=np.float64)) / temperature
    return float(np.logaddexp(0.0, -signed).mean())


def expected_calibration_error(probabilities: NDArray[np.floating], outcomes: NDArray[np.bool_], bins: int = 15) -> float:
    """Give how far probabilities are from frequencies, on average: 0 is perfect, 1 the worst.

    [0, 1] is cut into equal parts; in each the mean probability is compared with the share of outcomes that happened, and
    the differences are averaged with the numbers of values as weights (Guo et al., equation 3, with the probability of the
    event in place of the confidence in the likelier class). NaN without values.

    Args:
        probabilities: (M,) in [0, 1].
        outcomes: (M,) bool.
        bins: parts; the upper end of a part belongs to the next one, 1 to the last.

    Raises:
        ValueError: if the shapes differ, there is no part, or a probability lies outside [0, 1].

    >>> expected_calibration_error(np.array([0.5, 0.5]), np.array([True, False]))
    0.0
    """
    told, happened = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.bool_)
    if told.ndim != 1 or told.shape != happened.shape or bins < 1:
        raise ValueError(
            f"found probabilities {told.shape}, outcomes {happened.shape} and {bins} bins, expected (M,), (M,), 1+"
        )
    if not told.size:
        return math.nan
    if not ((told >= 0) & (told <= 1)).all():
        raise ValueError("a probability lies outside [0, 1]; give probabilities, not logits")
    part = np.minimum((told * bins).astype(np.int64), bins - 1)
    # (count / M) · |mean told − mean happened| of a part is |sum of the differences| / M.
    differences = np.bincount(part, weights=told - happened, minlength=bins)
    return float(np.abs(differences).sum() / told.size)


def _why_not(logits: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> str:
    """Say why these outcomes cannot tell a temperature; empty where they can."""
    if not np.isfinite(logits).all():
        return "a logit is no finite number"
    happened = int(outcomes.sum())
    fewest = min(happened, len(outcomes) - happened)
    if fewest < FEWEST_OUTCOMES:
        return (
            f"found {happened} of {len(outcomes)} outcomes true, expected at least {FEWEST_OUTCOMES} of either kind; "
            "hold out more images"
        )
    return ""


def _slope(inverse: float, logits: NDArray[np.float64], outcomes: NDArray[np.bool_]) -> float:
    """Give the derivative of the mean negative log-likelihood by 1 / T: the mean of z · (sigmoid(z / T) − outcome)."""
    # The sigmoid by tanh overflows nowhere.
    probabilities = 0.5 * (1 + np.tanh(0.5 * inverse * logits))
    return float((logits * (probabilities - outcomes)).mean())

"""From which score on an object counts as found, and how far to trust that a keypoint is visible: read off held-out images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dekey.data import VISIBLE, Instances
from dekey.metrics.matching import pair
from dekey.models.checkpoint import TorchBackend
from dekey.runtime import Manifest
from dekey.training.augment import Augment
from dekey.training.calibrate import expected_calibration_error, fit_temperature
from dekey.training.views import Views

# Answers below this teach nothing about where noise begins.
WEAKEST = 0.01
# From this score on an answer has learnt something about its object, so that its visibility can be judged.
SURE = 0.3
# Without any object to judge by.
DEFAULT_THRESHOLD = 0.3


@dataclass(frozen=True)
class _Answers:
    """Answers of one view: scores (D,), right (D,) bool, truths that count, and per labelled keypoint logit and state."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    truths: int
    logits: NDArray[np.float64]
    visible: NDArray[np.bool_]


def calibrate(model: nn.Module, manifest: Manifest, views: Views, device: torch.device) -> tuple[Manifest, str]:
    """Set the score threshold and the visibility's temperature by held-out views.

    The threshold is the one of the best expected F1 over boxes that overlap by half, see `best_threshold`. The temperature (Guo
    et al., "On Calibration of Modern Neural Networks", ICML 2017) goes into the model's buffer, so that it is part of the
    exported graph.

    Args:
        model: a CenterDetector; its ``temperature`` is set.
        manifest: what it is.
        views: held-out scenes.
        device: where to run it.

    Returns:
        The manifest with both numbers, and one sentence about them.
    """
    backend = TorchBackend(model, manifest, device)  # moves the model, whose buffers are others then
    temperature: torch.Tensor = model.temperature  # type: ignore[assignment]
    temperature.fill_(1.0)
    answers = list(_answers(backend, views))
    scores = np.concatenate([one.scores for one in answers])
    right = np.concatenate([one.right for one in answers])
    threshold = best_threshold(scores, right, sum(one.truths for one in answers))
    logits = np.concatenate([one.logits for one in answers])
    visible = np.concatenate([one.visible for one in answers])
    fitted = fit_temperature(logits, visible)
    temperature.fill_(fitted)
    sentence = f"an object counts as found from a score of {threshold:.2f} on"
    if fitted != 1.0:
        before, after = (expected_calibration_error(_sigmoid(logits / value), visible) for value in (1.0, fitted))
        sentence += f"; visibility logits are divided by {fitted:.2f} (calibration error {before:.3f}, then {after:.3f})"
    return manifest.model_copy(update={"object_threshold": threshold, "visibility_temperature": fitted}), sentence


def best_threshold(scores: NDArray[np.float64], right: NDArray[np.bool_], truths: int) -> float:
    """Give the score from which on the answers are expected to have the best F1.

    Held-out images are few, and the F1 counted on them jumps with every answer: its best place is mostly chance. So the
    chance p that an answer is right is fitted as sigmoid(a · logit(score) + b) first (Platt, "Probabilistic outputs for support
    vector machines", 1999, with his targets, which keep it finite where scores tell all answers apart). The best F1, F*, is
    then had from p = F* / 2 on (Lipton, Elkan & Narayanaswamy, "Optimal thresholding of classifiers to maximize F1 measure",
    2014).

    Args:
        scores: (D,), weak ones too: they say where noise begins.
        right: (D,) whether each answer has an object of its own.
        truths: number of objects there are.

    Returns:
        The threshold; `DEFAULT_THRESHOLD` where nothing can be learnt, as without a right answer or where higher scores are not
        more often right, and at most that where no answer is wrong.

    >>> round(best_threshold(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, True, False, False]), 2), 2)
    0.32
    """
    if not truths or not right.any():
        return DEFAULT_THRESHOLD
    if right.all():
        return min(DEFAULT_THRESHOLD, float(scores.min()))
    slope, offset = _fit_platt(_logit(scores), right)
    if slope <= 0:
        return DEFAULT_THRESHOLD
    p = np.sort(_sigmoid(slope * _logit(scores) + offset))[::-1]
    best = min(float((2 * np.cumsum(p) / (np.arange(1, len(p) + 1) + truths)).max()), 1.0)
    return float(_sigmoid((_logit(np.array(best / 2)) - offset) / slope))


def _fit_platt(logits: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit (a, b) of sigmoid(a · logit + b) by Newton's method; the likelihood is concave."""
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)
    weights = np.zeros(2)
    for _ in range(100):
        p = _sigmoid(inputs @ weights)
        # A touch on the diagonal, for scores that are all equal; steps of limited length, for a start far away.
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (p - target))
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def _answers(backend: TorchBackend, views: Views) -> Iterator[_Answers]:
    rng = np.random.default_rng(0)
    for index in range(len(views)):
        picture, truth, _ = views.draw(index, Augment(), rng)
        arrays = {name: array[0] for name, array in backend.run(picture[None]).items()}
        strong = arrays["scores"] >= WEAKEST
        found = Instances.create(
            arrays["keypoints"][strong], arrays["boxes"][strong], arrays["labels"][strong], scores=arrays["scores"][strong]
        )
        pairs = pair(truth, found, views.input_size)
        partners = pairs.found_of_truth
        assert found.scores is not None
        right = np.zeros(len(found), dtype=np.bool_)
        right[partners[partners >= 0]] = True
        counted = right | pairs.extra
        own = np.flatnonzero((partners >= 0) & (found.scores[partners] >= SURE if len(found) else False))
        labelled = truth.labelled[own]
        logits = _logit(arrays["visibility"][strong][partners[own]].astype(np.float64))
        yield _Answers(
            found.scores[counted],
            right[counted],
            int((~truth.crowd & truth.labelled.any(1)).sum()),
            logits[labelled],
            (truth.visibility[own] == VISIBLE)[labelled],
        )

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

# Answers below this are noise whatever the threshold.
WEAKEST = 0.05
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

    The threshold is the one of the best F1 over boxes that overlap by half. The temperature (Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017) goes into the model's buffer, so that it is part of the exported graph.

    Args:
        model: a CenterDetector; its ``temperature`` is set.
        manifest: what it is.
        views: held-out scenes.
        device: where to run it.

    Returns:
        The manifest with both numbers, and one sentence about them.
    """
    temperature: torch.Tensor = model.temperature  # type: ignore[assignment]
    temperature.fill_(1.0)
    answers = list(_answers(TorchBackend(model, manifest, device), views))
    scores = np.concatenate([one.scores for one in answers])
    right = np.concatenate([one.right for one in answers])
    threshold = best_threshold(scores, right, sum(one.truths for one in answers))
    logits = np.concatenate([one.logits for one in answers])
    visible = np.concatenate([one.visible for one in answers])
    fitted = fit_temperature(logits, visible)
    temperature.fill_(fitted)
    sentence = f"an object counts as found from a score of {threshold:.2f} on"
    if fitted != 1.0:
        before, after = (expected_calibration_error(1 / (1 + np.exp(-logits / value)), visible) for value in (1.0, fitted))
        sentence += f"; visibility logits are divided by {fitted:.2f} (calibration error {before:.3f}, then {after:.3f})"
    return manifest.model_copy(update={"object_threshold": threshold, "visibility_temperature": fitted}), sentence


def best_threshold(scores: NDArray[np.float64], right: NDArray[np.bool_], truths: int) -> float:
    """Give the score from which on the answers have the best F1, in the middle between two answers.

    Args:
        scores: (D,).
        right: (D,) whether each answer has an object of its own.
        truths: number of objects there are.

    >>> best_threshold(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), 2)
    0.55
    """
    if not truths or not right.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ranked = np.append(scores[order], min(WEAKEST, float(scores.min())))
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + truths)
    # No threshold lies between equal scores; the weakest answer may always be the last.
    apart = np.append(ranked[:-2] > ranked[1:-1], True)
    last = int(np.argmax(np.where(apart, f1, -1)))
    return float(ranked[last] + ranked[last + 1]) / 2


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
        probability = np.clip(arrays["visibility"][strong][partners[own]].astype(np.float64), 1e-6, 1 - 1e-6)
        logits = np.log(probability / (1 - probability))
        yield _Answers(
            found.scores[counted],
            right[counted],
            int((~truth.crowd & truth.labelled.any(1)).sum()),
            logits[labelled],
            (truth.visibility[own] == VISIBLE)[labelled],
        )

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dekey
from dekey.data import Dataset
from dekey.models.checkpoint import TorchBackend, load_model
from dekey.training import thresholds
from dekey.training.scenes import SceneSet
from dekey.training.thresholds import DEFAULT_THRESHOLD, WEAKEST, best_threshold, calibrate


def f1(scores: np.ndarray, right: np.ndarray, truths: int, threshold: float) -> float:
    kept = scores >= threshold
    return 2 * int((kept & right).sum()) / (int(kept.sum()) + truths)


@given(st.integers(0, 10_000), st.floats(1, 4), st.floats(-1.5, 1.5))
def test_many_answers_give_the_threshold_that_is_best_for_others(seed: int, slope: float, offset: float) -> None:
    """Brute force over every threshold on other answers of the same kind."""
    random = np.random.default_rng(seed)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        scores = random.uniform(WEAKEST, 0.99, count)
        return scores, random.uniform(size=count) < 1 / (1 + np.exp(-slope * np.log(scores / (1 - scores)) - offset))

    scores, right = drawn(10_000)
    others, theirs = drawn(10_000)
    threshold = best_threshold(scores, right, int(right.sum()))
    best = max(f1(others, theirs, int(theirs.sum()), one) for one in np.linspace(0.01, 0.99, 99))
    assert f1(others, theirs, int(theirs.sum()), threshold) > best - 0.02


def test_one_answer_does_not_decide() -> None:
    """Counted F1 would be best above the one strong wrong answer: a tenth of the right ones would be lost to it."""
    scores = np.concatenate([np.linspace(0.6, 0.9, 40), np.linspace(0.01, 0.3, 100)])
    right = np.arange(len(scores)) < 40
    calm = best_threshold(scores, right, 40)
    excited = best_threshold(np.append(scores, 0.65), np.append(right, False), 40)
    assert 0.3 < calm < excited < 0.6


def test_where_none_is_wrong_all_are_found() -> None:
    assert best_threshold(np.array([0.2, 0.9, 0.7]), np.array([True, True, True]), 3) == 0.2
    assert best_threshold(np.array([0.5, 0.9]), np.array([True, True]), 3) == DEFAULT_THRESHOLD


def test_scores_that_mean_nothing_or_the_opposite_give_the_default() -> None:
    assert best_threshold(np.array([0.2, 0.3, 0.9]), np.array([True, True, False]), 2) == DEFAULT_THRESHOLD
    assert WEAKEST < best_threshold(np.full(9, 0.4), np.arange(9) < 8, 8) <= 0.4


def test_without_anything_to_judge_by_there_is_a_default() -> None:
    assert best_threshold(np.zeros(0), np.zeros(0, bool), 3) == DEFAULT_THRESHOLD
    assert best_threshold(np.array([0.5]), np.array([False]), 3) == DEFAULT_THRESHOLD
    assert best_threshold(np.array([0.5]), np.array([True]), 0) == DEFAULT_THRESHOLD


def test_a_model_is_calibrated_on_views_and_its_manifest_says_so(shapes_run: Path, shapes_file: Path) -> None:
    model, manifest = load_model(shapes_run / "model.safetensors")
    views = SceneSet(dekey.read(shapes_file), manifest.input_size)
    before = manifest.model_copy(update={"object_threshold": 0.0, "visibility_temperature": 7.0})
    model.temperature.fill_(7.0)  # what an earlier calibration left does not matter
    after, sentence = calibrate(model, before, views, torch.device("cpu"))
    assert after == manifest  # the run has done the same
    assert WEAKEST < after.object_threshold < 1
    assert f"from a score of {after.object_threshold:.2f} on" in sentence
    assert model.temperature.item() == pytest.approx(after.visibility_temperature)


def test_a_model_that_finds_nothing_gets_the_default(
    shapes_run: Path, shapes: Callable[..., Dataset], shapes_file: Path
) -> None:
    model, manifest = load_model(shapes_run / "model.safetensors")
    with torch.no_grad():
        for one in model.center_head.parameters():
            one.zero_()
            one.sub_(5.0 if one.ndim == 1 else 0.0)
    views = SceneSet(dekey.read(shapes_file), manifest.input_size)
    assert calibrate(model, manifest, views, torch.device("cpu"))[0].object_threshold == DEFAULT_THRESHOLD


def test_the_temperature_is_that_of_the_model_where_it_runs(
    shapes_run: Path, shapes_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved to another device a model has other buffers than before."""
    model, manifest = load_model(shapes_run / "model.safetensors")

    class Moving(TorchBackend):
        def __init__(self, model: Any, manifest: Any, device: torch.device) -> None:
            model.temperature = model.temperature.clone()
            super().__init__(model, manifest, device)

    monkeypatch.setattr(thresholds, "TorchBackend", Moving)
    monkeypatch.setattr(thresholds, "fit_temperature", lambda logits, visible: 2.5)
    views = SceneSet(dekey.read(shapes_file), manifest.input_size)
    changed, _ = thresholds.calibrate(model, manifest, views, torch.device("cpu"))
    assert changed.visibility_temperature == float(model.temperature) == 2.5  # type: ignore[arg-type]

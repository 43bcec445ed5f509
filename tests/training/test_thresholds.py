from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dekey
from dekey.data import Dataset
from dekey.models.checkpoint import load_model
from dekey.training.scenes import SceneSet
from dekey.training.thresholds import DEFAULT_THRESHOLD, WEAKEST, best_threshold, calibrate


def f1(scores: np.ndarray, right: np.ndarray, truths: int, threshold: float) -> float:
    kept = scores >= threshold
    return 2 * int((kept & right).sum()) / (int(kept.sum()) + truths)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 10), st.integers(1, 3))
def test_no_threshold_is_better(seed: int, count: int, missed: int, decimals: int) -> None:
    """Brute force over every threshold there is; with few decimals many scores are equal."""
    random = np.random.default_rng(seed)
    scores = random.uniform(WEAKEST, 1, count).round(decimals)
    right = random.uniform(size=len(scores)) < scores
    truths = int(right.sum()) + missed
    threshold = best_threshold(scores, right, truths)
    if not right.any():
        assert threshold == DEFAULT_THRESHOLD
        return
    best = max(f1(scores, right, truths, one) for one in scores)
    assert f1(scores, right, truths, threshold) == pytest.approx(best)


def test_it_lies_in_the_middle_between_two_answers() -> None:
    scores = np.array([0.3, 0.9, 0.7])
    assert best_threshold(scores, np.array([False, True, True]), 2) == 0.5
    assert best_threshold(scores, np.array([True, True, True]), 3) == pytest.approx((0.3 + WEAKEST) / 2)


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

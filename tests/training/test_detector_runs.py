from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dekey
from dekey.config import Config, read_config
from dekey.errors import DekeyError
from dekey.export import export_onnx
from dekey.models.checkpoint import load_torch_backend
from dekey.training import train


def config_of(path: Path, kind: str = "auto", **run: Any) -> Config:
    return read_config(
        {
            "data": {"train": str(path), "workers": 1},
            "model": {
                "kind": kind,
                "backbone": "test_resnet",
                "pretrained": False,
                "decoder_channels": [8, 8, 8],
                "input_size": [64, 64],
            },
            "augment": {"zoom": 0.3, "paste": 0.3},
            "run": {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", **run},
        }
    )


@pytest.mark.parametrize("kind", ["heatmap", "center"])
def test_bf16_trains_with_clipped_gradients(shapes_file: Path, tmp_path: Path, kind: str) -> None:
    # Lightning's own mixed precision refused to clip the gradients of a fused optimiser: no run began on a bf16 machine.
    config = config_of(shapes_file, kind, precision="bf16", epochs=1)
    if kind == "heatmap":
        config = config.model_copy(update={"data": config.data.model_copy(update={"region": "box"})})
    result = train(config, tmp_path / "run")
    assert json.loads((result.folder / "run.json").read_text())["precision"] == "bf16"
    weights = load_file(result.folder / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_budget_that_is_over_before_the_first_step_is_told(shapes_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="over before the first step"):
        train(config_of(shapes_file, budget=1e-3, epochs="auto"), tmp_path / "run")


def test_one_answer_an_image_is_not_trained_on_images_with_several_objects(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="have several objects"):
        train(config_of(small_data, "article"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_family_is_said_and_a_resumed_detector_ends_in_the_same_weights(
    shapes_file: Path, tmp_path: Path, dies: Callable[[Callable[[], object], int], None]
) -> None:
    said: list[str] = []
    train(config_of(shapes_file), tmp_path / "whole", say=said.append)
    assert any(line.startswith("model family: center") for line in said)

    dies(lambda: train(config_of(shapes_file), tmp_path / "stopped"), 1)
    train(config_of(shapes_file), tmp_path / "stopped", resume=True)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_trained_detector_finds_objects_with_class_box_and_keypoints(shapes_run: Path, shapes_file: Path) -> None:
    data = dekey.read(shapes_file)
    predictor = dekey.load(shapes_run, "cpu")
    measured = dekey.evaluate(data, predictor, sigmas=0.05)
    assert measured["found_share"] > 0.8
    assert measured["box_AP50"] > 0.8
    assert measured["median_px"] < 3
    assert "box average precision" in (shapes_run / "report.html").read_text()
    for sample in data:
        found = predictor(sample.read_image())
        # What a class lacks is not found in it.
        absent = ~data.schema.present[found.labels]
        assert np.isnan(found.keypoints[absent]).all()
        assert np.isfinite(found.keypoints[~absent]).all()


def test_an_exported_detector_answers_alike(shapes_run: Path, shapes_file: Path, tmp_path: Path) -> None:
    pictures = [sample.read_image() for sample in dekey.read(shapes_file)]
    backend = load_torch_backend(shapes_run / "model.safetensors", "cpu")
    parity = export_onnx(backend, tmp_path / "shapes.onnx", pictures)
    assert parity.keypoints > 10
    assert parity.largest_px < 0.01
    exported = dekey.load(tmp_path / "shapes.onnx")
    for own, other in zip(dekey.load(shapes_run, "cpu").batch(pictures), exported.batch(pictures), strict=True):
        np.testing.assert_array_equal(own.labels, other.labels)
        np.testing.assert_allclose(own.boxes, other.boxes, atol=0.01)
        np.testing.assert_allclose(own.keypoints, other.keypoints, atol=0.01)

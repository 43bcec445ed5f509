from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from torch import Tensor

import dekey
from dekey.config import Config, read_config
from dekey.errors import DekeyError
from dekey.models.backbone import is_learned_scale
from dekey.models.base import Batch
from dekey.models.checkpoint import load_model
from dekey.training import train
from dekey.training.module import TrainingModule
from dekey.training.run import Run


def config_of(path: Path, kind: str = "auto", **data: Any) -> Config:
    values = {
        "data": {"train": str(path), "val_fraction": 0.25, "workers": 1, **data},
        "model": {
            "kind": kind,
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [16, 16, 16],
            "input_size": [64, 64],
        },
        "run": {"epochs": 1, "batch_size": 4, "device": "cpu"},
    }
    return read_config(values)


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_family_and_why_are_said(shapes_file: Path, small_data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(config_of(shapes_file), tmp_path / "auto", say=said.append)
    why = next(text for text in said if text.startswith("model family: "))
    assert why.startswith("model family: center (")
    assert "of 9 images have not exactly one object; --model heatmap would learn from crops" in why
    assert any(text.startswith("an object counts as found from a score of") for text in said)
    said.clear()
    train(config_of(small_data, region="box"), tmp_path / "box", say=said.append)
    assert "model family: heatmap (crops around boxes were asked for)" in said


def test_classes_that_a_family_cannot_tell_apart_are_told(shapes_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="2 classes on whole images, which a heatmap model cannot tell apart"):
        train(config_of(shapes_file, "heatmap", region="image"), tmp_path / "run")


def test_a_network_without_learned_scales_is_found_again(shapes_file: Path, tmp_path: Path) -> None:
    config = config_of(shapes_file)
    model = config.model.model_copy(update={"backbone": "hgnetv2_b0"})
    train(config.model_copy(update={"model": model}), tmp_path / "run")
    network, manifest = load_model(tmp_path / "run" / "model.safetensors")
    assert manifest.architecture["learned_scales"] is False
    assert not any(map(is_learned_scale, network.modules()))
    train(config.model_copy(update={"model": model}), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("kind", "small", "passes"), [("center", "auto", 2.0), ("center", 1, 1.0), ("center", 0, 0.0), ("heatmap", 9, 2.0)]
)
def test_a_run_begins_with_small_pictures(
    kind: str, small: Any, passes: float, shapes_file: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    step = TrainingModule.training_step

    def noted(self: TrainingModule, batch: Batch, batch_idx: int) -> Tensor:
        sizes.append(batch.input_size)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", noted)
    values = config_of(shapes_file if kind == "center" else small_data, kind).model_dump(mode="json")
    values["model"]["input_size"] = [96, 96]
    values["run"]["epochs"] = 4
    train(read_config(values, overrides=[f"augment.small={small}"]), tmp_path / "run")
    first = math.ceil(passes / 4 * len(sizes))
    assert len(sizes) > 3
    assert sizes == [(64, 64)] * first + [(96, 96)] * (len(sizes) - first)
    assert dekey.load(tmp_path / "run").manifest.input_size == (96, 96)
    assert all(np.isfinite(float(row["loss"])) for row in log_of(tmp_path / "run"))


@pytest.mark.parametrize(
    ("side", "taught", "small", "said"),
    [
        (64, False, 2, "an input of 64x64 px is small as it is"),
        (96, True, 2, "a teacher is asked about pictures of the input's size"),
        (96, True, "auto", None),
    ],
)
def test_pictures_that_cannot_be_smaller_keep_their_size_and_why_is_said(
    side: int, taught: bool, small: Any, said: str | None, shapes_file: Path, shapes_run: Path, tmp_path: Path
) -> None:
    values = config_of(shapes_file, "center").model_dump(mode="json")
    values["model"]["input_size"] = [side, side]
    values["teacher"]["model"] = str(shapes_run) if taught else None
    heard: list[str] = []
    train(read_config(values, overrides=[f"augment.small={small}"]), tmp_path / "run", say=heard.append)
    about = [text for text in heard if "smaller pictures" in text]
    assert about == ([] if said is None else [f"no smaller pictures at the beginning: {said}"])
    kept = read_config(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert kept.augment.small == (0 if small == "auto" else small)


def test_nothing_to_find_is_told(shapes_file: Path, tmp_path: Path) -> None:
    values = json.loads(shapes_file.read_text())
    values["annotations"] = [{**each, "iscrowd": 1} for each in values["annotations"]]
    path = tmp_path / "crowds.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DekeyError, match="found no object in the images to learn from"):
        train(config_of(path, "center", images=str(shapes_file.parent)), tmp_path / "run")


def test_a_detector_leaves_a_model_its_figures_and_a_report(shapes_run: Path) -> None:
    files = {file.name for file in shapes_run.iterdir()}
    assert {"config.yaml", "evaluation.json", "log.csv", "model.safetensors", "report.html", "run.json"} <= files
    _, manifest = load_model(shapes_run / "model.safetensors")
    assert (manifest.kind, manifest.region, manifest.objects, manifest.finds_boxes) == ("center", "image", 6, True)
    assert 0 < manifest.object_threshold < 1
    assert manifest.visibility_temperature == 1.0  # nothing is occluded here, so there is nothing to fit
    measured = json.loads((shapes_run / "evaluation.json").read_text())["model"]["values"]
    assert measured["box_AP50"] > 0.9
    assert measured["found_share"] > 0.9
    assert measured["median_px"] < 2
    report = (shapes_run / "report.html").read_text(encoding="utf-8")
    assert report.startswith("<!DOCTYPE html>")
    assert "box AP" in report
    rows = log_of(shapes_run)
    assert {"loss/center", "loss/box", "loss/keypoint_heatmap", "val_box_AP"} <= rows[0].keys()
    assert float(rows[-1]["loss"]) < 0.2 * float(rows[0]["loss"])


def test_the_best_round_is_kept(shapes_run: Path) -> None:
    """Of a detector the best is what leaves least to be wished for in boxes and in keypoints."""
    rows = log_of(shapes_run)
    best = max((float(row["val_box_AP"] or 0) + float(row["val_pck@0.1"] or 0)) / 2 for row in rows)
    metrics = load_model(shapes_run / "model.safetensors")[1].metrics
    assert (metrics["box_AP"] + metrics["pck@0.1"]) / 2 == pytest.approx(best)


def test_a_run_folder_opens_with_its_threshold_and_its_classes(shapes_run: Path, shapes_file: Path) -> None:
    predictor, data = dekey.load(shapes_run, "cpu"), dekey.read(shapes_file)
    weak = predictor.predict_dataset(data)
    strong = predictor.batch([sample.read_image() for sample in data])
    for one, many in zip(strong, weak, strict=True):
        assert one.scores is not None
        assert many.scores is not None
        assert (one.scores >= predictor.manifest.object_threshold).all()
        assert (many.scores >= 0.01).all()
        np.testing.assert_array_equal(one.boxes, many[many.scores >= predictor.manifest.object_threshold].boxes)
        # What a class lacks is not found on it.
        np.testing.assert_array_equal(one.visibility > 0, data.schema.present[one.labels])
    assert sum(len(one) for one in weak) > sum(len(one) for one in strong) > 0


@pytest.mark.parametrize("kind", ["center", "article"])
def test_a_round_that_finds_nothing_is_no_good_one(kind: str) -> None:
    """Of what is not found no error is known, which must not pass for an error of zero."""
    run: Any = SimpleNamespace(material=SimpleNamespace(kind=kind))
    nothing = Run._figure(run, {"box_AP": 0.0, "pck@0.1": 0.0})
    one_of_many = Run._figure(run, {"box_AP": 0.01, "pck@0.1": 0.01, "nme": 0.001})
    all_of_them = Run._figure(run, {"box_AP": 0.6, "pck@0.1": 0.5, "nme": 0.05})
    assert nothing == 1
    assert nothing > one_of_many > all_of_them


def test_held_out_images_without_a_label_are_told_before_training(small_data: Path, tmp_path: Path) -> None:
    values = json.loads(small_data.read_text())
    for each in values["annotations"]:
        each["keypoints"] = [0] * len(each["keypoints"])
    empty = tmp_path / "val.json"
    empty.write_text(json.dumps(values))
    config = config_of(small_data, "heatmap", region="box", val=str(empty), images=str(small_data.parent))
    with pytest.raises(DekeyError, match=r"found no labelled keypoint in the \d+ images held out"):
        train(config, tmp_path / "run")

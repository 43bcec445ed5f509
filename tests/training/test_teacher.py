from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dekey
from dekey.cli import main
from dekey.config import Config, read_config
from dekey.data import Dataset, Schema
from dekey.errors import DekeyError
from dekey.files import sha256
from dekey.models.checkpoint import load_model
from dekey.training import train
from dekey.training.prepare import Material, prepare
from dekey.training.teacher import Teacher, open_teacher


def config_of(path: Path, teacher: Path | None, **run: Any) -> Config:
    return read_config(
        {
            "data": {"train": str(path), "val_fraction": 0.25, "workers": 1},
            "model": {"backbone": "test_resnet", "pretrained": False, "decoder_channels": [8, 8, 8], "input_size": [64, 64]},
            "run": {"epochs": 2, "batch_size": 4, "device": "cpu", "precision": "fp32", **run},
            "teacher": {"model": None if teacher is None else str(teacher)},
        }
    )


def material_of(path: Path) -> Material:
    return prepare(config_of(path, None), "cpu", lambda text: None)


def renamed(material: Material, schema: Schema) -> Material:
    """Give the material under another schema of the same counts, as a file that names its keypoints so would."""
    parts = {name: getattr(material, name) for name in ("train", "held_out")}
    return replace(material, **{name: replace(part, schema=schema) for name, part in parts.items()})


@pytest.fixture(scope="module")
def material(shapes_file: Path) -> Material:
    return material_of(shapes_file)


def test_a_teacher_is_followed_and_written_into_the_record(shapes_file: Path, shapes_run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(config_of(shapes_file, shapes_run, epochs=1), tmp_path / "run", say=said.append)
    assert f"taught by {shapes_run} as well as by the labels, with weight 1" in said
    digest = sha256(shapes_run / "model.safetensors")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["teacher"] == {"model": str(shapes_run), "sha256": digest}
    assert load_model(tmp_path / "run" / "model.safetensors")[1].origin["teacher"] == f"run (SHA-256 {digest})"
    with (tmp_path / "run" / "log.csv").open() as stream:
        columns = set(csv.DictReader(stream).fieldnames or ())
    assert {"loss/teacher_center", "loss/teacher_keypoint_heatmap", "loss/teacher_vectors", "loss/center"} <= columns
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert not any("teacher" in name for name in weights)


def test_a_resumed_student_ends_in_the_same_weights_wherever_its_teacher_lies(
    shapes_file: Path,
    shapes_run: Path,
    tmp_path: Path,
    dies: Callable[[Callable[[], object], int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher, moved = tmp_path / "teacher", tmp_path / "moved"
    shutil.copytree(shapes_run, teacher)
    train(config_of(shapes_file, teacher), tmp_path / "whole")
    dies(lambda: train(config_of(shapes_file, teacher), tmp_path / "stopped"), 1)
    teacher.rename(moved)
    words = ["train", str(shapes_file), "--out", str(tmp_path / "stopped"), "--resume"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"the run was taught by {teacher} (SHA-256 {sha256(moved / 'model.safetensors')[:12]}…)" in told
    assert "say with --teacher where it lies now" in told
    other = tmp_path / "whole"  # a model of the same kind, but not the one
    assert main([*words, "--teacher", str(other)]) == 2
    assert "has the SHA-256" in capsys.readouterr().err
    assert main([*words, "--teacher", str(moved)]) == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_without_a_teacher_goes_on_without_one(shapes_file: Path, shapes_run: Path, tmp_path: Path) -> None:
    train(config_of(shapes_file, None, epochs=1), tmp_path / "run")
    with pytest.raises(DekeyError, match="was started with another configuration"):
        train(config_of(shapes_file, shapes_run, epochs=1), tmp_path / "run", resume=True)


def test_answers_are_put_into_the_order_of_the_data(material: Material, shapes_run: Path) -> None:
    schema = material.train.schema
    classes, keypoints = (1, 0), (2, 0, 3, 1)
    other = Schema.create(
        [schema.classes[index] for index in classes],
        [schema.keypoints[index] for index in keypoints],
        present=schema.present[np.ix_(classes, keypoints)],
    )
    swapped = renamed(material, other)
    student, _ = load_model(shapes_run / "model.safetensors")
    images = torch.from_numpy(
        np.stack([material.views.draw(i, material.augment, np.random.default_rng(i))[0] for i in range(2)])
    )
    images = torch.nn.functional.interpolate(images.permute(0, 3, 1, 2).float(), (96, 96)).to(torch.uint8)
    found = []
    for one in (material, swapped):
        teacher = Teacher(open_teacher(shapes_run, one), student, torch.device("cpu"), "fp32", 1.0)
        found.append(teacher.answers(images))
    own, order = found
    torch.testing.assert_close(order["center_heatmap"], own["center_heatmap"][:, list(classes)])
    for name in ("keypoint_heatmap", "visibility_logits"):
        torch.testing.assert_close(order[name], own[name][:, list(keypoints)])
    vectors = own["keypoint_vectors"].unflatten(1, (4, 2))[:, list(keypoints)].flatten(1, 2)
    torch.testing.assert_close(order["keypoint_vectors"], vectors)
    torch.testing.assert_close(order["box_size"], own["box_size"])


def test_a_teacher_that_does_not_know_the_data_is_refused(material: Material, shapes_run: Path) -> None:
    schema = material.train.schema
    strange = Schema.create(schema.classes, [*schema.keypoints[:-1], "elbow"], present=schema.present)
    with pytest.raises(DekeyError, match=r"knows no keypoint 'elbow' \(it knows .*expected all 4 of the data by their names"):
        open_teacher(shapes_run, renamed(material, strange))
    more = schema.present.copy()
    more[:] = True
    with pytest.raises(DekeyError, match=r"knows no keypoint '\w+' of the class '\w+'"):
        open_teacher(shapes_run, renamed(material, Schema.create(schema.classes, schema.keypoints, present=more)))
    # What it knows besides does no harm.
    fewer = Schema.create(schema.classes, schema.keypoints[:3], present=schema.present[:, :3])
    assert open_teacher(shapes_run, replace(material, train=Dataset.from_samples(fewer, []))).keypoints == (0, 1, 2)


def test_what_cannot_teach_is_told(
    material: Material, small_run: Path, small_onnx: Path, shapes_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DekeyError, match="is a heatmap model and the student a center model, expected two of one family"):
        open_teacher(small_run, material)
    crops = replace(material, kind="heatmap", region="image")
    with pytest.raises(DekeyError, match=r"looks at crops around boxes and the student at whole images.*set data.region=box"):
        open_teacher(small_run, crops)
    with pytest.raises(DekeyError, match=r"the teacher cannot be opened.*no model file.*an exported file cannot teach"):
        open_teacher(small_onnx, material)
    for missing in (tmp_path / "nothing", tmp_path):
        out = tmp_path / "run"
        assert main(["train", str(shapes_file), "--out", str(out), "--teacher", str(missing)]) == 2
        told = capsys.readouterr().err
        assert f"model {missing} is" in told
        assert "loading torch" not in told


def test_a_heatmap_student_is_taught_on_another_input(small_data: Path, small_run: Path, tmp_path: Path) -> None:
    config = config_of(small_data, small_run, epochs=1)
    model = config.model.model_copy(update={"kind": "heatmap", "input_size": (96, 64)})
    data = config.data.model_copy(update={"region": "box"})
    result = train(config.model_copy(update={"model": model, "data": data}), tmp_path / "run")
    with (result.folder / "log.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert 0 < float(row["loss/teacher_heatmap"]) < 10
    assert dekey.load(result.folder, "cpu").manifest.input_size == (96, 64)

"""`dekey train` on several label files: one detector of all their classes, measured on each file by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dekey
from dekey.cli import main
from dekey.cli.train import default_name
from dekey.config import read_config
from dekey.training.prepare import held_out_crops, prepare

WORDS = [
    "--epochs=1",
    "--batch-size=4",
    "--device=cpu",
    "--set=model.backbone=test_resnet",
    "--set=model.pretrained=false",
    "--set=model.input_size=[64, 96]",
    "--set=data.workers=1",
]


def write(folder: Path, name: str, keypoints: list[str], count: int, seed: int, first: str = "image") -> Path:
    """Write `count` pictures of noise with two objects of one class in each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        file = f"{first}{number}.png"
        Image.fromarray(rng.integers(0, 255, (48, 72, 3), dtype=np.uint8)).save(folder / file)
        images.append({"id": number, "file_name": file, "width": 72, "height": 48})
        for x in (4, 40):
            values = [value for _ in keypoints for value in (x + int(rng.integers(24)), 8 + int(rng.integers(30)), 2)]
            each = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": [x, 8, 24, 30]}
            annotations.append({**each, "keypoints": values})
    values = {"categories": [{"id": 1, "name": name, "keypoints": keypoints}], "images": images, "annotations": annotations}
    (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    return folder / f"{name}.json"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    tubes = write(tmp_path / "tubes", "tube", ["head", "tail"], 10, 0)
    return tubes, write(tmp_path / "flies", "fly", ["wing_l", "head", "wing_r"], 20, 1)


def test_one_model_of_two_files_is_measured_on_each(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", *map(str, files), "--out", str(out), *WORDS]) == 0
    capsys.readouterr()
    manifest = dekey.load(out).manifest
    assert manifest.schema_found.classes == ("tube", "fly")
    assert manifest.schema_found.keypoints == ("head", "tail", "wing_l", "wing_r")
    assert manifest.origin["data"] == "tube.json, fly.json"
    for file, keypoints in zip(files, (2, 3), strict=True):
        assert main(["evaluate", str(out), str(file), "--device=cpu"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["values"]["objects"] * keypoints == answer["values"]["keypoints"]
        assert "box_AP" in answer["values"]
    assert main(["train", *map(str, files), "--out", str(out), "--resume"]) == 0
    assert "already over" in capsys.readouterr().err
    assert main(["train", str(files[1]), "--out", str(out), "--resume"]) == 2
    assert "was started with another configuration" in capsys.readouterr().err
    assert len(list(held_out_crops(out / "config.yaml", 99))) == 5  # two of ten and three of twenty


def test_of_each_file_the_same_share_is_held_out(files: tuple[Path, Path]) -> None:
    said: list[str] = []
    values = {"data": {"train": [str(file) for file in files], "val_fraction": 0.2}}
    material = prepare(read_config(values), "cpu", said.append)
    assert [material.kind, len(material.train), len(material.held_out)] == ["center", 24, 6]
    assert np.bincount(material.held_out.instances.labels).tolist() == [4, 8]
    assert not any("several files" in text for text in said)


def test_held_out_files_may_come_in_another_order(files: tuple[Path, Path], tmp_path: Path) -> None:
    flies = write(tmp_path / "val", "fly", ["head", "wing_r", "wing_l"], 3, 2, "fly")
    tubes = write(tmp_path / "val", "tube", ["tail", "head"], 2, 3, "tube")
    values = {"data": {"train": [str(file) for file in files], "val": [str(flies), str(tubes)]}}
    material = prepare(read_config(values), "cpu", lambda text: None)
    assert [len(material.train), len(material.held_out)] == [30, 5]
    assert material.held_out.schema.keypoints == material.train.schema.keypoints
    assert material.held_out.schema.classes == material.train.schema.classes
    assert material.held_out.instances.labels.tolist() == [1] * 6 + [0] * 4
    truth = dekey.read(flies).instances.keypoints
    columns = [material.train.schema.keypoint_index(name) for name in ("head", "wing_r", "wing_l")]
    np.testing.assert_array_equal(material.held_out.instances.keypoints[:6, columns], truth)


def test_an_image_of_two_files_is_told_of(files: tuple[Path, Path]) -> None:
    other = write(files[0].parent, "lid", ["rim", "hinge"], 4, 4)
    said: list[str] = []
    prepare(read_config({"data": {"train": [str(files[0]), str(other)]}}), "cpu", said.append)
    assert [text for text in said if text.startswith("4 images are listed in several files")]


def gone(files: tuple[Path, Path]) -> tuple[list[str], str]:
    return [str(files[0]), str(files[1].with_name("gone.json"))], "gone.json does not exist"


def twice(files: tuple[Path, Path]) -> tuple[list[str], str]:
    return [str(files[0]), str(files[0])], "occurs twice, expected each file once"


def other_keypoints(files: tuple[Path, Path]) -> tuple[list[str], str]:
    other = write(files[0].parent / "more", "tube", ["head", "lid"], 3, 5)
    return [str(files[0]), str(other)], "class 'tube' has the keypoints 'head', 'lid' in one file and 'head', 'tail' in another"


def lacking_a_class(files: tuple[Path, Path]) -> tuple[list[str], str]:
    return [*map(str, files), "--val", str(files[1])], "fly.json names other keypoints or classes than"


def one_picture(files: tuple[Path, Path]) -> tuple[list[str], str]:
    other = write(files[0].parent / "few", "lid", ["rim"], 1, 6)
    return [str(files[0]), str(other)], "lid.json: found 1 image(s), expected at least 2"


def no_picture(files: tuple[Path, Path]) -> tuple[list[str], str]:
    (files[1].parent / "image3.png").unlink()
    return [*map(str, files)], f"{files[1]}: "


@pytest.mark.parametrize("case", [gone, twice, other_keypoints, lacking_a_class, one_picture, no_picture])
def test_the_file_that_does_not_fit_is_named(
    case: Callable[[tuple[Path, Path]], tuple[list[str], str]],
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, expected = case(files)
    assert main(["train", *words, "--out", str(tmp_path / "new"), *WORDS]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert expected in stderr.splitlines()[-1]


def test_a_run_of_many_files_has_a_short_name() -> None:
    files = [Path(f"data/insects_{number}/train.json") for number in range(9)]
    assert default_name(files[:2]) == "insects_0+insects_1"
    assert default_name(files) == "insects_0+8"

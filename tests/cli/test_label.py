from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.cli import main
from dekey.data.problems import find_problems
from dekey.label import KEYPOINTS
from tests.label.conftest import write_batches, write_folders


def test_batches_become_pictures_labels_scenes_and_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_batches(tmp_path / "cifar", {"data_batch_1.bin": 8, "test_batch.bin": 4})
    scenes = ["--compose", "5", "--size", "128x96", "--objects", "1-2", "--lengths", "24-48"]
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        assert main(["label", str(source), "--by", "segmentation", "--out", str(out), *scenes]) == 0
    assert "kept 8 of 8 pictures" in capsys.readouterr().err
    one, two = ([path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file()] for out in outs)
    assert one == two
    assert all((outs[0] / path).read_bytes() == (outs[1] / path).read_bytes() for path in one)

    dataset = dekey.read(outs[0] / "train.json")
    assert dataset.schema.keypoints == KEYPOINTS
    assert dataset.schema.classes == ("lying", "standing")
    assert not [problem for problem in find_problems(dataset, images="decode") if problem.severity == "error"]
    np.testing.assert_allclose(dataset.instances.boxes[0], [6, 10, 26, 20], atol=1)
    test = dekey.read(outs[0] / "scenes" / "test.json")
    assert [len(dekey.read(outs[0] / "scenes" / "train.json")), len(test)] == [5, 2]
    assert test.sizes.tolist() == [[96, 128]] * 2
    assert not [problem for problem in find_problems(test, images="decode") if problem.severity == "error"]
    summary = json.loads((outs[0] / "summary.json").read_text())
    assert summary["train"]["per_class"]["lying"] == {"pictures": 4, "kept": 4}
    again = tmp_path / "again.json"
    dekey.write(dataset, outs[0] / "again.json")
    assert (outs[0] / "again.json").read_text() == (outs[0] / "train.json").read_text()
    assert not again.exists()


def test_pictures_in_folders_stay_where_they_are(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "pictures")
    (source / "cat" / "broken.png").write_bytes(b"\x89PNG nothing")
    before = sorted(path.name for path in source.rglob("*"))
    out = tmp_path / "out"
    assert main(["label", str(source), "--out", str(out)]) == 0
    assert sorted(path.name for path in source.rglob("*")) == before
    assert not (out / "images").exists()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["train"]["left_out"]["unreadable"] + summary["test"]["left_out"]["unreadable"] == 1
    dataset = dekey.read(out / "test.json", images=source)
    assert dataset[0].read_image().shape == (96, 96, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "big"], "--size big"),
        (["--objects", "1..3"], "--objects 1..3"),
        (["--quality", "2"], "quality of 2"),
        (["--compose", "-1"], "-1 scenes"),
        (["--compose", "2", "--lengths", "64-900"], "64 to 900 px"),
        (["--seed", "-1"], "--seed -1"),
        (["--backgrounds", "nowhere"], "--backgrounds"),
        (["--by", "magic"], "magic"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    source = write_batches(tmp_path / "cifar", {"data_batch_1.bin": 2})
    assert main(["label", str(source), "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_batches(tmp_path / "cifar", {"data_batch_1.bin": 2})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    assert main(["label", str(source), "--out", str(tmp_path / "out")]) == 2
    assert "not an empty folder" in capsys.readouterr().err

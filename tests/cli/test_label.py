from __future__ import annotations

import json
from pathlib import Path

import cv2
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
    assert summary["image_folder"] == str(source)
    dataset = dekey.read(out / "test.json", images=source)
    assert dataset[0].read_image().shape == (96, 96, 3)


def test_image_names_start_in_the_folder_that_was_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = write_folders(tmp_path / "alone", ("cat",), 8)
    parted = tmp_path / "parted"
    write_folders(parted / "train", ("cat",), 3)
    write_folders(parted / "val", ("cat",), 2)
    for source in (alone, parted):
        out = tmp_path / f"{source.name}_labelled"
        assert main(["label", str(source), "--out", str(out)]) == 0
        assert f"image names start in {source};" in capsys.readouterr().err
        for part in ("train", "test"):
            for one in dekey.read(out / f"{part}.json", images=source):
                assert one.read_image().shape == (96, 96, 3)


def test_what_fails_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_folders(tmp_path / "few", count=2)
    assert main(["label", str(few), "--out", str(tmp_path / "out")]) == 2
    assert "4 pictures of 2 classes, too few of each to set 15% aside" in capsys.readouterr().err
    flat = write_folders(tmp_path / "flat")
    (flat / "test" / "cat").mkdir(parents=True)
    (flat / "cat").rename(flat / "train")
    (flat / "train" / "cat").mkdir()
    for file in (flat / "train").glob("*.png"):
        file.rename(flat / "train" / "cat" / file.name)
    cv2.imwrite(str(flat / "test" / "cat" / "grey.png"), np.full((64, 64, 3), 90, np.uint8))
    assert main(["label", str(flat), "--out", str(tmp_path / "out")]) == 2
    assert "none of the 1 pictures for test" in capsys.readouterr().err
    grounds = tmp_path / "grounds"
    grounds.mkdir()
    for name in ("a.png", "b.png"):
        (grounds / name).write_bytes(b"\x89PNG nothing")
    source = write_folders(tmp_path / "pictures")
    broken = ["--compose", "2", "--backgrounds", str(grounds)]
    assert main(["label", str(source), "--out", str(tmp_path / "out"), *broken]) == 2
    assert "a.png cannot be opened" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "flat", "grounds", "pictures"]


def test_the_working_directory_is_no_new_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_folders(tmp_path / "pictures")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["label", str(source), "--out", "."]) == 2
    assert "expected the name of a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "big"], "--size big"),
        (["--objects", "1..3"], "--objects 1..3"),
        (["--quality", "2"], "quality of 2"),
        (["--compose", "-1"], "-1 scenes"),
        (["--compose", "2", "--lengths", "64-900"], "64 to 900 px"),
        (["--seed", "-1"], "--seed -1"),
        (["--compose", "2", "--backgrounds", "nowhere"], "--backgrounds"),
        (["--size", "64x64"], "found --size 64x64 without --compose"),
        (["--backgrounds", "nowhere"], "found --backgrounds nowhere without --compose"),
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
    assert "is not empty, expected the name of a new folder" in capsys.readouterr().err

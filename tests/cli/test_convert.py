"""`dekey convert`: what it writes, what it says is lost, and what it refuses to write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.cli import main
from dekey.data.embedded import path as embedded_path
from dekey.formats import FORMATS, read
from dekey.formats.losses import ALL


def sound() -> dict[str, Any]:
    """Two images: one object with an occluded keypoint, and two objects of which one has an unlabelled keypoint."""
    return {
        "categories": [{"id": 7, "name": "tube", "keypoints": ["head", "tail"], "skeleton": [[1, 2]]}],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [8, 8, 40, 30], "keypoints": [12, 14, 1, 40, 30, 2]},
            {"id": 2, "image_id": 2, "category_id": 7, "bbox": [8, 8, 40, 30], "keypoints": [12, 14, 2, 40, 30, 2]},
            {"id": 3, "image_id": 2, "category_id": 7, "keypoints": [12, 14, 2, 0, 0, 0]},
        ],
    }


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(sound()), encoding="utf-8")
    return tmp_path / "a.json"


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> str:
    """A format that holds what COCO holds but for a few features; the file is COCO's all the same."""
    holds = ALL - {"several_objects", "occluded", "edges"}
    known = replace(FORMATS["coco"], recognises=lambda path: False)
    monkeypatch.setitem(FORMATS, "poor", replace(known, title="Poor", holds=holds, suffix=".poor"))
    monkeypatch.setitem(FORMATS, "mute", replace(known, title="Mute", write=None, note="nobody says how"))
    return "poor"


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["convert", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_embedded_labels_stay_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = embedded_path("test")
    code, out, err = run(capsys, source, tmp_path / "b.json", "--to", "coco")
    assert code == 0
    assert "nothing is lost" in err
    summary = json.loads(out)
    before = read(source)
    after = read(tmp_path / "b.json", images=summary["image_folder"])
    assert (summary["images"], summary["objects"]) == (len(before), len(before.instances))
    assert summary["labelled_keypoints"] == before.instances.labelled.sum()
    assert summary["lost"] == []
    assert after.schema == before.schema
    assert [path.name for path in after.pictures] == [path.name for path in before.pictures]  # type: ignore[union-attr]
    for name in ("boxes", "labels", "keypoints", "visibility", "crowd", "areas"):
        np.testing.assert_array_equal(getattr(after.instances, name), getattr(before.instances, name), err_msg=name)


def test_a_loss_that_makes_labels_wrong_is_refused(
    labels: Path, poor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, labels, tmp_path / "b.poor")
    assert code == 2
    assert out == ""
    assert "1 images hold several objects" in err
    assert "--drop" in err
    assert not (tmp_path / "b.poor").exists()


def test_drop_leaves_the_image_out_whole_and_says_all_that_is_lost(
    labels: Path, poor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, labels, tmp_path / "b.poor", "--drop", "--from", "coco")
    assert code == 0
    assert "1 occluded keypoints become visible" in err
    assert "1 lines between keypoints are left out" in err
    assert "in all, 1 images with 2 objects are left out" in err
    summary = json.loads(out)
    assert summary["left_out"] == {"images": 1, "objects": 2}
    assert len(summary["lost"]) == 3
    after = read(tmp_path / "b.poor", format="coco")
    assert after.image_ids.tolist() == [1]
    assert after.instances.visibility.tolist() == [[2, 2]]


def test_an_earlier_file_is_replaced_only_by_force(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.json").write_text("mine")
    code, _, err = run(capsys, labels, tmp_path / "b.json", "--to", "coco")
    assert code == 2
    assert "exists" in err
    assert (tmp_path / "b.json").read_text() == "mine"
    assert run(capsys, labels, tmp_path / "b.json", "--to", "coco", "--force")[0] == 0
    assert len(read(tmp_path / "b.json")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.json", "--to", "coco", "--force"], "is the label file itself"),
        (["b.json", "--to", "coko"], "did you mean 'coco'"),
        (["b.klingon"], "no format ends in '.klingon'"),
        (["gone/b.json", "--to", "coco"], "a folder that does not exist"),
        (["b.json", "--to", "mute"], "nobody says how"),
        (["b.json", "--to", "coco", "--from", "coko"], "there is no format 'coko'"),
        (["folder", "--to", "coco"], "is a folder"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    words: list[str], said: str, labels: Path, poor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
    code, out, err = run(capsys, labels, tmp_path / words[0], *words[1:])
    assert code == 2
    assert out == ""
    assert said in err
    assert {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")} == before


def test_a_folder_format_wants_a_new_folder(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(FORMATS, "boxes", replace(FORMATS["coco"], title="Boxes", suffix=""))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    code, _, err = run(capsys, labels, tmp_path / "full", "--to", "boxes", "--force")
    assert code == 2
    assert "name a new one" in err
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(("name", "out"), [("coco", "new/b.json"), ("csv", "new/b.csv"), ("csv", "b.csv"), ("labelme", "b")])
def test_the_image_folder_of_the_answer_is_where_the_written_names_start(
    name: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All pictures lie in photos/day: there the names of a file elsewhere start, not in the folder that was given."""
    content = sound()
    content["annotations"][2]["bbox"] = [8, 8, 40, 30]
    (tmp_path / "photos" / "day").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    for record in content["images"]:
        record["file_name"] = f"day/{record['file_name']}"
        Image.new("RGB", (64, 48)).save(tmp_path / "photos" / record["file_name"])
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code, text, _ = run(capsys, "a.json", out, "--to", name, "--images", "photos")
    assert code == 0
    folder = json.loads(text)["image_folder"]
    assert folder == {"new/b.json": "photos/day", "new/b.csv": "photos/day", "b.csv": ".", "b": "b"}[out]
    after = read(out, images=folder)
    assert len(after.instances) == 3
    assert all(isinstance(picture, Path) and picture.is_file() for picture in after.pictures)

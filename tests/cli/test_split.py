"""`dekey split`: no picture, group or copy in two parts, names that can be read, all parts or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dekey.cli import main
from dekey.data.embedded import path as embedded_path
from dekey.files import replacing_all
from dekey.formats import read

PARTS = ("train", "val", "test")


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["split", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def names_of(folder: Path, images: Path | None = None) -> dict[str, list[str]]:
    return {
        part: [each.picture.as_posix() for each in read(folder / f"{part}.json", images=images)]  # type: ignore[union-attr]
        for part in PARTS
        if (folder / f"{part}.json").exists()
    }


def labels(folder: Path, names: list[str], first: int = 1, name: str = "labels.json") -> Path:
    """Labels of an object in each picture of 64x48 px; no picture is there."""
    values: dict[str, Any] = {
        "categories": [{"id": 1, "name": "tube", "keypoints": ["head", "tail"]}],
        "images": [{"id": n, "file_name": each, "width": 64, "height": 48} for n, each in enumerate(names, first)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 40, 30], "keypoints": [12, 14, 2, 40, 30, 1]}
            for n, _ in enumerate(names, first)
        ],
    }
    (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder / name


@pytest.fixture
def tubes(tmp_path: Path) -> Path:
    """The embedded test labels, each picture a second time, smaller and compressed again, under a name of its own."""
    source = embedded_path("test")
    folder = tmp_path / "tubes"
    shutil.copytree(source.parent / "images", folder / "images", copy_function=_only(source))
    values = json.loads(source.read_text(encoding="utf-8"))
    shift = max(each["id"] for each in values["images"] + values["annotations"])
    for each in list(values["images"]):
        copy = f"images/again_{Path(each['file_name']).stem}.jpg"
        image = cv2.imread(str(folder / each["file_name"]))
        assert image is not None
        cv2.imwrite(str(folder / copy), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
        values["images"].append({**each, "id": each["id"] + shift, "file_name": copy})
    for each in list(values["annotations"]):
        values["annotations"].append({**each, "id": each["id"] + shift, "image_id": each["image_id"] + shift})
    (folder / "all.json").write_text(json.dumps(values), encoding="utf-8")
    return folder / "all.json"


def _only(source: Path) -> Any:
    wanted = {Path(each["file_name"]).name for each in json.loads(source.read_text(encoding="utf-8"))["images"]}
    return lambda one, other: shutil.copy(one, other) if Path(one).name in wanted else None


def test_copies_of_a_picture_stay_on_one_side_and_come_apart_when_not_compared(
    tubes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tubes.parent / "parts"
    code, text, err = run(capsys, tubes, "--out", out)
    assert code == 0, err
    summary = json.loads(text)
    found = names_of(out, Path(summary["image_folder"]))
    every = [name for part in found.values() for name in part]
    assert sorted(every) == sorted(each.picture.as_posix() for each in read(tubes))  # type: ignore[union-attr]
    assert all(Path(name).is_file() for name in every)
    side: dict[str, set[str]] = {Path(name).stem.removeprefix("again_"): set() for name in every}
    for part, names in found.items():
        for name in names:
            side[Path(name).stem.removeprefix("again_")].add(part)
    assert {len(parts) for parts in side.values()} == {1}
    assert summary["leaks"] == {"groups": 0, "files": 0, "near_duplicates": 0, "examples": []}
    assert summary["near_duplicates"]["groups_joined"] >= len(side)
    assert "look the same stay together" in err
    assert "nothing in two parts; looked for groups, files and pictures that look the same\n" in err
    assert "--images" in err

    code, text, err = run(capsys, tubes, "--out", out, "--quick", "--force")
    assert code == 0, err
    assert json.loads(text)["near_duplicates"] is None
    found = names_of(out, tubes.parent)
    halves = [{Path(name).stem.removeprefix("again_") for name in names} for names in found.values()]
    assert any(halves[one] & halves[other] for one, other in ((0, 1), (0, 2), (1, 2)))


def test_labels_stay_what_they_are(tubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tubes.parent  # the images lie in it: no --images is needed
    code, text, err = run(capsys, tubes, "--out", out, "--quick", "--fractions", "0.6", "0.4")
    assert code == 0, err
    assert json.loads(text)["image_folder"] == str(out)
    assert not (out / "test.json").exists()
    before = {each.image_id: each for each in read(tubes)}
    for part in ("train", "val"):
        for sample in read(out / f"{part}.json"):
            truth = before.pop(sample.image_id)
            assert sample.picture == truth.picture
            assert np.array_equal(sample.annotation_ids, truth.annotation_ids)
            assert np.array_equal(sample.instances.visibility, truth.instances.visibility)
            assert np.allclose(sample.instances.keypoints, truth.instances.keypoints, equal_nan=True, atol=1e-9)
    assert not before


def test_time_leaves_gaps_and_tells_of_copies_across_them(tubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--by", "time", "--pattern", "images/()", "--gap", "2", "--fractions", "0.5", "0.5")
    code, text, err = run(capsys, tubes, "--out", tubes.parent / "parts", *words)
    assert code == 0, err
    summary = json.loads(text)
    assert summary["left_out"]["images"] == 2
    assert sum(part["images"] for part in summary["parts"].values()) == summary["images"] - 2
    # IMG_... sorts before again_...: the parts are nearly the pictures and their copies.
    assert summary["leaks"]["near_duplicates"] >= 10
    assert "near-duplicates in two parts" in err
    assert "raise --gap, now 2" in err


def test_folders_and_patterns_stay_whole_over_several_files_and_names_start_in_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = labels(tmp_path / "a", [f"v{video}/{n}.png" for video in range(6) for n in range(4)])
    second = labels(tmp_path / "b", [f"v{video}/{n}.png" for video in range(6) for n in range(4)])
    code, text, err = run(capsys, first, second, "--out", tmp_path / "parts", "--by", "folder", "--seed", "5")
    assert code == 0, err
    summary = json.loads(text)
    assert summary["groups"] == 12
    assert summary["near_duplicates"]["unreadable"] == 48
    assert "48 pictures could not be read" in err
    found = names_of(tmp_path / "parts", Path(summary["image_folder"]))
    assert sorted(name for names in found.values() for name in names) == sorted(
        (tmp_path / side / f"v{video}" / f"{n}.png").as_posix() for side in "ab" for video in range(6) for n in range(4)
    )
    folders = [{Path(name).parent for name in names} for names in found.values()]
    assert sum(map(len, folders)) == 12
    code, text, err = run(capsys, first, second, "--out", tmp_path / "parts", "--pattern", "^(v[0-9])/", "--force")
    assert code == 0, err
    assert json.loads(text)["groups"] == 6
    found = names_of(tmp_path / "parts", tmp_path)
    assert sum(len({Path(name).parent.name for name in names}) for names in found.values()) == 6


def test_nothing_is_overwritten_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = labels(tmp_path, [f"{n}.png" for n in range(20)])
    (tmp_path / "val.json").write_text("mine")
    code, _, err = run(capsys, source, "--out", tmp_path, "--quick")
    assert code == 2
    assert "val.json exists" in err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["labels.json", "val.json"]
    assert (tmp_path / "val.json").read_text() == "mine"
    assert run(capsys, source, "--out", tmp_path, "--quick", "--force")[0] == 0
    assert len(read(tmp_path / "val.json")) == 2
    shutil.copy(source, tmp_path / "train.json")
    code, _, err = run(capsys, tmp_path / "train.json", "--out", tmp_path, "--quick", "--force")
    assert code == 2
    assert "is one of the label files itself" in err
    assert len(read(tmp_path / "train.json")) == 20
    code, _, err = run(capsys, source, "--out", tmp_path, "--quick", "--force", "--fractions", "0.5", "0.5")
    assert code == 0
    assert "test.json exists and is no part of this division" in err


def test_all_files_take_their_places_or_none(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("old", "new", "late")]
    paths[0].write_text("before")

    def attempt() -> None:
        with replacing_all(paths) as staged:
            for place in staged:
                place.write_text("after")
            (paths[2] / "inside").mkdir(parents=True)  # nothing can be renamed to a folder

    with pytest.raises(IsADirectoryError):
        attempt()
    assert paths[0].read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["late", "old"]


def test_too_few_groups_are_told_before_the_pictures_are_compared(tubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tubes, "--out", tubes.parent / "parts", "--by", "folder")
    assert code == 2
    assert "found 1 group of images" in err
    assert "comparing pictures" not in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--fractions", "0.8", "0.1"), "sum to 0.9, expected 1"),
        (("--fractions", "1"), "found 1 fractions"),
        (("--pattern", "(x"), "is no regular expression"),
        (("--pattern", "[0-9]"), "has no group"),
        (("--pattern", "(x)"), "is not found in 8 of 8 image names"),
        (("--by", "pattern"), "without --pattern"),
        (("--by", "folder", "--pattern", "(.)"), "found --pattern with --by folder"),
        (("--by", "folder"), "found 1 group of images with objects, expected at least 3"),
        (("--gap", "2"), "found --gap with --by image"),
        (("--by", "time", "--gap", "-1"), "expected 0 or more"),
        (("--by", "time", "--gap", "4"), "would hold no object: the sequences are too short for --gap 4"),
        (("--seed", "-1"), "found --seed -1"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = labels(tmp_path, [f"{n}.png" for n in range(8)])
    code, out, err = run(capsys, source, "--out", tmp_path / "parts", "--quick", *words)
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("dekey: ")
    assert sentence in err.splitlines()[-1]
    assert not (tmp_path / "parts").exists()

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.cli import inspect
from dekey.data.embedded import path
from dekey.data.problems import KINDS
from dekey.errors import DekeyError

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return inspect.run(parser.parse_args(arguments))


def broken(tmp_path: Path) -> Path:
    """Ten objects without area, on images that do not exist; one name would wipe a terminal."""
    values: dict[str, Any] = {
        "categories": [{"id": 1, "name": "eye\x1b[2J", "keypoints": ["top", "bottom"]}],
        "images": [{"id": 1, "file_name": "gone.png", "width": 20, "height": 20}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": [1, 1, 0, 9], "keypoints": [2, 3, 2, 4, 5, 1]}
            for number in range(10)
        ],
    }
    (tmp_path / "broken.json").write_text(json.dumps(values))
    return tmp_path / "broken.json"


def test_a_sound_file_is_described_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(path("test")), "--decode") == 0
    shown = capsys.readouterr()
    for text in ("COCO keypoints JSON", "glue_tube", "head", "tail", "1 in 5, 2 in 18", "480x270", "none"):
        assert text in shown.out
    assert "reading test.json" in shown.err
    assert "decoding images" in shown.err


def test_errors_are_listed_up_to_a_number_and_give_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(broken(tmp_path))) == 1
    shown = capsys.readouterr().out
    assert "11 errors, 1 warning" in shown
    assert "error · empty-box · 10" in shown
    assert "gone.png, annotation 4: the box (1, 1, 1, 10) in an image of 20x20 has no area" in shown
    assert "annotation 5:" not in shown
    assert "and 5 more (--json lists all)" in shown
    assert "undecided" in shown
    assert "\x1b" not in shown


def test_json_holds_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(broken(tmp_path)), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["errors"], found["warnings"], found["images"], found["objects"]) == (11, 1, 1, 10)
    assert [each["annotation_id"] for each in found["problems"] if each["kind"] == "empty-box"] == list(range(10))
    own = {"kind", "severity", "message", "advice", "image", "annotation_id", "doubt", "keypoints", "expected", "other"}
    own |= {"annotation_ids", "images"}
    assert own == set(found["problems"][0])
    assert found["schema"]["mirror"] is None
    assert found["schema"]["mirror_note"]


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    source = path("test")
    (tmp_path / "moved.json").write_text(source.read_text())
    assert run(str(tmp_path / "moved.json")) == 1
    assert run(str(tmp_path / "moved.json"), "--images", str(source.parent), "--format", "coco") == 0


def test_what_is_no_annotation_file_is_a_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="does not exist"):
        run(str(tmp_path / "gone.json"))


def test_many_keypoints_and_classes_stay_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"point number {index} with a name that is longer than the column" for index in range(150)]
    values = {
        "categories": [{"id": index, "name": f"class {index}", "keypoints": names} for index in range(20)],
        "images": [{"id": 1, "file_name": "gone.png", "width": 20, "height": 20}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "keypoints": np.tile([1, 2, 2], 150).tolist()}],
    }
    (tmp_path / "a.json").write_text(json.dumps(values))
    run(str(tmp_path / "a.json"))
    shown = capsys.readouterr().out
    assert "and 12 more" in shown
    assert "and 50 more (--json lists all)" in shown
    assert max(map(len, shown.splitlines())) < 260


def test_the_page_lists_every_kind_as_the_table_says() -> None:
    page = (DOCS / "commands" / "inspect.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z][a-z-]*)` \| (.*) \|$", page, flags=re.MULTILINE))
    assert rows == {name: f"{kind.severity} | {kind.meaning} | {kind.advice}" for name, kind in KINDS.items()}


def test_an_image_of_both_parts_is_told_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(path("test").read_text())
    name = values["images"][0]["file_name"]
    (tmp_path / "val.json").write_text(json.dumps(values))
    shutil.copytree(path("test").parent / "images", tmp_path / "images")
    page = tmp_path / "page.html"
    arguments = [str(path("test")), "--against", str(tmp_path / "val.json"), "--report", str(page), "--json"]
    assert run(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    leaks = [each for each in found["problems"] if each["kind"] == "leaked-image"]
    assert len(leaks) == 23
    assert {each["doubt"] for each in leaks} == {1.0}
    assert f"{tmp_path / 'val.json'}: {name}" in {each["other"] for each in leaks}
    assert found["shape"]["glue_tube"].startswith("not compared")
    text = page.read_text()
    assert text.count("<img") == 46
    assert "leaked-image · 23" in text


def test_quick_compares_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(path("test")), "--quick") == 0
    shown = capsys.readouterr()
    assert "comparing" not in shown.err
    assert "Comparison" not in shown.out
    with pytest.raises(DekeyError, match="--quick with --against"):
        run(str(path("test")), "--quick", "--against", str(path("train")))
    with pytest.raises(DekeyError, match=r"--report .* does not exist"):
        run(str(path("test")), "--report", str(tmp_path / "gone" / "page.html"))

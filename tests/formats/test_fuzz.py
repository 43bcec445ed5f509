"""Whatever is done to a label file, reading it ends in a data set or in one sentence. benchmarks/fuzz_formats.py does more."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from dekey.errors import DekeyError
from dekey.formats import FORMATS, read

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz_formats
import mutations

FILES = 400


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[fuzz_formats.Seed]:
    return fuzz_formats.own_seeds(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.write is not None])
def test_no_damage_makes_a_reader_fail(name: str, seeds: list[fuzz_formats.Seed]) -> None:
    found = fuzz_formats.fuzz([each for each in seeds if each.format == name], FILES, seed=11)
    assert found["files"] == FILES
    assert found["findings"] == []


def test_a_fault_would_be_found(seeds: list[fuzz_formats.Seed], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that lets an exception through is named, with the function it came from."""

    def faulty(*_: object) -> None:
        raise KeyError("images")

    monkeypatch.setattr("dekey.formats.coco.build_dataset", faulty)
    found = fuzz_formats.fuzz([each for each in seeds if each.format == "coco"], 50, seed=1)
    assert any("KeyError" in each["what"] for each in found["findings"])


def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(
    seeds: list[fuzz_formats.Seed], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [each for each in seeds if each.format in ("coco", "csv")]
    monkeypatch.setattr("dekey.formats.coco.build_dataset", lambda *_: {}["images"])
    whole = fuzz_formats.fuzz(some, 60, seed=2)
    assert whole["findings"]
    parts = [fuzz_formats.fuzz(some, 25, seed=2), fuzz_formats.fuzz(some, 60, seed=2, first=25)]
    assert fuzz_formats.together(*parts) == whole


@pytest.mark.parametrize("name", mutations.MUTATIONS)
def test_a_mutation_is_the_same_for_the_same_seed_and_changes_something(name: str) -> None:
    content = b'{"images": [{"id": 1, "file_name": "a.png"}],\n "a": [1, 2.5]}'
    change = mutations.MUTATIONS[name]
    results = [change(content, random.Random(seed)) for seed in range(20)]
    assert results == [change(content, random.Random(seed)) for seed in range(20)]
    assert any(result != content for result in results)


def test_what_the_long_run_found_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text("version: 1\nn_points: " + "1" * 5000 + "\n{\n1 2\n}\n")
    with pytest.raises(DekeyError, match="n_points"):
        read(tmp_path / "a.pts", format="pts")
    (tmp_path / "data.yaml").write_text("kpt_shape: [2, 3]\nnames: {0: a}\ntrain: " + "a" * 5000 + "\n")
    with pytest.raises(DekeyError):
        read(tmp_path / "data.yaml", format="yolo")
    (tmp_path / "a.csv").write_text('image,p_x,p_y\n"a\nb.png",1,2\n')
    with pytest.raises(DekeyError) as caught:
        read(tmp_path / "a.csv", format="csv")
    assert "\n" not in str(caught.value)
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(DekeyError, match="names no image column"):
        read(tmp_path / "b.csv", format="csv")
    region = {"id": "a", "type": ["keypointlabels"], "value": {"x": 1, "y": 1, "keypointlabels": ["p"]}}
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [region]}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    with pytest.raises(DekeyError, match="holds no keypoints"):
        read(tmp_path / "a.json", format="label_studio")


def test_a_frame_that_its_video_does_not_have_is_named_by_no_file() -> None:
    from dekey.formats.sleap_pictures import _file_name

    assert [_file_name(["a\\b.png", "c.png"], index) for index in (0, 1, 2, -1)] == ["a/b.png", "c.png", "", ""]

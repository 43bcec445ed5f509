from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, PictureFiles, Problem, Sample, Schema
from dekey.data.problems import KINDS, find_problems, without_problems

SCHEMA = Schema.create(["face"], ["eye_l", "eye_r"])
EYES = [[10.0, 12.0], [20.0, 12.0]]
BOX = [5.0, 6.0, 25.0, 26.0]


def sound(tmp_path: Path, count: int = 3) -> Dataset:
    """Three images of 40x30 with one sound object each, ids 1, 2, 3 and 11, 12, 13."""
    names = [f"{index}.png" for index in range(count)]
    for name in names:
        Image.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(tmp_path / name)
    samples = [
        Sample(tmp_path / name, (30, 40), Instances.create([EYES], boxes=[BOX]), index + 1, np.array([index + 11]))
        for index, name in enumerate(names)
    ]
    return replace(Dataset.from_samples(SCHEMA, samples), pictures=PictureFiles(tmp_path, names))


def kinds(problems: list[Problem]) -> list[str]:
    return [each.kind for each in problems]


def test_a_sound_data_set_has_no_problem(tmp_path: Path) -> None:
    assert find_problems(sound(tmp_path), images="decode") == []


@pytest.mark.parametrize(
    ("kind", "box"),
    [
        ("empty-box", [5, 5, 5, 9]),
        ("empty-box", [9, 5, 5, 9]),
        ("box-outside", [41, 5, 50, 9]),
        ("box-outside", [5, -9, 9, 0]),
        ("box-over-edge", [-3, 5, 9, 9]),
        ("box-over-edge", [5, 5, 9, 32]),
    ],
)
def test_boxes(tmp_path: Path, kind: str, box: list[float]) -> None:
    dataset = sound(tmp_path)
    dataset.instances.boxes[1] = box
    (problem,) = find_problems(dataset)
    assert (problem.kind, problem.image, problem.annotation_id) == (kind, "1.png", 12)
    assert problem.severity == KINDS[kind].severity


@pytest.mark.parametrize(
    ("kind", "keypoints", "visibility"),
    [
        ("keypoint-outside", [[10, 12], [44, 12]], [2, 2]),
        ("keypoint-at-origin", [[10, 12], [0.5, 0.5]], [2, 2]),
        ("keypoint-at-origin", [[0, 0], [10, 12]], [1, 2]),
        ("labelled-without-coordinates", [[np.nan, np.nan], [10, 12]], [2, 2]),
        ("normalised-coordinates", [[0.7, 0.9], [1.2, 0.6]], [2, 2]),
        ("no-keypoints", [[np.nan] * 2] * 2, [0, 0]),
    ],
)
def test_keypoints(tmp_path: Path, kind: str, keypoints: list[list[float]], visibility: list[int]) -> None:
    dataset = sound(tmp_path)
    dataset.instances.keypoints[2] = keypoints
    dataset.instances.visibility[2] = visibility
    (problem,) = find_problems(dataset)
    assert (problem.kind, problem.image, problem.annotation_id) == (kind, "2.png", 13)


def test_what_is_right_is_not_reported(tmp_path: Path) -> None:
    dataset = sound(tmp_path)
    dataset.instances.boxes[0] = [0, 0, 20, 20]
    dataset.instances.keypoints[0, 0] = 0.5  # a corner of an object that fills the corner of the image
    dataset.instances.boxes[1] = np.nan
    dataset.instances.visibility[2] = 0
    dataset.instances.crowd[2] = True
    assert find_problems(dataset, images=False) == []


def test_ids_names_and_schema(tmp_path: Path) -> None:
    dataset = sound(tmp_path)
    dataset.annotation_ids[2] = 11
    assert kinds(find_problems(dataset)) == ["duplicate-annotation-id"]
    dataset = sound(tmp_path)
    dataset.image_ids[1] = 1
    assert kinds(find_problems(dataset)) == ["duplicate-image-id"]
    dataset = sound(tmp_path)
    twice = replace(dataset, pictures=PictureFiles(tmp_path, ["0.png", "1.png", "0.png"]))
    (problem,) = find_problems(twice)
    assert problem.kind == "duplicate-image"
    assert problem.message == "listed as image 1 and as image 3"
    undecided = replace(dataset, schema=Schema.create(["face"], ["top", "bottom"]))
    assert kinds(find_problems(undecided)) == ["undecided-mirror"]
    dataset.instances.visibility[:, 1] = 0
    (problem,) = find_problems(dataset)
    assert problem.kind == "unused-keypoint"
    assert "'eye_r'" in problem.message


def test_images_are_looked_at_as_far_as_asked(tmp_path: Path) -> None:
    dataset = sound(tmp_path)
    (tmp_path / "0.png").unlink()
    Image.fromarray(np.zeros((40, 30, 3), dtype=np.uint8)).save(tmp_path / "1.png")
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(data[:-20])
    assert find_problems(dataset, images=False) == []
    assert kinds(find_problems(dataset)) == ["missing-image", "swapped-size"]
    assert kinds(find_problems(dataset, images="decode")) == ["missing-image", "swapped-size", "broken-image"]
    Image.fromarray(np.zeros((31, 40, 3), dtype=np.uint8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    wrong = find_problems(dataset)
    assert kinds(wrong) == ["missing-image", "wrong-size", "broken-image"]
    assert "the image is 40x31, its annotation says 40x30" in str(wrong[1])


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    find_problems(sound(tmp_path), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)


def test_leaving_out_what_errors_name_leaves_no_error(tmp_path: Path) -> None:
    dataset = sound(tmp_path)
    (tmp_path / "0.png").unlink()
    dataset.instances.boxes[1] = [5, 5, 5, 5]
    rest = without_problems(dataset, find_problems(dataset))
    assert rest.image_ids.tolist() == [2, 3]
    assert rest.annotation_ids.tolist() == [13]
    assert all(each.severity == "warning" for each in find_problems(rest))


def test_the_reader_s_problems_come_first(tmp_path: Path) -> None:
    read = Problem("bad-skeleton", "warning", "found", "do")
    assert find_problems(replace(sound(tmp_path), problems=(read,))) == [read]


def test_every_kind_has_meaning_and_advice() -> None:
    for name, kind in KINDS.items():
        assert name == name.lower()
        assert kind.severity in ("error", "warning")
        for text in (kind.meaning, kind.advice):
            assert text
            assert text[0].islower()
            assert not text.endswith(".")

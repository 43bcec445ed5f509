from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Instances
from dekey.data.embedded import load
from dekey.errors import DekeyError
from dekey.formats import read, read_results, write_results


def found_on_test() -> list[Instances]:
    random = np.random.default_rng(0)
    answers = []
    for sample in load("test"):
        truth = sample.instances
        count = len(truth)
        keypoints = truth.keypoints + random.normal(0, 2, truth.keypoints.shape)
        keypoints[0, 1] = np.nan
        scores = np.sort(random.uniform(0.1, 1, count))[::-1]
        keypoint_scores = np.where(np.isfinite(keypoints).all(-1), random.uniform(0.1, 1, (count, 2)), 0)
        answers.append(Instances.create(keypoints, boxes=truth.boxes + 0.25, scores=scores, keypoint_scores=keypoint_scores))
    answers[4] = Instances.create(np.zeros((0, 2, 2)), scores=np.zeros(0), keypoint_scores=np.zeros((0, 2)))
    answers[5].visibility[0, 0] = 1
    return answers


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    dataset, found = load("test"), found_on_test()
    write_results(found, dataset, tmp_path / "found.json")
    again = read_results(tmp_path / "found.json", dataset)
    assert len(again) == len(found)
    for before, after in zip(found, again, strict=True):
        for name in ("boxes", "labels", "keypoints", "visibility", "scores", "keypoint_scores"):
            np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-9, err_msg=name)


def test_the_file_is_what_pycocotools_expects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    from dekey.data.embedded import path

    dataset, found = load("test"), found_on_test()
    write_results(found, dataset, tmp_path / "found.json")
    truth = COCO(str(path("test")))
    loaded = truth.loadRes(str(tmp_path / "found.json"))
    capsys.readouterr()
    assert len(loaded.anns) == sum(map(len, found))
    record = json.loads((tmp_path / "found.json").read_text())[0]
    assert record["image_id"] == dataset.image_ids[0]
    assert record["category_id"] == 1
    np.testing.assert_allclose(record["keypoints"][:2], found[0].keypoints[0, 0] - 0.5, atol=1e-9)


def test_images_without_ids_are_named_by_file(tmp_path: Path) -> None:
    dataset, found = load("test"), found_on_test()
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    write_results(found, names, tmp_path / "found.json", schema=dataset.schema)
    assert json.loads((tmp_path / "found.json").read_text())[0]["file_name"] == names[0]
    again = read_results(tmp_path / "found.json", dataset)
    np.testing.assert_allclose(again[7].keypoints, found[7].keypoints, atol=1e-9)
    write_results(found, dataset.image_ids.tolist(), tmp_path / "ids.json")
    np.testing.assert_allclose(read_results(tmp_path / "ids.json", dataset)[7].keypoints, found[7].keypoints, atol=1e-9)


def test_a_class_gets_its_own_keypoints_and_category_id(tmp_path: Path) -> None:
    categories = [
        {"id": 30, "name": "a", "keypoints": ["x", "y"]},
        {"id": 40, "name": "b", "keypoints": ["y", "z"]},
    ]
    values = {
        "categories": categories,
        "images": [{"id": 9, "file_name": "a.png", "width": 20, "height": 20}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 40, "keypoints": [1, 1, 2, 2, 2, 2]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(values))
    dataset = read(tmp_path / "a.json")
    found = [
        Instances.create([[[np.nan] * 2, [3.5, 4.5], [5.5, 6.5]]], labels=[1], scores=[0.5], keypoint_scores=[[0, 0.7, 0.8]])
    ]
    write_results(found, dataset, tmp_path / "found.json")
    (record,) = json.loads((tmp_path / "found.json").read_text())
    assert record == {"image_id": 9, "category_id": 40, "score": 0.5, "keypoints": [3, 4, 0.7, 5, 6, 0.8]}
    (again,) = read_results(tmp_path / "found.json", dataset)
    np.testing.assert_allclose(again.keypoints, found[0].keypoints)
    assert again.labels.tolist() == [1]


def test_no_finds_at_all_make_an_empty_list(tmp_path: Path) -> None:
    dataset = load("test")
    write_results([Instances.empty(2)] * len(dataset), dataset, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == []
    assert [len(each) for each in read_results(tmp_path / "found.json", dataset)] == [0] * len(dataset)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 5000}, "names image 5000"),
        ({"category_id": 9}, "names category 9, known: \\[1\\]"),
        ({"score": None}, "score None, expected a number"),
        ({"keypoints": [1, 2]}, "expected x, y, score for 2 keypoints"),
        ({"keypoints": None}, "expected x, y, score for 2 keypoints"),
        ({"bbox": [1]}, "expected x, y, width, height"),
        ({"visibility": [3, 3]}, "expected 0, 1 or 2"),
        ({"score": float("nan")}, "score NaN|score nan"),
        ({"score": 10**400}, "expected a number"),
        ({"bbox": [1, 2, float("inf"), 3]}, "expected four usable numbers"),
        ({"bbox": [1, 2, 1e308, 1e308]}, "expected four usable numbers"),
        ({"keypoints": [float("nan"), 2, 0.5, 3, 4, 0.5]}, "expected usable numbers"),
        ({"keypoints": [1, 2, 0.5, 3, float("inf"), 0.5]}, "expected usable numbers"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    dataset = load("test")
    record = {"image_id": 112, "category_id": 1, "score": 0.5, "keypoints": [1, 2, 0.5, 3, 4, 0.5]}
    (tmp_path / "found.json").write_text(json.dumps([record, {**record, **change}]))
    with pytest.raises(DekeyError, match="record 1 .*" + says):
        read_results(tmp_path / "found.json", dataset)


def test_annotations_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(DekeyError, match="expected COCO results"):
        read_results(tmp_path / "a.json", load("test"))


def test_what_has_no_place_is_not_visible(tmp_path: Path) -> None:
    dataset = load("test")
    record = {"image_id": 112, "category_id": 1, "score": 0.5, "keypoints": [0, 0, 0, 3, 4, 0.5], "visibility": [2, 1]}
    (tmp_path / "found.json").write_text(json.dumps([record]))
    (found,) = [each for each in read_results(tmp_path / "found.json", dataset) if len(each)]
    assert found.visibility.tolist() == [[0, 1]]

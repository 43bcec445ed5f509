"""Label Studio's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

Load = Callable[..., Dataset]
FRAME = {"original_width": 200, "original_height": 50, "image_rotation": 0, "to_name": "image"}


def point(key: str, name: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.1, "keypointlabels": [name]}
    return FRAME | {"id": key, "type": "keypointlabels", "value": value} | more


def box(key: str, name: str, *sides: float, **more: Any) -> dict[str, Any]:
    value = dict(zip(("x", "y", "width", "height"), sides, strict=True)) | {"rotation": 0, "rectanglelabels": [name]}
    return FRAME | {"id": key, "type": "rectanglelabels", "value": value} | more


def relation(one: str, other: str) -> dict[str, Any]:
    return {"from_id": one, "to_id": other, "type": "relation", "direction": "right"}


def task(*result: dict[str, Any], image: str = "a.png", number: int = 5, **more: Any) -> dict[str, Any]:
    return {"id": number, "data": {"image": image}, "annotations": [{"result": list(result)} | more], "predictions": []}


COW = (box("r", "cow", 10, 20, 30, 40), point("a", "head", 12.5, 30), point("b", "tail", 35, 50))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(*tasks: Any, **options: Any) -> Dataset:
        (tmp_path / "export.json").write_text(json.dumps(list(tasks)), encoding="utf-8")
        return read(tmp_path / "export.json", format="label_studio", **options)

    return load


@pytest.mark.parametrize("by", ["relation", "relation back", "parent"])
def test_shares_become_pixels_and_regions_objects(load: Load, tmp_path: Path, by: str) -> None:
    parts = [*COW, point("c", "head", 90, 10), box("q", "pig", 80, 0, 20, 100)]
    pairs = [("a", "r"), ("b", "r"), ("c", "q")]
    if by == "parent":
        parents = dict(pairs)
        parts = [each | ({"parentID": parents[each["id"]]} if each["id"] in parents else {}) for each in parts]
    else:
        parts += [relation(*pair) if by == "relation" else relation(*pair[::-1]) for pair in pairs]
    dataset = load(task(*parts))
    assert recognise(tmp_path / "export.json") == "label_studio"
    assert dataset.schema.classes == ("cow", "pig")
    assert dataset.schema.keypoints == ("head", "tail")
    assert dataset.schema.present.tolist() == [[True, True], [True, False]]
    assert dataset.image_ids.tolist() == [5]
    assert dataset.sizes.tolist() == [[50, 200]]
    assert dataset.instances.labels.tolist() == [0, 1]
    np.testing.assert_allclose(dataset.instances.boxes, [[20, 10, 80, 30], [160, 0, 200, 50]])
    np.testing.assert_allclose(dataset.instances.keypoints, [[[25, 15], [70, 25]], [[180, 5], [np.nan] * 2]])
    assert dataset.instances.visibility.tolist() == [[2, 2], [2, 0]]


def test_keypoints_joined_with_nothing_are_one_object(load: Load) -> None:
    dataset = load(task(*COW))
    assert dataset.schema.classes == ("cow", "object")
    assert dataset.instances.labels.tolist() == [0, 1]
    assert dataset.instances.visibility.tolist() == [[0, 0], [2, 2]]
    assert np.isnan(dataset.instances.boxes[1]).all()
    with pytest.raises(DekeyError, match="keypoint 'head' comes twice"):
        load(task(*COW, point("d", "head", 1, 1)))
    # Keypoints that are joined with each other are an object of their own.
    assert len(load(task(*COW, point("d", "head", 1, 1), point("e", "tail", 2, 2), relation("d", "e"))).instances) == 3


def test_a_choice_says_what_is_occluded_and_the_eye_of_the_tool_does_not(load: Load) -> None:
    choice = FRAME | {"id": "a", "type": "choices", "value": {"x": 12.5, "y": 30, "width": 0.1, "choices": ["Occluded"]}}
    hidden = point("b", "tail", 35, 50, hidden=True)
    assert load(task(COW[1], hidden, choice)).instances.visibility.tolist() == [[1, 2]]


def test_plain_tags_with_labels_are_read(load: Load) -> None:
    plain = FRAME | {"id": "k", "type": "keypoint", "value": {"x": 50, "y": 50, "width": 1}}
    named = FRAME | {"id": "k", "type": "labels", "value": {"x": 50, "y": 50, "width": 1, "labels": ["tip"]}}
    both = FRAME | {"id": "m", "type": "labels", "value": {"x": 0, "y": 0, "width": 50, "height": 50, "labels": ["leaf"]}}
    dataset = load(task(plain, named, both, relation("k", "m")))
    assert (dataset.schema.classes, dataset.schema.keypoints) == (("leaf",), ("tip",))
    assert dataset.instances.keypoints.tolist() == [[[100, 25]]]


def test_which_annotation_counts(load: Load) -> None:
    first, second = task(*COW), task(COW[1])
    both = first | {"annotations": [*first["annotations"], *second["annotations"]]}
    with pytest.raises(DekeyError, match="has 2 annotations, 0 of them marked as ground truth"):
        load(both)
    assert len(load(both, problems="keep").instances) == 1
    truth = first | {"annotations": [first["annotations"][0] | {"ground_truth": True}, *second["annotations"]]}
    assert len(load(truth).instances) == 2
    cancelled = first | {"annotations": [first["annotations"][0] | {"was_cancelled": True}, *second["annotations"]]}
    assert len(load(cancelled).instances) == 1


def test_tasks_that_nobody_labelled_are_left_out_and_empty_ones_stay(load: Load) -> None:
    bare = {"id": 6, "data": {"image": "b.png"}, "annotations": []}
    empty = task(image="c.png", number=7) | {"data": {"image": "c.png", "width": 30, "height": 20}}
    dataset = load(task(*COW), bare, empty)
    assert dataset.image_ids.tolist() == [5, 7]
    assert dataset.starts.tolist() == [0, 2, 2]
    assert dataset.sizes[1].tolist() == [20, 30]
    assert [each.kind for each in dataset.problems] == ["unlabelled-image"]
    with pytest.raises(DekeyError, match="holds no task that is labelled"):
        load(bare)


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("/data/upload/3/0a1b2c3d-my%20cow.png", "my cow.png"),
        ("/data/upload/3/0a1b2c3d-my%20cow.png", "images/0a1b2c3d-my cow.png"),
        ("/data/upload/3/0a1b2c3d-my%20cow.png", "3/0a1b2c3d-my cow.png"),
        ("/data/local-files/?d=farm/day%201/cow.png", "farm/day 1/cow.png"),
        ("/data/local-files/?d=farm/day%201/cow.png", "images/cow.png"),
        ("s3://bucket/farm/cow.png", "farm/cow.png"),
        ("https://example.org/farm/cow.png?token=x.y", "cow.png"),
        ("farm\\cow.png", "farm/cow.png"),
    ],
)
def test_images_are_found_whatever_they_are_called(load: Load, tmp_path: Path, reference: str, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(b"there")
    picture = load(task(*COW, image=reference)).pictures[0]
    assert isinstance(picture, Path)
    assert picture == tmp_path / place


def test_tasks_without_sizes_take_them_from_the_images(load: Load, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 40, 3), dtype=np.uint8))
    bare = [{key: value for key, value in each.items() if not key.startswith("original")} for each in COW]
    dataset = load(task(*bare, relation("a", "r"), relation("b", "r")))
    np.testing.assert_allclose(dataset.instances.keypoints, [[[5, 3], [14, 5]]])
    np.testing.assert_allclose(dataset.instances.boxes, [[4, 2, 16, 6]])


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([1, 2], "holds no list of tasks"),
        ([{"img": "a.png", "kp": []}], "JSON-MIN does not say"),
        ([task(COW[0])], "holds no keypoints"),
        ([task(COW[1] | {"image_rotation": 90})], "was turned by 90 degrees"),
        (
            [task(COW[1] | {"value": {"x": "left", "y": 3, "keypointlabels": ["head"]}})],
            "keypoint 'head' is x, y, v = nan, 3, 2",
        ),
        ([task(COW[1] | {"value": {"x": 1, "y": 3, "keypointlabels": ["head", "nose"]}}, COW[2])], "expected one"),
        ([task(box("r", "cow", 1, 2, 3, 4), box("s", "pig", 1, 2, 3, 4), COW[1], relation("r", "s"))], "2 boxes are joined"),
        ([task(COW[1], box("r", "cow", 1, 2, 3, 4) | {"value": {"x": 1, "rectanglelabels": ["cow"]}})], "not four numbers"),
        ([task(COW[1], box("r", "c", 1, 2, 3, 4) | {"value": COW[0]["value"] | {"rotation": 5}})], "the box is turned"),
        ([task(*COW) | {"annotations": [{"result": "?"}]}, task(*COW)], "has no list 'result'"),
        ([task(*COW, image="../a.png")], "leaves the image folder"),
    ],
)
def test_broken_exports_are_told_in_a_sentence(load: Load, tasks: list[Any], sentence: str) -> None:
    with pytest.raises(DekeyError, match=sentence):
        load(*tasks)


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    schema = Schema.create(["cow", "pig"], ["head", "tail"], present=[[True, True], [True, False]])
    visibility = [[2, 1], [2, 0]]
    keypoints = np.where(np.array(visibility)[..., None] > 0, rng.uniform(0, 30, (2, 2, 2)), np.nan)
    instances = Instances.create(keypoints, rng.uniform(0, 30, (2, 2, 2)).cumsum(axis=1).reshape(2, 4), [0, 1], visibility)
    names = ["a b.png", "sub/ü&?.png"]
    samples = [
        Sample(tmp_path / name, (31 + index, 37), instances if index else Instances.empty(2), 9 - index, np.arange(2 * index))
        for index, name in enumerate(names)
    ]
    write(Dataset.from_samples(schema, samples), tmp_path / "out.json", format="label_studio")
    again = read(tmp_path / "out.json")
    assert again.schema == schema
    assert again.pictures[1] == tmp_path / names[1]
    assert again.image_ids.tolist() == [9, 8]
    assert again.sizes.tolist() == [[31, 37], [32, 37]]
    assert again.starts.tolist() == [0, 0, 2]
    for name in ("boxes", "keypoints", "visibility", "labels"):
        np.testing.assert_allclose(getattr(again.instances, name), getattr(instances, name), atol=1e-9, err_msg=name)


@pytest.mark.shared
def test_a_real_export(shared_data: Path) -> None:
    path = shared_data / "formats" / "label_studio" / "multi_animal_from_dlc_first_task.json"
    assert recognise(path) == "label_studio"
    dataset = read(path, problems="drop")
    assert dataset.schema.classes == ("object", "pup1", "pup2")
    assert dataset.schema.keypoints[8:] == ("pup_snout", "pup_neck", "pup_body", "pup_tailbase")
    assert dataset.image_ids.tolist() == [10526]
    assert dataset.sizes.tolist() == [[720, 1280]]
    assert (dataset.instances.visibility > 0).sum(axis=1).tolist() == [8, 4, 3]
    # pup1's snout: 75.0666…, 13.2701… per cent of 1280x720; its box begins at 67.7333…, 10.6635… and is 8 by 5.924….
    np.testing.assert_allclose(dataset.instances.keypoints[1, 8], [960.853333, 95.545024], atol=1e-5)
    np.testing.assert_allclose(dataset.instances.boxes[1], [866.986667, 76.777251, 969.386667, 119.431280], atol=1e-5)
    assert np.isnan(dataset.instances.boxes[0]).all()


def test_an_address_that_is_none_is_a_name(load: Load) -> None:
    dataset = load(task(*COW, image="http://[x/a.png"))
    assert dataset.picture_name(0).endswith("a.png")
    assert len(dataset) == 1

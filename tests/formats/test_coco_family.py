"""Files that are COCO's in form and somebody else's in content: WholeBody, PoseTrack, faces without names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import read, write
from dekey.formats.coco_wholebody import EXTRA_NAMES

PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
BODY = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]


def save(tmp_path: Path, categories: Any, annotations: list[dict[str, Any]], images: Any = None) -> Path:
    images = images or [{"id": 1, "file_name": "1.png", "width": 100, "height": 80}]
    for number, each in enumerate(annotations):
        each.update({"id": number, "image_id": each.get("image_id", 1)})
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}), encoding="utf-8")
    return path


def whole(**changes: Any) -> dict[str, Any]:
    """A person whose points lie at x = their number, y = 1; body and feet visible, face and hands with a doubtful code."""
    x = iter(range(133))

    def triples(count: int, code: float) -> list[float]:
        return [value for _ in range(count) for value in (float(next(x)), 1.0, code)]

    parts = {"keypoints": triples(17, 2), "foot_kpts": triples(6, 1), "face_kpts": triples(68, 0.4)}
    parts |= {"lefthand_kpts": triples(21, 1), "righthand_kpts": triples(21, 0)}
    return {"category_id": 1, **parts, "face_valid": True, "lefthand_valid": True, **changes}


PERSON = [{"id": 1, "name": "person", "keypoints": BODY}]


def test_wholebody_has_133_keypoints_in_their_order(tmp_path: Path) -> None:
    dataset = read(save(tmp_path, PERSON, [whole()]))
    assert dataset.problems == ()
    assert dataset.schema.keypoints == (*BODY, *EXTRA_NAMES)
    (codes,) = dataset.instances.visibility.tolist()
    assert codes == [2] * 17 + [1] * 6 + [2] * 68 + [2] * 21 + [0] * 21
    np.testing.assert_allclose(dataset.instances.keypoints[0, :112, 0], np.arange(112) + 0.5)


def test_a_part_that_is_not_valid_is_unlabelled(tmp_path: Path) -> None:
    dataset = read(save(tmp_path, PERSON, [whole(face_valid=False)]))
    assert not dataset.instances.visibility[0, 23:91].any()
    assert np.isnan(dataset.instances.keypoints[0, 23:91]).all()
    assert dataset.instances.visibility[0, 91:112].tolist() == [2] * 21


def test_wholebody_knows_left_from_right(tmp_path: Path) -> None:
    schema = read(save(tmp_path, PERSON, [whole()])).schema
    assert schema.mirror is not None
    other = {name: schema.keypoints[partner] for name, partner in zip(schema.keypoints, schema.mirror.tolist(), strict=True)}
    # Taken from the `swap` entries of MMPose's coco_wholebody.py.
    pairs = "0 16,7 9,8 8,17 26,21 22,27 27,30 30,31 35,33 33,36 45,37 44,39 42,40 47,41 46"
    for pair in f"{pairs},48 54,51 51,55 59,57 57,60 64,62 62,65 67".split(","):
        one, two = pair.split()
        assert (other[f"face-{one}"], other[f"face-{two}"]) == (f"face-{two}", f"face-{one}")
    assert other["left_pinky_finger4"] == "right_pinky_finger4"
    assert other["left_big_toe"] == "right_big_toe"
    assert other["nose"] == "nose"


def test_wholebody_is_written_and_read_again(tmp_path: Path) -> None:
    before = read(save(tmp_path, PERSON, [whole()]))
    write(before, tmp_path / "b.json")
    after = read(tmp_path / "b.json")
    assert after.schema == before.schema
    np.testing.assert_array_equal(after.instances.keypoints, before.instances.keypoints)
    np.testing.assert_array_equal(after.instances.visibility, before.instances.visibility)


def test_a_broken_part_is_named_and_not_half_read(tmp_path: Path) -> None:
    dataset = read(save(tmp_path, PERSON, [whole(), whole(face_kpts=[1, 2])]), problems="drop")
    assert len(dataset.instances) == 1
    (problem,) = dataset.problems
    assert problem.kind == "wrong-length"
    assert "51 numbers for 133 keypoints, expected 399" in problem.message


def test_keypoints_without_names_are_numbered_and_told(tmp_path: Path) -> None:
    faces = [{"id": 1, "name": "face", "keypoints": []}]
    dataset = read(save(tmp_path, faces, [{"category_id": 1, "keypoints": [1, 2, 2, 3, 4, 2]} for _ in range(2)]))
    assert dataset.schema.keypoints == ("point_0", "point_1")
    assert dataset.schema.mirror is None
    assert [each.kind for each in dataset.problems] == ["unnamed-keypoints"]
    assert dataset.instances.keypoints[1].tolist() == [[1.5, 2.5], [3.5, 4.5]]


@pytest.mark.parametrize(
    "lengths",
    [[6, 9], [7, 7], [0, 0]],
)
def test_keypoints_that_nobody_can_tell_apart_are_refused(lengths: list[int], tmp_path: Path) -> None:
    faces = [{"id": 1, "name": "face"}]
    path = save(tmp_path, faces, [{"category_id": 1, "keypoints": [2] * length} for length in lengths])
    with pytest.raises(DekeyError, match="names keypoints"):
        read(path)


def test_frames_that_nobody_labelled_are_left_out_and_told(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 100, "height": 80, "is_labeled": number != 2}
        for number in (1, 2, 3)
    ]
    images[0]["ignore_regions_x"] = [[1, 2, 3]]
    dataset = read(save(tmp_path, PERSON, [{"category_id": 1, "keypoints": [5, 5, 2] * 17}], images))
    assert dataset.image_ids.tolist() == [1, 3]
    assert [each.kind for each in dataset.problems] == ["unread-field", "unread-field"]
    assert "1 images name regions" in dataset.problems[0].message
    assert "1 images say that they are not labelled" in dataset.problems[1].message


def test_labels_that_are_all_occluded_are_doubted(tmp_path: Path) -> None:
    path = save(
        tmp_path, [{"id": 1, "name": "a", "keypoints": ["p", "q"]}], [{"category_id": 1, "keypoints": [5, 5, 1, 0, 0, 0]}]
    )
    dataset = read(path)
    assert dataset.instances.visibility.tolist() == [[1, 0]]
    assert "only-occluded" in {each.kind for each in find_problems(dataset, images=False)}
    path = save(
        tmp_path, [{"id": 1, "name": "a", "keypoints": ["p", "q"]}], [{"category_id": 1, "keypoints": [5, 5, 1, 6, 6, 2]}]
    )
    assert "only-occluded" not in {each.kind for each in find_problems(read(path), images=False)}


def test_parts_of_a_body_without_its_keypoints_are_no_crash(tmp_path: Path) -> None:
    bare = {key: value for key, value in whole(bbox=[1, 1, 5, 5]).items() if key != "keypoints"}
    dataset = read(save(tmp_path, PERSON, [whole(), bare]), problems="keep")
    assert len(dataset.schema.keypoints) == 133
    assert len(dataset.instances) == 2
    assert not dataset.instances.visibility[1].any()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.errors import DekeyError
from dekey.formats import read, recognise, write


def person(joints: Any, codes: Any, image: Any = "a.png") -> dict[str, Any]:
    return {"image": image, "joints": joints, "joints_vis": codes, "center": [20.0, 10.0], "scale": 0.1}


def save(folder: Path, content: Any) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(folder / name)
    (folder / "mpii.json").write_text(json.dumps(content))
    return folder / "mpii.json"


def test_every_field_is_read(tmp_path: Path) -> None:
    people = [
        person([[1, 1], [10.25, 20]], [1, 1], "b.png"),
        person([[3, 4], [-1, -1]], [1, 0]),
        person([[5, 6], [7, 8]], [1, 1], "b.png"),
    ]
    file = save(tmp_path, people)
    assert recognise(file) == "mpii"
    dataset = read(file)
    assert [dataset.picture_name(index) for index in range(2)] == ["b.png", "a.png"]
    assert dataset.sizes.tolist() == [[40, 60]] * 2
    assert dataset.starts.tolist() == [0, 2, 3]
    assert dataset.annotation_ids.tolist() == [1, 3, 2]
    np.testing.assert_array_equal(
        dataset.instances.keypoints, [[(0.5, 0.5), (9.75, 19.5)], [(4.5, 5.5), (6.5, 7.5)], [(2.5, 3.5), (np.nan, np.nan)]]
    )
    assert dataset.instances.visibility.tolist() == [[2, 2], [2, 2], [2, 0]]
    assert np.isnan(dataset.instances.boxes).all()
    assert dataset.schema.keypoints == ("point_0", "point_1")
    with pytest.raises(DekeyError, match="cannot be written"):
        write(dataset, tmp_path / "again.json", format="mpii")


def test_mistakes_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    people = [
        person([[1, 1], [2, 2]], [1]),
        person([[1, 1]], [1]),
        person([[1, "x"], [2, 2]], [1, 1]),
        person(None, None),
        person([[1, 1], [2, 2]], [1, 2]),
        person([[1, 1], [2, 2]], [1, 0], None),
        "person",
        person([[1, 1], [2, 2]], [1, 0], "gone.png"),
        person([[1, 1], [2, 2]], [1, 0], "b.png"),
        person([[1, 1], [2, float("nan")]], [1, 1], "b.png"),
    ]
    file = save(tmp_path, people)
    dataset = read(file, problems="drop")
    assert [(each.kind, each.annotation_id) for each in dataset.problems] == [
        ("unreadable-record", None),
        ("unreadable-record", None),
        ("wrong-length", 1),
        ("wrong-length", 2),
        ("wrong-length", 3),
        ("wrong-length", 4),
        ("missing-image", None),
        ("bad-visibility", 5),
        ("labelled-without-coordinates", 8),
        ("coordinates-without-label", 7),
    ]
    assert dataset.annotation_ids.tolist() == [7]
    assert read(file, problems="keep").annotation_ids.tolist() == [1, 2, 3, 4, 5, 7, 8]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "expected a list of persons"),
        ([], "expected a list of persons"),
        ([person(None, None)], "no person in .* has joints"),
        ([person([[1, 2]], [1], "gone.png")], "none of the 1 images can be used"),
        ([person([[1, 2]], [1], "/a.png")], "is an absolute path"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(DekeyError, match=says):
        read(save(tmp_path, content), format="mpii")


@pytest.mark.shared
def test_people_of_mpii(shared_data: Path) -> None:
    """Checked by hand in the picture: joint 9 is the top of the head, 0 and 5 the ankles, right is the person's right."""
    dataset = read(shared_data / "formats" / "mpii_json" / "test_mpii.json")
    assert len(dataset) == len(dataset.instances) == 5
    schema, points = dataset.schema, dataset.instances.keypoints
    assert schema.mirror is not None
    assert schema.mirror.tolist() == [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]
    np.testing.assert_array_equal(points[0, :2], [(803.5, 710.5), (815.5, 509.5)])
    assert dataset.instances.visibility[2].tolist() == [0, 2, 2, 2, 2, 0] + [2] * 10
    head, pelvis = schema.keypoint_index("head_top"), schema.keypoint_index("pelvis")
    assert (points[:, head, 1] < points[:, pelvis, 1]).all()

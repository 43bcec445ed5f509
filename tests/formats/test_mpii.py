from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.formats import FORMATS, read, recognise, write
from dekey.formats.losses import lost_features
from dekey.formats.mpii import FIXED


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
    assert (dataset.schema.classes, dataset.schema.keypoints) == (("object",), ("point_0", "point_1"))


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


def sixteen(tmp_path: Path) -> Dataset:
    """Two people of MPII's joints, one with a box, one without and with a joint that is not labelled."""
    joints = np.random.default_rng(3).uniform(2, 38, (2, 16, 2))
    codes = np.full((2, 16), 2)
    codes[1, 4], joints[1, 4] = 0, np.nan
    things = Instances.create(joints, [[4, 5, 24, 45], [np.nan] * 4], None, codes)
    Image.new("RGB", (60, 50)).save(tmp_path / "a.png")
    return Dataset.from_samples(FIXED, [Sample(tmp_path / "a.png", (50, 60), things, 1, np.array([1, 2]))])


def test_the_square_that_other_tools_cut_out_has_the_middle_of_the_box(tmp_path: Path) -> None:
    """As MPIIDataset._get_db of HRNet reads it: the centre 15 · scale down, 1.25 times as large, then counted from 0."""
    dataset = sixteen(tmp_path)
    write(dataset, tmp_path / "mpii.json", format="mpii")
    people = json.loads((tmp_path / "mpii.json").read_text())
    cut = []
    for each in people:
        centre, scale = np.array(each["center"]), each["scale"]
        centre[1] += 15 * scale
        cut.append([*(centre - 1 + 0.5), 200 * scale * 1.25])
    points = dataset.instances.keypoints[1]
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    np.testing.assert_allclose(cut, [[14, 25, 50], [*(low + high) / 2, 1.25 * (high - low).max()]], atol=1e-6)
    assert people[1]["joints"][4] == [-1, -1]
    assert people[1]["joints_vis"] == [1] * 4 + [0] + [1] * 11
    np.testing.assert_allclose(people[0]["joints"], dataset.instances.keypoints[0] + 0.5, atol=1e-9)


def test_one_point_without_a_box_is_as_large_as_its_image(tmp_path: Path) -> None:
    things = Instances.create([[[7.0, 9.0]]], None)
    Image.new("RGB", (60, 50)).save(tmp_path / "a.png")
    schema = Schema.create(["object"], ["point_0"])
    dataset = Dataset.from_samples(schema, [Sample(tmp_path / "a.png", (50, 60), things, 1, np.array([1]))])
    write(dataset, tmp_path / "m.json", format="mpii")
    assert json.loads((tmp_path / "m.json").read_text())[0]["scale"] == 0.25


def test_joints_of_mpii_keep_what_the_format_fixes(tmp_path: Path) -> None:
    dataset = sixteen(tmp_path)
    lost = set(lost_features(dataset, FORMATS["mpii"]))
    assert lost == {"boxes", "image_sizes"}
    write(dataset, tmp_path / "mpii.json", format="mpii")
    back = read(tmp_path / "mpii.json")
    assert back.schema == dataset.schema
    np.testing.assert_allclose(back.instances.keypoints, dataset.instances.keypoints, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"keypoints": tuple(reversed(FIXED.keypoints))}, "takes keypoint 0 of 16 for right_ankle, and here it is left_wrist"),
        ({"classes": ("robot",)}, "takes what has 16 keypoints for a person, and here it is a robot"),
    ],
)
def test_sixteen_keypoints_that_are_others_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    dataset = sixteen(tmp_path)
    with pytest.raises(DekeyError, match=says):
        write(replace(dataset, schema=replace(FIXED, **change)), tmp_path / "mpii.json", format="mpii")
    assert not (tmp_path / "mpii.json").exists()


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
    assert schema == FIXED

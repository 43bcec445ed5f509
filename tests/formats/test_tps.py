from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

TPS = """LM=2
10. 30.
0.5 0
IMAGE=a.png
ID=0
SCALE=0.25
lm=2
-1 -1
5,5 40
CURVES=1
POINTS=3
1 1
2 2
3 3
IMAGE=C:\\pictures\\a.png
ID=1
LM=0
IMAGE=b
ID=2
"""


def save(folder: Path, text: str = TPS) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(folder / name)
    (folder / "t.tps").write_text(text)
    return folder / "t.tps"


def test_every_field_is_read(tmp_path: Path) -> None:
    file = save(tmp_path)
    assert recognise(file) == "tps"
    dataset = read(file)
    assert [dataset.picture_name(index) for index in range(2)] == ["a.png", "b.png"]
    assert dataset.starts.tolist() == [0, 2, 2]
    np.testing.assert_array_equal(dataset.instances.keypoints, [[(10, 10), (0.5, 40)], [(np.nan, np.nan), (5.5, 0)]])
    assert dataset.instances.visibility.tolist() == [[2, 2], [0, 2]]
    assert [each.kind for each in dataset.problems] == ["ignored-shape"]


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    first = read(save(tmp_path))
    write(first, tmp_path / "copy.tps", format="tps")
    second = read(tmp_path / "copy.tps")
    assert second.schema == first.schema
    np.testing.assert_allclose(second.instances.keypoints, first.instances.keypoints, atol=1e-9)
    for name in ("sizes", "starts", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name), err_msg=name)


def test_mistakes_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    text = (
        "LM=2\n1 2\nIMAGE=a.png\nLM=2\n1 2\n3 4\n5 6\nIMAGE=a.png\nLM=2\n1 2\n3 x\nIMAGE=a.png\nLM=1\n1 2\nIMAGE=a.png\n"
        "LM=2\n1 2\n3 4\nLM=2\n1 2\n3 4\nIMAGE=gone.png\nLM=2\n1 2\n3 inf\nIMAGE=b.png\nLM=2\n1 2\n3 4\n"
        "IMAGE=b.png\nLM=2\n1 2\n"
    )
    file = save(tmp_path, text)
    dataset = read(file, problems="drop")
    assert [(each.kind, each.annotation_id) for each in dataset.problems] == [
        ("unreadable-record", None),
        ("unreadable-record", None),
        ("missing-image", None),
        ("unreadable-record", 1),
        ("unreadable-record", 2),
        ("unreadable-record", 3),
        ("wrong-length", 4),
        ("labelled-without-coordinates", 6),
    ]
    assert "the specimen of line 1: 1 of its landmarks are missing" in dataset.problems[3].message
    assert dataset.annotation_ids.tolist() == [7]
    np.testing.assert_array_equal(dataset.instances.keypoints[0], [(1, 38), (3, 36)])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("LM3=1\n1 2 3\nIMAGE=a.png\n", "three dimensions"),
        ("LM=0\nIMAGE=a.png\n", "holds no landmarks"),
        ("LM=many\n", "expected LM= and a number"),
        ("1 2\nLM=1\n1 2\n", "expected LM= first"),
        ("LM=1\n1 2\nIMAGE=gone.png\n", "none of the 1 images can be used"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DekeyError, match=says):
        read(save(tmp_path, text), format="tps")


@pytest.mark.shared
def test_wings_of_flies(shared_data: Path) -> None:
    """Checked by hand in the picture: the points lie where veins meet, which they do only when y runs upwards."""
    folder = shared_data / "formats" / "tps_csv_morphometrics"
    dataset = read(folder / "tps-example.tps", problems="drop")
    assert [dataset.picture_name(index) for index in range(len(dataset))] == ["63001.jpg", "63002.jpg", "63003.jpg"]
    assert {each.kind for each in dataset.problems} == {"missing-image"}
    height = dataset.sizes[0, 0]
    np.testing.assert_array_equal(dataset.instances.keypoints[0, :2], [(290, height - 108), (100, height - 179)])
    # The table beside it holds the same numbers, and nothing in it says that y runs upwards.
    table = read(folder / "csv-example.csv", problems="drop").instances.keypoints
    np.testing.assert_array_equal(table[0, :2], [(290.5, 108.5), (100.5, 179.5)])


@pytest.mark.parametrize(("x", "y"), [(-0.25, 10.0), (10.0, 40.25)])
def test_a_point_that_would_be_read_as_missing_is_refused(tmp_path: Path, x: float, y: float) -> None:
    dataset = read(save(tmp_path))
    dataset.instances.keypoints[0, 1] = x, y
    with pytest.raises(DekeyError, match=r"keypoint 'point_1' of a\.png lies left of the image or below it"):
        write(dataset, tmp_path / "copy.tps", format="tps")
    assert not (tmp_path / "copy.tps").exists()
    dataset.instances.keypoints[0, 1] = 60.25, -0.25
    write(dataset, tmp_path / "copy.tps", format="tps")
    np.testing.assert_array_equal(read(tmp_path / "copy.tps").instances.keypoints[0, 1], (60.25, -0.25))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.data import Instances, Sample, Schema
from dekey.data.dataset import Dataset
from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

FACES = ["James_Wolfensohn_00.jpg", "Valerie_Harper_30.jpg", "Kristen_Breitweiser_11.jpg"]


def table(folder: Path, text: str) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40)).save(folder / name)
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return folder / "t.csv"


@pytest.mark.parametrize(
    "text",
    [
        "image,eye_x,eye_y,ear_x,ear_y\na.png,3,4,,\na.png,5,6.25,7,8\nb.png,nan,NA,9,10\n",
        "File_Name;EYE x;EYE y;ear x;ear y\na.png;3;4;;\na.png;5;6,25;7;8\nb.png;;;9;10\n".replace("EYE", "eye"),
        "\ufeffimage\teye.x\teye.y\teye.v\tear.x\tear.y\tear.v\na.png\t3\t4\t2\t0\t0\t0\na.png\t5\t6.25\t2\t7\t8\t2\n"
        "b.png\t0\t0\t0\t9\t10\t2\n",
        "image,object,keypoint,x,y\na,1,eye,3,4\na,2,eye,5,6.25\na,2,ear,7,8\nb,1,ear,9,10\n",
        'image,keypoint,x,y,object,visibility\na.png,"eye",3,4,0,2\na.png,ear,7,8,1,2\na.png,eye,5,6.25,1,2\n'
        "b.png,ear,9,10,0,\nb.png,eye,0,0,0,0\n",
    ],
)
def test_every_form_gives_the_same(tmp_path: Path, text: str) -> None:
    file = table(tmp_path, text)
    assert recognise(file) == "csv"
    dataset = read(file)
    assert [dataset.picture_name(index) for index in range(2)] == ["a.png", "b.png"]
    assert dataset.sizes.tolist() == [[40, 60]] * 2
    assert dataset.starts.tolist() == [0, 2, 3]
    eye, ear = (dataset.schema.keypoint_index(name) for name in ("eye", "ear"))
    objects = dataset.instances
    np.testing.assert_array_equal(objects.keypoints[:, eye], [(3.5, 4.5), (5.5, 6.75), (np.nan, np.nan)])
    np.testing.assert_array_equal(objects.keypoints[:, ear], [(np.nan, np.nan), (7.5, 8.5), (9.5, 10.5)])
    assert objects.visibility[:, [eye, ear]].tolist() == [[2, 0], [2, 2], [0, 2]]
    assert np.isnan(objects.boxes).all()
    assert dataset.schema.classes == ("object",)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("image,x0,y0,x1,y1", ("point_0", "point_1")),
        ("id,X1,Y1,X2,Y2", ("point_1", "point_2")),
        (",0,1,2,3", ("point_0", "point_1")),
        ("whatever,a_x,a_y,b_x,b_y", ("a", "b")),
        ("image,a_y,b_y,b_x,a_x", ("a", "b")),
        ("image,x,y,note,page", ("point_0",)),
    ],
)
def test_headers(tmp_path: Path, header: str, names: tuple[str, ...]) -> None:
    dataset = read(table(tmp_path, f"{header}\na.png,1,2,3,4\n"))
    assert dataset.schema.keypoints == names
    first = [4.5, 1.5] if header.endswith("a_x") else [1.5, 2.5]
    np.testing.assert_array_equal(dataset.instances.keypoints[0, 0], first)


def test_what_a_table_may_state_besides(tmp_path: Path) -> None:
    text = (
        "image,width,height,class,box_x1,box_y1,box_x2,box_y2,a_x,a_y,a_v\n"
        "gone.png,70,50,crab,1,2,30,40.5,3,4,1\nb.png,60,40,,,,,,,,\nb.png,60,40,fish,,,,,,,0\n"
    )
    dataset = read(table(tmp_path, text))
    assert dataset.sizes.tolist() == [[50, 70], [40, 60]]
    assert dataset.schema.classes == ("crab", "fish")
    assert dataset.starts.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(dataset.instances.boxes[0], [1, 2, 30, 40.5])
    assert dataset.instances.visibility.tolist() == [[1], [0]]


def test_mistakes_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    text = (
        "image,a_x,a_y,b_x,b_y,b_v\n"
        "a.png,1,2,x,4,2\na.png,1,2,3,,\na.png,1,2,3,4\ngone.png,1,2,3,4,2\na.png,1,2,3,4,5\n../a.png,1,2,3,4,2\nb.png,1,2,3,4,1\n"
    )
    file = table(tmp_path, text)
    dataset = read(file, problems="drop")
    assert [(each.kind, each.annotation_id) for each in dataset.problems] == [
        ("unreadable-record", 1),
        ("wrong-length", None),
        ("unsafe-path", None),
        ("missing-image", None),
        ("bad-visibility", 4),
        ("labelled-without-coordinates", 2),
    ]
    assert "line 2: keypoint 'b' has a cell that is no number" in dataset.problems[0].message
    assert dataset.annotation_ids.tolist() == [6]
    assert dataset.instances.visibility.tolist() == [[2, 1]]
    assert read(file, problems="keep").instances.visibility.tolist() == [[2, 0], [2, 0], [2, 0], [2, 1]]
    with pytest.raises(DekeyError, match="6 errors"):
        read(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,a_x,b_y\na.png,1,2\n", "names no image column with x and y columns"),
        ("image,a_x,a_y,a_x\na.png,1,2,3\n", "names no image column"),
        ("a_x,a_y,b_x,b_y\n1,2,3,4\n", "names no image column"),
        ("image,a_x,a_y\n", "no rows"),
        ("image,object,keypoint,x,y\na.png,1,,,\n", "no keypoint in any"),
        ("image,a_x,a_y\ngone.png,1,2\n", "none of the 1 images can be used, the first because: image gone.png"),
        ("image,a_x,a_y\na.png,1," + "9" * 200_000 + "\n", "no readable table"),
    ],
)
def test_a_table_that_is_none_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DekeyError, match=says):
        read(table(tmp_path, text), format="csv")


def test_two_rows_of_one_keypoint(tmp_path: Path) -> None:
    file = table(tmp_path, "image,keypoint,x,y\na.png,eye,3,4\na.png,eye,5,6\n")
    with pytest.raises(DekeyError, match="one object occurs twice; number the objects"):
        read(file)


def test_names_with_commas_quotes_and_axes_survive(tmp_path: Path) -> None:
    names = ["a, b", 'the "x"', "wing_x", "x", "eye 2"]
    Image.new("RGB", (60, 40)).save(tmp_path / "a, b.png")
    own = Instances.create(np.arange(10.0).reshape(1, 5, 2) + 0.1)
    sample = Sample(tmp_path / "a, b.png", (40, 60), own, 1, np.array([1]))
    write(Dataset.from_samples(Schema.create(["object"], names), [sample]), tmp_path / "t.csv", format="csv")
    back = read(tmp_path / "t.csv")
    assert list(back.schema.keypoints) == names
    np.testing.assert_allclose(back.instances.keypoints, own.keypoints, atol=1e-9)


@pytest.mark.shared
def test_faces_whose_names_lie_about_the_kind_of_picture(shared_data: Path) -> None:
    """Checked by hand in the pictures: point 8 is the chin, 30 the tip of the nose, 36 and 45 the outer corners of the eyes."""
    dataset = read(shared_data / "formats" / "csv_face68" / "test_frames_keypoints_head.csv")
    assert [dataset.picture_name(index) for index in range(3)] == FACES
    assert dataset.schema.keypoints == tuple(f"point_{index}" for index in range(68))
    points = dataset.instances.keypoints
    assert (dataset.instances.visibility == 2).all()
    assert (points[:, 8, 1] > points[:, 30, 1]).all()
    assert (points[:, 36, 0] < points[:, 45, 0]).all()


@pytest.mark.shared
def test_a_german_table_without_suffixes(shared_data: Path) -> None:
    folder = shared_data / "formats" / "joints_json_anno"
    dataset = read(folder / "Labels.csv", images=folder / "Bilder", problems="drop")
    assert [dataset.picture_name(index) for index in range(3)] == ["dist_img_1.png", "dist_img_11.png", "dist_img_21.png"]
    np.testing.assert_array_equal(dataset.instances.keypoints[0, 0], [218.5, 117.5])
    assert {each.kind for each in dataset.problems} == {"missing-image"}


@pytest.mark.parametrize("shift", [0, 1])
def test_a_letter_cut_in_two_by_the_first_look_changes_nothing(shift: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image,p_x,p_y,note" + "e" * shift + "\n" + f"a.png,1,2,{'é' * 90}\n" * 2000, encoding="utf-8")
    assert recognise(path) == "csv"


@pytest.mark.parametrize(
    "text",
    [
        "image,eye_x,eye_y,eye_v,ear_x,ear_y,ear_v\na.png,3,4,occluded,5,6,2\nb.png,3,4,2,5,6,1\na.png,,,hidden,,,\n",
        "image,object,keypoint,x,y,v\na,1,eye,3,4,occluded\na,1,ear,5,6,2\nb,1,eye,3,4,2\nb,1,ear,5,6,1\na,2,eye,,,hidden\n",
    ],
)
def test_a_visibility_that_is_no_number_is_told(tmp_path: Path, text: str) -> None:
    file = table(tmp_path, text)
    dropped, kept = read(file, problems="drop"), read(file, problems="keep")
    assert [each.kind for each in dropped.problems] == ["unreadable-record"] * 2
    assert [each.annotation_id for each in dropped.problems] == [1, 3]
    assert "keypoint 'eye' has a cell that is no number" in dropped.problems[0].message
    columns = [dropped.schema.keypoint_index(name) for name in ("eye", "ear")]
    assert dropped.instances.visibility[:, columns].tolist() == [[2, 1]]
    assert kept.instances.visibility[:, columns].tolist() == [[0, 2], [0, 0], [2, 1]]

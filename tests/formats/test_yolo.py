from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import FORMATS, losses, read, recognise, write

YAML = """
path: /content/somewhere/else
train: ../images/train
val: images/val
kpt_shape: [3, 3]
flip_idx: [1, 0, 2]
names: {0: crab, 1: fish}
kpt_names:
  0: [claw_left, claw_right, eye]
  1: [fin_left, fin_right, eye]
skeleton: [[0, 2], [1, 2]]
"""
# Image of 200 x 100: the box is 40 to 80, 20 to 60.
LINES = "0 0.3 0.4 0.2 0.4 0.25 0.5 2 0.35 0.3 1 0 0 0\n\n1 0.5 0.5 1 1 0 0 0 0.5 0.25 2 1.0 1.0 2\n"

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a data set of three images: a with LINES, b with an empty label file, c without one."""

    def make(yaml: str = YAML, lines: str = LINES, images: str = "images/train", labels: str = "labels/train") -> Path:
        for folder in (images, labels):
            (tmp_path / folder / "deep").mkdir(parents=True, exist_ok=True)
        for name in ("a.png", "b.png", "deep/c.png"):
            Image.new("RGB", (200, 100)).save(tmp_path / images / name)
        (tmp_path / labels / "a.txt").write_text(lines)
        (tmp_path / labels / "b.txt").write_text("")
        (tmp_path / "data.yaml").write_text(yaml)
        return tmp_path / "data.yaml"

    return make


def test_every_field_is_read(make: Make) -> None:
    dataset = read(make())
    schema = dataset.schema
    assert schema.classes == ("crab", "fish")
    assert schema.keypoints == ("fin_left", "fin_right", "claw_left", "claw_right", "eye")
    assert schema.present.tolist() == [[False, False, True, True, True], [True, True, False, False, True]]
    assert schema.mirror is not None
    assert schema.mirror.tolist() == [1, 0, 3, 2, 4]
    assert schema.edges.tolist() == [[2, 4], [0, 4], [3, 4], [1, 4]]
    assert [dataset.picture_name(index) for index in range(3)] == [
        "images/train/a.png",
        "images/train/b.png",
        "images/train/deep/c.png",
    ]
    assert dataset.sizes.tolist() == [[100, 200]] * 3
    assert dataset.starts.tolist() == [0, 2, 2, 2]
    objects = dataset.instances
    assert objects.labels.tolist() == [0, 1]
    np.testing.assert_allclose(objects.boxes, [[40, 20, 80, 60], [0, 0, 200, 100]])
    absent = (np.nan, np.nan)
    np.testing.assert_allclose(objects.keypoints[0], [absent, absent, (50.0, 50.0), (70.0, 30.0), absent])
    np.testing.assert_allclose(objects.keypoints[1], [absent, (100.0, 25.0), absent, absent, (200.0, 100.0)])
    assert objects.visibility.tolist() == [[0, 0, 2, 1, 0], [0, 2, 0, 0, 2]]
    assert dataset.problems == ()


def test_two_values_a_keypoint_follow_the_rule_of_ultralytics(make: Make) -> None:
    lines = "0 0.5 0.5 0.5 0.5 0.5 0.5 -0.1 0.5 0 0\n"
    dataset = read(make(YAML.replace("[3, 3]", "[3, 2]"), lines))
    assert dataset.instances.visibility[0, 2:].tolist() == [2, 0, 2]
    np.testing.assert_allclose(dataset.instances.keypoints[0, 2:], [(100.0, 50.0), (np.nan, np.nan), (0.0, 0.0)])
    assert "keypoint-at-origin" in {each.kind for each in find_problems(dataset)}


@pytest.mark.parametrize("how", ["yaml", "folder", "split", "labels", "list"])
def test_a_split_is_found_however_it_is_named(make: Make, tmp_path: Path, how: str) -> None:
    file = make()
    (tmp_path / "some.txt").write_text("./images/train/a.png\nimages/train/deep/c.png\n")
    named = {
        "yaml": file,
        "folder": tmp_path,
        "split": tmp_path / "images" / "train",
        "labels": tmp_path / "labels" / "train",
        "list": tmp_path / "some.txt",
    }[how]
    assert recognise(named) == "yolo"
    dataset = read(named)
    assert len(dataset) == (2 if how == "list" else 3)
    assert len(dataset.instances) == 2
    np.testing.assert_allclose(dataset.instances.boxes[0], [40, 20, 80, 60])


def test_other_layouts(make: Make, tmp_path: Path) -> None:
    file = make(YAML.replace("../images/train", "[train/images]"), images="train/images", labels="train/labels")
    assert len(read(file).instances) == 2
    (tmp_path / "beside").mkdir()
    file = make(YAML.replace("../images/train", "beside"), images="beside", labels="beside")
    assert len(read(file).instances) == 2
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "train" / "images").rename(tmp_path / "elsewhere" / "pictures")
    file = make(YAML.replace("../images/train", "train/images"), images="elsewhere/pictures", labels="train/labels")
    dataset = read(file, images=tmp_path / "elsewhere" / "pictures")
    assert len(dataset.instances) == 2
    # Such a folder may hold any pictures; those of the data set are those with a label file.
    assert [dataset.picture_name(index) for index in range(len(dataset))] == ["a.png", "b.png"]


def test_names_by_all_rules(make: Make) -> None:
    lines = "0 0.5 0.5 0.5 0.5 0.5 0.5 2 0.5 0.5 2\n"
    dataset = read(make("train: images/train\nnc: 1\nkpt_shape: [2, 3]\n", lines))
    assert dataset.schema.classes == ("object",)
    assert dataset.schema.keypoints == ("point_0", "point_1")
    assert dataset.schema.mirror is None
    dataset = read(make("train: images/train\nnames: [a, 7]\nkpt_shape: [2, 3]\nnode_names: [x, y]\n", lines))
    assert dataset.schema.classes == ("a", "7")
    assert dataset.schema.keypoints == ("x", "y")


def test_mistakes_in_labels_are_told_and_the_rest_is_read(make: Make) -> None:
    lines = "\n".join([
        "0 0.5 0.5 0.5 0.5 0.5 0.5 2",
        "0 0.5 0.5 0.5 0.5 0.5 0.5 3 0 0 0 0 0 0",
        "2 0.5 0.5 0.5 0.5 0 0 0 0 0 0 0 0 0",
        "0 0.5 x 0.5 0.5 0 0 0 0 0 0 0 0 0",
        "0 0.5 0.5 0.5 0.5 nan 0.5 2 0 0 0 0 0 0",
        "0 inf 0.5 0.5 0.5 0.5 0.5 2 0 0 0 0 0 0",
        "0 0.5 0.5 0.5 0.5 0.5 0.5 0 0.25 0.5 1 0 0 0",
    ])  # fmt: skip
    file = make(lines=lines)
    (file.parent / "labels" / "train" / "z.txt").write_text(lines)
    with pytest.raises(DekeyError, match=r"6 errors|7 errors"):
        read(file)
    dataset = read(file, problems="drop")
    assert [each.kind for each in dataset.problems] == [
        "missing-image",
        "wrong-length",
        "unknown-category",
        "unreadable-record",
        "bad-visibility",
        "labelled-without-coordinates",
        "coordinates-without-label",
        "unreadable-box",
    ]
    assert "line 1 of labels/train/a.txt: 8 numbers, expected 14" in str(dataset.problems[1])
    assert dataset.annotation_ids.tolist() == [5]
    assert dataset.instances.visibility[0].tolist() == [0, 0, 0, 1, 0]
    kept = read(file, problems="keep")
    assert kept.annotation_ids.tolist() == [1, 2, 3, 4, 5]
    assert np.isnan(kept.instances.boxes).any(axis=1).tolist() == [False, False, False, True, False]
    assert np.isnan(kept.instances.keypoints[0]).all()


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("train: images/train\nnames: [a]\n", "states no kpt_shape"),
        ("kpt_shape: 3\n", r"expected \[keypoints, 2\] or \[keypoints, 3\]"),
        ("kpt_shape: [3, 4]\n", r"expected \[keypoints, 2\]"),
        ("kpt_shape: [3, 3]\n", "neither names nor nc"),
        ("kpt_shape: [3, 3]\nnames: {1: a, 2: b}\n", "expected 0 to 1"),
        ("kpt_shape: [3, 3]\nnames: [no]\n", "put it in quotes"),
        ("kpt_shape: [3, 3]\nnames: [a, b]\nnc: 3\n", "names 2 classes but states nc: 3"),
        ("kpt_shape: [3, 3]\nnames: [a, a]\n", "class name 'a' occurs twice"),
        ("kpt_shape: [3, 3]\nnames: [a]\nkpt_names: [x, y]\n", "lists 2 names, but kpt_shape states 3"),
        ("kpt_shape: [3, 3]\nnames: [a]\nkpt_names: {0: [x, y, z], 1: [x, y, z]}\n", "for 2 classes"),
        ("kpt_shape: [3, 3]\nnames: [a]\n", "states no train, val or test"),
        ("kpt_shape: [3, 3]\nnames: [a]\ntrain: 5\n", "expected a folder"),
        ("kpt_shape: [3, 3]\nnames: [a]\ntrain: /data/images\n", "outside its folder"),
        ("kpt_shape: [3, 3]\nnames: [a]\ntrain: gone/images\n", "no image lies in gone/images"),
        ("kpt_shape: [3, 3]\nnames: [a]\ntrain: bare/images\n", "has a label file, expected for instance"),
        ("kpt_shape: [3, 3]\nnames: &x [a]\nkpt_names: *x\n", "YAML alias"),
        ("kpt_shape: [3, 3\nnames: a", "not valid YAML"),
        ("kpt_shape: [3, 3]\nnames: " + "[" * 3000, "brackets inside each other"),
        ("kpt_shape: [3, 3]\nnames: [[a", "not valid YAML"),
        ("- kpt_shape\n- 3\nkpt_shape:", "not valid YAML"),
    ],
)
def test_a_description_that_cannot_be_meant_is_a_sentence(make: Make, tmp_path: Path, yaml: str, says: str) -> None:
    (tmp_path / "bare" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "bare" / "images" / "a.png")
    file = make(yaml)
    with pytest.raises(DekeyError, match=says) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_a_flip_of_pairs_is_an_error_and_the_mirror_undecided(make: Make) -> None:
    dataset = read(make(YAML.replace("[1, 0, 2]", "[[0, 1]]")), problems="keep")
    assert dataset.schema.mirror is None
    assert dataset.problems[0].kind == "bad-mirror"


def test_a_folder_without_or_with_two_descriptions(make: Make, tmp_path: Path) -> None:
    file = make()
    (tmp_path / "other.yaml").write_text(YAML)
    with pytest.raises(DekeyError, match=r"holds data.yaml, other.yaml; name the one"):
        read(tmp_path)
    (tmp_path / "other.yaml").unlink()
    file.unlink()
    with pytest.raises(DekeyError, match="no known format"):
        read(tmp_path)
    with pytest.raises(DekeyError, match=r"holds a data.yaml with kpt_shape; write one"):
        read(tmp_path, format="yolo")


def test_writing_and_reading_changes_nothing(make: Make, tmp_path: Path) -> None:
    first = read(make())
    write(first, tmp_path / "copy", format="yolo")
    second = read(tmp_path / "copy")
    # Which class has which keypoints is all that is lost.
    assert second.schema.keypoints == first.schema.keypoints
    assert second.schema.edges.tolist() == first.schema.edges.tolist()
    assert second.schema.mirror.tolist() == first.schema.mirror.tolist()  # type: ignore[union-attr]
    for name in ("boxes", "labels", "keypoints", "visibility"):
        np.testing.assert_allclose(getattr(second.instances, name), getattr(first.instances, name), atol=1e-9, err_msg=name)
    for name in ("sizes", "starts", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name), err_msg=name)


def test_writing_is_whole_or_not_at_all(make: Make, tmp_path: Path) -> None:
    dataset = read(make())
    (tmp_path / "images" / "train" / "b.png").unlink()
    with pytest.raises(DekeyError, match=r"b.png cannot be copied \(No such file or directory\); restore it"):
        write(dataset, tmp_path / "copy", format="yolo")
    assert not [each for each in tmp_path.iterdir() if "copy" in each.name]
    with pytest.raises(DekeyError, match="exists already and is not empty"):
        write(dataset, tmp_path / "images", format="yolo")
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "train" / "b.png")
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "train" / "b.jpg")
    with pytest.raises(DekeyError, match=r"share the label file b.txt"):
        write(read(tmp_path), tmp_path / "copy", format="yolo")


@pytest.mark.shared
def test_the_wagon_is_the_same_in_yolo_and_in_coco(shared_data: Path, tmp_path: Path) -> None:
    """Its author labelled in CVAT and exported COCO, then made YOLO of it, with the corner of the box for its centre."""
    folder = shared_data / "formats" / "yolo_pose_wagon"
    dataset = read(folder)
    assert len(dataset) == 3
    assert dataset.schema.classes == ("doorknob",)
    other = read(folder / "cvat_export" / "person_keypoints_default.json", images=folder, problems="keep")
    same(dataset, other, corner=True)


@pytest.mark.shared
def test_the_cars_are_the_same_in_yolo_and_in_coco(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "formats" / "yolo_pose_cars"
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(source / name)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\nkpt_shape: [14, 3]\n")
    dataset = read(tmp_path)
    assert len(dataset) == 3
    assert len(dataset.instances) == 6
    assert "coordinates-without-label" in {each.kind for each in dataset.problems}
    same(dataset, read(source / "annotations.json", problems="keep"))


def same(one: Dataset, other: Dataset, *, corner: bool = False) -> None:
    """Compare by image name; the same numbers stand half a pixel lower and further right in COCO's frame."""
    places = {other.picture_name(index).replace("/images_jpg/", "__").rpartition("/")[2]: index for index in range(len(other))}
    for index in range(len(one)):
        mine = one[index].instances
        theirs = other[places[one.picture_name(index).rpartition("/")[2]]].instances
        apart = np.abs(theirs.keypoints - mine.keypoints[:, None] - 0.5)
        order = np.nanmean(apart, axis=(2, 3)).argmin(axis=1)
        assert len(theirs) == len(mine) == len(set(order.tolist()))
        boxes = mine.boxes + np.tile((mine.boxes[:, 2:] - mine.boxes[:, :2]) / 2, 2) * corner
        np.testing.assert_allclose(boxes, theirs.boxes[order], atol=0.02)
        np.testing.assert_array_equal(mine.visibility, theirs.visibility[order])
        np.testing.assert_allclose(mine.keypoints + 0.5, theirs.keypoints[order], atol=0.02)


@pytest.mark.shared
def test_a_description_by_sleap_io(shared_data: Path, make: Make) -> None:
    text = (shared_data / "formats" / "yolo_pose_yaml_sleapio" / "data.yaml").read_text()
    file = make(text, "0 0.5 0.5 1 1" + " 0.5 0.5 2" * 5 + "\n", images="train/images", labels="train/labels")
    schema = read(file).schema
    assert schema.classes == ("animal",)
    assert schema.edges.tolist() == [[0, 1], [1, 2], [2, 3], [2, 4]]
    assert schema.mirror is not None
    assert schema.mirror.tolist() == [1, 0, 3, 2, 4]


def test_labels_lie_where_ultralytics_looks_for_them(tmp_path: Path) -> None:
    names = ["A/images/a.png", "b.png", "images/c.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(tmp_path / name)
    one = Instances.create([[[20.0, 30.0]]], boxes=[[10.0, 20.0, 50.0, 40.0]])
    samples = [Sample(tmp_path / name, (100, 200), one, row + 1, np.array([row + 1])) for row, name in enumerate(names)]
    write(Dataset.from_samples(Schema.create(["a"], ["x"]), samples), tmp_path / "out", format="yolo")
    folder = tmp_path / "out"
    for image in folder.rglob("*.png"):
        # `img2label_paths` of ultralytics/data/utils.py.
        label = Path("/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt")
        assert label.is_file(), label
    dataset = read(folder)
    assert [dataset.picture_name(index) for index in range(3)] == [f"images/train/{name}" for name in names]
    assert dataset.starts.tolist() == [0, 1, 2, 3]
    assert dataset.problems == ()
    assert len(read(folder, images=tmp_path).instances) == 3
    # So dekey wrote them before.
    (folder / "labels/train/images").mkdir()
    (folder / "images/train/labels/c.txt").rename(folder / "labels/train/images/c.txt")
    assert len(read(folder).instances) == 3


def test_a_split_may_hold_folders_of_images_and_labels(make: Make, tmp_path: Path) -> None:
    file = make(YAML.replace("../images/train", "train"), images="train/images", labels="train/labels")
    dataset = read(file)
    assert dataset.starts.tolist() == [0, 2, 2, 2]
    assert dataset.problems == ()
    (tmp_path / "train" / "labels" / "z.txt").write_text(LINES)
    assert [each.kind for each in read(file, problems="keep").problems] == ["missing-image"]


def test_a_line_that_names_no_image_is_told(make: Make, tmp_path: Path) -> None:
    file = make(YAML.replace("../images/train", "list.txt"))
    (tmp_path / "list.txt").write_text("./images/train/a.png\n./\n.\n..\n")
    dataset = read(file, problems="drop")
    assert len(dataset) == 1
    assert len(dataset.problems) == 3


def test_an_image_with_keypoints_far_outside_is_told_before_writing(make: Make) -> None:
    lines = "0 0.5 0.5 1 1 1.009 0.5 2 -0.009 0.5 2 0 0 0\n"
    assert not [each for each in losses(read(make(lines=lines)), FORMATS["yolo"]) if "outside" in each]
    dataset = read(make(lines=lines + lines.replace("1.009", "1.02") + lines.replace("-0.009", "-0.02")))
    said = losses(dataset, FORMATS["yolo"])
    assert "1 images have keypoints far outside them, and Ultralytics trains on no image that has such" in said
    assert not [each for each in losses(dataset, FORMATS["coco"]) if "outside" in each]

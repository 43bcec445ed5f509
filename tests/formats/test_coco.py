from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dekey.data import Dataset, Instances, PictureFiles, Schema
from dekey.data.embedded import load
from dekey.errors import DekeyError
from dekey.formats import files, read, recognise, write


def content() -> dict[str, Any]:
    """Two categories that share a keypoint, a crowd, missing boxes and areas, every visibility code, objects unordered."""
    return {
        "categories": [
            {"id": 3, "name": "cat", "keypoints": ["nose", "ear_l", "ear_r"], "skeleton": [[1, 2], [1, 3]]},
            {"id": 8, "name": "fish", "keypoints": ["nose", "fin", "tail"], "skeleton": [[1, 3]], "flip_indices": [0, 1, 2]},
        ],
        "images": [
            {"id": 50, "file_name": "b.png", "width": 64, "height": 48},
            {"id": 7, "file_name": "sub/a.png", "width": 32, "height": 20},
            {"id": 9, "file_name": "c.png", "width": 10, "height": 10},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 8,
                "bbox": [1.25, 2, 10, 8.5],
                "area": 44.5,
                "iscrowd": 0,
                "keypoints": [4, 5, 2, 6.125, 7, 1, 0, 0, 0],
            },
            {"id": 2, "image_id": 50, "category_id": 3, "bbox": [0, 0, 30, 30], "iscrowd": 1, "keypoints": [0] * 9},
            {"id": 5, "image_id": 7, "category_id": 3, "keypoints": [1, 1, 2, 2, 2, 2, 3, 3, 2]},
        ],
    }


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def save(values: Any) -> Path:
        file = tmp_path / "annotations.json"
        file.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
        return file

    return save


def assert_same(first: Dataset, second: Dataset) -> None:
    for name in ("boxes", "labels", "keypoints", "visibility", "crowd", "areas"):
        np.testing.assert_allclose(getattr(first.instances, name), getattr(second.instances, name), atol=1e-9, err_msg=name)
    for name in ("sizes", "starts", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.schema == second.schema
    assert first.category_ids == second.category_ids
    assert [str(picture) for picture in first.pictures] == [str(picture) for picture in second.pictures]


def test_every_field_is_read(save: Callable[[Any], Path], tmp_path: Path) -> None:
    dataset = read(save(content()))
    schema = dataset.schema
    assert schema.classes == ("cat", "fish")
    assert schema.keypoints == ("nose", "fin", "tail", "ear_l", "ear_r")
    assert schema.present.astype(int).tolist() == [[1, 0, 0, 1, 1], [1, 1, 1, 0, 0]]
    assert schema.edges.tolist() == [[0, 3], [0, 4], [0, 2]]
    assert schema.mirror is not None
    assert schema.mirror.tolist() == [0, 1, 2, 4, 3]
    assert dataset.category_ids == (3, 8)
    assert dataset.image_ids.tolist() == [50, 7, 9]
    assert dataset.sizes.tolist() == [[48, 64], [20, 32], [10, 10]]
    assert dataset.starts.tolist() == [0, 1, 3, 3]
    assert dataset.annotation_ids.tolist() == [2, 1, 5]
    assert [picture.relative_to(tmp_path).as_posix() for picture in dataset.pictures] == ["b.png", "sub/a.png", "c.png"]
    crowd, fish, cat = (dataset.instances[[index]] for index in range(3))
    assert crowd.crowd.all()
    assert np.isnan(crowd.areas).all()
    assert fish.boxes.tolist() == [[1.25, 2, 11.25, 10.5]]
    assert fish.areas.tolist() == [44.5]
    # Pixel indices become the centres of their pixels.
    np.testing.assert_array_equal(fish.keypoints[0], [[4.5, 5.5], [6.625, 7.5], [np.nan] * 2, [np.nan] * 2, [np.nan] * 2])
    assert fish.visibility.tolist() == [[2, 1, 0, 0, 0]]
    assert np.isnan(cat.boxes).all()
    assert cat.visibility.tolist() == [[2, 0, 0, 2, 2]]
    assert dataset.problems == ()


def test_writing_and_reading_changes_nothing(save: Callable[[Any], Path], tmp_path: Path) -> None:
    first = read(save(content()))
    write(first, tmp_path / "again.json")
    assert_same(read(tmp_path / "again.json"), first)
    written = json.loads((tmp_path / "again.json").read_text())
    assert [each["num_keypoints"] for each in written["annotations"]] == [0, 2, 3]
    assert written["annotations"][1]["keypoints"] == [4, 5, 2, 6.125, 7, 1, 0, 0, 0]
    assert "bbox" not in written["annotations"][2]
    assert "area" not in written["annotations"][0]
    assert written["categories"][0]["flip_indices"] == [0, 2, 1]
    write(read(tmp_path / "again.json"), tmp_path / "third.json")
    assert (tmp_path / "third.json").read_text() == (tmp_path / "again.json").read_text()


NUMBERS = st.floats(-50, 2000, allow_nan=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 2)), min_size=3, max_size=3), max_size=4),
    st.lists(NUMBERS, min_size=4, max_size=4),
)
def test_any_coordinates_survive_the_round_trip(tmp_path: Path, objects: list[Any], box: list[float]) -> None:
    triples = np.array(objects, dtype=np.float64).reshape(-1, 3, 3)
    visibility = triples[..., 2].astype(np.uint8)
    keypoints = np.where(visibility[..., None] > 0, triples[..., :2], np.nan)
    count = len(triples)
    dataset = Dataset(
        Schema.create(["a"], ["x", "y", "z"], sigmas=[0.1, 0.025, 1 / 3]),
        PictureFiles(tmp_path, ["a.png"]),
        np.array([[10, 20]]),
        Instances.create(keypoints, boxes=[box] * count, visibility=visibility, areas=[abs(box[0])] * count),
        np.array([0, count]),
        np.array([4]),
        np.arange(count) + 1,
        category_ids=(1,),
    )
    write(dataset, tmp_path / "a.json")
    if count:
        assert_same(read(tmp_path / "a.json"), dataset)


@pytest.mark.parametrize(
    "name", ["flies2/val.json", "glue_tubes/test.json", "wagon_hatch_half/test.json", "bee_pose/test.json"]
)
def test_real_files_survive_the_round_trip(shared_data: Path, tmp_path: Path, name: str) -> None:
    first = read(shared_data / name)
    write(first, tmp_path / "again.json")
    second = read(tmp_path / "again.json", images=shared_data / name.split("/")[0])
    np.testing.assert_allclose(second.instances.keypoints, first.instances.keypoints, atol=1e-9)
    np.testing.assert_allclose(second.instances.boxes, first.instances.boxes, atol=1e-9)
    assert second.schema == first.schema


def test_real_coco_is_read_as_pycocotools_reads_it(shared_data: Path) -> None:
    path = shared_data / "formats" / "coco_keypoints" / "test_coco.json"
    dataset = read(path)
    source = {each["id"]: each for each in json.loads(path.read_text())["annotations"]}
    assert sorted(dataset.annotation_ids.tolist()) == sorted(source)
    for index, number in enumerate(dataset.annotation_ids.tolist()):
        triples = np.array(source[number]["keypoints"], dtype=float).reshape(-1, 3)
        labelled = triples[:, 2] > 0
        np.testing.assert_array_equal(dataset.instances.visibility[index], triples[:, 2])
        np.testing.assert_array_equal(dataset.instances.keypoints[index][labelled], triples[labelled, :2] + 0.5)
        x, y, width, height = source[number]["bbox"]
        np.testing.assert_allclose(dataset.instances.boxes[index], [x, y, x + width, y + height])
        assert dataset.instances.crowd[index] == bool(source[number]["iscrowd"])
        # The evidence for the frame: whole numbers from 0 to the side less one.
        assert (triples[labelled, :2] % 1 == 0).all()
    height, width = dataset.sizes[dataset.image_of_instance()].T
    assert np.nanmax(dataset.instances.keypoints[..., 0] - width[:, None]) < 0
    assert np.nanmax(dataset.instances.keypoints[..., 1] - height[:, None]) < 0


def test_order_of_the_categories_is_kept_where_they_agree(save: Callable[[Any], Path]) -> None:
    values = content()
    values["annotations"] = [{"id": 1, "image_id": 7, "category_id": 8, "keypoints": [1, 1, 2, 2, 2, 2, 3, 3, 2]}]
    values["categories"][1]["keypoints"] = ["ear_l", "crest", "ear_r"]
    del values["categories"][1]["flip_indices"]
    dataset = read(save(values))
    assert dataset.schema.keypoints == ("nose", "ear_l", "crest", "ear_r")
    assert dataset.problems == ()
    values["categories"][1]["keypoints"] = ["ear_r", "ear_l", "nose"]
    dataset = read(save(values))
    assert [each.kind for each in dataset.problems] == ["keypoint-order"]
    np.testing.assert_array_equal(dataset.instances.keypoints[0, :, 0], [3.5, 2.5, 1.5])  # by name, whatever the order


def test_classes_without_shared_keypoints_keep_the_order_of_the_file(shapes_file: Path, tmp_path: Path) -> None:
    data = read(shapes_file)
    assert data.schema.keypoints == ("left_corner", "right_corner", "tip", "foot")
    write(data, tmp_path / "again.json")
    assert read(tmp_path / "again.json", images=shapes_file.parent).schema == data.schema


def test_sigmas_are_read_and_written(save: Callable[[Any], Path], tmp_path: Path) -> None:
    values = content()
    values["categories"][0]["sigmas"] = [0.1, 0.2, 0.2]
    values["categories"][1]["sigmas"] = [0.1, 0.4, 0.5]
    dataset = read(save(values))
    assert dataset.schema.sigmas is not None
    assert dataset.schema.sigmas.tolist() == [0.1, 0.4, 0.5, 0.2, 0.2]
    write(dataset, tmp_path / "again.json")
    assert_same(read(tmp_path / "again.json"), dataset)


def test_missing_ids_and_sizes_are_filled_in_where_that_is_no_guess(save: Callable[[Any], Path]) -> None:
    from PIL import Image

    values = content()
    for each in values["annotations"]:
        del each["id"]
    del values["images"][2]["width"]
    file = save(values)
    Image.fromarray(np.zeros((11, 13, 3), dtype=np.uint8)).save(file.parent / "c.png")
    dataset = read(file)
    assert sorted(dataset.annotation_ids.tolist()) == [1, 2, 3]
    assert dataset.sizes[2].tolist() == [11, 13]


@pytest.mark.parametrize("where", ["", "images", "other"])
def test_images_are_found_beside_the_file_in_images_or_where_the_caller_says(
    save: Callable[[Any], Path], tmp_path: Path, where: str
) -> None:
    file = save(content())
    folder = tmp_path / where
    folder.mkdir(exist_ok=True)
    for name in ("b.png", "c.png"):
        (folder / name).touch()
    dataset = read(file, images=folder if where == "other" else None)
    assert dataset.pictures[0] == folder / "b.png"


def test_writing_beside_the_images_names_them_from_there(tmp_path: Path) -> None:
    dataset = load("test")
    write(dataset, tmp_path / "a.json")
    names = [each["file_name"] for each in json.loads((tmp_path / "a.json").read_text())["images"]]
    assert names[0].endswith(".jpg")
    again = read(tmp_path / "a.json", images=dataset.pictures[0].parent)
    assert again[0].read_image().shape == (270, 480, 3)


def test_names_do_not_depend_on_how_the_folder_is_spelt(
    save: Callable[[Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(content())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.png").touch()
    monkeypatch.chdir(tmp_path / "images")
    write(read(Path("..") / file.name), file.parent / "again.json")
    names = [each["file_name"] for each in json.loads((tmp_path / "again.json").read_text())["images"]]
    assert names == ["images/b.png", "images/sub/a.png", "images/c.png"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dekey.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(load("test"), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_writing_where_one_cannot_is_told(tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match=r"folder .* does not exist"):
        write(load("test"), tmp_path / "no" / "a.json")
    with pytest.raises(DekeyError, match="is a folder"):
        write(load("test"), tmp_path)
    with pytest.raises(DekeyError, match="did you mean 'coco'"):
        write(load("test"), tmp_path / "a.json", format="cocoo")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ('{"images": [1, 2,, 3]}', "line 1, column 18"),
        ('{"images": [], "annotations": [', "not valid JSON"),
        ("[" * 100_000, "nests too deep"),
        ('{"images": ' + "[" * 100_000, "nests too deep"),
        ('{"images": ' + "1" * 5000 + "}", "not valid JSON"),
        ("", "is empty"),
        ("nothing", "no known format"),
        (
            '{"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": [{"id": 1' + "0" * 30 + ', "name": "a"}]}',
            "no whole",
        ),
        ([{"image_id": 1, "category_id": 1, "score": 0.5}], "COCO results"),
        ({"images": [], "annotations": []}, "no list of categories"),
        ({"images": {}, "annotations": [], "categories": []}, "no list of images"),
        ({**content(), "images": []}, "lists no images"),
        ({**content(), "annotations": []}, "lists no annotations"),
        ({**content(), "categories": [{"id": 1, "name": "cat"}]}, "objects carry 3 of them"),
        ({**content(), "categories": [{"id": 1, "name": "cat", "keypoints": [1, 2]}]}, "are not names"),
        ({**content(), "categories": [{"id": 1, "name": "cat", "keypoints": "nose"}]}, "are not names"),
        ({**content(), "categories": [{"id": "x", "name": "cat"}]}, "no whole `id`"),
        ({**content(), "categories": [{"id": 1, "name": "c", "keypoints": ["a", "a"]}]}, "names a keypoint twice"),
        ({**content(), "categories": [{"id": 1, "name": n, "keypoints": ["a"]} for n in "ab"]}, "same id"),
        ({**content(), "images": [1, None]}, "none of the 0 images can be used|entry 0"),
    ],
)
def test_a_file_that_is_no_coco_keypoints_file_is_told_in_a_sentence(
    save: Callable[[Any], Path], values: Any, says: str
) -> None:
    file = save(values)
    with pytest.raises(DekeyError, match=says) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Any], Path]) -> None:
    with pytest.raises(DekeyError, match="does not exist"):
        read(tmp_path / "gone.json")
    with pytest.raises(DekeyError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(DekeyError, match="not UTF-8 text"):
        read(tmp_path / "bytes.json")
    file = save(content())
    with pytest.raises(DekeyError, match=r"image folder .* does not exist"):
        read(file, images=tmp_path / "gone")
    with pytest.raises(DekeyError, match=r"no format 'yoko' .*did you mean 'yolo'"):
        read(file, format="yoko")
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 100)
    with pytest.raises(DekeyError, match="more than the limit"):
        read(file)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()), encoding="utf-8-sig")
    assert recognise(tmp_path / "a.json") == "coco"
    assert len(read(tmp_path / "a.json")) == 3

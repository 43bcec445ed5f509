from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import dekey
from dekey.cli import main
from dekey.cli.pictures import image_files
from dekey.data.images import read_image
from dekey.formats.coco_results import read_results


def records(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    assert main(["predict", *map(str, words)]) == 0
    answer: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answer


def assert_alike(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Compare answers; batches of another size may differ in the last digits of fp32."""
    assert [each["file_name"] for each in first] == [each["file_name"] for each in second]
    for one, other in zip(first, second, strict=True):
        assert one["keypoints"] == pytest.approx(other["keypoints"], abs=1e-2)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_files_folders_and_patterns_answer_alike(
    small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_data.parent / "images"
    names = sorted(file.name for file in folder.iterdir())
    by_folder = records(capsys, small_onnx, folder, "--batch-size=5")
    assert [each["file_name"] for each in by_folder] == names
    assert_alike(records(capsys, small_onnx, folder / "*.jpg", folder), by_folder)  # named twice, answered once
    monkeypatch.chdir(folder)
    assert_alike(records(capsys, small_onnx, *names[:3]), by_folder[:3])


def test_results_are_in_coco_s_frame(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keypoints count from the centre of the first pixel in the file, from its corner in the library."""
    file = sorted((small_data.parent / "images").iterdir())[0]
    model = dekey.load(small_onnx)
    found = model(model.read(file))
    record = records(capsys, small_onnx, file)[0]
    triples = np.array(record["keypoints"]).reshape(-1, 3)
    np.testing.assert_allclose(triples[:, :2] + 0.5, found.keypoints[0], atol=1e-6)
    np.testing.assert_allclose(record["bbox"][:2], found.boxes[0, :2], atol=1e-6)
    assert record["score"] == pytest.approx(found.scores[0])  # type: ignore[index]
    assert record["category_id"] == 1
    assert "image_id" not in record


def test_with_boxes_there_is_a_record_an_object_under_the_ids_of_their_file(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads(small_data.read_text(encoding="utf-8"))
    values["categories"][0]["id"] = 7
    for each in values["annotations"]:
        each["category_id"] = 7
    for each in values["images"]:
        each["id"] += 1000
    for each in values["annotations"]:
        each["image_id"] += 1000
    values["annotations"][0]["iscrowd"] = 1
    boxes = small_data.parent / "boxes.json"
    boxes.write_text(json.dumps(values), encoding="utf-8")
    data = dekey.read(boxes)
    out = tmp_path / "found.json"
    assert main(["predict", str(small_onnx), str(small_data.parent / "images"), "--boxes", str(boxes), "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    written = json.loads(out.read_text())
    assert len(written) == len(values["annotations"]) - 1
    assert {each["category_id"] for each in written} == {7}
    assert all({"file_name", "image_id"} <= each.keys() for each in written)
    expected = dekey.load(small_onnx).predict_dataset(data)
    for one, other in zip(read_results(out, data), expected, strict=True):
        order = np.argsort(-other.scores, kind="stable")  # type: ignore[operator]
        np.testing.assert_allclose(one.keypoints, other.keypoints[order], atol=1e-6)
        np.testing.assert_allclose(one.boxes, other.boxes[order], atol=1e-6)


def test_boxes_belong_to_a_path_and_not_to_a_name(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sorted((small_data.parent / "images").iterdir())[0]
    values: dict[str, Any] = {
        "categories": [{"id": 1, "name": "glue_tube", "keypoints": ["head", "tail"]}],
        "images": [],
        "annotations": [],
    }
    for number, name in enumerate(("left", "right"), 1):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name / "1.jpg")
        values["images"].append({"id": number, "file_name": f"{name}/1.jpg", "width": 480, "height": 270})
        box = [10 * number, 20, 100, 100]
        values["annotations"].append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "keypoints": [0] * 6})
    (tmp_path / "boxes.json").write_text(json.dumps(values))
    found = records(capsys, small_onnx, tmp_path / "left/1.jpg", tmp_path / "right", "--boxes", tmp_path / "boxes.json")
    assert [(each["image_id"], each["bbox"][0]) for each in found] == [(1, 10), (2, 20)]
    shutil.copy(source, tmp_path / "1.jpg")
    words = ["predict", str(small_onnx), str(tmp_path / "1.jpg"), "--boxes", str(tmp_path / "boxes.json")]
    assert main(words) == 2
    assert "names 2 images 1.jpg" in capsys.readouterr().err


def test_drawings_are_pictures_of_the_same_size_one_each(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    sources = sorted((small_data.parent / "images").iterdir())[:2]
    (tmp_path / "in").mkdir()
    for name, source in (("a.jpg", sources[0]), ("a.png", sources[1]), ("b.jpg", sources[1])):
        Image.open(source).save(tmp_path / "in" / name)
    assert len(records(capsys, small_onnx, tmp_path / "in", "--draw", tmp_path / "deep/drawn")) == 3
    drawn = sorted((tmp_path / "deep/drawn").iterdir())
    assert [file.name for file in drawn] == ["a.jpg", "a.png.jpg", "b.jpg"]
    for file, source in zip(drawn, ("a.jpg", "a.png", "b.jpg"), strict=True):
        picture, plain = read_image(file), read_image(tmp_path / "in" / source)
        assert picture.shape == plain.shape
        changed = (np.abs(picture.astype(int) - plain) > 60).any(-1)
        assert 10 < changed.sum() < 0.2 * changed.size  # something is drawn, and it is this picture


def test_a_large_jpeg_is_answered_alike_drawn_or_not_and_drawn_whole(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    with Image.open(sorted((small_data.parent / "images").iterdir())[0]) as picture:
        picture.resize((1917, 1081)).save(tmp_path / "large.jpg", quality=95)
    model = dekey.load(small_onnx)
    read = model.read(tmp_path / "large.jpg")
    assert read.pixels.shape[0] <= 541
    found, whole = model(read), model(read_image(tmp_path / "large.jpg"))
    # A hardly trained network may take another peak for a keypoint; a wrong frame would move both coordinates of both.
    assert np.median(np.abs(found.keypoints - whole.keypoints)) < 10
    plain = records(capsys, small_onnx, tmp_path / "large.jpg")
    assert np.array(plain[0]["keypoints"]).reshape(-1, 3)[:, :2] + 0.5 == pytest.approx(found.keypoints[0], abs=1e-6)
    assert records(capsys, small_onnx, tmp_path / "large.jpg", "--draw", tmp_path / "drawn") == plain
    assert read_image(tmp_path / "drawn" / "large.jpg").shape == (1081, 1917, 3)


def test_pictures_of_one_name_are_told_apart_by_path(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sorted((small_data.parent / "images").iterdir())[0]
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name / "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert [each["file_name"] for each in records(capsys, small_onnx, "x", "y")] == ["x/1.jpg", "y/1.jpg"]


def test_a_model_of_crops_says_that_it_was_given_whole_images(
    small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sorted((small_data.parent / "images").iterdir())[0]
    assert main(["predict", str(small_onnx), str(file)]) == 0
    assert "without --boxes" in capsys.readouterr().err


def test_a_folder_gives_its_pictures_only(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deeper.png").mkdir()
    assert [file.name for file in image_files([str(tmp_path)])] == ["a.png", "b.JPG"]
    assert [file.name for file in image_files([str(tmp_path / "[ab].*")])] == ["a.png", "b.JPG"]


def test_several_at_once_answer_as_batches(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, boxes = small_data.parent / "images", ("--boxes", small_data)
    for words in ((images,), (images, *boxes)):
        expected = records(capsys, small_onnx, *words)
        assert_alike(records(capsys, small_onnx, *words, "--throughput"), expected)
        assert_alike(records(capsys, small_onnx, *words, "--throughput", "--batch-size", "1"), expected)


def test_several_at_once_draw_the_same_pictures(small_onnx: Path, small_data: Path, tmp_path: Path) -> None:
    for name, words in (("one", []), ("other", ["--throughput"])):
        arguments = [str(small_onnx), str(small_data.parent / "images"), "--draw", str(tmp_path / name)]
        assert main(["predict", *arguments, "--out", str(tmp_path / "out.json"), *words]) == 0
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert len(names) == 12
    assert names == sorted(file.name for file in (tmp_path / "other").iterdir())
    for name in names:
        one, other = (read_image(tmp_path / folder / name).astype(int) for folder in ("one", "other"))
        assert np.abs(one - other).mean() < 0.5


@pytest.mark.parametrize(("words", "expected"), [(["--device", "cuda"], "it is for the CPU"), ([], "which torch runs")])
def test_several_at_once_where_there_is_no_such_mode(
    words: list[str], expected: str, small_run: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(small_run), str(small_data.parent / "images"), "--throughput", *words]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("mode", [[], ["--throughput"]])
def test_a_picture_that_cannot_be_read_ends_the_run_or_is_left_out(
    mode: list[str], small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    whole = sorted((small_data.parent / "images").iterdir())[:3]
    for file in whole:
        shutil.copy(file, folder)
    (folder / "0.jpg").write_bytes(b"no picture")
    (folder / "z.png").write_bytes(whole[0].read_bytes()[:200])
    words = ["predict", str(small_onnx), str(folder), *mode, "--out", str(tmp_path / "found.json")]
    assert main(words) == 2
    assert "0.jpg cannot be opened" in (said := capsys.readouterr().err)
    assert "or go on without it with --skip-broken" in said
    assert not (tmp_path / "found.json").exists()
    assert main([*words, "--skip-broken", "--draw", str(tmp_path / "drawn")]) == 0
    said = capsys.readouterr().err
    assert [said.count(f"left out: image {folder / name}") for name in ("0.jpg", "z.png")] == [1, 1]
    records = json.loads((tmp_path / "found.json").read_text())
    assert {record["file_name"] for record in records} == {file.name for file in whole}
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    for file in whole:
        (folder / file.name).unlink()
    assert main([*words, "--skip-broken"]) == 2
    assert "none of the 2 images can be read" in capsys.readouterr().err


def test_boxes_of_another_version_of_the_picture_and_empty_ones_are_refused(
    small_onnx: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sorted((small_data.parent / "images").iterdir())[0]
    shutil.copy(source, tmp_path / "1.jpg")
    for (width, height), box, told in [
        ((960, 540), [10, 20, 100, 100], "1.jpg is 480x270 but the --boxes file says 960x540"),
        ((480, 270), [10, 20, 0, 100], "an object of "),
    ]:
        values = {
            "categories": [{"id": 1, "name": "glue_tube", "keypoints": ["head", "tail"]}],
            "images": [{"id": 1, "file_name": "1.jpg", "width": width, "height": height}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "keypoints": [20, 30, 2, 25, 35, 2]}],
        }
        (tmp_path / "boxes.json").write_text(json.dumps(values))
        words = ["predict", str(small_onnx), str(tmp_path / "1.jpg"), "--boxes", str(tmp_path / "boxes.json")]
        for more in ([], ["--skip-broken"]):
            assert main([*words, *more]) == 2
            error = capsys.readouterr().err
            assert told in error
            assert "1.jpg" in error


def test_a_picture_too_long_for_a_jpeg_is_not_drawn(
    small_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "long.png"), np.zeros((2, 65_501, 3), np.uint8))
    assert main(["predict", str(small_onnx), str(tmp_path / "long.png"), "--draw", str(tmp_path / "drawn")]) == 2
    assert "65501x2 px, and a JPEG has at most 65500; leave --draw out" in capsys.readouterr().err

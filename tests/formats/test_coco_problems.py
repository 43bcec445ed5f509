"""One mistake at a time in a sound file: what is said, what is left out, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.data.problems import KINDS
from dekey.errors import DekeyError
from dekey.formats import read

Values = dict[str, Any]


def content() -> Values:
    objects = [
        {"id": number, "image_id": number % 2 + 1, "category_id": 1, "bbox": [1, 1, 9, 9], "keypoints": [2, 3, 2, 4, 5, 1]}
        for number in range(4)
    ]
    return {
        "categories": [{"id": 1, "name": "eye", "keypoints": ["a_l", "a_r"], "skeleton": [[1, 2]], "flip_indices": [1, 0]}],
        "images": [{"id": number, "file_name": f"{number}.png", "width": 20, "height": 20} for number in (1, 2)],
        "annotations": objects,
    }


def annotation(**changes: Any) -> Callable[[Values], None]:
    return lambda values: values["annotations"][2].update(changes)


def image(**changes: Any) -> Callable[[Values], None]:
    return lambda values: values["images"][1].update(changes)


def category(**changes: Any) -> Callable[[Values], None]:
    return lambda values: values["categories"][0].update(changes)


def saved(tmp_path: Path, change: Callable[[Values], None]) -> Path:
    values = content()
    change(values)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values))
    return file


# change, kind, objects left under "drop", objects left under "keep"
ERRORS: list[tuple[Callable[[Values], None], str, int, int]] = [
    (annotation(id=None), "unreadable-record", 3, 3),
    (annotation(id="x"), "unreadable-record", 3, 3),
    (annotation(image_id=77), "unknown-image", 3, 3),
    (annotation(image_id=None), "unknown-image", 3, 3),
    (annotation(image_id=2**80), "unknown-image", 3, 3),
    (annotation(category_id=5), "unknown-category", 3, 3),
    (annotation(keypoints=[1, 2, 2]), "wrong-length", 3, 4),
    (annotation(keypoints=[1, 2, 2] * 3), "wrong-length", 3, 4),
    (annotation(keypoints=[[1, 2, 2], [3, 4, 2]]), "wrong-length", 3, 4),
    (annotation(keypoints="1 2 3"), "wrong-length", 3, 4),
    (annotation(keypoints=[1, 2, 0.7, 3, 4, 2]), "bad-visibility", 3, 4),
    (annotation(keypoints=[1, 2, 3, 3, 4, 2]), "bad-visibility", 3, 4),
    (annotation(keypoints=[1, 2, -1, 3, 4, 2]), "bad-visibility", 3, 4),
    (annotation(keypoints=[float("nan"), 2, 2, 3, 4, 2]), "labelled-without-coordinates", 3, 4),
    (annotation(keypoints=[float("inf"), 2, 1, 3, 4, 2]), "labelled-without-coordinates", 3, 4),
    (annotation(bbox=[1, 2, 3]), "unreadable-box", 3, 4),
    (annotation(bbox=[1, 2, 3, None]), "unreadable-box", 3, 4),
    (annotation(bbox=[1, 2, 3, float("nan")]), "unreadable-box", 3, 4),
    (annotation(area="big"), "unreadable-record", 3, 4),
    (lambda values: values["annotations"].__setitem__(2, [1, 2]), "unreadable-record", 3, 3),
    (image(id=1), "duplicate-image-id", 2, 2),
    (image(file_name=None), "unreadable-record", 2, 2),
    (image(file_name="../secret.png"), "unsafe-path", 2, 2),
    (image(file_name="/etc/secret.png"), "unsafe-path", 2, 2),
    (image(file_name="C:\\secret.png"), "unsafe-path", 2, 2),
    (image(file_name="a\\..\\..\\secret.png"), "unsafe-path", 2, 2),
    (image(file_name="a\ud800.png"), "unsafe-path", 2, 2),
    (image(file_name="a" * 300 + ".png"), "unsafe-path", 2, 2),
    (image(file_name="a/" * 1500 + "a.png"), "unsafe-path", 2, 2),
    (image(file_name=""), "unsafe-path", 2, 2),
    (image(file_name="a\0.png"), "unsafe-path", 2, 2),
    (image(width=None), "missing-size", 2, 2),
    (image(width=0), "missing-size", 2, 2),
    (image(height="tall"), "missing-size", 2, 2),
    (category(flip_indices=[1, 1]), "bad-mirror", 4, 4),
    (category(flip_indices=[0, 2]), "bad-mirror", 4, 4),
    (category(flip_indices=[0]), "bad-mirror", 4, 4),
    (category(flip_indices="ab"), "bad-mirror", 4, 4),
    (category(sigmas=[0.1]), "bad-sigmas", 4, 4),
    (category(sigmas=[0.1, -1]), "bad-sigmas", 4, 4),
]


@pytest.mark.parametrize(("change", "kind", "dropped", "kept"), ERRORS)
def test_a_broken_record_is_named_and_left_out(
    tmp_path: Path, change: Callable[[Values], None], kind: str, dropped: int, kept: int
) -> None:
    file = saved(tmp_path, change)
    with pytest.raises(DekeyError, match="dekey inspect") as caught:
        read(file)
    assert "\n" not in str(caught.value)
    rest = read(file, problems="drop")
    assert kind in {each.kind for each in rest.problems}
    assert all(each.severity == KINDS[each.kind].severity for each in rest.problems)
    assert len(rest.instances) == dropped
    np.testing.assert_array_equal(rest.instances.labelled, True)
    whole = read(file, problems="keep")
    assert len(whole.instances) == kept
    assert whole.problems == rest.problems
    # What is kept is never half a keypoint.
    np.testing.assert_array_equal(np.isfinite(whole.instances.keypoints).all(-1), whole.instances.labelled)


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    def change(values: Values) -> None:
        values["images"][0]["file_name"] = "a\nb.png"
        values["annotations"][2]["bbox"] = [1]

    with pytest.raises(DekeyError, match=r"image a b\.png, annotation 2") as caught:
        read(saved(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_kept_objects_keep_what_can_be_read(tmp_path: Path) -> None:
    file = saved(tmp_path, annotation(keypoints=[1, 2, 7, 3, 4, 2]))
    dataset = read(file, problems="keep")
    index = dataset.annotation_ids.tolist().index(2)
    assert dataset.instances.visibility[index].tolist() == [0, 2]
    assert dataset.instances.boxes[index].tolist() == [1, 1, 10, 10]
    (problem,) = dataset.problems
    assert (problem.image, problem.annotation_id) == ("1.png", 2)
    assert "keypoint 'a_l' is x, y, v = 1, 2, 7" in problem.message


WARNINGS: list[tuple[Callable[[Values], None], str]] = [
    (category(skeleton=[[0, 1]]), "zero-based-skeleton"),
    (category(skeleton=[[1, 2], [1, 9]]), "bad-skeleton"),
    (category(skeleton=[[1, 2], "x"]), "bad-skeleton"),
    (category(skeleton={"a": 1}), "bad-skeleton"),
    (annotation(keypoints=[5, 6, 0, 3, 4, 2]), "coordinates-without-label"),
]


@pytest.mark.parametrize(("change", "kind"), WARNINGS)
def test_a_doubtful_record_is_read_and_named(tmp_path: Path, change: Callable[[Values], None], kind: str) -> None:
    dataset = read(saved(tmp_path, change))
    assert [each.kind for each in dataset.problems] == [kind]
    assert len(dataset.instances) == 4
    assert dataset.schema.edges.tolist() in ([[0, 1]], [])


@pytest.mark.parametrize(
    "change",
    [
        annotation(keypoints=[0, 0, 0, 3, 4, 2]),
        annotation(keypoints=[-1, -1, 0, 3, 4, 2]),
        annotation(keypoints=None),
        annotation(keypoints=[]),
        annotation(bbox=None, area=None),
        annotation(bbox=[]),
        annotation(id="2", image_id=1.0, iscrowd=None),
        annotation(segmentation={"counts": "abc", "size": [1, 2]}),
        category(skeleton=None, flip_indices=None),
        category(flip_indices=None, flip_idx=[1, 0]),
        image(file_name="sub\\2.png"),
        image(width="20"),
    ],
)
def test_what_other_tools_write_is_accepted(tmp_path: Path, change: Callable[[Values], None]) -> None:
    dataset = read(saved(tmp_path, change))
    assert dataset.problems == ()
    assert len(dataset.instances) == 4


def test_names_outside_are_followed_only_into_the_named_folder(tmp_path: Path) -> None:
    inside = tmp_path / "pictures"
    inside.mkdir()
    file = saved(tmp_path, image(file_name=str(inside / "2.png")))
    assert read(file, images=inside).pictures[1] == inside / "2.png"
    with pytest.raises(DekeyError, match="absolute path"):
        read(file)
    file = saved(tmp_path, image(file_name=str(tmp_path / "pictures_too" / "2.png")))
    with pytest.raises(DekeyError, match="absolute path"):
        read(file, images=inside)
    file = saved(tmp_path, image(file_name="x/../2.png"))
    assert read(file, images=inside).problems == ()
    file = saved(tmp_path, image(file_name="../../2.png"))
    with pytest.raises(DekeyError, match="leaves the image folder"):
        read(file, images=inside)


def test_few_files_are_looked_for_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = content()
    values["images"] = [{"id": number, "file_name": f"{number}.png", "width": 20, "height": 20} for number in range(1, 5001)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values))
    looked: list[str] = []
    original = Path.is_file

    def counted(path: Path) -> bool:
        looked.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "is_file", counted)
    read(file)
    assert len(looked) < 100


def test_all_mistakes_are_counted(tmp_path: Path) -> None:
    def change(values: Values) -> None:
        for each in values["annotations"][1:]:
            each["keypoints"] = [1]

    with pytest.raises(DekeyError, match=r"has 3 errors, the first: image 2\.png, annotation 1: 1 numbers for 2 keypoints"):
        read(saved(tmp_path, change))


def test_categories_that_contradict_each_other_about_left_and_right(tmp_path: Path) -> None:
    def change(values: Values) -> None:
        values["categories"].append({"id": 2, "name": "b", "keypoints": ["a_l", "a_r"], "flip_indices": [0, 1]})

    dataset = read(saved(tmp_path, change), problems="keep")
    assert [each.kind for each in dataset.problems] == ["bad-mirror"]
    assert dataset.schema.mirror is None
    assert "contradict" in dataset.schema.mirror_note


def test_why_no_image_can_be_used_is_no_earlier_warning(tmp_path: Path) -> None:
    def change(values: Values) -> None:
        for number, record in enumerate(values["images"]):
            record.update(file_name="../out.png", ignore_regions_x=[[1, 2]] if number else [])

    with pytest.raises(DekeyError, match=r"none of the 2 images can be used, the first because: .*leaves the image folder"):
        read(saved(tmp_path, change))

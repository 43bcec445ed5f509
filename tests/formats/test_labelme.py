from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.errors import DekeyError
from dekey.formats import labelme, read, recognise, write


def shape(label: str, points: Any, group: int | None = None, kind: str = "point", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, **more}


def save(folder: Path, shapes: list[Any] | None, name: str = "a", **more: Any) -> Path:
    Image.new("RGB", (60, 40)).save(folder / f"{name}.png")
    size = {"imageHeight": 40, "imageWidth": 60}
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": "%%%%"} | size | more
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / f"{name}.json"


SHAPES = [
    shape("eye", [[3.25, 4]], 1),
    shape("crab", [[30, 40], [1, 2.5]], 1, "rectangle"),
    shape("fish", [[5, 6], [7, 8]], 2, "rectangle"),
    shape("fin", [[6, 7]], 2, flags={"occluded": True}),
    shape("eye", [[6.5, 7]], 2),
]


def test_every_field_is_read(tmp_path: Path) -> None:
    save(tmp_path, SHAPES)
    save(tmp_path, [], "b", imagePath=".\\b.png", imageHeight=None)
    save(tmp_path, [shape("eye", [[1, 2]]), shape("fin", [[3, 4]])], "c", imageHeight=50)
    assert recognise(tmp_path) == "labelme"
    assert recognise(tmp_path / "a.json") == "labelme"
    dataset = read(tmp_path)
    assert dataset.schema.classes == ("crab", "fish", "object")
    assert dataset.schema.keypoints == ("eye", "fin")
    assert [dataset.picture_name(index) for index in range(3)] == ["a.png", "b.png", "c.png"]
    assert dataset.sizes.tolist() == [[40, 60], [40, 60], [50, 60]]
    assert dataset.starts.tolist() == [0, 2, 2, 3]
    objects = dataset.instances
    assert objects.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(objects.boxes, [[1, 2.5, 30, 40], [5, 6, 7, 8], [np.nan] * 4])
    np.testing.assert_array_equal(objects.keypoints[:, 0], [(3.25, 4), (6.5, 7), (1, 2)])
    assert objects.visibility.tolist() == [[2, 0], [2, 1], [2, 2]]
    assert len(read(tmp_path / "a.json")) == 1


def test_boxes_without_points_and_groups_are_objects_of_their_own(tmp_path: Path) -> None:
    boxes = [shape("crab", [[i, 2], [30, 40]], None, "rectangle") for i in range(3)]
    save(tmp_path, boxes)
    save(tmp_path, [shape("eye", [[1, 2]])], "b")
    dataset = read(tmp_path)
    assert dataset.starts.tolist() == [0, 3, 4]
    assert dataset.instances.labels.tolist() == [0, 0, 0, 1]


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path, SHAPES)
    (tmp_path / "deep").mkdir()
    save(tmp_path / "deep", [], "b")
    first = read(tmp_path)
    write(first, tmp_path / "copy", format="labelme")
    second = read(tmp_path / "copy")
    assert second.schema == first.schema
    for name in ("boxes", "labels", "keypoints", "visibility"):
        np.testing.assert_array_equal(getattr(second.instances, name), getattr(first.instances, name), err_msg=name)
    assert [second.picture_name(index) for index in range(2)] == ["a.png", "deep/b.png"]


def test_mistakes_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    shapes = [
        shape("eye", [[1, 2]], 1),
        shape("eye", [[3, 4]], 1),
        shape("eye", [[1, "x"]], 2),
        shape("crab", [[1, 2]], 2, "rectangle"),
        shape("eye", [[5, 6]], 3),
        shape("outline", [[5, 6], [7, 8], [9, 9]], 3, "polygon"),
        7,
        shape("eye", [[1e12, 6]], 4),
    ]
    save(tmp_path, shapes)
    save(tmp_path, None, "b")
    save(tmp_path, [], "c", imagePath="../c.png")
    dataset = read(tmp_path, problems="drop")
    assert [(each.kind, each.annotation_id) for each in dataset.problems] == [
        ("unreadable-record", None),
        ("unsafe-path", None),
        ("ignored-shape", None),
        ("unreadable-record", None),
        ("unreadable-record", 1),
        ("unreadable-record", 2),
        ("unreadable-record", 2),
        ("labelled-without-coordinates", 4),
    ]
    assert "give each object's shapes a group_id" in str(dataset.problems[4])
    assert dataset.annotation_ids.tolist() == [3]
    kept = read(tmp_path, problems="keep")
    np.testing.assert_array_equal(kept.instances.keypoints[:, 0], [(1, 2), (np.nan, np.nan), (5, 6), (np.nan, np.nan)])
    assert len(read(tmp_path, problems="drop", images=tmp_path)) == 2


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DekeyError, match="no labelme file with shapes"):
        read(tmp_path, format="labelme")
    file = save(tmp_path, [shape("crab", [[1, 2], [3, 4]], 1, "rectangle")])
    with pytest.raises(DekeyError, match=r"no shape in .* is a point"):
        read(file)
    monkeypatch.setattr(labelme, "_MAX_BYTES", 100)
    with pytest.raises(DekeyError, match="is larger than"):
        read(file)


@pytest.mark.shared
def test_the_example_of_labelme(shared_data: Path) -> None:
    """Its image is not here; one of its shapes is a point, another a box, and others are ignored by name."""
    dataset = read(shared_data / "formats" / "labelme" / "primitives.json", problems="keep")
    assert len(dataset) == 1
    assert dataset.schema.keypoints == ("point",)
    assert {"ignored-shape"} <= {each.kind for each in dataset.problems}

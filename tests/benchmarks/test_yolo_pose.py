"""What the peer is told and what it answers arrive whole: labels written in its form and read back are the labels."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dekey
from dekey.data import UNLABELLED, Dataset, Instances, Schema
from dekey.data.embedded import load

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(FOLDER))  # it imports its neighbour by its plain name, as a script does
    try:
        spec = importlib.util.spec_from_file_location("benchmarks_yolo_pose", FOLDER / "yolo_pose.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


def answers(script: ModuleType, data: Dataset) -> list[Instances]:
    """The labels as the peer would write them, each with a score."""
    count = len(data.schema.keypoints)
    return [
        script.read_lines([f"{line} 0.9" for line in script.label_lines(one.instances, one.size)], one.size, count)
        for one in data
    ]


def test_labels_written_and_read_are_found_without_an_error(script: ModuleType) -> None:
    data = load("train")
    found = answers(script, data)
    values = dekey.evaluate(data, found, sigmas=0.05, normaliser="sqrt_box_area", score_threshold=0.5, boxes=True).values
    assert values["AP"] == 1
    assert values["box_AP"] == 1
    assert values["found_share"] == 1
    assert values["p90_px"] < 1e-3
    assert script.peers.best_threshold(data.subset(range(8)), found[:8], script.WEAKEST) <= 0.9
    payload = script.record.accuracy("tubes", "peer", 0, 1, 320, 1, 1, values, {})
    assert payload["detection"]["box_AP"] == 1


def test_a_label_line_by_hand(script: ModuleType) -> None:
    """A box over the border ends there; a keypoint beyond it is unlabelled; a crowd is no object."""
    instances = Instances.create(
        [[[20.0, 10.0], [101.0, 10.0]], [[1.0, 1.0], [2.0, 2.0]]],
        boxes=[[-20, 0, 60, 20], [0, 0, 9, 9]],
        labels=[1, 0],
        visibility=[[1, 2], [2, 2]],
        crowd=[False, True],
    )
    assert script.label_lines(instances, (40, 100)) == ["1 0.3 0.25 0.6 0.5 0.2 0.25 1 0 0 0"]


def test_no_answer_is_no_object(script: ModuleType) -> None:
    found = script.read_lines([], (40, 100), 3)
    assert found.keypoints.shape == (0, 3, 2)
    assert found.boxes.shape == (0, 4)


def test_the_folder_that_the_peer_reads(script: ModuleType, tmp_path: Path) -> None:
    data = load("train").subset(range(3))
    script.write_part(data, tmp_path, "train")
    images, labels = sorted((tmp_path / "images/train").iterdir()), sorted((tmp_path / "labels/train").iterdir())
    assert [path.stem for path in images] == [path.stem for path in labels] == ["000000", "000001", "000002"]
    assert [path.resolve() for path in images] == [Path(each).resolve() for each in data.pictures]
    assert [len(path.read_text().splitlines()) for path in labels] == [len(each.instances) for each in data]
    count = len(data.schema.keypoints)
    assert all(len(line.split()) == 5 + 3 * count for path in labels for line in path.read_text().splitlines())
    description = json.loads(script.write_description(data, tmp_path).read_text())
    assert description["kpt_shape"] == [count, 3]
    assert ("flip_idx" in description) == (data.schema.mirror is not None)
    undecided = data.with_schema(Schema.create(data.schema.classes, data.schema.keypoints))
    assert undecided.schema.mirror is None
    assert "flip_idx" not in json.loads(script.write_description(undecided, tmp_path).read_text())


def test_an_object_without_keypoints_keeps_its_box(script: ModuleType) -> None:
    bare = Instances.create(np.full((1, 2, 2), np.nan), boxes=[[0, 0, 50, 20]], visibility=[[UNLABELLED, UNLABELLED]])
    assert script.label_lines(bare, (40, 100)) == ["0 0.25 0.25 0.5 0.5 0 0 0 0 0 0"]

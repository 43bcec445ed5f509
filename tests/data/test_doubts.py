from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.box_doubts import box_doubts, rare_keypoints
from dekey.data.doubts import find_doubts
from dekey.data.label_noise import noise_from_frames
from dekey.data.problem_kinds import KINDS

NAMES = ["nose", "eye_l", "eye_r", "ear_l", "ear_r", "mouth"]
SCHEMA = Schema.create(["face"], NAMES)
MEAN = np.array([[0, 0], [-0.4, -0.5], [0.4, -0.5], [-0.9, -0.3], [0.9, -0.3], [0.1, 0.7]])


def faces(count: int, noise: float = 0.8, seed: int = 0) -> Dataset:
    """Make images of 200x200 of one upright face of about 40 px a radius each; the labels have `noise` px a coordinate."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        image = rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)
        size, angle = rng.uniform(30, 50), rng.normal(0, 0.1)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = MEAN @ turn.T + 100 + rng.normal(size=(6, 2)) * noise
        box = np.concatenate([points.min(axis=0) - 2, points.max(axis=0) + 2])
        samples.append(Sample(image, (200, 200), Instances.create([points], boxes=[box]), number, np.array([number + 100])))
    return Dataset.from_samples(SCHEMA, samples)


def test_every_kind_of_doubt_is_found_where_it_was_put() -> None:
    dataset, val = faces(80), faces(20, seed=1)
    points, boxes = dataset.instances.keypoints, dataset.instances.boxes
    points[5] = points[5][SCHEMA.mirror]
    points[9, 5] += 25
    boxes[9] = np.nan
    for index in (20, 30, 40, 50):
        points[index] = points[index][::-1]
    boxes[60] = [100, 100, 106, 108]
    boxes[70, 3] -= 25
    dataset.pictures[3][:] = dataset.pictures[2]  # type: ignore[index]
    val.pictures[7][:] = dataset.pictures[11]  # type: ignore[index]
    found = find_doubts(dataset, [("val.json", val)])
    places = {each.kind: each for each in found.problems if each.kind != "keypoint-outside-box"}
    assert places["swapped-sides"].annotation_id == 105
    assert places["unlikely-keypoint"].annotation_id == 109
    assert places["unlikely-keypoint"].keypoints == ("mouth",)
    assert "4 objects" in places["point-order"].message
    assert "backwards" in places["point-order"].message
    assert sorted(places["point-order"].annotation_ids) == [120, 130, 140, 150]
    assert places["tiny-box"].annotation_id == 160
    assert {each.annotation_id for each in found.problems if each.kind == "keypoint-outside-box"} == {160, 170}
    assert (places["near-duplicate-image"].image, places["near-duplicate-image"].other) == ("image 2", "image 3")
    assert places["near-duplicate-image"].images == ("image 2", "image 3")
    assert (places["leaked-image"].image, places["leaked-image"].other) == ("image 11", "val.json: image 7")
    assert len(found.problems) == 8
    assert all(each.doubt is not None and 0 < each.doubt <= 1 for each in found.problems)
    assert all(KINDS[each.kind].severity == each.severity == "warning" for each in found.problems)


def test_a_large_group_is_named_whole_although_the_sentence_lists_a_few() -> None:
    dataset = faces(80)
    group = list(range(3, 75, 6))
    dataset.instances.keypoints[group] = dataset.instances.keypoints[group][:, ::-1]
    for index in range(40, 48):
        dataset.pictures[index][:] = dataset.pictures[39]  # type: ignore[index]
    places = {each.kind: each for each in find_doubts(dataset).problems}
    assert sorted(places["point-order"].annotation_ids) == [index + 100 for index in group]
    assert places["point-order"].message.endswith("and 7 more (--json lists all)")
    assert sorted(places["near-duplicate-image"].images) == [f"image {index}" for index in range(39, 48)]
    assert places["near-duplicate-image"].message.endswith("and 2 more (--json lists all)")


def test_another_file_in_another_order_is_told() -> None:
    dataset, val = faces(60), faces(20, seed=1)
    val.instances.keypoints[:] = val.instances.keypoints[:, [5, 0, 1, 2, 3, 4]]
    (problem,) = find_doubts(dataset, [("val.json", val)], images=False).problems
    assert problem.kind == "point-order"
    assert problem.message.startswith("20 of 20 objects of 'face' in val.json")
    assert problem.annotation_ids == tuple(range(100, 120))
    assert find_doubts(dataset, [("val.json", faces(20, seed=1))], images=False).problems == []


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_label_noise_is_bounded_from_above_and_not_by_far(noise: float) -> None:
    dataset = faces(150, noise)
    facts = find_doubts(dataset, images=False).facts
    assert noise < facts["label_noise"]["shape"]["px"] < 2 * noise
    repeated = Dataset.from_samples(SCHEMA, [sample for sample in dataset for _ in range(2)])
    repeated.instances.keypoints[1::2] += np.random.default_rng(3).normal(size=(150, 6, 2)) * noise
    repeated.instances.keypoints[::2] += np.random.default_rng(4).normal(size=(150, 6, 2)) * noise
    frames = noise_from_frames(repeated, np.arange(300).reshape(-1, 2))
    assert frames is not None
    # Place, size and orientation take a third of the freedom of six points with them.
    assert 0.6 * noise < frames["px"] < 1.1 * noise
    assert noise_from_frames(dataset, np.zeros((0, 2), dtype=np.int64)) is None


def test_rare_keypoints_and_a_habit_of_boxes_are_told_once() -> None:
    dataset = faces(60)
    dataset.instances.visibility[1:, 5] = 0
    (rare,) = rare_keypoints(dataset)
    assert rare.keypoints == ("mouth",)
    assert "1.7% of 60 objects" in rare.message
    dataset.instances.boxes[::2, 2] -= 20
    (habit,) = box_doubts(dataset)
    assert habit.kind == "keypoint-outside-box"
    assert habit.annotation_id is None
    assert habit.doubt == 0.5


def test_a_small_box_counts_as_the_network_sees_it() -> None:
    dataset = faces(2)
    dataset.instances.boxes[0] = [90, 90, 110, 110]
    dataset.sizes[0] = 2000
    dataset.instances.visibility[:] = 0
    (tiny,) = box_doubts(dataset)
    assert (tiny.kind, tiny.annotation_id) == ("tiny-box", 100)
    assert "20.0 px, 6.4 px where the image is reduced to 640" in tiny.message

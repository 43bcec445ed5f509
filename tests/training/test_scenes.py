from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dekey.data import OCCLUDED, VISIBLE, Dataset, Instances, Sample, Schema, geometry
from dekey.training import scenes
from dekey.training.augment import Augment
from dekey.training.scenes import CLOSEST, SMALLEST_SEEN, SceneSet, with_boxes
from dekey.training.stream import BatchStream, collate

SIZE = (128, 160)
INPUT = (96, 128)
SCHEMA = Schema.create(["thing", "other"], ["left_dot", "right_dot", "middle"])


def picture_of(keypoints: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw a soft dot at each keypoint (N, 3, 2), the first kind in red, the second in green, the third in blue."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    image = np.zeros((*SIZE, 3))
    for each in keypoints:
        for channel, (x, y) in enumerate(each):
            image[..., channel] += 220 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    return image.clip(0, 255).round().astype(np.uint8)


def dataset_of(*images: Instances) -> Dataset:
    samples = [
        Sample(picture_of(np.nan_to_num(one.keypoints, nan=-99.0)), SIZE, one, index, np.arange(len(one)) + 10 * index)
        for index, one in enumerate(images)
    ]
    return Dataset.from_samples(SCHEMA, samples)


def thing(x: float, y: float, side: float = 40.0, label: int = 0, crowd: bool = False) -> Instances:
    points = [[x + 0.25 * side, y + 0.3 * side], [x + 0.75 * side, y + 0.3 * side], [x + 0.5 * side, y + 0.7 * side]]
    return Instances.create([points], [[x, y, x + side, y + side]], [label], crowd=[crowd], areas=[side**2])


def several(*things: Instances) -> Instances:
    return Instances.concatenate(things, 3)


TWO = several(thing(20, 30), thing(95, 60, label=1))


def draw(
    dataset: Dataset, augment: Augment, seed: int = 0, index: int = 0
) -> tuple[NDArray[np.uint8], Instances, NDArray[np.float64]]:
    return SceneSet(dataset, INPUT).draw(index, augment, np.random.default_rng(seed))


def centroid(channel: NDArray[np.uint8], around: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    near = (np.abs(columns - around[0]) <= reach) & (np.abs(rows - around[1]) <= reach)
    weight = channel * near.astype(np.float64)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / max(weight.sum(), 1e-9)


def assert_on_dots(picture: NDArray[np.uint8], instances: Instances, tolerance: float) -> int:
    """Look at every keypoint well inside the picture: its dot lies where it is said to be. Gives how many were looked at."""
    seen = 0
    for keypoints in instances.keypoints:
        for channel, place in enumerate(keypoints):
            if (place > 6).all() and (place < np.array(INPUT)[::-1] - 6).all():
                assert np.linalg.norm(centroid(picture[..., channel], place, 6) - place) < tolerance
                seen += 1
    return seen


def test_boxes_are_made_of_keypoints_where_there_are_none() -> None:
    keypoints = np.array(
        [
            [[10.0, 20], [30, 20], [20, 60]],
            [[10.0, 20], [30, 20], [20, 60]],
            [[50.0, 50], [np.nan, np.nan], [np.nan, np.nan]],
            [[50.0, 50], [50, 50], [np.nan, np.nan]],
            [[np.nan, np.nan]] * 3,
        ]
    )
    boxes = np.full((5, 4), np.nan)
    boxes[1] = [5, 5, 50, 90]
    made = with_boxes(dataset_of(Instances.create(keypoints, boxes))).instances.boxes
    # A tenth of the longer side, 40 px, all around.
    np.testing.assert_allclose(made[0], [6, 16, 34, 64])
    np.testing.assert_array_equal(made[1], boxes[1])
    assert np.isnan(made[2:]).all()
    whole = dataset_of(TWO)
    assert with_boxes(whole) is whole


def test_a_plain_view_is_the_letterboxed_image() -> None:
    picture, instances, affine = draw(dataset_of(TWO), Augment())
    np.testing.assert_array_equal(affine, geometry.letterbox(SIZE, INPUT))
    np.testing.assert_allclose(instances.boxes, geometry.apply_to_boxes(affine, TWO.boxes))
    np.testing.assert_array_equal(instances.labels, [0, 1])
    assert not instances.crowd.any()
    assert assert_on_dots(picture, instances, 0.1) == 6


@pytest.mark.parametrize("memory", [0, 1 << 24])
def test_keypoints_follow_their_picture(memory: int) -> None:
    views = SceneSet(dataset_of(TWO), INPUT, memory)
    augment = Augment(rotate=180, scale=0.3, shift=0.1, flip=0.5, zoom=0.3)
    flips = 0
    seen = 0
    for seed in range(30):
        picture, instances, affine = views.draw(0, augment, np.random.default_rng(seed))
        turned = np.linalg.det(affine[:, :2]) < 0
        flips += turned
        # A flip exchanges the names of left and right; the colours stay where they are.
        colours = picture[..., [1, 0, 2]] if turned else picture
        scale = np.sqrt(abs(np.linalg.det(affine[:, :2])))
        seen += assert_on_dots(np.ascontiguousarray(colours), instances, 0.15) if scale < 1 else 0
    assert 5 < flips < 25
    assert seen > 40


def test_boxes_hold_their_keypoints_and_end_at_the_border() -> None:
    augment = Augment(rotate=180, scale=0.3, shift=0.3)
    for seed in range(30):
        _, instances, _ = draw(dataset_of(TWO), augment, seed)
        assert (instances.boxes[:, :2] >= 0).all()
        assert (instances.boxes[:, 2:] <= np.array(INPUT)[::-1]).all()
        inside = np.clip(instances.keypoints, 0, np.array(INPUT)[::-1])
        assert (inside >= instances.boxes[:, None, :2] - 1e-6).all()
        assert (inside <= instances.boxes[:, None, 2:] + 1e-6).all()


def test_an_object_that_a_view_cuts_is_no_example_and_one_outside_is_gone() -> None:
    dataset = dataset_of(TWO)
    views = SceneSet(dataset, INPUT)
    straight = geometry.letterbox(SIZE, INPUT)
    box = geometry.apply_to_boxes(straight, TWO.boxes)[0]
    side = box[2] - box[0]
    for seen, count, crowd in (
        (1.0, 2, False),
        (SMALLEST_SEEN + 0.05, 2, False),
        (SMALLEST_SEEN - 0.05, 2, True),
        (-0.1, 1, None),
    ):
        shift = geometry.translate(-box[0] - (1 - seen) * side, 0)
        found = views._seen(TWO, geometry.compose(straight, shift))
        assert len(found) == count
        if crowd is not None:
            assert found.crowd.tolist() == [crowd, False]
            assert found.boxes[0, 2] - found.boxes[0, 0] == pytest.approx(seen * side)


def test_crowds_stay_crowds() -> None:
    _, instances, _ = draw(dataset_of(several(thing(20, 30), thing(95, 60, crowd=True))), Augment())
    assert instances.crowd.tolist() == [False, True]


def test_the_same_chance_gives_the_same_view_and_another_one_another() -> None:
    dataset = dataset_of(TWO, thing(50, 50))
    augment = Augment(
        rotate=30, scale=0.2, shift=0.1, flip=0.5, colour=0.4, blur=0.2, erase=0.5, cover=0.5, zoom=0.5, paste=0.5
    )
    views = SceneSet(dataset, INPUT, 1 << 24)
    for seed in range(8):
        (picture, instances, affine), (other, others, another) = (
            views.draw(0, augment, np.random.default_rng(seed)) for _ in range(2)
        )
        np.testing.assert_array_equal(picture, other)
        np.testing.assert_array_equal(affine, another)
        for name, value in vars(instances).items():
            np.testing.assert_array_equal(value, getattr(others, name))
        assert not np.array_equal(picture, views.draw(0, augment, np.random.default_rng(seed + 100))[0])


def test_zoom_shows_an_object_whole_and_at_most_so_much_larger() -> None:
    plain = draw(dataset_of(thing(20, 30)), Augment())[1].boxes[0]
    sides = []
    for seed in range(40):
        _, instances, affine = draw(dataset_of(thing(20, 30)), Augment(zoom=1.0), seed)
        assert not instances.crowd.any()
        np.testing.assert_allclose(instances.boxes, geometry.apply_to_boxes(affine, np.array([[20.0, 30, 60, 70]])), atol=1e-6)
        sides.append((instances.boxes[0, 2] - instances.boxes[0, 0]) / (plain[2] - plain[0]))
    assert min(sides) >= 1 - 1e-6
    assert max(sides) <= CLOSEST + 1e-6
    assert max(sides) > 1.8


def test_a_scene_without_objects_is_drawn_all_the_same() -> None:
    _, instances, _ = draw(dataset_of(Instances.empty(3)), Augment(rotate=20, zoom=1.0, paste=1.0, cover=1.0))
    assert len(instances) == 0


def test_pasting_brings_an_object_of_another_picture_with_its_dots() -> None:
    """Both pictures hold one object; a pasted one comes on top, and all dots lie where they are said to be."""
    dataset = dataset_of(thing(4, 4), thing(100, 70, label=1))
    pasted = 0
    for seed in range(20):
        picture, instances, _ = draw(dataset, Augment(paste=1.0), seed)
        assert len(instances) in (1, 2)
        content = geometry.apply_to_boxes(geometry.letterbox(SIZE, INPUT), np.array([[0.0, 0, SIZE[1], SIZE[0]]]))[0]
        assert (instances.boxes >= content[[0, 1, 0, 1]] - 1e-6).all()
        assert (instances.boxes <= content[[2, 3, 2, 3]] + 1e-6).all()
        if len(instances) == 2:
            pasted += 1
            left, right = instances.keypoints[1, :2, 0]
            assert left < right  # also where the part was flipped
            middle = instances.keypoints[1, 2]
            assert np.linalg.norm(centroid(picture[..., 2], middle, 5) - middle) < 0.3
    assert pasted > 10


def test_what_is_covered_is_occluded_and_what_is_hidden_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(TWO)
    states = np.concatenate([draw(dataset, Augment(cover=1.0), seed)[1].visibility.ravel() for seed in range(10)])
    assert {OCCLUDED, VISIBLE} == set(states.tolist())
    monkeypatch.setattr(scenes, "HIDDEN", 0.01)
    assert draw(dataset, Augment(cover=1.0), 0)[1].crowd.all()


def test_a_batch_pads_and_keeps_the_boxes_of_crowds(shapes: Callable[..., Dataset]) -> None:
    one, none = several(thing(20, 30), thing(95, 60, crowd=True)), Instances.empty(3)
    images = np.zeros((3, 8, 8, 3), np.uint8)
    batch = collate(images, [TWO[:1], one, none], np.zeros((3, 2, 3)), ["a", "b", "c"])
    assert batch.valid.tolist() == [[True, False], [True, False], [False, False]]
    np.testing.assert_array_equal(batch.boxes[1].numpy(), one.boxes)
    assert torch.isnan(batch.boxes[0, 1]).all()
    assert torch.isnan(batch.boxes[2]).all()
    assert torch.isnan(batch.keypoints[2]).all()
    assert (batch.visibility[2] == 0).all()
    empty = collate(images[:1], [none], np.zeros((1, 2, 3)), ["c"])
    assert empty.boxes.shape == (1, 1, 4)
    stream = BatchStream(SceneSet(shapes(6), (96, 96)), Augment(), 6, 0).batch(0)
    assert sorted(stream.valid.sum(1).tolist()) == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_pasted_objects_are_flipped_only_where_pictures_are(flip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrors: list[Any] = []
    own = scenes.copy_paste

    def watched(*arguments: Any, mirror: Any, **named: Any) -> Any:
        mirrors.append(mirror)
        return own(*arguments, mirror=mirror, **named)

    monkeypatch.setattr(scenes, "copy_paste", watched)
    dataset = dataset_of(thing(4, 4), thing(100, 70, label=1))
    for seed in range(4):
        draw(dataset, Augment(paste=1.0, flip=flip), seed)
    assert mirrors
    assert all((mirror is not None) == (flip > 0) for mirror in mirrors)

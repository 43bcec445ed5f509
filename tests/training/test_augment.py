from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Sample, Schema, geometry
from dekey.errors import DekeyError
from dekey.training.augment import Augment, flip_labels
from dekey.training.crops import CropSet, choose_region

SCHEMA = Schema.create(["dot"], ["left_dot", "right_dot", "middle"])
STRONG = Augment(rotate=180, scale=0.4, shift=0.1, flip=0.5)


def dotted(keypoints: NDArray[np.float64], size: tuple[int, int] = (240, 320)) -> NDArray[np.uint8]:
    """Draw a soft dot of each colour exactly at its keypoint."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.zeros((*size, 3))
    for channel, (x, y) in enumerate(keypoints):
        image[..., channel] = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    return image.round().astype(np.uint8)


def centroid(channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    weight = channel.astype(np.float64)
    rows, columns = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def dataset_of(count: int = 4, boxes: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        centre = np.array([160.0, 120.0]) + rng.uniform(-10, 10, 2)
        keypoints = centre + np.array([[-30.0, 0], [30, 5], [0, -25]]) + rng.uniform(-6, 6, (3, 2))
        box = np.array([[centre[0] - 50, centre[1] - 50, centre[0] + 50, centre[1] + 50]])
        instances = Instances.create(keypoints[None], boxes=box if boxes else None)
        samples.append(Sample(dotted(keypoints), (240, 320), instances, number, np.array([number])))
    return Dataset.from_samples(SCHEMA, samples)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("input_size", [(96, 96), (64, 128), (200, 200)])
def test_a_keypoint_follows_its_image(seed: int, input_size: tuple[int, int]) -> None:
    crops = CropSet(dataset_of(), "box", input_size, padding=2.0)
    picture, instance, _ = crops.draw(seed % 4, STRONG, np.random.default_rng(seed))
    colours = [0, 1, 2]
    # After a flip the left dot is the one that was drawn as the right one.
    _, flipped = STRONG.draw_affine(np.random.default_rng(seed), input_size)
    if flipped:
        colours = [1, 0, 2]
    for keypoint, colour in zip(instance.keypoints[0], colours, strict=True):
        inside = (keypoint > 16).all() and (keypoint < np.array(input_size)[::-1] - 16).all()
        if inside:
            assert np.linalg.norm(centroid(picture[..., colour]) - keypoint) < 0.15


def test_flipping_labels_twice_changes_nothing() -> None:
    instance = dataset_of(1).instances
    mirror = SCHEMA.mirror
    assert mirror is not None
    once = flip_labels(instance, mirror)
    assert not np.array_equal(once.keypoints, instance.keypoints)
    assert np.array_equal(flip_labels(once, mirror).keypoints, instance.keypoints)


def test_no_augmentation_is_the_plain_crop() -> None:
    dataset = dataset_of()
    crops = CropSet(dataset, "box", (96, 96), padding=1.5, memory=1 << 30)
    for index in range(4):
        picture, instance, image_to_input = crops.draw(index, Augment(), np.random.default_rng(index))
        plain = geometry.warp(dataset[index].read_image(), crops.image_to_input(index), (96, 96))
        assert np.abs(picture.astype(int) - plain).max() <= 1
        np.testing.assert_allclose(image_to_input, crops.image_to_input(index))
        np.testing.assert_allclose(instance.keypoints, geometry.apply(image_to_input, dataset[index].instances.keypoints))


def test_kept_pictures_give_the_same_views_as_decoded_ones() -> None:
    dataset = dataset_of()
    kept, decoded = (CropSet(dataset, "box", (64, 64), memory=memory) for memory in (1 << 30, 0))
    for seed in range(8):
        views = [crops.draw(seed % 4, STRONG, np.random.default_rng(seed))[0] for crops in (kept, kept, decoded)]
        assert np.array_equal(views[0], views[1])
        assert np.array_equal(views[0], views[2])
    assert len(kept._pictures._kept) == 4
    assert not decoded._pictures._kept


def test_the_memory_limit_holds() -> None:
    crops = CropSet(dataset_of(8), "box", (64, 64), memory=500_000)
    for index in range(8):
        crops.draw(index, Augment(), np.random.default_rng(0))
    assert 0 < sum(part.nbytes for part, _ in crops._pictures._kept.values()) <= 500_000


@pytest.mark.parametrize("name", ["colour", "blur", "erase", "cover"])
def test_picture_changes_keep_shape_type_and_original(name: str) -> None:
    image = dotted(np.array([[20.0, 20], [40, 40], [30, 10]]), (64, 80))
    before = image.copy()
    augment = replace(Augment(), **{name: 1.0})
    boxes = np.array([[10.0, 5, 50, 50]])
    changed = [augment.change_picture(np.random.default_rng(seed), image, boxes) for seed in range(5)]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one, _ in changed)
    assert any(not np.array_equal(one, image) for one, _ in changed)
    assert np.array_equal(image, before)
    for one, covered in changed:
        assert (covered is not None) == (name in ("erase", "cover"))
        if covered is not None:
            assert np.array_equal(one[~covered], image[~covered])


def test_aimed_occluders_lie_on_their_object() -> None:
    image, boxes = np.zeros((64, 80, 3), np.uint8), np.array([[10.0, 5, 50, 50], [55, 30, 75, 60]])
    for seed in range(20):
        _, covered = Augment(cover=1.0).change_picture(np.random.default_rng(seed), image, boxes)
        assert covered is not None
        for x1, y1, x2, y2 in boxes.astype(int):
            assert 0.03 < covered[y1:y2, x1:x2].mean() < 0.6
        assert Augment(cover=1.0).change_picture(np.random.default_rng(seed), image)[1] is None


@pytest.mark.parametrize("augment", [Augment(erase=1.0), Augment(cover=1.0)])
def test_labels_know_what_is_covered(augment: Augment) -> None:
    crops = CropSet(dataset_of(), "box", (64, 64), padding=1.2)
    occluded = 0
    for seed in range(40):
        shown, instance, _ = crops.draw(seed % 4, augment, np.random.default_rng(seed))
        plain, truth, _ = crops.draw(seed % 4, Augment(), np.random.default_rng(seed))
        x, y = np.floor(instance.keypoints[0]).astype(int).T
        changed = (shown[y, x] != plain[y, x]).any(-1)
        np.testing.assert_array_equal(instance.visibility[0], np.where(changed, 1, truth.visibility[0]))
        occluded += changed.sum()
    assert occluded > 5


def test_the_same_chance_gives_the_same_view() -> None:
    crops = CropSet(dataset_of(), "box", (64, 64))
    augment = Augment(rotate=30, scale=0.3, shift=0.1, flip=0.5, colour=0.5, blur=0.5, erase=0.5, cover=0.5)
    first, second = (crops.draw(1, augment, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1].keypoints, second[1].keypoints)


def test_the_region_is_chosen_by_the_boxes() -> None:
    assert choose_region(dataset_of()) == "box"
    assert choose_region(dataset_of(boxes=False)) == "image"
    two = Instances.create(np.zeros((2, 3, 2)))
    crowded = Dataset.from_samples(SCHEMA, [Sample(np.zeros((9, 9, 3), np.uint8), (9, 9), two, 0, np.arange(2))])
    with pytest.raises(DekeyError, match="2 objects and not every object has a box"):
        choose_region(crowded)


def test_crowds_and_unlabelled_objects_are_not_trained_on() -> None:
    keypoints = np.ones((3, 3, 2))
    keypoints[1] = np.nan
    instances = Instances.create(keypoints, boxes=np.tile([0.0, 0, 9, 9], (3, 1)), crowd=[False, False, True])
    dataset = Dataset.from_samples(SCHEMA, [Sample(Path("none.jpg"), (9, 9), instances, 0, np.arange(3))])
    assert CropSet(dataset, "box", (32, 32)).objects.tolist() == [0]
    with pytest.raises(DekeyError, match="none has a labelled keypoint"):
        CropSet(dataset.subset([0]).subset([]), "box", (32, 32))


def test_a_settled_detector_sees_every_quarter_turn_and_little_between() -> None:
    settled = Augment(rotate=180, flip=0.5).settled(has_boxes=True)
    angles, flips = [], []
    for seed in range(200):
        affine, flipped = settled.draw_affine(np.random.default_rng(seed), (64, 64))
        angles.append(np.degrees(np.arctan2(affine[1, 0], affine[0, 0])))
        flips.append(flipped)
    quarters = np.round(np.array(angles) / 90).astype(int) % 4
    assert not any(flips)
    assert set(quarters) == {0, 1, 2, 3}
    assert np.abs(np.array(angles) - 90 * np.round(np.array(angles) / 90)).max() <= 15


@pytest.mark.parametrize(("augment", "has_boxes"), [(Augment(rotate=180), False), (Augment(rotate=40), True)])
def test_other_runs_turn_to_their_end_as_they_began(augment: Augment, has_boxes: bool) -> None:
    assert augment.settled(has_boxes) == augment

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import OCCLUDED, VISIBLE, Instances, geometry
from dekey.training.paste import Donor, copy_paste, cut_donor, zoom_affine

SIZE = (160, 200)
MIRROR = np.array([1, 0, 2])
# In the middle of the part, where nothing fades: a dot at the fading edge would have its centroid elsewhere.
PLACES = np.array([[17.0, 22], [33, 23], [25, 40]])


def dots(size: tuple[int, int], keypoints: NDArray[np.float64], base: int = 0) -> NDArray[np.uint8]:
    """Draw a soft dot of each colour at its keypoint."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.full((*size, 3), base, dtype=np.float64)
    for channel, (x, y) in enumerate(keypoints):
        image[..., channel] += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    return image.round().astype(np.uint8)


def centroid(channel: NDArray[np.uint8], around: NDArray[np.float64], reach: int = 8) -> NDArray[np.float64]:
    x, y = np.floor(around).astype(int)
    rows, columns = np.mgrid[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    weight = np.zeros(rows.shape)
    inside = (rows < channel.shape[0]) & (columns < channel.shape[1])
    weight[inside] = channel[rows[inside], columns[inside]]
    return np.array([(weight * (columns + 0.5)).sum(), (weight * (rows + 0.5)).sum()]) / max(weight.sum(), 1e-9)


def donor(size: tuple[int, int] = (60, 50), shift: tuple[float, float] = (0, 0)) -> Donor:
    """An object with three coloured dots in a part with room around it."""
    xy = PLACES + shift
    one = Instances.create(xy[None], boxes=[[4.0 + shift[0], 5 + shift[1], 46 + shift[0], 55 + shift[1]]], areas=[1000.0])
    return dots(size, xy), one


def scene() -> tuple[NDArray[np.uint8], Instances]:
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    boxes = np.array([[10.0, 10, 60, 60], [120, 90, 190, 150]])
    xy = boxes[:, None, :2] + np.random.default_rng(1).uniform(0, 1, (2, 3, 2)) * 50
    return image, Instances.create(xy, boxes=boxes, labels=[0, 1], areas=[2500.0, np.nan])


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("mirror", [None, MIRROR])
def test_keypoints_follow_their_picture_and_the_rest_travels_along(seed: int, mirror: NDArray[np.int64] | None) -> None:
    empty = np.zeros((*SIZE, 3), np.uint8)
    picture, pasted = copy_paste(np.random.default_rng(seed), empty, Instances.empty(3), [donor()], mirror=mirror)
    assert len(pasted) == 1
    # A flip exchanges left and right: the keypoint called left then lies where the right one's colour is, on the left still.
    assert pasted.keypoints[0, 0, 0] < pasted.keypoints[0, 1, 0]
    for keypoint, colours in zip(pasted.keypoints[0], ([0, 1], [1, 0], [2, 2]), strict=True):
        errors = [np.linalg.norm(centroid(picture[..., colour], keypoint) - keypoint) for colour in set(colours)]
        assert min(errors) < 0.15
    factor = (pasted.boxes[0, 2] - pasted.boxes[0, 0]) / 42
    assert 0.69 < factor < 1.41
    np.testing.assert_allclose(pasted.areas, 1000 * factor**2)
    assert (pasted.boxes[0] >= 0).all()
    assert (pasted.boxes[0] <= [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]).all()
    assert (pasted.visibility == VISIBLE).all()


def test_flips_happen_only_where_the_mirror_is_known() -> None:
    def is_flipped(seed: int, mirror: NDArray[np.int64] | None) -> bool:
        empty = np.zeros((*SIZE, 3), np.uint8)
        picture, pasted = copy_paste(np.random.default_rng(seed), empty, Instances.empty(3), [donor()], mirror=mirror)
        return bool(np.linalg.norm(centroid(picture[..., 0], pasted.keypoints[0, 0]) - pasted.keypoints[0, 0]) > 1)

    assert not any(is_flipped(seed, None) for seed in range(12))
    assert 2 <= sum(is_flipped(seed, MIRROR) for seed in range(12)) <= 10


@pytest.mark.parametrize("seed", range(10))
def test_others_keep_their_places_and_states_go_only_from_visible_to_occluded(seed: int) -> None:
    image, instances = scene()
    before = image.copy()
    picture, after = copy_paste(np.random.default_rng(seed), image, instances, [donor()], count=3, overlap=0.3)
    assert np.array_equal(image, before)
    assert (instances.visibility == VISIBLE).all()
    np.testing.assert_array_equal(after.keypoints[:2], instances.keypoints)
    np.testing.assert_array_equal(after.boxes[:2], instances.boxes)
    assert after.labels.tolist() == [0, 1] + [0] * (len(after) - 2)
    assert not after.crowd.any()
    changed = (picture != image).any(-1)
    for keypoint, state in zip(after.keypoints[:2].reshape(-1, 2), after.visibility[:2].ravel(), strict=True):
        x, y = np.floor(keypoint).astype(int)
        assert state in (OCCLUDED, VISIBLE)
        if 0 <= x < SIZE[1] and 0 <= y < SIZE[0] and state == OCCLUDED:
            assert changed[y, x]
    # Beyond the pasted boxes and their margins nothing changes.
    outside = np.ones(SIZE, dtype=np.bool_)
    for x1, y1, x2, y2 in after.boxes[2:]:
        margin = 0.15 * max(x2 - x1, y2 - y1) + 1
        outside[max(int(y1 - margin), 0) : int(y2 + margin) + 1, max(int(x1 - margin), 0) : int(x2 + margin) + 1] = False
    assert not changed[outside].any()


def test_what_is_pasted_over_becomes_occluded() -> None:
    # Small dots everywhere, and a paste that may lie anywhere: what its middle covers is told.
    xy = np.stack(np.meshgrid(np.arange(5, 200, 10.0), np.arange(5, 160, 10.0)), axis=-1).reshape(-1, 1, 2)
    points = Instances.create(np.repeat(xy, 3, axis=1), boxes=np.concatenate([xy[:, 0] - 1, xy[:, 0] + 1], axis=1))
    image = np.zeros((*SIZE, 3), np.uint8)
    _, after = copy_paste(np.random.default_rng(2), image, points, [donor()], overlap=1.0)
    assert len(after) == len(points) + 1
    x1, y1, x2, y2 = after.boxes[-1]
    inner = ((xy[:, 0] > [x1 + 8, y1 + 8]) & (xy[:, 0] < [x2 - 8, y2 - 8])).all(-1)
    outer = ((xy[:, 0] < [x1 - 6, y1 - 6]) | (xy[:, 0] > [x2 + 6, y2 + 6])).any(-1)
    assert inner.sum() >= 4
    assert (after.visibility[:-1][inner] == OCCLUDED).all()
    assert (after.visibility[:-1][outer] == VISIBLE).all()


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.4])
def test_pasted_objects_hardly_meet_others(overlap: float) -> None:
    image, instances = scene()
    for seed in range(8):
        _, after = copy_paste(np.random.default_rng(seed), image, instances, [donor()], count=6, overlap=overlap)
        boxes = after.boxes
        for new in range(2, len(after)):
            low, high = np.maximum(boxes[:new, :2], boxes[new, :2]), np.minimum(boxes[:new, 2:], boxes[new, 2:])
            common = np.clip(high - low, 0, None).prod(1)
            assert (common <= overlap * np.minimum(geometry.box_sizes(boxes[:new]).prod(1), 1e9) + 1e-6).all()
            assert (common <= overlap * geometry.box_sizes(boxes[new : new + 1]).prod() + 1e-6).all()


def test_no_place_no_donor_no_object() -> None:
    image, instances = scene()
    full = Instances.create(np.zeros((1, 3, 2)), boxes=[[0.0, 0, SIZE[1], SIZE[0]]])
    for donors, objects in (
        ([], instances),
        ([donor()], full),
        ([(donor()[0], Instances.create(np.ones((1, 3, 2))))], instances),
    ):
        picture, after = copy_paste(np.random.default_rng(0), image, objects, donors, count=3)
        assert np.array_equal(picture, image)
        assert len(after) == len(objects)
    huge = np.zeros((400, 400, 3), np.uint8), Instances.create(np.ones((1, 3, 2)) * 50, boxes=[[0.0, 0, 400, 400]])
    assert len(copy_paste(np.random.default_rng(0), image, instances, [huge])[1]) == 2


def test_pasting_is_decided_by_the_seed_and_kept_within_bounds() -> None:
    image, instances = scene()
    bounds = np.array([60.0, 20, 190, 150])
    first, again = (
        copy_paste(np.random.default_rng(5), image, instances, [donor()], count=2, mirror=MIRROR, within=bounds)
        for _ in range(2)
    )
    assert np.array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].keypoints, again[1].keypoints)
    assert len(first[1]) > 2
    assert (first[1].boxes[2:] >= [60, 20, 60, 20]).all()
    assert (first[1].boxes[2:] <= [190, 150, 190, 150]).all()


def test_donors_are_whole_alone_and_in_place() -> None:
    xy = np.array([[[50.0, 50], [70, 52], [60, 75]], [[120, 90], [130, 90], [125, 110]], [[128, 95], [140, 95], [135, 110]]])
    boxes = np.array([[45.0, 45, 75, 80], [115, 85, 135, 115], [122, 90, 145, 115]])
    instances = Instances.create(xy, boxes=boxes)
    image = dots(SIZE, xy[0])
    cut = cut_donor(image, instances, 0)
    assert cut is not None
    part, one = cut
    assert not np.shares_memory(part, image)
    assert part.shape[0] >= 35
    for keypoint, colour in zip(one.keypoints[0], range(3), strict=True):
        assert np.linalg.norm(centroid(part[..., colour], keypoint) - keypoint) < 0.1
    assert cut_donor(image, instances, 1) is None
    assert cut_donor(image, instances, 1, overlap=0.8) is not None
    at_edge = Instances.create(xy[:1], boxes=[[-20.0, 45, 75, 80]])
    crowd = Instances.create(xy[:1], boxes=boxes[:1], crowd=[True])
    for bad in (at_edge, crowd, Instances.create(xy[:1]), Instances.create(np.full((1, 3, 2), np.nan), boxes=boxes[:1])):
        assert cut_donor(image, bad, 0) is None


def test_a_keypoint_in_the_corner_of_its_box_is_pasted_too_and_one_beyond_the_part_is_not_seen() -> None:
    part = np.zeros((60, 50, 3), np.uint8)
    part[3:10, 2:9] = 255
    xy = np.array([[[5.0, 6], [25, 30], [49, 30]]])
    one = Instances.create(xy, boxes=[[4.0, 5, 46, 55]])
    narrow = part[:, :46], one
    for seed in range(12):
        empty = np.zeros((*SIZE, 3), np.uint8)
        picture, pasted = copy_paste(np.random.default_rng(seed), empty, Instances.empty(3), [narrow])
        x, y = np.floor(pasted.keypoints[0, 0]).astype(int)
        assert picture[y, x].min() > 120
        # The third one lies to the right of the part: in the picture too, or outside it, where states stay.
        inside = pasted.keypoints[0, 2, 0] < SIZE[1]
        assert pasted.visibility[0].tolist() == [VISIBLE, VISIBLE, OCCLUDED if inside else VISIBLE]


def test_a_pasted_donor_touching_its_part_has_no_dark_rim() -> None:
    part = np.full((30, 30, 3), 200, np.uint8)
    one = Instances.create([[[15.0, 15]] * 3], boxes=[[0.0, 0, 30, 30]])
    image = np.full((*SIZE, 3), 200, np.uint8)
    for seed in range(10):
        picture, _ = copy_paste(np.random.default_rng(seed), image, Instances.empty(3), [(part, one)])
        assert abs(picture.astype(int) - 200).max() <= 1


@pytest.mark.parametrize("seed", range(12))
def test_a_zoom_shows_the_object_whole_at_the_drawn_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = np.concatenate([corner := rng.uniform(-20, 150, 2), corner + rng.uniform(4, 90, 2)])
    affine = zoom_affine(rng, box, (160, 200), (0.1, 0.9))
    seen = geometry.apply_to_boxes(affine, box[None])[0]
    assert (seen >= -1e-9).all()
    assert (seen <= np.array([200, 160, 200, 160]) + 1e-9).all()
    assert 0.1 - 1e-9 <= (seen[2:] - seen[:2]).max() / 160 <= 0.9 + 1e-9
    assert affine[0, 0] == affine[1, 1] > 0
    assert affine[0, 1] == affine[1, 0] == 0


def test_a_keypoint_follows_the_zoom_and_sizes_are_log_uniform() -> None:
    xy = np.array([[80.0, 60], [100, 62], [90, 90]])
    box = np.array([70.0, 50, 110, 100])
    image = dots(SIZE, xy)
    shares = []
    for seed in range(200):
        affine = zoom_affine(np.random.default_rng(seed), box, SIZE, (0.25, 1.0))
        shares.append(50 * affine[0, 0] / 160)
        if seed < 10:
            view = geometry.warp(image, affine, SIZE)
            for colour, keypoint in enumerate(geometry.apply(affine, xy)):
                assert np.linalg.norm(centroid(view[..., colour], keypoint, int(9 * affine[0, 0]) + 2) - keypoint) < 0.2
    assert 0.4 < np.median(shares) < 0.6
    assert min(shares) < 0.28 < 0.9 < max(shares)

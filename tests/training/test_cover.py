from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import Instances
from dekey.data.covered import cover_labels, covered_shares
from dekey.training.cover import (
    cover_picture,
    place_on,
    places_on,
    random_place,
)

SIZE = (80, 120)
BOXES = np.array([[10.0, 10, 60, 50], [70, 20, 110, 75]])


def picture(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 255, (*SIZE, 3), dtype=np.uint8)


def overlaid(place: tuple[int, int, int, int], box: NDArray[np.float64], ellipse: bool) -> float:
    """Share of a box that a rectangle or ellipse in a place covers, counted on a grid ten times as fine."""
    left, top, right, bottom = place
    x, y = ((np.arange(box[axis], box[axis + 2], 0.1) + 0.05) for axis in (0, 1))
    across, down = 2 * (x - left) / (right - left) - 1, 2 * (y - top) / (bottom - top) - 1
    if ellipse:
        return float((across**2 + down[:, None] ** 2 <= 1).mean())
    return float(((abs(across) <= 1) & (abs(down[:, None]) <= 1)).mean())


@pytest.mark.parametrize("seed", range(20))
def test_nothing_outside_the_mask_changes_and_all_inside_is_painted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, other = picture(), np.zeros((50, 50, 3), np.uint8)
    before = image.copy()
    places = [random_place(rng, SIZE) for _ in range(3)] + places_on(rng, BOXES, SIZE, 1.0)
    painted, covered = cover_picture(rng, image, places, BOXES, other)
    assert covered.shape == SIZE
    assert covered.any()
    assert np.array_equal(painted[~covered], image[~covered])
    assert (painted[covered] != image[covered]).any(axis=1).mean() > 0.98
    assert np.array_equal(image, before)


def test_the_same_chance_covers_the_same() -> None:
    def once(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        rng = np.random.default_rng(seed)
        return cover_picture(rng, picture(), [random_place(rng, SIZE) for _ in range(4)], None, picture(1))

    assert all(np.array_equal(one, two) for one, two in zip(once(3), once(3), strict=True))
    assert not np.array_equal(once(3)[1], once(4)[1])


@pytest.mark.parametrize("ellipse", [False, True])
def test_an_aimed_place_covers_a_twentieth_to_two_fifths_of_the_box(ellipse: bool) -> None:
    rng = np.random.default_rng(0)
    box = np.array([20.0, 10, 80, 70])
    shares, outside = [], 0
    for _ in range(300):
        place = place_on(rng, box, SIZE)
        assert place is not None
        left, top, right, bottom = place
        assert 0 <= left < right <= SIZE[1]
        assert 0 <= top < bottom <= SIZE[0]
        shares.append(overlaid(place, box, ellipse))
        outside += left < 20 or top < 10 or right > 80 or bottom > 70
    assert min(shares) > 0.04
    assert max(shares) < 0.43
    assert np.ptp(shares) > 0.25
    assert 60 < outside < 240


def test_boxes_of_any_kind_can_be_aimed_at() -> None:
    rng = np.random.default_rng(1)
    for box in ([-50.0, -50, 5, 5], [100, 60, 400, 300], [0, 0, 120, 80], [30, 30, 33, 33]):
        for _ in range(50):
            place = place_on(rng, np.array(box), SIZE)
            assert place is not None
            left, top, right, bottom = place
            assert 0 <= left < right <= SIZE[1]
            assert 0 <= top < bottom <= SIZE[0]
    for box in ([np.nan] * 4, [200.0, 10, 300, 20], [5, 5, 5, 9]):
        assert place_on(rng, np.array(box), SIZE) is None


def test_each_object_is_aimed_at_by_chance() -> None:
    rng = np.random.default_rng(2)
    boxes = np.tile(BOXES[:1], (10, 1))
    drawn = [len(places_on(rng, boxes, SIZE, 0.3)) for _ in range(200)]
    assert 2.6 < np.mean(drawn) < 3.4
    assert len(places_on(rng, np.tile(BOXES, (50, 1)), SIZE, 1.0)) == 12
    assert places_on(rng, None, SIZE, 1.0) == []
    assert places_on(rng, np.zeros((0, 4)), SIZE, 1.0) == []


def test_no_whole_object_is_cut_out() -> None:
    # Objects are red, all else is grey: an occluder that shows most of one would be an object without a label.
    image = np.full((*SIZE, 3), 100, np.uint8)
    boxes = np.array([[x, y, x + 4, y + 4] for x in range(5, 110, 13) for y in range(5, 70, 13)], dtype=np.float64)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = (255, 0, 0)
    red = np.array([255, 0, 0])
    for seed in range(60):
        painted, covered = cover_picture(np.random.default_rng(seed), image, [(40, 30, 49, 39)], boxes, image, boxes)
        assert ((painted == red).all(-1) & covered).sum() <= 8 * 4


def test_only_visible_keypoints_under_the_mask_become_occluded() -> None:
    covered = np.zeros((10, 20), dtype=np.bool_)
    covered[2:5, 3:8] = True
    keypoints = np.array(
        [[3.0, 2.0], [7.99, 4.99], [8.0, 3.0], [5.0, 3.0], [5.0, 3.0], [-4.0, 3.0], [30, 30], [np.nan, np.nan]]
    )
    states = np.array([2, 2, 2, 1, 0, 2, 2, 0])
    one = Instances.create(keypoints[None], visibility=states[None])
    told = cover_labels(one, covered)
    assert told.visibility[0].tolist() == [1, 1, 2, 1, 0, 2, 2, 0]
    assert told.visibility.dtype == np.uint8
    assert one.visibility[0].tolist() == states.tolist()
    np.testing.assert_array_equal(told.keypoints, one.keypoints)
    assert cover_labels(one, None) is one
    assert len(cover_labels(Instances.empty(3), covered)) == 0


def test_what_the_labels_say_is_what_the_picture_shows() -> None:
    # A keypoint's pixel was painted over if and only if its state changed.
    rng = np.random.default_rng(7)
    xy = rng.uniform([-10, -10], [130, 90], (6, 30, 2))
    objects = Instances.create(xy, visibility=rng.integers(0, 3, (6, 30)))
    painted, covered = cover_picture(rng, picture(), [random_place(rng, SIZE) for _ in range(6)])
    changed = (painted != picture()).any(-1)
    told = cover_labels(objects, covered)
    for number, keypoint in np.ndindex(6, 30):
        x, y = np.floor(xy[number, keypoint]).astype(int)
        inside = 0 <= x < SIZE[1] and 0 <= y < SIZE[0]
        before, after = objects.visibility[number, keypoint], told.visibility[number, keypoint]
        assert after == (1 if inside and changed[y, x] and before == 2 else before)


def test_shares_of_boxes_are_counted() -> None:
    covered = np.zeros((10, 20), dtype=np.bool_)
    covered[:, :5] = True
    boxes = np.array([[0.0, 0, 10, 10], [-5, 0, 5, 5], [6, 0, 9, 9], [30, 0, 40, 5], [np.nan] * 4])
    np.testing.assert_allclose(covered_shares(boxes, covered), [0.5, 1.0, 0.0, np.nan, np.nan])
    assert covered_shares(np.zeros((0, 4)), covered).shape == (0,)

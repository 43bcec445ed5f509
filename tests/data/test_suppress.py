from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from dekey.data import Instances, suppress
from dekey.data.suppress import Views, distinct, merged

SIZE = (1000, 1000)
LEFT, RIGHT, WHOLE = [0, 0, 640, 640], [512, 0, 1152, 640], [0, 0, 1000, 1000]


def objects(boxes: ArrayLike, scores: ArrayLike, shift: ArrayLike = 0.0, labels: ArrayLike | None = None) -> Instances:
    """Objects with keypoints at two corners and the centre of their boxes, moved by `shift` px."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    points = np.stack([corners[:, :2], corners[:, 2:], (corners[:, :2] + corners[:, 2:]) / 2], axis=1)
    return Instances.create(
        points + np.broadcast_to(np.asarray(shift, dtype=np.float64), points.shape),
        boxes=corners,
        labels=labels,
        scores=scores,
        keypoint_scores=np.full(points.shape[:2], 0.5),
    )


def seen(regions: ArrayLike, pixels: ArrayLike = 1.0) -> Views:
    shown = np.asarray(regions, dtype=np.float64).reshape(-1, 4)
    return Views(shown, np.broadcast_to(np.asarray(pixels, dtype=np.float64), len(shown)).copy(), SIZE)


def scene(seed: int, count: int = 60) -> tuple[Instances, Views]:
    """Answers of two tiles and the whole image, many of them for the same places."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 900, (12, 2))
    sides = rng.uniform(10, 300, (12, 2))
    which = rng.integers(0, 12, count)
    regions = np.array([LEFT, RIGHT, WHOLE], dtype=np.float64)[rng.integers(0, 3, count)]
    boxes = np.concatenate([places[which], places[which] + sides[which]], axis=1) + rng.normal(0, 2, (count, 4))
    boxes = np.concatenate([np.maximum(boxes[:, :2], regions[:, :2]), np.minimum(boxes[:, 2:], regions[:, 2:])], axis=1)
    shown = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > 3).all(1))
    found = objects(boxes, rng.uniform(0.1, 1, count).round(1), labels=which % 2)
    return found[shown], seen(regions)[shown]


def listed(found: Instances) -> NDArray[np.float64]:
    assert found.scores is not None
    return np.concatenate([found.scores[:, None], found.boxes, found.keypoints.reshape(len(found), -1)], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_answers_plays_no_part(seed: int) -> None:
    found, views = scene(seed)
    order = np.random.default_rng(seed).permutation(len(found))
    plain = distinct(found)
    assert 5 < len(plain) < len(found)
    np.testing.assert_array_equal(order[distinct(found[order])], plain)
    np.testing.assert_array_equal(listed(merged(found[order], views[order])[0]), listed(merged(found, views)[0]))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_distinct_stays_so(seed: int) -> None:
    found, views = scene(seed)
    once = found[distinct(found)]
    np.testing.assert_array_equal(distinct(once), np.arange(len(once)))
    together = merged(found, views)
    np.testing.assert_array_equal(listed(merged(*together)[0]), listed(together[0]))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_at_once_and_one_by_one_answer_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found, views = scene(seed)
    expected = distinct(found), distinct(found, views), listed(merged(found, views)[0])
    assert len(found) <= suppress.ALL_PAIRS
    monkeypatch.setattr(suppress, "ALL_PAIRS", 0)
    for answer, before in zip(
        (distinct(found), distinct(found, views), listed(merged(found, views)[0])), expected, strict=True
    ):
        np.testing.assert_array_equal(answer, before)


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_object_far_away_changes_nothing_for_those_that_nothing_cuts(seed: int) -> None:
    found, _ = scene(seed)
    alone, _ = merged(found, seen([WHOLE] * len(found)))
    assert 5 < len(alone) < len(found)
    far = objects([[5000, 5000, 5100, 5100]], [0.05])
    regions = np.array([[0, 0, 9000, 9000]] * len(found) + [[5050, 0, 9000, 9000]], dtype=np.float64)
    views = Views(regions, np.ones(len(regions)), (9000, 9000))
    both, _ = merged(Instances.concatenate([found, far], 3), views)
    np.testing.assert_array_equal(listed(both)[:-1], listed(alone))


def test_the_best_of_equal_answers_stays_and_the_best_come_first() -> None:
    found = objects([[10, 10, 60, 60], [11, 10, 61, 60], [200, 200, 260, 230], [12, 9, 60, 60]], [0.5, 0.8, 0.9, 0.1])
    assert distinct(found).tolist() == [2, 1]
    assert distinct(found[:0]).tolist() == []
    assert len(merged(found[:0], seen([]))[0]) == 0


def test_objects_over_each_other_stay_if_their_keypoints_differ() -> None:
    """IoU 0.67 twice: once with keypoints that moved along by a tenth of the box, once with others."""
    boxes = [[0, 0, 100, 100], [20, 0, 120, 100]]
    assert len(distinct(objects(boxes, [0.9, 0.8], shift=[[[0, 0]], [[-15, 0]]]))) == 1
    assert len(distinct(objects(boxes, [0.9, 0.8], shift=[[[0, 0]], [[0, 40]]]))) == 2


def test_nearly_the_same_box_needs_no_keypoints() -> None:
    found = objects([[0, 0, 100, 100], [2, 0, 102, 100]], [0.9, 0.8], shift=[[[0, 0]], [[0, 40]]])
    assert len(distinct(found)) == 1


def test_keypoints_that_agree_make_up_for_boxes_that_agree_less() -> None:
    """IoU 0.5: two guesses of how far one object reaches, or two objects."""
    boxes = [[0, 0, 100, 100], [0, 0, 100, 50]]
    keypoints = np.array([[[10.0, 10], [90, 40], [50, 25]]] * 2)
    found = Instances.create(keypoints, boxes=boxes, scores=[0.9, 0.8])
    assert len(distinct(found)) == 1
    found.keypoints[1] += [12, 0]
    assert len(distinct(found)) == 2


def test_where_keypoints_are_missing_the_boxes_decide() -> None:
    found = objects([[0, 0, 100, 100], [20, 0, 120, 100], [60, 0, 160, 100]], [0.9, 0.8, 0.7])
    found.keypoints[1] = np.nan
    assert distinct(found).tolist() == [0, 2]


def test_classes_are_told_apart() -> None:
    assert len(distinct(objects([[0, 0, 50, 50]] * 3, [0.9, 0.8, 0.7], labels=[0, 1, 0]))) == 2


def test_an_object_whole_in_one_tile_is_taken_from_there() -> None:
    """The left tile cuts it at 640 and is surer of it: its place comes from the right one."""
    found = objects([[600, 100, 640, 200], [600, 100, 700, 200]], [0.9, 0.4])
    answer, views = merged(found, seen([LEFT, RIGHT]))
    np.testing.assert_array_equal(answer.boxes, [[600, 100, 700, 200]])
    assert answer.scores is not None
    assert answer.scores.tolist() == [0.9]
    np.testing.assert_array_equal(views.regions, [RIGHT])


def test_a_piece_inside_a_whole_answer_goes_unless_the_whole_one_is_weak() -> None:
    """The network saw only the head of what the whole image shows."""
    boxes = [[600, 120, 639, 150], [500, 50, 800, 300]]
    views = seen([LEFT, WHOLE], [1.0, 1.5])
    assert len(merged(objects(boxes, [0.9, 0.6]), views)[0]) == 1
    assert len(merged(objects(boxes, [0.9, 0.02]), views)[0]) == 2


def test_a_small_object_in_front_of_a_large_one_stays() -> None:
    boxes = [[560, 120, 600, 150], [400, 50, 620, 300]]
    assert len(merged(objects(boxes, [0.9, 0.9]), seen([LEFT, LEFT]))[0]) == 2


def test_an_object_cut_in_both_tiles_is_put_together() -> None:
    """It reaches from 300 to 900; each tile sees a part, with the keypoints beyond its border pressed against it."""
    left, right = [300, 100, 640, 310], [512, 90, 900, 300]
    found = Instances.create(
        [[[310, 150], [560, 200], [638, 210]], [[513, 160], [561, 200], [880, 200]]],
        boxes=[left, right],
        scores=[0.7, 0.8],
        keypoint_scores=[[0.9, 0.8, 0.3], [0.4, 0.6, 0.9]],
        visibility=[[2, 2, 1], [1, 1, 2]],
    )
    answer, views = merged(found, seen([LEFT, RIGHT]))
    np.testing.assert_array_equal(answer.boxes, [[300, 90, 900, 310]])
    np.testing.assert_array_equal(answer.keypoints, [[[310, 150], [560, 200], [880, 200]]])
    assert answer.visibility.tolist() == [[2, 2, 2]]
    assert answer.keypoint_scores is not None
    assert answer.keypoint_scores.tolist() == [[0.9, 0.8, 0.9]]
    assert answer.scores is not None
    assert answer.scores.tolist() == [0.8]
    np.testing.assert_array_equal(views.regions, [[0, 0, 1152, 640]])


def test_what_a_network_makes_up_beyond_the_border_is_not_believed() -> None:
    found = objects([[300, 100, 720, 300], [500, 100, 900, 300]], [0.9, 0.8])
    found.keypoints[:] = np.nan
    np.testing.assert_array_equal(merged(found, seen([LEFT, RIGHT]))[0].boxes, [[300, 100, 900, 300]])


def test_an_object_over_three_tiles_grows_tile_by_tile() -> None:
    tiles = [[0, 0, 300, 300], [250, 0, 550, 300], [500, 0, 800, 300]]
    found = objects([[100, 50, 300, 200], [250, 50, 550, 200], [500, 50, 700, 200]], [0.5, 0.4, 0.9])
    found.keypoints[:] = np.nan
    answer = merged(found, seen(tiles))[0]
    np.testing.assert_array_equal(answer.boxes, [[100, 50, 700, 200]])


def test_neighbours_at_a_border_stay_two() -> None:
    """One ends where the tile ends, the other begins a little further: no tile shows both whole."""
    found = objects(
        [[560, 100, 639, 180], [565, 185, 700, 260], [560, 100, 641, 180], [566, 185, 639, 259]], [0.9, 0.9, 0.8, 0.6]
    )
    answer = merged(found, seen([LEFT, RIGHT, RIGHT, LEFT]))[0]
    np.testing.assert_array_equal(answer.boxes[np.argsort(answer.boxes[:, 1])], [[560, 100, 641, 180], [565, 185, 700, 260]])


def test_a_coarse_view_of_a_small_object_is_known_for_the_same() -> None:
    """15 px wide, and the whole image shows four px as one: its box is off by a pixel of its own."""
    boxes = [[100, 100, 115, 115], [104, 97, 119, 112], [130, 100, 145, 115]]
    found = objects(boxes, [0.9, 0.7, 0.8])
    assert len(distinct(found)) == 3
    assert distinct(found, seen([LEFT, WHOLE, LEFT], [1.0, 4.0, 1.0])).tolist() == [0, 2]


def test_of_equal_scores_the_finer_view_tells_the_place() -> None:
    found = objects([[100, 100, 151, 150], [100, 100, 150, 150]], [0.9, 0.9])
    assert distinct(found, seen([WHOLE, LEFT], [4.0, 1.0])).tolist() == [1]


def test_only_borders_inside_the_image_cut() -> None:
    views = seen(np.array([[-20.0, 0, 640, 1000], [360, 360, 1000.2, 1100]]))
    boxes = np.array([[0.0, 0, 640, 1000], [360, 380, 1000, 1000]])
    assert views.cut(boxes).tolist() == [[False, False, True, False], [True, True, False, False]]


@pytest.mark.parametrize("seed", range(5))
def test_one_look_at_the_whole_image_is_answered_as_by_the_rule_for_views(seed: int) -> None:
    found, _ = scene(seed, 120)
    regions = np.tile(np.array([-20.0, -20.0, 5000.0, 5000.0]), (len(found), 1))
    np.testing.assert_array_equal(distinct(found), distinct(found, Views(regions, np.ones(len(found)), (480, 640))))
    assert len(distinct(found)) < len(found)

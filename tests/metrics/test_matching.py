from __future__ import annotations

import numpy as np

from dekey.data import Instances
from dekey.metrics.matching import overlaps, pair

SIZE = (1000, 1000)


def boxes(*rows: list[float], **columns: object) -> Instances:
    array = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Instances.create(array.reshape(-1, 2, 2), array, **columns)  # type: ignore[arg-type]


def test_best_score_chooses_first_and_takes_the_greatest_overlap() -> None:
    truth = boxes([0, 0, 100, 100], [20, 0, 120, 100])
    found = boxes([18, 0, 118, 100], [22, 0, 122, 100], scores=[0.5, 0.9])
    pairs = pair(truth, found, SIZE)
    np.testing.assert_array_equal(pairs.found_of_truth, [0, 1])
    assert not pairs.extra.any()


def test_overlap_below_a_half_does_not_pair_and_is_extra() -> None:
    truth = boxes([0, 0, 100, 100], [500, 500, 600, 600])
    found = boxes([0, 0, 100, 49], [500, 500, 600, 551], scores=[1.0, 1.0])
    pairs = pair(truth, found, SIZE)
    np.testing.assert_array_equal(pairs.found_of_truth, [-1, 1])
    np.testing.assert_array_equal(pairs.extra, [True, False])


def test_only_one_of_a_class_pairs_whatever_the_overlap() -> None:
    truth, found = boxes([0, 0, 10, 10]), boxes([500, 500, 600, 600], scores=[0.1])
    assert pair(truth, found, SIZE).found_of_truth.tolist() == [0]
    other = boxes([0, 0, 10, 10], labels=[1])
    assert pair(other, found, SIZE).found_of_truth.tolist() == [-1]
    assert pair(boxes([0, 0, 10, 10], [20, 0, 30, 10]), found, SIZE).found_of_truth.tolist() == [-1, -1]


def test_classes_do_not_mix() -> None:
    truth = boxes([0, 0, 100, 100], [0, 0, 100, 100], labels=[0, 1])
    found = boxes([0, 0, 100, 100], [0, 0, 100, 100], labels=[1, 0], scores=[0.2, 0.1])
    assert pair(truth, found, SIZE).found_of_truth.tolist() == [1, 0]


def test_what_lies_on_a_crowd_is_neither_pair_nor_extra() -> None:
    truth = boxes([0, 0, 100, 100], [300, 0, 400, 100], crowd=[False, True])
    found = boxes([300, 0, 400, 100], [301, 0, 400, 100], [0, 0, 99, 100], [0, 0, 99, 99], scores=[0.9, 0.8, 0.7, 0.6])
    pairs = pair(truth, found, SIZE)
    assert pairs.found_of_truth.tolist() == [2, -1]
    assert pairs.extra.tolist() == [False, False, False, True]


def test_counted_truth_goes_before_a_crowd_of_greater_overlap() -> None:
    truth = boxes([0, 0, 100, 100], [10, 0, 110, 100], crowd=[False, True])
    assert pair(truth, boxes([10, 0, 110, 100], scores=[1.0]), SIZE).found_of_truth.tolist() == [0, -1]


def test_without_boxes_the_hulls_of_the_labelled_keypoints_are_compared() -> None:
    nan = [np.nan, np.nan]
    truth = Instances.create([[[0.0, 0], [100, 100], nan], [[500.0, 500], [600, 600], nan]])
    found = Instances.create([[[505.0, 505], [600, 600], [0, 0]], [[0.0, 0], [100, 95], [900, 900]]])
    np.testing.assert_allclose(overlaps(truth, found, SIZE), [[0, 0.95], [0.9025, 0]])
    assert pair(truth, found, SIZE).found_of_truth.tolist() == [1, 0]


def test_hulls_without_width_pair_where_they_are_near() -> None:
    truth = Instances.create([[[100.0, 100.0]], [[200.0, 100.0]]])
    found = Instances.create([[[205.0, 100.0]], [[103.0, 100.0]], [[400.0, 400.0]]])
    pairs = pair(truth, found, SIZE)
    assert pairs.found_of_truth.tolist() == [1, 0]
    assert pairs.extra.tolist() == [False, False, True]


def test_lost_and_wild_answers_pair_with_nothing() -> None:
    truth = boxes([0, 0, 100, 100], [200, 0, 300, 100])
    wild = np.array([[np.nan] * 4, [np.inf] * 4, [-1e200, -1e200, 1e200, 1e200]])
    found = Instances.create(wild.reshape(-1, 2, 2), wild, scores=[1, 1, 1])
    assert pair(truth, found, SIZE).found_of_truth.tolist() == [-1, -1]
    assert pair(truth, Instances.empty(2), SIZE).found_of_truth.tolist() == [-1, -1]
    assert pair(Instances.empty(2), found, SIZE).extra.tolist() == [True] * 3

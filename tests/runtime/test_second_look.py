"""A second look: what the whole picture shows too small is read from close by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.runtime.second_look import close_views, taken_over


def objects(*boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 0) -> Instances:
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    count = len(corners)
    return Instances.create(
        corners.reshape(count, 2, 2),
        boxes=corners,
        labels=np.full(count, label),
        scores=np.full(count, score),
        keypoint_scores=np.full((count, 2), 0.5),
    )


@pytest.mark.parametrize("input_size", [(320, 320), (192, 320)])
def test_a_close_view_shows_the_object_in_the_middle_at_the_size_asked_for(input_size: tuple[int, int]) -> None:
    found = objects((100, 40, 140, 60), (900, 700, 910, 730))
    for box, view in zip(found.boxes, close_views(found, (1000, 1000), input_size, 0.4), strict=True):
        assert view is not None
        shown = geometry.apply_to_boxes(view, box[None])[0]
        assert (shown[2:] - shown[:2]).max() == pytest.approx(0.4 * min(input_size))
        assert (shown[:2] + shown[2:]) / 2 == pytest.approx(np.array(input_size)[::-1] / 2)


def test_a_large_object_is_not_looked_at_again() -> None:
    found = objects((0, 0, 500, 400), (0, 0, 50, 40))
    first, second = close_views(found, (1000, 1000), (320, 320), 0.4)
    assert first is None
    assert second is not None


def test_the_second_look_says_where_and_the_surer_look_how_sure() -> None:
    first = objects((10, 10, 30, 30), (60, 60, 90, 80), score=0.4)
    better = objects((11, 10, 31, 30), (200, 200, 210, 210), score=0.7)
    answer = taken_over(first, [better, None])
    assert answer.scores is not None
    assert answer.scores.tolist() == [0.7, 0.4]
    assert answer.boxes[0].tolist() == [11, 10, 31, 30]
    assert answer.boxes[1].tolist() == [60, 60, 90, 80]


def test_another_object_or_class_in_the_view_changes_nothing() -> None:
    first = objects((10, 10, 30, 30))
    for other in (objects((28, 10, 48, 30)), objects((10, 10, 30, 30), label=1), objects()):
        assert taken_over(first, [other]).boxes.tolist() == first.boxes.tolist()


def test_two_answers_that_turn_out_to_be_one_object_become_one() -> None:
    first = objects((10, 10, 30, 30), (14, 10, 34, 30))
    whole = objects((10, 10, 34, 30))
    assert len(taken_over(first, [whole, whole])) == 1


def test_nothing_found_stays_nothing() -> None:
    assert len(taken_over(objects(), [])) == 0


@pytest.fixture
def flip() -> Callable[[Instances], Instances]:
    def mirrored(one: Instances) -> Instances:
        return replace(one.mapped(geometry.mirror(100)), scores=one.scores, keypoint_scores=one.keypoint_scores)

    return mirrored


def test_a_mirrored_picture_is_looked_at_through_mirrored_views(flip: Callable[[Instances], Instances]) -> None:
    found = objects((10, 10, 30, 22), (60, 40, 70, 64))

    def regions(one: Instances) -> NDArray[np.float64]:
        views = close_views(one, (100, 100), (64, 64), 0.5)
        shown = [
            geometry.apply_to_boxes(geometry.invert(view), np.array([[0.0, 0, 64, 64]])) for view in views if view is not None
        ]
        return np.concatenate(shown)

    straight, mirrored = regions(found), regions(flip(found))
    assert np.allclose(mirrored[:, [0, 2]], 100 - straight[:, [2, 0]])
    assert np.allclose(mirrored[:, [1, 3]], straight[:, [1, 3]])

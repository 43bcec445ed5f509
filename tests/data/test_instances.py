from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dekey.data import Instances, Points
from dekey.data.geometry import compose, invert, mirror, rotate, scale, translate


def example(count: int = 3) -> Instances:
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 50, (count, 4, 2))
    keypoints[:, 1] = np.nan
    low = random.uniform(0, 20, (count, 2))
    return Instances.create(keypoints, boxes=np.concatenate([low, low + 10], axis=1), areas=random.uniform(1, 9, count))


def test_visibility_follows_the_coordinates_where_none_is_given() -> None:
    instances = example()
    assert instances.visibility.tolist() == [[2, 0, 2, 2]] * 3
    assert instances.labelled[:, 1].sum() == 0
    assert instances.scores is None
    assert len(Instances.empty(5)) == 0
    assert Instances.empty(5).keypoints.shape == (0, 5, 2)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"Instances.labels has shape \(2,\), expected \(3,\)"):
        Instances.create(np.zeros((3, 2, 2)), labels=[0, 0])
    with pytest.raises(ValueError, match="expected \\(P, 2\\)"):
        Points(np.zeros((3, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="holds 2 points, expected 3"):
        Points(np.zeros((3, 2)), np.zeros(2))


def test_a_slice_is_a_view_and_a_mask_a_copy() -> None:
    instances = example()
    instances[1:].keypoints[0, 0] = 7
    assert instances.keypoints[1, 0].tolist() == [7, 7]
    instances[np.array([True, False, False])].keypoints[0, 0] = 9
    assert instances.keypoints[0, 0, 0] != 9
    assert len(instances[[2, 0]]) == 2
    assert instances[[2, 0]].areas.tolist() == instances.areas[[2, 0]].tolist()


def test_joined_parts_keep_order_and_lose_scores_only_where_one_has_none() -> None:
    first, second = example(2), example(3)
    joined = Instances.concatenate([first, second], 4)
    np.testing.assert_array_equal(joined.boxes, np.concatenate([first.boxes, second.boxes]))
    scored = Instances.create(np.zeros((1, 4, 2)), scores=[0.5])
    assert Instances.concatenate([scored, scored], 4).scores is not None
    assert Instances.concatenate([scored, first], 4).scores is None
    assert Instances.concatenate([], 4).keypoints.shape == (0, 4, 2)


POSES = st.tuples(st.floats(-3, 3), st.floats(0.1, 10), st.floats(-50, 50), st.floats(-50, 50))


@given(POSES)
def test_mapping_there_and_back_changes_nothing_but_rotated_boxes(pose: tuple[float, float, float, float]) -> None:
    instances = example()
    angle, factor, x, y = pose
    there = compose(rotate(angle), scale(factor), translate(x, y))
    back = instances.mapped(there).mapped(invert(there))
    np.testing.assert_allclose(back.keypoints, instances.keypoints, atol=1e-9)
    np.testing.assert_allclose(back.areas, instances.areas, rtol=1e-9)
    # The hull of a turned box holds the box.
    assert (back.boxes[:, :2] <= instances.boxes[:, :2] + 1e-9).all()
    assert (back.boxes[:, 2:] >= instances.boxes[:, 2:] - 1e-9).all()
    straight = compose(scale(factor), translate(x, y))
    np.testing.assert_allclose(instances.mapped(straight).mapped(invert(straight)).boxes, instances.boxes, atol=1e-9)


def test_mirrored_twice_is_the_same() -> None:
    instances = example()
    twice = instances.mapped(mirror(64)).mapped(mirror(64))
    np.testing.assert_allclose(twice.keypoints, instances.keypoints)
    np.testing.assert_allclose(twice.boxes, instances.boxes)
    assert (instances.mapped(mirror(64)).boxes[:, 2] > instances.mapped(mirror(64)).boxes[:, 0]).all()


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(-1e3, 1e3)))
def test_points_are_selected_together(xy: np.ndarray) -> None:
    points = Points(xy, np.arange(len(xy), dtype=np.float64), sizes=np.ones(len(xy)))
    chosen = points[points.scores > 1]
    assert len(chosen) == max(len(xy) - 2, 0)
    np.testing.assert_array_equal(chosen.xy, xy[2:])
    assert chosen.angles is None
    assert chosen.sizes is not None

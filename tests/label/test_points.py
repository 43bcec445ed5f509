from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Instances, geometry
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.label.foreground import find_foreground
from dekey.label.points import KEYPOINTS, describe, shape_schema
from tests.label.conftest import draw_ellipse

INDEX = {name: position for position, name in enumerate(KEYPOINTS)}
SCHEMA = shape_schema(["thing"])
ANGLES = [0, 20, -35, 60, 90]


def truth_of(centre: tuple[float, float], axes: tuple[float, float], angle: float) -> dict[str, np.ndarray]:
    """The box sides' touching points and the axis of an ellipse, in closed form."""
    a, b = axes
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    half = np.array([np.hypot(a * cosine, b * sine), np.hypot(a * sine, b * cosine)])
    shear = (a * a - b * b) * sine * cosine
    middle = np.array(centre)
    right, bottom = np.array([half[0], shear / half[0]]), np.array([shear / half[1], half[1]])
    axis = a * np.array([cosine, sine])
    axis = axis if (axis[0] > 0 if abs(axis[0]) >= abs(axis[1]) else axis[1] > 0) else -axis
    lies = abs(axis[0]) >= abs(axis[1])
    return {
        "box": np.concatenate([middle - half, middle + half]),
        "centre": middle,
        "rightmost": middle + right,
        "leftmost": middle - right,
        "bottommost": middle + bottom,
        "topmost": middle - bottom,
        "axis_left" if lies else "axis_top": middle - axis,
        "axis_right" if lies else "axis_bottom": middle + axis,
    }


def check(one: Instances, truth: dict[str, np.ndarray], tolerance: float) -> None:
    np.testing.assert_allclose(one.boxes[0], truth["box"], atol=tolerance)
    for name in KEYPOINTS:
        if name in truth:
            # Along a side the touching point of a smooth shape is less sure than across it.
            slack = 3 * tolerance if name.endswith("most") else 1.5 * tolerance
            np.testing.assert_allclose(one.keypoints[0, INDEX[name]], truth[name], atol=slack, err_msg=name)
            assert one.visibility[0, INDEX[name]] == VISIBLE
        else:
            assert one.visibility[0, INDEX[name]] == UNLABELLED


@pytest.mark.parametrize("angle", ANGLES)
def test_a_mask_of_an_ellipse_has_its_box_its_touching_points_and_its_axis(angle: float) -> None:
    _, mask = draw_ellipse((50.0, 45.0), (30, 16), angle)
    check(describe(mask, geometry.identity(), 0), truth_of((50.0, 45.0), (30, 16), angle), 1.0)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_ellipse_is_found_in_the_picture(angle: float) -> None:
    picture, mask = draw_ellipse((50.0, 45.0), (30, 16), angle)
    found = find_foreground(picture)
    assert found is not None
    assert found.quality > 0.9
    one = describe(found.mask, geometry.invert(found.picture_to_work), 0)
    check(one, truth_of((50.0, 45.0), (30, 16), angle), 1.0)
    assert one.areas[0] == pytest.approx(mask.sum(), rel=0.05)


def test_a_moved_object_has_moved_labels() -> None:
    one, two = (
        describe(draw_ellipse((46.0 + dx, 40.0 + dy), (24, 12), 25)[1], geometry.identity(), 0) for dx, dy in ((0, 0), (7, 9))
    )
    moved = one.mapped(geometry.translate(7, 9))
    np.testing.assert_allclose(two.keypoints, moved.keypoints, atol=1e-6)
    np.testing.assert_allclose(two.boxes, moved.boxes)


@pytest.mark.parametrize("angle", [*ANGLES, 45, -45, 3])
def test_a_mirrored_object_has_mirrored_labels(angle: float) -> None:
    _, mask = draw_ellipse((44.0, 50.0), (28, 11), angle)
    one = describe(mask, geometry.identity(), 0)
    two = describe(mask[:, ::-1], geometry.identity(), 0)
    expected = one.mapped(geometry.mirror(96))
    np.testing.assert_allclose(two.keypoints[0], expected.keypoints[0, SCHEMA.mirror], atol=1e-6)
    np.testing.assert_array_equal(two.visibility[0], one.visibility[0, SCHEMA.mirror])
    np.testing.assert_allclose(two.boxes, expected.boxes)


def test_a_round_object_has_no_axis() -> None:
    one = describe(draw_ellipse((48.0, 48.0), (20, 19))[1], geometry.identity(), 0)
    assert not one.labelled[0, 5:].any()
    assert one.labelled[0, :5].all()


def test_two_feet_have_no_lowest_point_and_a_flat_side_has_its_middle() -> None:
    table = np.zeros((60, 80), dtype=np.bool_)
    table[20:30, 10:70] = True
    table[30:50, 10:16] = table[30:50, 64:70] = True
    one = describe(table, geometry.identity(), 0)
    assert one.visibility[0, INDEX["bottommost"]] == UNLABELLED
    np.testing.assert_allclose(one.keypoints[0, INDEX["topmost"]], [40, 20])
    np.testing.assert_allclose(one.boxes[0], [10, 20, 70, 50])


def test_a_single_pixel_is_its_own_box() -> None:
    mask = np.zeros((9, 9), dtype=np.bool_)
    mask[3, 5] = True
    one = describe(mask, geometry.identity(), 0)
    np.testing.assert_allclose(one.boxes[0], [5, 3, 6, 4])
    assert not one.labelled[0, 5:].any()


def test_the_schema_mirrors_sides_and_is_not_guessed() -> None:
    assert SCHEMA.mirror is not None
    names = [KEYPOINTS[index] for index in SCHEMA.mirror]
    assert names[INDEX["leftmost"]] == "rightmost"
    assert names[INDEX["axis_left"]] == "axis_right"
    assert names[INDEX["axis_top"]] == "axis_top"
    assert names[INDEX["centre"]] == "centre"

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dekey.data import OCCLUDED, VISIBLE, Instances, Points, Schema, geometry
from dekey.draw import draw_heatmaps, draw_instances, draw_points, palette
from dekey.errors import DekeyError

SCHEMA = Schema.create(["thing"], ["a", "b"], edges=[[0, 1]])


def grey(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def one(xy: list[list[float]], **columns: object) -> Instances:
    return Instances.create(np.array([xy], dtype=float), **columns)  # type: ignore[arg-type]


def centre_of_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(2,) x, y of the changed pixels' centres, weighted by change, continuous frame."""
    change = np.abs(after.astype(float) - before).sum(-1)
    rows, columns = np.mgrid[: change.shape[0], : change.shape[1]] + 0.5
    return np.array([(change * columns).sum(), (change * rows).sum()]) / change.sum()


@pytest.mark.parametrize("place", [(40.5, 30.5), (40.0, 30.0), (63.25, 77.75)])
def test_a_mark_sits_where_its_coordinates_say(place: tuple[float, float]) -> None:
    # OpenCV's smallest discs are uneven by a tenth of a pixel; a forgotten half pixel would be five times that.
    image = grey()
    single = Schema.create(["thing"], ["a"])
    drawn = draw_instances(image, one([list(place)]), single)
    assert centre_of_change(image, drawn) == pytest.approx(place, abs=0.15)
    drawn = draw_points(image, Points(np.array([place]), np.ones(1)))
    assert centre_of_change(image, drawn) == pytest.approx(place, abs=0.15)


def test_enlarging_keeps_marks_on_their_place() -> None:
    single = Schema.create(["thing"], ["a"])
    drawn = draw_instances(grey(), one([[40.0, 30.0]]), single, scale=3)
    assert drawn.shape == (360, 480, 3)
    assert centre_of_change(np.full_like(drawn, 90), drawn) == pytest.approx((120, 90), abs=0.1)


def test_a_heatmap_lies_over_its_place() -> None:
    maps = np.zeros((1, 30, 40), np.float32)
    maps[0, 10, 20] = 1.0  # its centre is (20.5, 10.5) cells
    plain = draw_heatmaps(grey(), np.zeros_like(maps))
    assert centre_of_change(plain, draw_heatmaps(grey(), maps)) == pytest.approx((82, 42), abs=0.1)
    shifted = geometry.compose(geometry.scale(2), geometry.translate(5, 7))
    assert centre_of_change(plain, draw_heatmaps(grey(), maps, shifted)) == pytest.approx((46, 28), abs=0.1)


def test_nothing_is_modified() -> None:
    image = grey()
    found = one([[20, 20], [60, 70]], boxes=[[10, 10, 80, 90]], scores=[0.5])
    truth = one([[22, 20], [60, 75]], boxes=[[10, 10, 80, 90]])
    maps = np.random.default_rng(0).random((2, 30, 40))
    copies = [array.copy() for array in (image, found.keypoints, found.boxes, truth.keypoints, maps)]
    draw_instances(image, found, SCHEMA, truth=truth)
    draw_heatmaps(image, maps)
    draw_points(image, Points(found.keypoints[0], np.ones(2), sizes=np.ones(2) * 9, angles=np.zeros(2)))
    for before, after in zip(copies, (image, found.keypoints, found.boxes, truth.keypoints, maps), strict=True):
        np.testing.assert_array_equal(before, after)


def test_occluded_points_are_hollow() -> None:
    single = Schema.create(["thing"], ["a"])
    big = np.full((800, 800, 3), 90, np.uint8)
    place = [[400.5, 400.5]]
    filled = draw_instances(big, one(place, visibility=[[VISIBLE]]), single)
    hollow = draw_instances(big, one(place, visibility=[[OCCLUDED]]), single)
    assert (filled[400, 400] == palette(1)[0]).all()
    assert (hollow[400, 400] == 90).all()
    assert (hollow != 90).any()


def test_the_error_is_joined_only_for_pairs() -> None:
    image = np.full((400, 400, 3), 90, np.uint8)
    found = one([[100, 200], [np.nan, np.nan]])
    truth = one([[300, 200], [200, 350]])
    joined = draw_instances(image, found, SCHEMA, truth=truth)
    apart = draw_instances(image, found, SCHEMA, truth=truth, found_of_truth=np.array([-1]))
    assert (joined[195:205, 200] > 200).any()
    assert (apart[195:205, 200] == 90).all()
    assert (apart[345:355, 195:205] != 90).any(), "a truth that was not found is still drawn"


def test_unlabelled_and_undefined_points_are_left_out() -> None:
    found = one([[np.nan, 4], [np.inf, 4]], boxes=[[np.nan] * 4], visibility=[[2, 2]])
    np.testing.assert_array_equal(draw_instances(grey(), found, SCHEMA), grey())
    unlabelled = one([[20, 30], [40, 50]], visibility=[[0, 0]])
    np.testing.assert_array_equal(draw_instances(grey(), unlabelled, SCHEMA), grey())
    points = Points(np.array([[np.nan, 1.0]]), np.array([np.nan]))
    np.testing.assert_array_equal(draw_points(grey(), points), grey())
    np.testing.assert_array_equal(draw_heatmaps(grey(), np.full((2, 4, 4), np.nan)), draw_heatmaps(grey(), np.zeros((2, 4, 4))))


def test_far_coordinates_and_tiny_pictures_do_no_harm() -> None:
    found = one([[1e300, -1e300], [-1e12, 3]], boxes=[[-1e300, 0, 1e300, 50]], scores=[0.5])
    for size in ((1, 1), (3, 200), (120, 160)):
        drawn = draw_instances(np.zeros((*size, 3), np.uint8), found, SCHEMA, truth=found)
        assert drawn.shape == (*size, 3)


def test_names_of_any_script_are_written_inside_the_picture() -> None:
    schema = Schema.create(["Löwe 狮子 \n\x00" + "x" * 300, "b"], ["a", "b"])
    for corner in ([0, 0], [155, 115]):
        found = one([corner, corner], boxes=[[*corner, 400, 300]], scores=[0.51])
        bare = draw_instances(grey(), found, schema, text=False)
        assert (draw_instances(grey(), found, schema) != bare).any()


def test_found_instances_of_another_schema_and_strange_images_are_refused() -> None:
    with pytest.raises(DekeyError, match="2 keypoints, expected the 1"):
        draw_instances(grey(), one([[1, 2], [3, 4]]), Schema.create(["thing"], ["a"]))
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DekeyError, match="uint8 RGB"):
            draw_points(wrong, Points(np.zeros((0, 2)), np.zeros(0)))
    with pytest.raises(DekeyError, match="positive"):
        draw_instances(grey(), Instances.empty(2), SCHEMA, scale=0)
    with pytest.raises(DekeyError, match="heatmaps of shape"):
        draw_heatmaps(grey(), np.zeros((4, 4)))


# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB.
DEUTERANOPIA = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
PROTANOPIA = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA, PROTANOPIA])
def test_eight_colours_stay_apart_for_colour_blind_readers(matrix: np.ndarray) -> None:
    import cv2

    linear = (palette(8) / 255.0) ** 2.2
    seen = (np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)).astype(np.float32)
    lab = cv2.cvtColor(seen[None], cv2.COLOR_RGB2LAB)[0]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 10


@pytest.mark.parametrize("count", [0, 1, 8, 9, 24, 25, 68, 133])
def test_a_palette_has_as_many_different_colours_as_asked_for(count: int) -> None:
    colours = palette(count)
    assert colours.shape == (count, 3)
    assert len(np.unique(colours, axis=0)) == count


def test_the_long_palette_grows_lighter_all_the_way() -> None:
    lightness = palette(100) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] - lightness[0] > 150

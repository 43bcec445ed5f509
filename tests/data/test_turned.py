from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import Instances
from dekey.data.geometry import Affine, apply, apply_to_boxes, compose, hulls, mirror, rotate, scale, translate
from dekey.data.turned import turned_boxes

GROWN = np.array([-15.0, -15, 15, 15])
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 721)), np.sin(np.linspace(0, 2 * np.pi, 721))], axis=1)


def objects(seed: int = 0, count: int = 50, keypoints: int = 5) -> Instances:
    """Boxes with keypoints in and a little outside of them, some missing."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-100, 100, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 120, (count, 2))], axis=1)
    xy = boxes[:, None, :2] + rng.uniform(-0.1, 1.1, (count, keypoints, 2)) * (boxes[:, None, 2:] - boxes[:, None, :2])
    xy[rng.random((count, keypoints)) < 0.3] = np.nan
    xy[0] = np.nan
    return Instances.create(xy, boxes=boxes)


def about(x: float, y: float, affine: Affine) -> Affine:
    return compose(translate(-x, -y), affine, translate(x, y))


def outlines(kind: str, seed: int, count: int = 200) -> tuple[list[NDArray[np.float64]], Instances]:
    """Draw objects whose every outline point is known, with their true boxes and some keypoints."""
    rng = np.random.default_rng(seed)
    shapes, points = [], []
    for _ in range(count):
        turn = rotate(rng.uniform(-math.pi, math.pi))
        if kind == "ellipse":
            length = rng.uniform(20, 60)
            half = np.array([length, length * rng.uniform(0.2, 0.7)])
            shapes.append(apply(turn, CIRCLE * half))
            # Keypoints on both ends of the long axis and near the middle, as head, tail and body would be.
            points.append(apply(turn, np.array([[0.9, 0.0], [-0.9, 0.1], [0.0, 0.3]]) * half))
        else:
            corners = apply(turn, rng.uniform(-50, 50, (5, 2)) * [1.0, 0.5])
            shapes.append((corners[:, None] + rng.uniform(3, 20) * CIRCLE).reshape(-1, 2))
            points.append(corners[:4])
    boxes = np.concatenate([hulls(shape[None]) for shape in shapes])
    return shapes, Instances.create(np.array(points), boxes=boxes)


UPRIGHT = [
    translate(3, -7),
    scale(0.4),
    scale(2.5, 0.7),
    mirror(200),
    scale(1.5, -0.5),
    compose(mirror(64), scale(1.3), translate(5, 9)),
]


@pytest.mark.parametrize("affine", [*UPRIGHT, *(compose(rotate(turn * math.pi / 2), scale(1.7, 0.6)) for turn in (1, 2, 3))])
def test_what_keeps_boxes_upright_maps_them_exactly(affine: Affine) -> None:
    instances = objects()
    np.testing.assert_allclose(turned_boxes(instances, affine), apply_to_boxes(affine, instances.boxes), atol=1e-9)


@pytest.mark.parametrize("angle", [0.3, math.pi / 4, 1.2, 2.5])
def test_a_disc_and_an_ellipse_keep_their_true_boxes(angle: float) -> None:
    box = np.array([[10.0, 20, 50, 60], [0, 0, 80, 30]])
    unlabelled = Instances.create(np.full((2, 3, 2), np.nan), boxes=box)
    affine = about(30, 40, rotate(angle))
    disc, ellipse = turned_boxes(unlabelled, affine)
    np.testing.assert_allclose(disc, box[0], atol=1e-9)
    outline = apply(affine, CIRCLE * [40, 15] + [40, 15])
    np.testing.assert_allclose(ellipse, hulls(outline[None])[0], atol=0.01)
    # One keypoint in the middle says nothing more than none.
    middle = Instances.create(np.array([[[30.0, 40]], [[40, 15]]]), boxes=box)
    np.testing.assert_allclose(turned_boxes(middle, affine), [disc, ellipse], atol=1e-9)


@pytest.mark.parametrize("angle", [0.2, math.pi / 4, 1.0, 2.2])
def test_grown_keypoints_and_bodies_along_a_line_keep_their_boxes_nearly(angle: float) -> None:
    affine = compose(rotate(angle), scale(1.3), translate(4, 5))
    for degrees in range(0, 180, 15):
        turn = rotate(math.radians(degrees))
        ends = apply(turn, np.array([[-40.0, 0], [40, 0]]))[None]
        limb = Instances.create(ends, boxes=hulls(ends) + GROWN)
        truth = hulls(apply(affine, ends)) + 1.3 * GROWN
        assert np.abs(turned_boxes(limb, affine) - truth).max() < 0.13 * 1.3 * 70
        outline = apply(turn, CIRCLE * [44, 20])[None]
        body = Instances.create(ends, boxes=hulls(outline))
        assert np.abs(turned_boxes(body, affine) - hulls(apply(affine, outline))).max() < 0.13 * 1.3 * 64


@pytest.mark.parametrize("angle", [0.25, math.pi / 4, 1.1])
def test_turning_there_and_back_nearly_keeps_the_boxes(angle: float) -> None:
    for kind in ("ellipse", "polygon"):
        _, instances = outlines(kind, 1)
        there, back = about(3, 4, rotate(angle)), about(3, 4, rotate(-angle))
        turned = Instances.create(apply(there, instances.keypoints), boxes=turned_boxes(instances, there))
        error = np.abs(turned_boxes(turned, back) - instances.boxes).mean(axis=1)
        size = np.sqrt((instances.boxes[:, 2:] - instances.boxes[:, :2]).prod(axis=1))
        assert (error / size).mean() < 0.05
        assert (error / size).max() < 0.3


@pytest.mark.parametrize("kind", ["ellipse", "polygon"])
def test_boxes_are_much_nearer_the_truth_than_the_hull_of_the_corners(kind: str) -> None:
    shapes, instances = outlines(kind, 2)
    size = np.sqrt((instances.boxes[:, 2:] - instances.boxes[:, :2]).prod(axis=1))[:, None]
    ours, corners = [], []
    for angle in np.linspace(0.1, 3.0, 12):
        affine = compose(rotate(angle), translate(7, -2))
        truth = np.concatenate([hulls(apply(affine, shape)[None]) for shape in shapes])
        ours.append(np.abs(turned_boxes(instances, affine) - truth) / size)
        corners.append(np.abs(apply_to_boxes(affine, instances.boxes) - truth) / size)
    assert np.mean(ours) < 0.35 * np.mean(corners)
    assert np.mean(ours) < 0.05


@pytest.mark.parametrize("angle", [0.4, 2.0])
def test_sides_keep_their_order_and_stay_within_hulls(angle: float) -> None:
    instances = objects(5)
    affine = compose(rotate(angle), scale(1.2, 0.8))
    turned = turned_boxes(instances, affine)
    assert (turned[:, 2:] >= turned[:, :2]).all()
    # No margin is worse than the worst of the four, so the keypoints' hull is left by no more than that.
    known = np.isfinite(instances.keypoints).all(-1).any(1)
    hull = hulls(instances.keypoints)[known]
    outside = np.maximum((instances.boxes[known] - hull) * [1, 1, -1, -1], 0).max(axis=1, keepdims=True)
    mapped = hulls(apply(affine, instances.keypoints))[known]
    assert (turned[known, :2] <= mapped[:, :2] + 1.2 * outside + 1e-9).all()
    assert (turned[known, 2:] >= mapped[:, 2:] - 1.2 * outside - 1e-9).all()


def test_a_box_in_the_midst_of_its_keypoints_has_no_negative_size() -> None:
    instances = Instances.create([[[0.0, 0], [10, 10]]], boxes=[[5.0, 5, 5, 5]])
    turned = turned_boxes(instances, rotate(math.pi / 4))[0]
    assert (turned[2:] >= turned[:2]).all()


def test_missing_boxes_stay_missing_and_nothing_maps_to_nothing() -> None:
    instances = Instances.create([[[1.0, 2], [3, 4]], [[np.nan, np.nan]] * 2])
    assert np.isnan(turned_boxes(instances, rotate(1.0))).all()
    assert turned_boxes(Instances.empty(3), rotate(1.0)).shape == (0, 4)


def test_a_keypoint_that_is_not_labelled_does_not_count() -> None:
    xy = np.array([[[5.0, 5], [500, 500]]])
    stated = Instances.create(xy, boxes=[[0.0, 0, 10, 10]], visibility=[[2, 0]])
    plain = Instances.create(xy[:, :1], boxes=[[0.0, 0, 10, 10]])
    np.testing.assert_allclose(turned_boxes(stated, rotate(0.7)), turned_boxes(plain, rotate(0.7)))

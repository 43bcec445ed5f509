from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dekey.data import geometry
from dekey.data.geometry import (
    apply,
    apply_to_boxes,
    box_sizes,
    compose,
    crop,
    hulls,
    identity,
    invert,
    iou,
    letterbox,
    mirror,
    rotate,
    scale,
    translate,
    warp,
)

POINTS = np.random.default_rng(1).uniform(-100, 100, (20, 2))


def random_affine(random: np.random.Generator, smallest: float, largest: float, size: int, out: int) -> np.ndarray:
    """Turn, stretch, shear and maybe flip about the image's centre, into the centre of the answer."""
    factor = np.exp(random.uniform(np.log(smallest), np.log(largest)))
    stretch = np.exp(random.uniform(-0.2, 0.2))
    shear = np.array([[1.0, random.uniform(-0.2, 0.2), 0.0], [0.0, 1.0, 0.0]])
    parts = [translate(-size / 2, -size / 2), shear, scale(factor * stretch, factor / stretch), rotate(random.uniform(-4, 4))]
    if random.random() < 0.5:
        parts.append(mirror(0))
    return compose(*parts, translate(out / 2 + random.uniform(-3, 3), out / 2 + random.uniform(-3, 3)))


def drawn_dot(size: int, x: float, y: float, sigma: float) -> np.ndarray:
    """Draw a Gaussian dot centred at x, y px of the continuous frame; pixel j covers j to j + 1, its centre is j + 0.5."""
    along_x = np.exp(-0.5 * ((np.arange(size) + 0.5 - x) / sigma) ** 2)
    along_y = np.exp(-0.5 * ((np.arange(size) + 0.5 - y) / sigma) ** 2)
    return np.repeat((250 * np.outer(along_y, along_x)).round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    weights = image[..., 0].astype(np.float64)
    total = weights.sum()
    centres = np.arange(len(weights)) + 0.5, np.arange(weights.shape[1]) + 0.5
    return np.array([(weights.sum(0) @ centres[1]) / total, (weights.sum(1) @ centres[0]) / total])


@pytest.mark.parametrize(
    ("smallest", "largest", "size", "seed"), [(0.5, 2.0, 200, 0), (0.05, 0.5, 1200, 1), (0.03, 0.08, 2000, 2)]
)
def test_a_drawn_dot_goes_where_the_affine_says(smallest: float, largest: float, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(12):
        image_to_input = random_affine(random, smallest, largest, size, 128)
        factor = np.sqrt(abs(np.linalg.det(image_to_input[:, :2])))
        target = random.uniform(40, 88, 2)
        x, y = apply(invert(image_to_input), target)
        if not (0.1 * size < x < 0.9 * size and 0.1 * size < y < 0.9 * size):
            continue
        warped = warp(drawn_dot(size, x, y, 3.0 / factor), image_to_input, (128, 128))
        np.testing.assert_allclose(centroid(warped), target, atol=0.05)


@pytest.mark.parametrize("size", [(97, 61), (401, 777), (1000, 333), (64, 64)])
def test_a_dot_follows_the_letterbox_of_any_size(size: tuple[int, int]) -> None:
    image_to_input = letterbox(size, (64, 96))
    factor = image_to_input[0, 0]
    x, y = size[1] * 0.4, size[0] * 0.55
    dot = drawn_dot(max(size), x, y, 2.5 / factor)[: size[0], : size[1]]
    found = centroid(warp(dot, image_to_input, (64, 96)))
    np.testing.assert_allclose(found, apply(image_to_input, np.array([x, y])), atol=0.05)


def test_identity_and_whole_pixels_copy_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, identity(), (30, 40)), image)
    np.testing.assert_array_equal(warp(image, mirror(40), (30, 40)), image[:, ::-1])
    moved = warp(image, translate(5, -3), (30, 40), fill=9)
    np.testing.assert_array_equal(moved[:27, 5:], image[3:, :35])
    assert (moved[27:] == 9).all()
    assert (moved[:, :5] == 9).all()


def test_what_lies_outside_is_filled() -> None:
    image = np.full((10, 10, 3), 200, dtype=np.uint8)
    assert (warp(image, translate(500, 0), (8, 8), fill=3) == 3).all()


def test_shrinking_averages_instead_of_sampling() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = warp(stripes, scale(1 / 8), (32, 32))[2:-2, 2:-2]
    assert abs(int(small.min()) - 127) <= 3
    assert abs(int(small.max()) - 128) <= 3


def test_warp_equals_opencv_at_the_same_frame() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), (0, 0), 2)
    # cv2.resize also holds the corner fixed: cell j of the answer is centred at (j + 0.5) / scale.
    ours = warp(image, scale(2), (120, 160))[4:-4, 4:-4].astype(int)
    theirs = cv2.resize(image, (160, 120), interpolation=cv2.INTER_LINEAR)[4:-4, 4:-4].astype(int)
    assert abs(ours - theirs).max() <= 2


SCALES = st.floats(0.01, 100)
SHIFTS = st.floats(-1000, 1000)


@given(st.floats(-7, 7), SCALES, SCALES, SHIFTS, SHIFTS)
def test_an_affine_undoes_itself(angle: float, x: float, y: float, right: float, down: float) -> None:
    affine = compose(rotate(angle), scale(x, y), translate(right, down))
    np.testing.assert_allclose(apply(invert(affine), apply(affine, POINTS)), POINTS, atol=1e-6)
    np.testing.assert_allclose(compose(affine, invert(affine)), identity(), atol=1e-6)


@given(st.floats(-7, 7), SCALES, SHIFTS)
def test_composing_is_applying_in_turn(angle: float, factor: float, shift: float) -> None:
    first, second = compose(rotate(angle), translate(shift, -shift)), scale(factor)
    np.testing.assert_allclose(apply(compose(first, second), POINTS), apply(second, apply(first, POINTS)), rtol=1e-9, atol=1e-9)


@given(st.floats(1, 5000))
def test_mirroring_twice_changes_nothing(width: float) -> None:
    np.testing.assert_allclose(compose(mirror(width), mirror(width)), identity(), atol=1e-9)
    assert apply(mirror(width), np.array([0.0, 1.0])).tolist() == [width, 1.0]


def test_rotation_is_clockwise_on_the_screen() -> None:
    np.testing.assert_allclose(apply(rotate(np.pi / 2), np.array([1.0, 0.0])), [0.0, 1.0], atol=1e-12)


SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.integers(8, 1024), st.integers(8, 1024))
def test_a_letterbox_holds_the_whole_image_centred_and_touches_two_sides(h: int, w: int, height: int, width: int) -> None:
    box = apply_to_boxes(letterbox((h, w), (height, width)), np.array([[0.0, 0.0, w, h]]))[0]
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [width / 2, height / 2], atol=1e-6)
    assert (box[:2] >= -1e-6).all()
    assert box[2] <= width + 1e-6
    assert box[3] <= height + 1e-6
    assert min(box[0], box[1]) == pytest.approx(0, abs=1e-6)


def test_a_crop_leaves_the_stated_margin() -> None:
    box = np.array([10.0, 20.0, 50.0, 40.0])
    inside = apply_to_boxes(crop(box, (64, 128), padding=1.25), box[None])[0]
    np.testing.assert_allclose(inside, [12.8, 6.4, 115.2, 57.6])


def test_hulls_ignore_what_is_missing() -> None:
    keypoints = np.array([[[1.0, 5.0], [3.0, 2.0], [np.nan, 9.0]], [[np.nan, np.nan]] * 3])
    np.testing.assert_array_equal(hulls(keypoints), [[1.0, 2.0, 3.0, 5.0], [np.nan] * 4])
    assert hulls(np.zeros((0, 3, 2))).shape == (0, 4)


BOXES = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 50), st.floats(0.1, 50))


@settings(max_examples=50)
@given(st.lists(BOXES, min_size=1, max_size=5), st.lists(BOXES, max_size=5))
def test_iou_is_symmetric_bounded_and_one_with_itself(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> None:
    ours = np.array([(x, y, x + w, y + h) for x, y, w, h in first])
    others = np.array([(x, y, x + w, y + h) for x, y, w, h in second]).reshape(-1, 4)
    overlap = iou(ours, others)
    assert overlap.shape == (len(ours), len(others))
    np.testing.assert_allclose(overlap, iou(others, ours).T)
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    np.testing.assert_allclose(np.diag(iou(ours, ours)), 1, atol=1e-6)
    assert (box_sizes(ours) > 0).all()


@pytest.mark.parametrize(("size", "input_size"), [((480, 640), (192, 320)), ((135, 240), (192, 320)), ((60, 90), (60, 100))])
def test_an_image_that_fills_whole_pixels_is_resized_as_it_would_be_warped(
    size: tuple[int, int], input_size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (size[0] // 15, size[1] // 15, 3), dtype=np.uint8)
    image = geometry.warp(noise, geometry.scale(size[1] / noise.shape[1], size[0] / noise.shape[0]), size)
    fit = geometry.letterbox(size, input_size)
    nearly = geometry.compose(fit, geometry.translate(2e-3, 2e-3))
    resized, warped = (geometry.warp(image, affine, input_size, fill=7).astype(int) for affine in (fit, nearly))
    (left, top), (right, bottom) = geometry.apply(fit, np.array([[0.0, 0.0], [size[1], size[0]]])).round().astype(int)
    inside = slice(top + 1, bottom - 1), slice(left + 1, right - 1)
    assert np.abs(resized[inside] - warped[inside]).max() <= 4  # warps place pixels to 1/32 px
    assert np.abs(resized[inside] - warped[inside]).mean() < 0.5
    outside = np.ones(input_size, dtype=bool)
    outside[top:bottom, left:right] = False
    assert (resized[outside] == 7).all()


def test_affines_chain_and_undo_as_matrices_do() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        affines = [rng.normal(size=(2, 3)) for _ in range(4)]
        product = np.eye(3)
        for affine in affines:
            product = np.vstack([affine, [0, 0, 1]]) @ product
        np.testing.assert_allclose(geometry.compose(*affines), product[:2], atol=1e-12)
        np.testing.assert_allclose(
            geometry.invert(affines[0]), np.linalg.inv(np.vstack([affines[0], [0, 0, 1]]))[:2], atol=1e-9
        )
    with pytest.raises(np.linalg.LinAlgError):
        geometry.invert(geometry.scale(2, 0))

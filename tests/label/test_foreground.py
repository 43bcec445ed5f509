from __future__ import annotations

import cv2
import numpy as np
import pytest

from dekey.label.foreground import find_foreground
from dekey.label.mixtures import cluster, gaussians, grabcut_model
from dekey.label.segmentation import KEPT, verdict
from tests.label.conftest import draw_ellipse


def test_the_same_picture_has_the_same_object_whatever_was_drawn_before() -> None:
    picture, _ = draw_ellipse((48.0, 48.0), (25, 14), 30)
    first = find_foreground(picture)
    cv2.setRNGSeed(77)
    cv2.kmeans(np.random.default_rng(0).random((50, 2)).astype(np.float32), 3, None, (3, 5, 0.1), 2, cv2.KMEANS_RANDOM_CENTERS)
    second = find_foreground(picture)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.share, second.share)


def test_a_plain_ground_and_noise_are_not_kept() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert verdict(find_foreground(noise), 0.75) != KEPT
    assert verdict(find_foreground(np.full((64, 64, 3), 90, np.uint8)), 0.75) != KEPT


def test_an_object_over_the_border_is_left_out() -> None:
    picture, _ = draw_ellipse((80.0, 48.0), (34, 24))
    found = find_foreground(picture)
    assert found is not None
    assert found.touching > 0.15
    assert verdict(found, 0.0) == "cut off"


def test_what_stands_beside_the_object_lowers_the_quality() -> None:
    alone, _ = draw_ellipse((40.0, 48.0), (20, 14))
    other, mask = draw_ellipse((79.0, 48.0), (9, 20), seed=1)
    both = np.where(mask[..., None], other, alone)
    one, two = find_foreground(alone), find_foreground(both.astype(np.uint8))
    assert one is not None
    assert two is not None
    assert two.quality < 0.75 < one.quality


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 300), (700, 500)])
def test_any_size_of_picture_is_taken(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = find_foreground(picture)
    assert found is None or 0 <= found.quality <= 1


def test_a_mixture_is_what_grabcut_takes_and_its_shares_are_whole() -> None:
    rng = np.random.default_rng(3)
    colours = np.concatenate([rng.normal(m, 3, (200, 3)) for m in (20, 120, 220)]).astype(np.float32)
    model = grabcut_model(colours)
    assert model.shape == (1, 65)
    assert model[0, :5].sum() == pytest.approx(1)
    members = cluster(colours, 3)
    assert [len(set(members[k : k + 200].tolist())) for k in (0, 200, 400)] == [1, 1, 1]
    shares, means, covariances = gaussians(colours, members, 3, noise=0)
    for index in range(3):
        own = colours[members == index].astype(np.float64)
        assert shares[index] == pytest.approx(1 / 3)
        np.testing.assert_allclose(means[index], own.mean(axis=0))
        np.testing.assert_allclose(covariances[index], np.cov(own.T, bias=True), atol=1e-9)

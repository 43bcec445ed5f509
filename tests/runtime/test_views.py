from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.errors import DekeyError
from dekey.runtime.views import views

SIZES = [(1500, 2000), (640, 641), (333, 2222), (1280, 700), (641, 641)]


def regions(affines: list[geometry.Affine], input_size: tuple[int, int]) -> NDArray[np.float64]:
    """Give the part of the image (V, 4) px that each view shows."""
    frame = np.array([[0.0, 0.0, input_size[1], input_size[0]]])
    return np.concatenate([geometry.apply_to_boxes(geometry.invert(affine), frame) for affine in affines])


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_cover_the_image_evenly_and_overlap_enough(size: tuple[int, int], overlap: float) -> None:
    shown = regions(views(size, (640, 640), tiles=640, overlap=overlap)[1:], (640, 640))
    np.testing.assert_allclose(shown[:, 2:] - shown[:, :2], 640, atol=1e-6)
    for axis, length in ((0, size[1]), (1, size[0])):
        starts = np.unique(shown[:, axis].round(6))
        if length <= 640:
            np.testing.assert_allclose(starts, [(length - 640) / 2])
            continue
        assert (starts[0], starts[-1] + 640) == (0, length)
        steps = np.diff(starts)
        assert steps.max() <= 640 * (1 - overlap) + 1  # they begin at whole pixels
        assert steps.max() - steps.min() <= 1
        np.testing.assert_allclose(starts + starts[::-1], length - 640)  # alike from both ends


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_image_is_one_more_view(size: tuple[int, int]) -> None:
    whole = geometry.letterbox(size, (320, 448))
    np.testing.assert_array_equal(views(size, (320, 448), tiles=300)[0], whole)
    assert len(views(size, (320, 448))) == 1
    np.testing.assert_array_equal(views(size, (320, 448))[0], whole)


def test_a_picture_no_larger_than_a_tile_is_one_view() -> None:
    assert len(views((400, 640), (320, 320), tiles=640)) == 1
    assert len(views((400, 641), (320, 320), tiles=640)) == 3


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("size", SIZES)
def test_a_scale_is_how_many_times_larger_than_fitted(size: tuple[int, int], scale: float) -> None:
    input_size = (320, 448)
    affines = views(size, input_size, scales=(scale,))
    fitted = geometry.letterbox(size, input_size)[0, 0]
    np.testing.assert_allclose([affine[0, 0] / fitted for affine in affines], scale)
    shown = regions(affines, input_size)
    assert shown[:, 0].min() <= 1e-6
    assert shown[:, 1].min() <= 1e-6
    assert shown[:, 2].max() >= size[1] - 1e-6
    assert shown[:, 3].max() >= size[0] - 1e-6
    assert (len(affines) == 1) == (scale <= 1)


def test_no_view_is_shown_twice() -> None:
    assert len(views((480, 640), (320, 320), scales=(1.0, 1.0))) == 1
    once = views((480, 640), (320, 320), tiles=400)
    assert len(views((480, 640), (320, 320), tiles=400, scales=(1.0,))) == len(once)


def test_an_image_is_not_cut_without_end() -> None:
    with pytest.raises(DekeyError, match=r"5000x4000 px would be cut into \d+ views, expected at most 4096"):
        views((4000, 5000), (640, 640), tiles=16)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema, geometry
from dekey.data.images import ReducedImage, read_header, read_image, read_reduced, reduction
from dekey.errors import DekeyError

ORIENTATION = 0x0112
# Magnifications at which a picture is divided by 2, 4 and 8.
AT = {2: 1 / 2, 4: 1 / 8, 8: 1 / 16}


def dots(size: tuple[int, int], places: NDArray[np.float64], sigma: float) -> NDArray[np.uint8]:
    """Black, with a Gaussian dot of each channel at its place (x, y), continuous frame."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    channels = [255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2)) for place in places]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), dtype=np.uint8)


def middles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Give the centroid (3, 2) of each channel; what is nearly black is noise of the compression."""
    weights = np.where(pixels < 8, 0.0, pixels)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    return np.stack([(weights * axis[..., None]).sum((0, 1)) / weights.sum((0, 1)) for axis in (x, y)], axis=-1)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 200), (161, 203), (167, 197)])
def test_what_is_seen_in_fewer_pixels_stays_where_it_is(
    tmp_path: Path, factor: int, orientation: int, size: tuple[int, int]
) -> None:
    """Whatever the side from which the picture is stored, and whether or not the factor divides it."""
    file = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    places = np.random.default_rng(factor * orientation).uniform(60, 100, (3, 2))
    # Every channel at full resolution, so that the colours lie where they were put.
    Image.fromarray(dots(size, places, 8.0)).save(file, quality=98, subsampling=0, exif=exif)
    whole, small = read_image(file), read_reduced(read_header(file), AT[factor])
    assert small.size == whole.shape[:2]
    assert small.pixels.shape[:2] == tuple(-(-length // factor) for length in small.size)
    found = geometry.apply(geometry.invert(small.image_to_pixels), middles(small.pixels))
    # A shift that is missed is one pixel at least: the image is 1 to 7 px short of a whole number of blocks.
    assert np.abs(found - middles(whole)).max() < 0.04 * factor


def test_colours_of_half_the_resolution_stay_too(tmp_path: Path) -> None:
    places = np.random.default_rng(0).uniform(60, 100, (3, 2))
    Image.fromarray(dots((161, 203), places, 8.0)).save(tmp_path / "a.jpg", quality=98, subsampling=2)
    for factor in (2, 4, 8):
        small = read_reduced(read_header(tmp_path / "a.jpg"), AT[factor])
        found = geometry.apply(geometry.invert(small.image_to_pixels), middles(small.pixels))
        assert np.abs(found - places).max() < 0.05 * factor


def test_the_reduced_picture_is_the_average_of_the_whole_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    smooth = geometry.warp(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8), geometry.scale(16), (192, 320))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    whole = read_image(tmp_path / "a.jpg").astype(np.float64)
    for factor in (2, 4, 8):
        small = read_reduced(read_header(tmp_path / "a.jpg"), AT[factor]).pixels
        average = whole.reshape(192 // factor, factor, 320 // factor, factor, 3).mean((1, 3))
        assert np.abs(small - average).mean() < 2


def test_no_view_has_more_pixels_than_it_is_given() -> None:
    for magnification in np.geomspace(0.001, 3, 500):
        factor = reduction(magnification)
        left = 1 / (factor * magnification)
        assert factor == 1 or left >= 1 - 1e-6
        # What is left to the linear kernel is no more than it may be without reduction, or a quarter.
        whole = 1 / magnification
        assert factor == 1 or left / max(int(left + 1e-9), 1) <= max(1.25 + 1e-6, 1.5 if whole >= 2 else 2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif"])
def test_only_a_jpeg_is_reduced(tmp_path: Path, suffix: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
    found = read_reduced(read_header(tmp_path / f"a.{suffix}"), 0.1)
    np.testing.assert_array_equal(found.pixels, read_image(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(found.image_to_pixels, geometry.identity())


def test_a_grey_jpeg_and_one_of_another_name_are_reduced(tmp_path: Path) -> None:
    picture = dots((64, 80), np.full((3, 2), 30.0), 9.0)
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.jpg", quality=95)
    small = read_reduced(read_header(tmp_path / "grey.jpg"), AT[4]).pixels
    assert small.shape == (16, 20, 3)
    assert (small == small[..., :1]).all()
    Image.fromarray(picture).save(tmp_path / "a.png", format="JPEG", progressive=True)
    assert read_reduced(read_header(tmp_path / "a.png"), AT[4]).pixels.shape == (16, 20, 3)


def test_a_cut_file_is_refused_reduced_too(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DekeyError, match=r"a\.jpg is cut short"):
        read_reduced(read_header(tmp_path / "a.jpg"), 0.1)


def test_a_sample_is_checked_against_the_image_and_not_its_fewer_pixels(tmp_path: Path) -> None:
    Image.fromarray(dots((64, 80), np.full((3, 2), 30.0), 9.0)).save(tmp_path / "a.jpg")

    def sample(size: tuple[int, int]) -> Sample:
        instances = Instances.empty(1)
        return Dataset.from_samples(
            Schema.create(["thing"], ["a"]), [Sample(tmp_path / "a.jpg", size, instances, 1, np.zeros(0, dtype=np.int64))]
        )[0]

    assert sample((64, 80)).read_reduced(0.5).pixels.shape == (32, 40, 3)
    for read in (lambda one: one.read_reduced(0.5), Sample.read_image):
        with pytest.raises(DekeyError, match="80x64 but its annotation says 40x32"):
            read(sample((32, 40)))
    pixels = np.zeros((64, 80, 3), dtype=np.uint8)
    held = ReducedImage.whole(pixels)
    assert held.pixels is pixels
    assert held.size == (64, 80)

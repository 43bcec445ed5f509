from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from dekey.data import images
from dekey.data.images import image_size, read_image
from dekey.errors import DekeyError

ORIENTATION = 0x0112


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 200], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_files_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(file, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(file), picture())
    assert image_size(file) == (24, 40)


def test_a_jpeg_is_rgb(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    Image.fromarray(np.full((16, 16, 3), (200, 30, 10), dtype=np.uint8)).save(file, quality=95)
    assert np.abs(read_image(file).astype(int) - (200, 30, 10)).max() <= 4


def test_of_a_multi_picture_file_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    assert image_size(tmp_path / "a.jpg") == (24, 40)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture()).mean() < 8


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_a_viewer_shows(tmp_path: Path, suffix: str, orientation: int) -> None:
    file = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(picture(32, 48)).save(file, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(file) as opened:
        shown = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert image_size(file) == shown.shape[:2]
    assert np.abs(read_image(file).astype(int) - shown.astype(int)).max() <= 4


def test_grey_transparent_palette_and_deep_pictures_become_rgb(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    rgba = np.concatenate([picture(), np.full((24, 40, 1), 90, dtype=np.uint8)], axis=2)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), picture())
    deep = (grey.astype(np.uint16) << 8) + 77
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.abs(read_image(tmp_path / "deep.png").astype(int) - grey[..., None]).max() <= 1
    Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (24, 40, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DekeyError, match=r"a\.(jpg|png)"):
        read_image(file)


def test_what_is_no_picture_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    for name, says in [("text.jpg", "cannot be opened"), ("empty.png", "cannot be opened"), ("gone.jpg", "does not exist")]:
        for function in (read_image, image_size):
            with pytest.raises(DekeyError, match=says):
                function(tmp_path / name)
    with pytest.raises(DekeyError, match="is a folder"):
        read_image(tmp_path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 500)
    with pytest.raises(DekeyError, match="more than the limit of 500"):
        read_image(tmp_path / "a.png")


def late_exif(png: bytes) -> bytes:
    """Put the EXIF block of a PNG behind its pixels."""
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    return png[:start] + png[end:-12] + png[start:end] + png[-12:]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_header_of_a_png_is_read_without_its_pixels(
    tmp_path: Path, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(picture(32, 48)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "b.png").write_bytes(late_exif((tmp_path / "a.png").read_bytes()))
    Image.fromarray(picture(32, 48)).save(tmp_path / "c.png")
    shown = [read_image(tmp_path / name) for name in ("a.png", "b.png")]
    np.testing.assert_array_equal(shown[0], shown[1])

    def refuse(self: Any) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(PngImageFile, "load", refuse)
    assert [images.read_header(tmp_path / name).orientation for name in ("a.png", "b.png", "c.png")] == [orientation] * 2 + [1]
    assert image_size(tmp_path / "b.png") == shown[1].shape[:2]


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path: Path, orientation: int) -> None:
    """OpenCV, which decodes, does not know of it; Pillow would."""
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:D tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    Image.fromarray(picture(32, 48)).save(tmp_path / "a.jpg", xmp=xmp)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.getexif().get(ORIENTATION) == orientation
    assert images.read_header(tmp_path / "a.jpg").orientation == 1
    assert read_image(tmp_path / "a.jpg").shape == (32, 48, 3)


@pytest.mark.parametrize(("width", "height"), [(16320, 12240), (30000, 20000)])
def test_the_limit_of_pixels_is_our_own(tmp_path: Path, width: int, height: int) -> None:
    """A telephone's 200 million are more than Pillow opens by itself."""
    head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    if width * height <= images.MAX_PIXELS:
        assert image_size(tmp_path / "a.png") == (height, width)
    else:
        with pytest.raises(DekeyError, match="more than the limit of 400000000; cut it into tiles"):
            image_size(tmp_path / "a.png")

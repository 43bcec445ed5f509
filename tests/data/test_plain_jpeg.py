from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.data.images import FORMATS, read_header
from dekey.data.plain_jpeg import HEAD_BYTES, plain_jpeg_size


def jpeg(mode: str = "RGB", size: tuple[int, int] = (40, 24), **settings: Any) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.frombytes("RGBA", size, pixels.tobytes()).convert(mode).save(stream, "JPEG", **settings)
    return stream.getvalue()


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


PROFILE = b"\0" * 3144


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": "L"},
        {"progressive": True, "optimize": True},
        {"subsampling": 0, "quality": 95},
        {"size": (1, 1)},
        {"size": (5000, 3)},
        {"comment": b"seen from above"},
        {"icc_profile": PROFILE},
        {"restart_marker_rows": 1},
    ],
    ids=str,
)
def test_the_size_of_a_plain_jpeg_is_found(settings: dict[str, Any]) -> None:
    width, height = settings.get("size", (40, 24))
    assert plain_jpeg_size(jpeg(**settings)) == (height, width)


@pytest.mark.parametrize(
    "data",
    [
        with_exif(),
        jpeg("CMYK"),
        jpeg(xmp=b'<rdf:Description tiff:Orientation="6"/>'),
        jpeg(icc_profile=b"\0" * HEAD_BYTES)[:HEAD_BYTES],
        jpeg().replace(b"\xff\xc0", b"\xff\xc9"),
        jpeg().replace(b"\xff\xc0", b"\xff\xff\xc0"),
        jpeg().replace(b"\x00\x18\x00\x28", b"\x00\x00\x00\x28"),
        jpeg()[:20],
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
    ids=["EXIF", "four colours", "XMP", "long", "arithmetic", "fill bytes", "no height", "cut", "start", "PNG", "empty"],
)
def test_all_else_is_left_to_pillow(data: bytes) -> None:
    assert plain_jpeg_size(data) is None


def test_two_frames_are_left_to_pillow() -> None:
    data = jpeg()
    frame = data.index(b"\xff\xc0")
    assert plain_jpeg_size(data[:frame] + data[frame : frame + 19] + data[frame:]) is None


def test_a_header_says_the_same_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in {"plain.jpg": jpeg(), "turned.jpg": with_exif()}.items():
        (tmp_path / name).write_bytes(data)
        quick = read_header(tmp_path / name)
        with monkeypatch.context() as patched:
            patched.setattr("dekey.data.images.plain_jpeg_size", lambda head: None)
            assert read_header(tmp_path / name) == quick


def test_of_a_spoilt_header_it_never_says_another_size_than_pillow() -> None:
    rng = np.random.default_rng(7)
    originals = [jpeg(), with_exif(), jpeg(progressive=True), jpeg(icc_profile=PROFILE), jpeg("L", comment=b"grey")]
    compared = 0
    for data in originals * 300:
        spoilt = bytearray(data)
        for place in rng.integers(2, 700, rng.integers(1, 4)):
            spoilt[place % len(spoilt)] = rng.choice([0, 1, 8, 0xC0, 0xC4, 0xE1, 0xFF, int(rng.integers(256))])
        found = plain_jpeg_size(bytes(spoilt[:HEAD_BYTES]))
        if found is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(spoilt), formats=FORMATS) as image:
                    turned = image.getexif().get(0x0112, 1)
                    assert (image.height, image.width, turned) == (*found, 1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # Pillow looks into tables that decoding will stumble over
        compared += 1
    assert compared > 500

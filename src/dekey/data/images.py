"""Reading pictures: the size without decoding, the pixels with a limit, the orientation as a viewer shows it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# A multi-picture JPEG (MPO, as telephones write it) is opened as JPEG; its first picture counts.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
# A picture above this many pixels is refused before it is decoded; 400 million take 1.2 GB as RGB.
MAX_PIXELS = 400_000_000
_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101


@contextmanager
def _opened(path: Path) -> Iterator[object]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except FileNotFoundError as error:
        raise DekeyError(f"image {path} does not exist; mend the path or name the folder with --images") from error
    except IsADirectoryError as error:
        raise DekeyError(f"{path} is a folder, expected an image file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DekeyError(f"image {path} cannot be opened ({_brief(error)}); replace the file or take it out") from error


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read (H, W) from the header alone, after the EXIF orientation, as `read_image` will give it.

    Raises:
        DekeyError: if the file is missing, no picture, or above `MAX_PIXELS`.
    """
    (height, width), orientation, _ = image_header(path)
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def image_header(path: str | os.PathLike[str]) -> tuple[tuple[int, int], int, str]:
    """Read from the header (H, W) as stored, the EXIF orientation (1 to 8, 1 is upright), and the kind, one of `FORMATS`.

    Raises:
        DekeyError: if the file is missing, no picture, or above `MAX_PIXELS`.
    """
    with _opened(Path(path)) as image:
        width, height = image.size  # type: ignore[attr-defined]
        kind: str = image.format  # type: ignore[attr-defined]
        if kind == "TIFF":
            # Some versions of Pillow give the size of a TIFF turned already, some do not; the tags are as stored.
            width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]  # type: ignore[attr-defined]
        if width * height > MAX_PIXELS:
            raise DekeyError(
                f"image {path} has {width}x{height} pixels, more than the limit of {MAX_PIXELS}; cut it into tiles"
            )
        orientation = image.getexif().get(_ORIENTATION, 1)  # type: ignore[attr-defined]
        return (height, width), orientation if orientation in range(1, 9) else 1, kind


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Decode a picture to (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    The header is checked against `MAX_PIXELS` first. Grey pictures get three equal channels, transparency is dropped,
    16-bit pictures are scaled to 8 bits.

    Raises:
        DekeyError: if the file is missing, broken (also cut short), or too large.
    """
    import cv2

    size = image_size(path)
    data = np.fromfile(path, dtype=np.uint8)
    if _cut_short(data):
        raise DekeyError(f"image {path} is cut short (its end marker is missing); replace the file or take it out")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DekeyError(f"image {path} cannot be decoded ({_brief(error)}); replace the file or take it out") from error
    if image is None or image.shape[:2] != size:
        found = "nothing" if image is None else f"{image.shape[1]}x{image.shape[0]}"
        raise DekeyError(f"image {path} decodes to {found}, expected {size[1]}x{size[0]}; replace the file or take it out")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)  # type: ignore[return-value]


def _cut_short(data: NDArray[np.uint8]) -> bool:
    """Tell whether a JPEG or PNG lacks its end; OpenCV fills such a picture with grey and says nothing."""
    head, tail = data[:8].tobytes(), data[-1024:].tobytes()
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail and b"\xff\xd9" not in data.tobytes()
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    return False


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else text[:117] + "..."

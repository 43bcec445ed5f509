"""Reading pictures: the size without decoding, the pixels with a limit, the orientation as a viewer shows it.

A JPEG can be decoded to 1/2, 1/4 or 1/8 of its sides for a fraction of the work: of each block of 8×8 frequencies only the
lower ones are turned back into pixels, which also keeps fine texture from aliasing. Blocks stay where they are, so pixel j of a
picture reduced by f covers j·f to (j + 1)·f of the image, counted from the corner that is stored first; a last column that lies
partly outside the image is filled up by what the encoder put there (libjpeg-turbo, "libjpeg.txt": the size is
``ceil(image_width * scale_num / scale_denom)``).
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.geometry import Affine, Size
from dekey.data.plain_jpeg import HEAD_BYTES, plain_jpeg_size
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# A multi-picture JPEG (MPO, as telephones write it) is opened as JPEG; its first picture counts.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
# A picture above this many pixels is refused before it is decoded; 400 million take 1.2 GB as RGB.
MAX_PIXELS = 400_000_000
# From here on Pillow warns, and from twice as many on `PIL.Image.open` refuses.
_PILLOW_PIXELS = 89_000_000
_ORIENTATION = 0x0112
_MOST_EXIF = 1 << 20
# A picture is as good as a view if it is larger by no more than this.
_NEARLY_DONE = 1.25
_JPEG = b"\xff\xd8"
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened_by_pillow(path) as image:
                yield image
    except FileNotFoundError as error:
        raise DekeyError(f"image {path} does not exist; mend the path or name the folder with --images") from error
    except IsADirectoryError as error:
        raise DekeyError(f"{path} is a folder, expected an image file") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DekeyError(f"image {path} cannot be opened ({_brief(error)}); replace the file or take it out") from error


def _opened_by_pillow(path: Path) -> Image.Image:
    """Open a picture, also one that is larger than Pillow likes: its limit is half of ours and one for the whole process."""
    from PIL import Image

    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        with path.open("rb") as stream:
            prefix = stream.read(16)
        for kind in FORMATS:
            factory, accept = Image.OPEN[kind]
            if accept is not None and accept(prefix) is True:
                return factory(str(path), str(path))  # type: ignore[arg-type]
        raise


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says before it is decoded.

    Attributes:
        path: the file.
        stored: (H, W) px as stored.
        orientation: EXIF's number, 1 to 8; 1 is upright.
        kind: of file, one of `FORMATS`.
    """

    path: Path
    stored: Size
    orientation: int
    kind: str

    @property
    def size(self) -> Size:
        """(H, W) px after the EXIF orientation, as `read_image` gives it."""
        return self.stored if self.orientation < 5 else (self.stored[1], self.stored[0])


@dataclass(frozen=True, eq=False)
class ReducedImage:
    """An image with fewer pixels than it has, or as many.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        size: (H, W) px of the image itself.
        image_to_pixels: affine from the image's frame into that of `pixels`; no turn, no mirror.
    """

    pixels: NDArray[np.uint8]
    size: Size
    image_to_pixels: Affine

    @classmethod
    def whole(cls, pixels: NDArray[np.uint8]) -> ReducedImage:
        """Take an image (H, W, 3) uint8 RGB with all its pixels."""
        return cls(pixels, (pixels.shape[0], pixels.shape[1]), geometry.identity())


def read_header(path: str | os.PathLike[str]) -> ImageHeader:
    """Read size, orientation and kind from the header alone.

    Raises:
        DekeyError: if the file is missing, no picture, or above `MAX_PIXELS`.
    """
    plain = _plain_size(path)
    if plain is not None:
        return ImageHeader(Path(path), plain, 1, "JPEG")
    with _opened(Path(path)) as image:
        width, height = image.size
        kind = str(image.format)
        if kind == "TIFF":
            # Some versions of Pillow give the size of a TIFF turned already, some do not; the tags are as stored.
            width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]  # type: ignore[attr-defined]
        if width * height > MAX_PIXELS:
            raise DekeyError(
                f"image {path} has {width}x{height} pixels, more than the limit of {MAX_PIXELS}; cut it into tiles"
            )
        orientation = _orientation(image, Path(path))
        return ImageHeader(Path(path), (height, width), orientation if orientation in range(1, 9) else 1, kind)


def _orientation(image: Image.Image, path: Path) -> Any:
    """Give what EXIF says of the orientation.

    Pillow's own answer is of no use: it also asks XMP and ImageMagick's profiles, which OpenCV, by which pictures are decoded,
    does not, and of a PNG without EXIF it decodes all pixels first, for there may be some behind them.
    """
    from PIL import Image

    if image.format == "TIFF":
        return image.tag_v2.get(_ORIENTATION, 1)  # type: ignore[attr-defined]
    data = image.info.get("exif") or (_exif_behind_pixels(path) if image.format == "PNG" else None)
    if not data:
        return 1
    exif = Image.Exif()
    exif.load(data)
    return exif.get(_ORIENTATION, 1)


def _exif_behind_pixels(path: Path) -> bytes | None:
    """Give the EXIF block of a PNG, wherever it lies, by stepping from chunk to chunk."""
    with path.open("rb") as stream:
        stream.seek(8)
        while len(head := stream.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"eXIf":
                return stream.read(min(length, _MOST_EXIF))
            stream.seek(length + 4, os.SEEK_CUR)
    return None


def _plain_size(path: str | os.PathLike[str]) -> Size | None:
    """Give (H, W) of a JPEG that a glance suffices for; None for all that Pillow opens, or tells the fault of."""
    try:
        with open(path, "rb") as stream:
            size = plain_jpeg_size(stream.read(HEAD_BYTES))
    except OSError:
        return None
    return size if size is not None and size[0] * size[1] <= min(_PILLOW_PIXELS, MAX_PIXELS) else None


def image_size(path: str | os.PathLike[str]) -> Size:
    """Read (H, W) from the header alone, see `read_header`."""
    return read_header(path).size


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Decode a picture to (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    The header is checked against `MAX_PIXELS` first. Grey pictures get three equal channels, transparency is dropped,
    16-bit pictures are scaled to 8 bits.

    Raises:
        DekeyError: if the file is missing, broken (also cut short), or too large.
    """
    return read_reduced(read_header(path)).pixels


def read_reduced(header: ImageHeader, magnification: float = 1.0) -> ReducedImage:
    """Decode a picture to no fewer pixels than a view of it shows.

    Only a JPEG is reduced, see `reduction`: a view is never enlarged because of it. All else is as in `read_image`.

    Args:
        header: of the file.
        magnification: px of the view for a px of the image; of several views the largest.

    Raises:
        DekeyError: if the file is broken (also cut short).
    """
    import cv2

    path, size = header.path, header.size
    data = np.fromfile(path, dtype=np.uint8)
    if _cut_short(data):
        raise DekeyError(f"image {path} is cut short (its end marker is missing); replace the file or take it out")
    factor = reduction(magnification) if data[:2].tobytes() == _JPEG else 1
    try:
        image = cv2.imdecode(data, _reading(factor))
        # A lossless JPEG has no frequencies, and comes back whole.
        if factor > 1 and image is not None and image.shape[:2] == size:
            factor = 1
    except cv2.error as error:
        raise DekeyError(f"image {path} cannot be decoded ({_brief(error)}); replace the file or take it out") from error
    expected = -(-size[0] // factor), -(-size[1] // factor)
    if image is None or image.shape[:2] != expected:
        found = "nothing" if image is None else f"{image.shape[1]}x{image.shape[0]}"
        raise DekeyError(
            f"image {path} decodes to {found}, expected {expected[1]}x{expected[0]}; replace the file or take it out"
        )
    pixels: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)  # type: ignore[assignment]
    return ReducedImage(pixels, size, _image_to_pixels(header, factor))


def reduction(magnification: float) -> int:
    """Give by what of 8, 4, 2 and 1 a picture may be divided for a view of this magnification.

    A view is never enlarged because of it. Whole blocks are cut off a little sharper than by averaging areas, and answers of a
    detector moved measurably where 4 or 8 did all of the work (docs/results.md). So what is left to do is enough for
    `geometry.warp` to average areas after it, or the picture is divided by 2 and hardly anything is left.

    >>> [reduction(magnification) for magnification in (2.0, 0.51, 0.5, 0.4, 0.3, 0.25, 0.125, 0.0625)]
    [1, 1, 2, 2, 1, 2, 4, 8]
    """
    for factor in (8, 4, 2):
        left = 1 / max(factor * magnification, 1e-9)
        if left >= 2 or (factor == 2 and 1 - 1e-9 <= left <= _NEARLY_DONE):
            return factor
    return 1


def _reading(factor: int) -> int:
    import cv2

    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    return flags[factor]


def _image_to_pixels(header: ImageHeader, factor: int) -> Affine:
    """Divide by the factor; where the orientation mirrors an axis, what lies outside the image comes first, not last."""
    height, width = header.size
    # The sides of the shown picture at which the stored one ends.
    ends_left, ends_top = header.orientation in (2, 3, 6, 7), header.orientation in (3, 4, 7, 8)
    x, y = -width % factor if ends_left else 0, -height % factor if ends_top else 0
    return geometry.compose(geometry.translate(x, y), geometry.scale(1 / factor))


def _cut_short(data: NDArray[np.uint8]) -> bool:
    """Tell whether a JPEG or PNG lacks its end; OpenCV fills such a picture with grey and says nothing."""
    head, tail = data[:8].tobytes(), data[-1024:].tobytes()
    if head.startswith(_JPEG):
        return b"\xff\xd9" not in tail and b"\xff\xd9" not in data.tobytes()
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    return False


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else text[:117] + "..."

"""Frames of SLEAP files: inside the file itself, or in a video beside it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.frames import Frame
from dekey.data.images import FORMATS, MAX_PIXELS
from dekey.errors import DekeyError
from dekey.formats.files import extra_module

_MAX_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class EmbeddedFrame(Frame):
    """A frame inside an HDF5 file: as the bytes of an image file, or as plain pixels.

    Attributes:
        name: a file name for it.
        path: the HDF5 file.
        dataset: the HDF5 dataset.
        row: which entry of it.
        reversed: whether the bytes were encoded with red and blue exchanged (SLEAP files before format 1.4).
    """

    name: str
    path: Path
    dataset: str
    row: int
    reversed: bool

    def __str__(self) -> str:
        return f"{self.path}#{self.dataset}/{self.row}"

    def read(self) -> NDArray[np.uint8]:
        """Decode the picture, see `Frame.read`; the size is checked before."""
        h5py = extra_module("h5py")
        try:
            with h5py.File(self.path, "r") as file:
                data = file[self.dataset]
                if data.ndim == 4 and int(np.prod(data.shape[1:])) * data.dtype.itemsize > _MAX_BYTES:
                    raise ValueError("it is too large")
                values = np.asarray(data[self.row])
        except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
            raise DekeyError(f"frame {self} cannot be read ({error}); pack the labels again") from error
        if values.ndim == 3:
            pixels = values if values.shape[-1] in (1, 3) else values.transpose(2, 1, 0)
            return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))
        return self._decoded(values.astype(np.uint8))

    def _decoded(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data.tobytes()), formats=FORMATS) as head:
                width, height = head.size
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise DekeyError(f"frame {self} is no image that dekey reads; pack the labels again") from error
        if width * height > MAX_PIXELS:
            raise DekeyError(f"frame {self} has {width}x{height} pixels, more than the limit of {MAX_PIXELS}")
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if image is None:
            raise DekeyError(f"frame {self} cannot be decoded; pack the labels again")
        return np.ascontiguousarray(image if self.reversed else image[..., ::-1]).astype(np.uint8)


@dataclass(frozen=True)
class VideoFrame(Frame):
    """A frame of a video file.

    Attributes:
        name: a file name for it.
        path: the video.
        index: which frame, from 0.
    """

    name: str
    path: Path
    index: int

    def __str__(self) -> str:
        return f"{self.path}#{self.index}"

    def read(self) -> NDArray[np.uint8]:
        """Decode the frame, see `Frame.read`."""
        import cv2

        video = _video(self.path)
        try:
            video.set(cv2.CAP_PROP_POS_FRAMES, self.index)
            read, image = video.read()
        finally:
            video.release()
        if not read:
            raise DekeyError(f"frame {self.index} of {self.path} cannot be read; check that it is the video that was labelled")
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8)


def video_size(path: Path) -> tuple[int, int, int]:
    """Give H, W px and the number of frames of a video file.

    Raises:
        DekeyError: if it cannot be opened, or its frames are too large.
    """
    import cv2

    video = _video(path)
    try:
        sides = [int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_COUNT)]
    finally:
        video.release()
    if not 0 < sides[0] * sides[1] <= MAX_PIXELS:
        raise DekeyError(f"the video {path} has frames of {sides[1]}x{sides[0]} pixels, more than the limit or none")
    return sides[0], sides[1], sides[2]


def _video(path: Path) -> Any:
    import cv2

    video = cv2.VideoCapture(str(path))
    if not path.is_file() or not video.isOpened():
        video.release()
        raise DekeyError(f"the video {path} cannot be opened; restore it, or name its folder with --images")
    return video

"""Pictures in grey, reduced while they are decoded; the means of their parts, the same whatever file they come from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Picture
from dekey.data.frames import Frame
from dekey.data.images import read_header, read_image


@dataclass(frozen=True)
class Small:
    """A picture in grey, reduced while it was decoded.

    Attributes:
        grey: (h, w) uint8, as stored in the file.
        extent: (h, w) px of `grey` that the picture takes: a JPEG is reduced by whole blocks, so that its last row and
            column may hold the filling of blocks that the picture does not fill.
        orientation: of EXIF, 1 for upright.
    """

    grey: NDArray[np.uint8]
    extent: tuple[float, float]
    orientation: int = 1

    @property
    def ratio(self) -> float:
        """Width over height, upright."""
        height, width = self.extent
        return height / width if self.orientation > 4 else width / height

    def cells(self, side: int) -> NDArray[np.float32]:
        """Give the means (side, side) of equal parts of the picture, upright."""
        import cv2

        values = self.grey.astype(np.float32)
        if self.extent == self.grey.shape:
            cells = np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
        else:
            down, across = (_shares(count, extent, side) for count, extent in zip(values.shape, self.extent, strict=True))
            cells = down @ values @ across.T
        turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(self.orientation, 0)
        upright: NDArray[np.float32] = np.rot90(cells, turns)
        mirrored = {2: 1, 4: 1, 5: 0, 7: 0}.get(self.orientation)
        return upright if mirrored is None else np.flip(upright, mirrored)


def _shares(count: int, extent: float, side: int) -> NDArray[np.float32]:
    """Give (side, count) how much each of `count` pixels is of each of `side` equal parts of [0, extent].

    A last pixel that lies partly beyond the extent counts for nothing, since what is beyond is mixed into it.
    """
    edges, pixels = np.linspace(0, extent, side + 1), np.arange(count)
    shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares = np.maximum(shares, 0)
    if count > extent and (shares[:, :-1] > 0).any(axis=1).all():
        shares[:, -1] = 0
    found: NDArray[np.float32] = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def read_small(picture: Picture, least: int = 64) -> Small:
    """Read a picture in grey; a JPEG reduced while it is decoded, if it stays at least `least` px high and wide.

    Raises:
        DekeyError: if it is missing, broken or too large.
    """
    import cv2

    if isinstance(picture, Frame):
        picture = picture.read()
    if not isinstance(picture, Path):
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return Small(grey, grey.shape)
    header = read_header(picture)
    size = header.stored
    factor = next((step for step in (8, 4, 2) if header.kind == "JPEG" and min(size) // least >= step), 1)
    if factor > 1:
        mode = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}[factor]
        with suppress(cv2.error):
            reduced = cv2.imdecode(np.fromfile(picture, dtype=np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
            if reduced is not None and reduced.shape == tuple(-(-side // factor) for side in size):
                return Small(np.asarray(reduced, dtype=np.uint8), (size[0] / factor, size[1] / factor), header.orientation)
    grey = np.asarray(cv2.cvtColor(read_image(picture), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return Small(grey, grey.shape)

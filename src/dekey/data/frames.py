"""Pictures that lie inside another file, a video or a package, and are decoded when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError

if TYPE_CHECKING:
    from dekey.data.dataset import Dataset


class Frame(ABC):
    """A picture inside a file; it holds where the picture lies, not its pixels, and can be pickled.

    Attributes:
        name: a file name for it, such as ``run_000012.png``.
    """

    name: str

    @abstractmethod
    def read(self) -> NDArray[np.uint8]:
        """Decode the picture to (H, W, 3) uint8 RGB.

        Raises:
            DekeyError: if the file is missing or broken, or the picture too large.
        """


def save_frames(dataset: Dataset, folder: Path) -> Dataset:
    """Write the frames of a data set as PNG files, and give the data set that names these files.

    Args:
        dataset: pictures that are files stay where they are.
        folder: an existing folder.

    Raises:
        DekeyError: if a file of that name exists, or a frame cannot be read or written.
    """
    import cv2

    pictures = []
    for index, picture in enumerate(dataset.pictures):
        if isinstance(picture, Frame):
            target = folder / picture.name
            if target.exists():
                raise DekeyError(f"{target} exists; name another folder for the frames")
            coded, data = cv2.imencode(".png", dataset[index].read_image()[..., ::-1])
            assert coded
            target.write_bytes(data.tobytes())
            pictures.append(target)
        else:
            pictures.append(picture)  # type: ignore[arg-type]
    return replace(dataset, pictures=pictures)

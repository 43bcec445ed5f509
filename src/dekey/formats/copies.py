"""Images brought along where a format keeps them in its own folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from dekey.data.dataset import Dataset
from dekey.errors import DekeyError
from dekey.formats.pictures import picture_file


def copy_picture(dataset: Dataset, index: int, target: Path) -> None:
    """Copy the file of an image byte by byte.

    Raises:
        DekeyError: if the image has no file, or it cannot be copied.
    """
    picture = picture_file(dataset, index)
    try:
        shutil.copyfile(picture, target)
    except OSError as error:
        reason = error.strerror or error
        raise DekeyError(
            f"image {picture} cannot be copied ({reason}); restore it, or name its folder with --images"
        ) from error

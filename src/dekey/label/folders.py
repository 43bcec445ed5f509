"""Pictures in ImageNet's layout: a folder for each class, whose name is the name of the class.

Where the folder has a part for training, ``train``, with the folders of the classes, and parts for testing (``test``, ``val``,
``valid``, ``validation``) or nothing else, all are read, and what is for testing is set aside. A part for testing whose
pictures lie in no folders names no classes and is left out, as is whatever lies beside the parts. Links are not followed: what
is read lies in the folder that was named; hidden folders and files are left out. Pictures may lie deeper inside the folder of
their class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.data.images import IMAGE_SUFFIXES, image_size, read_image
from dekey.errors import DekeyError

TESTING = ("test", "val", "valid", "validation")
# ImageNet has 1.4 million; beyond the limit the folder is not what was meant.
MAX_PICTURES = 5_000_000
# A picture above this many pixels is no classification picture, and segmenting decodes every one.
MAX_PIXELS = 100_000_000
_DEPTH = 8


def recognises(path: Path) -> bool:
    """Tell whether a folder has a folder with a picture in it."""
    return any(map(_has_picture, _folders(path)))


def open_folders(path: Path) -> Folders:
    """List the pictures of a folder, see `Folders`.

    Raises:
        DekeyError: if there are too many, or a class has pictures for testing alone.
    """
    return Folders(path)


class Folders:
    """Pictures in folders of classes, in the order of the names; see `dekey.label.sources.Pictures`."""

    def __init__(self, path: Path) -> None:
        parts = _parts(path)
        self.classes = tuple(sorted({folder.name for root, _ in parts for folder in _folders(root) if _has_picture(folder)}))
        position = {name: index for index, name in enumerate(self.classes)}
        files: list[Path] = []
        labels: list[int] = []
        tested: list[bool] = []
        for root, testing in parts:
            for folder in _folders(root):
                for file in _pictures(folder):
                    files.append(file)
                    labels.append(position[folder.name])
                    tested.append(testing)
                    if len(files) > MAX_PICTURES:
                        raise DekeyError(f"{path} holds more than {MAX_PICTURES:,} pictures; name a part of it")
        self.files: Sequence[Path] | None = files
        self._paths = files
        self.labels: NDArray[np.int64] = np.array(labels, dtype=np.int64)
        self.names = [file.relative_to(path).as_posix() for file in files]
        self.tested: NDArray[np.bool_] | None = np.array(tested, dtype=np.bool_) if any(tested) else None
        learnt = {label for label, testing in zip(labels, tested, strict=True) if not testing}
        unlearnt = [name for name, index in position.items() if index not in learnt]
        if unlearnt:
            raise DekeyError(
                f"the class '{unlearnt[0]}' has no picture to learn from in {parts[0][0]}, expected some of each class; "
                "put some there, or take its folder out of the part for testing"
            )

    def read(self, index: int) -> NDArray[np.uint8]:
        """Decode a picture to (H, W, 3) uint8 RGB.

        Raises:
            DekeyError: if it is broken or too large.
        """
        path = self._paths[index]
        height, width = image_size(path)
        if height * width > MAX_PIXELS:
            raise DekeyError(f"image {path} has {width}x{height} pixels, more than the limit of {MAX_PIXELS}; make it smaller")
        return read_image(path)


def _parts(path: Path) -> list[tuple[Path, bool]]:
    """Give the folders that hold classes, and whether each is for testing; the one for training comes first."""
    named = {folder.name.lower(): folder for folder in _folders(path)}
    testing = [named[name] for name in TESTING if name in named]
    alone = not any(_has_picture(folder) for name, folder in named.items() if name != "train")
    if "train" in named and (testing or alone) and recognises(named["train"]):
        return [(named["train"], False), *((part, True) for part in testing if recognises(part))]
    return [(path, False)]


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.is_symlink() and not each.name.startswith("."))


def _has_picture(folder: Path) -> bool:
    return next(_pictures(folder), None) is not None


def _pictures(folder: Path, depth: int = 0) -> Iterator[Path]:
    for each in sorted(folder.iterdir()):
        if each.is_symlink() or each.name.startswith("."):
            continue
        if each.is_dir():
            if depth < _DEPTH:
                yield from _pictures(each, depth + 1)
        elif each.suffix.lower() in IMAGE_SUFFIXES and each.is_file():
            yield each

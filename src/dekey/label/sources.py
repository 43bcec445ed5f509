"""Where classification pictures come from: one class a picture, known by the folder or the record it lies in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError
from dekey.label import batches, folders


class Pictures(Protocol):
    """Pictures of known classes, read one at a time."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """P names, each once: a path below the folder, or file and record."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each picture, (P,) int64."""
        ...

    @property
    def tested(self) -> NDArray[np.bool_] | None:
        """Which pictures the source itself sets aside for testing, (P,) bool; None where it sets none aside."""
        ...

    @property
    def files(self) -> Sequence[Path] | None:
        """P paths, or None where the pictures are records of larger files."""
        ...

    def read(self, index: int) -> NDArray[np.uint8]:
        """Give picture `index` as (H, W, 3) uint8 RGB; raises DekeyError where it is broken."""
        ...


@dataclass(frozen=True)
class Source:
    """A layout of classification pictures: its name in a sentence, how it is recognised, how it is opened."""

    title: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path], Pictures]


SOURCES: dict[str, Source] = {
    "cifar": Source("CIFAR binary batches (*.bin)", batches.recognises, batches.open_batches),
    "folders": Source("a folder of pictures for each class", folders.recognises, folders.open_folders),
}


def open_pictures(path: Path) -> Pictures:
    """Open classification pictures, whatever their layout.

    Raises:
        DekeyError: if the folder does not exist or holds no layout of `SOURCES`.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DekeyError(f"{path} {what}, expected a folder of classification pictures; name the folder that holds the classes")
    for source in SOURCES.values():
        if source.recognises(path):
            return source.open(path)
    batches.refuse_pickles(path)
    titles = " or ".join(source.title for source in SOURCES.values())
    raise DekeyError(f"{path} holds no classification pictures, expected {titles}")


def divide(pictures: Pictures, share: float, seed: int) -> NDArray[np.bool_]:
    """Say which pictures are set aside for testing: those that the source sets aside, else a share of each class.

    Args:
        pictures: P pictures.
        share: of each class, rounded, where the source itself sets none aside.
        seed: the same seed gives the same division.

    Returns:
        (P,) bool.
    """
    if pictures.tested is not None:
        return pictures.tested
    rng = np.random.default_rng([seed, 1])
    tested = np.zeros(len(pictures.names), dtype=np.bool_)
    for label in range(len(pictures.classes)):
        own = rng.permutation(np.flatnonzero(pictures.labels == label))
        tested[own[: round(share * len(own))]] = True
    return tested

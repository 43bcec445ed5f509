"""CIFAR's binary batches (cs.toronto.edu/~kriz/cifar.html, "Binary version").

Layout: records of fixed length without a header; one byte the class, then 3,072 bytes the picture of 32x32 pixels, the red
plane, the green one, the blue one, each row by row. ``batches.meta.txt`` holds the names of the classes, one a line; without
it they are those of CIFAR-10. A file whose name begins with ``test`` is set aside for testing. The Python version of the same
data is a pickle, which could run any code, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.errors import DekeyError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
NAMES_FILE = "batches.meta.txt"
# All batches of CIFAR-10 together take 184 MB; a file above the limit is something else.
MAX_BYTES = 2 * 1024**3
_MAX_NAMES_BYTES = 65_536
# CIFAR-100 has two class bytes a record.
_TWO_LABEL_BYTES = RECORD_BYTES + 1


def recognises(path: Path) -> bool:
    """Tell whether a folder holds ``*.bin`` files itself or in one folder below."""
    return bool(_batches(path))


def open_batches(path: Path) -> Batches:
    """Open every ``*.bin`` file of a folder, see `Batches`.

    Raises:
        DekeyError: if a file is no whole number of records, too large, or names a class that has no name.
    """
    return Batches(_batches(path))


def refuse_pickles(path: Path) -> None:
    """Raise a DekeyError if a folder holds the Python version of CIFAR, which is a pickle."""
    for folder in (path, *_folders(path)):
        for file in sorted(folder.glob("*batch*")):
            if file.is_file() and not file.is_symlink() and file.suffix == "":
                with file.open("rb") as stream:
                    if stream.read(1) == b"\x80":
                        raise DekeyError(
                            f"{file} is the Python version of CIFAR, a pickle, which could run any code and is not opened; "
                            "download the binary version (cifar-10-binary.tar.gz) and name its folder"
                        )


class Batches:
    """The pictures of CIFAR's binary files, in the order of the file names; see `dekey.label.sources.Pictures`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.classes = _class_names(paths[0].parent)
        self.files: Sequence[Path] | None = None
        self._records = [_open(path) for path in paths]
        self._starts = np.cumsum([0, *(len(records) for records in self._records)])
        self.labels: NDArray[np.int64] = np.concatenate([records[:, 0] for records in self._records]).astype(np.int64)
        if self.labels.max() >= len(self.classes):
            raise DekeyError(
                f"{paths[0].parent} names class {self.labels.max()} but there are names for {len(self.classes)}; "
                f"list one name a line in {NAMES_FILE}"
            )
        self.names = [
            f"{path.stem}-{index:05d}"
            for path, records in zip(paths, self._records, strict=True)
            for index in range(len(records))
        ]
        tested = np.repeat([path.name.startswith("test") for path in paths], np.diff(self._starts))
        self.tested: NDArray[np.bool_] | None = tested if tested.any() and not tested.all() else None

    def read(self, index: int) -> NDArray[np.uint8]:
        """Give a picture as (32, 32, 3) uint8 RGB."""
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        planes = self._records[batch][index - self._starts[batch], 1:]
        return np.ascontiguousarray(planes.reshape(3, SIDE, SIDE).transpose(1, 2, 0))


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.is_symlink())


def _batches(path: Path) -> list[Path]:
    """List the ``*.bin`` files of the first folder that has some: the named one, then those in it."""
    for folder in (path, *_folders(path)):
        found = sorted(file for file in folder.glob("*.bin") if file.is_file() and not file.is_symlink())
        if found:
            return found
    return []


def _open(path: Path) -> NDArray[np.uint8]:
    """Map a file to memory as records (R, 3073) uint8."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DekeyError(f"{path} has {size / 1e9:.1f} GB, above the limit of {MAX_BYTES / 1e9:.1f} GB; it is no CIFAR batch")
    if size == 0 or size % RECORD_BYTES:
        hint = "CIFAR-100 has two class bytes a record; " if size and size % _TWO_LABEL_BYTES == 0 else ""
        raise DekeyError(
            f"{path} has {size} bytes, expected whole records of {RECORD_BYTES} (1 class, 3072 pixels); {hint}"
            "name a folder of CIFAR-10's binary version, or take other *.bin files out"
        )
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(size // RECORD_BYTES, RECORD_BYTES))


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / NAMES_FILE
    if not path.is_file() or path.is_symlink():
        return CIFAR10
    if path.stat().st_size > _MAX_NAMES_BYTES:
        raise DekeyError(f"{path} has {path.stat().st_size} bytes, expected one class name a line; mend it or take it out")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DekeyError(f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names) or not all(name.isprintable() for name in names):
        raise DekeyError(f"{path} holds {len(names)} names, expected one printable name a line, each once; mend it")
    return names

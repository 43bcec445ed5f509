"""The table of formats, and reading and writing by it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dekey.data.dataset import Dataset, Problem
from dekey.errors import DekeyError, nearest
from dekey.formats import coco
from dekey.formats.files import checked_file


class Read(Protocol):
    """How a format reads."""

    def __call__(self, path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
        """Read a file; leave broken records out, or keep what can be read of them, and name them in the problems."""


class Recognises(Protocol):
    """How a format knows its files."""

    def __call__(self, path: Path) -> bool:
        """Tell by its content whether a file is of the format."""


class Write(Protocol):
    """How a format writes."""

    def __call__(self, dataset: Dataset, path: Path) -> None:
        """Write a data set to a file, whole or not at all."""


@dataclass(frozen=True)
class Format:
    """A file format: what it is called in a sentence, and its three functions."""

    title: str
    recognises: Recognises
    read: Read
    write: Write


FORMATS: dict[str, Format] = {
    "coco": Format("COCO keypoints JSON", coco.recognises, coco.read, coco.write),
}


def recognise(path: str | os.PathLike[str]) -> str:
    """Give the name of the format of a file, by its content.

    Raises:
        DekeyError: if there is no such file, or no format knows it.
    """
    file = checked_file(Path(path))
    for name, known in FORMATS.items():
        if known.recognises(file):
            return name
    with file.open("rb") as stream:
        head = stream.read(4096).lstrip()
    if head.startswith(b"[") and b'"image_id"' in head and b'"score"' in head:
        raise DekeyError(f"{path} holds COCO results (a list with scores), expected annotations; name the file of the truth")
    raise DekeyError(f"{path} is in no known format; expected {_titles()}")


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word that the command line uses too
    images: str | os.PathLike[str] | None = None,
    problems: Literal["raise", "drop", "keep"] = "raise",
) -> Dataset:
    """Read an annotation file, without opening its images.

    Args:
        path: the file.
        format: a key of `FORMATS`; by default the content decides.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        problems: what to do with records that cannot be read whole. "raise" stops at them; "drop" leaves them out;
            "keep" keeps what can be read of them. The latter two name them in `Dataset.problems`. What can be checked
            afterwards, such as a box outside its image, is found by `dekey.data.problems.find_problems`.

    Returns:
        The data set.

    Raises:
        DekeyError: if the file is missing, of no known format, broken, or holds broken records and `problems` is "raise".
    """
    file, folder = Path(path), None if images is None else Path(images)
    known = _known(recognise(file) if format is None else format)
    checked_file(file)
    if folder is not None and not folder.is_dir():
        raise DekeyError(f"the image folder {folder} does not exist; check --images")
    dataset = known.read(file, images=folder, keep=problems == "keep")
    errors = [each for each in dataset.problems if each.severity == "error"]
    if errors and problems == "raise":
        raise DekeyError(_sentence(file, errors))
    return dataset


def write(dataset: Dataset, path: str | os.PathLike[str], *, format: str | None = None) -> None:  # noqa: A002
    """Write an annotation file; an existing one is replaced only when the new one is whole.

    Args:
        dataset: what to write.
        path: the file.
        format: a key of `FORMATS`; by default COCO keypoints JSON.

    Raises:
        DekeyError: if the format is unknown, the folder does not exist, or the data do not fit the format.
    """
    _known(format or "coco").write(dataset, Path(path))


def _known(name: str) -> Format:
    if name not in FORMATS:
        raise DekeyError(f"there is no format '{name}'{nearest(name, FORMATS)}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _titles() -> str:
    return " or ".join(known.title for known in FORMATS.values())


def _sentence(path: Path, errors: Sequence[Problem]) -> str:
    if len(errors) == 1:
        return f"{path}: {errors[0]} (`dekey inspect {path}` tells more)"
    return f"{path} has {len(errors)} errors, the first: {errors[0]} (`dekey inspect {path}` lists them all)"

"""Reading and writing label files by the table of formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dekey.data.dataset import Dataset, Problem
from dekey.errors import DekeyError, nearest
from dekey.formats.base import Format
from dekey.formats.files import checked_path
from dekey.formats.fitting import fitted
from dekey.formats.foreign import describe
from dekey.formats.names import check_names
from dekey.formats.table import FORMATS

WAYS = ("raise", "drop", "keep")
"""What `read` can do with records that cannot be read whole."""


def recognise(path: str | os.PathLike[str]) -> str:
    """Give the name of the format of a file or folder, by its content.

    Raises:
        DekeyError: if there is no such file, no format knows it, or several do.
    """
    file = checked_path(Path(path))
    names = [name for name, known in FORMATS.items() if known.recognises(file)]
    if len(names) == 1:
        return names[0]
    if names:
        listed = " and ".join(f"{FORMATS[name].title} (--format {name})" for name in names)
        raise DekeyError(f"{path} may be {listed}; say which with --format, or first `dekey convert --from` it")
    if file.is_dir():
        raise DekeyError(f"{path} is a folder in no known format; name the label file in it, or one of: {_titles(folder=True)}")
    meaning = describe(file)
    if meaning is not None:
        raise DekeyError(f"{path} {meaning}")
    raise DekeyError(f"{path} is in no known format; expected {_titles()}")


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word that the command line uses too
    images: str | os.PathLike[str] | None = None,
    problems: Literal["raise", "drop", "keep"] = "raise",
) -> Dataset:
    """Read a label file, or a folder where the format is one, without opening its images.

    Args:
        path: the file or folder.
        format: a key of `FORMATS`; by default the content decides.
        images: folder where the image names start; by default the file's folder or its ``images/``.
        problems: what to do with records that cannot be read whole. "raise" stops at them; "drop" leaves them out;
            "keep" keeps what can be read of them. The latter two name them in `Dataset.problems`. What can be checked
            afterwards, such as a box outside its image, is found by `dekey.data.problems.find_problems`.

    Returns:
        The data set.

    Raises:
        DekeyError: if the file is missing, of no known format, broken, or holds broken records and `problems` is "raise"; or
            if `problems` is none of the three.
    """
    if problems not in WAYS:
        raise DekeyError(f"found problems='{problems}'{nearest(problems, WAYS)}, expected one of {', '.join(WAYS)}")
    file, folder = Path(path), None if images is None else Path(images)
    known = known_format(recognise(file) if format is None else format)
    checked_path(file)
    if folder is not None and not folder.is_dir():
        raise DekeyError(f"the image folder {folder} does not exist; check --images")
    try:
        dataset = known.read(file, images=folder, keep=problems == "keep")
    except DekeyError as error:
        if "\n" in str(error):  # names come from the file, and a sentence is one line
            raise DekeyError(" ".join(str(error).split())) from error
        raise
    errors = [each for each in dataset.problems if each.severity == "error"]
    if errors and problems == "raise":
        raise DekeyError(" ".join(_sentence(file, errors).split()))
    return dataset


def write(dataset: Dataset, path: str | os.PathLike[str], *, format: str | None = None) -> None:  # noqa: A002
    """Write a label file; an existing one is replaced only when the new one is whole.

    What the format cannot hold is lost; `dekey.formats.losses` says beforehand what that is.

    Args:
        dataset: what to write.
        path: the file or folder.
        format: a key of `FORMATS`; by default COCO keypoints JSON.

    Raises:
        DekeyError: if the format is unknown or cannot be written, none is given for a name that ends as another format's
            files do, the folder does not exist, a name holds half a character, or the format cannot hold the data without
            making labels wrong.
    """
    name = format or "coco"
    known = known_format(name)
    suffix = Path(path).suffix.lower()
    others = [other for other, each in FORMATS.items() if suffix and each.suffix == suffix != known.suffix]
    if format is None and others:
        raise DekeyError(f"{path} would hold {known.title}; name it {known.suffix}, or say the format, such as '{others[0]}'")
    if known.write is None:
        raise DekeyError(f"{known.title} cannot be written ({known.note or 'it is read only'}); write one of: {_writable()}")
    check_names([*dataset.schema.classes, *dataset.schema.keypoints])
    check_names(dataset.picture_name(index) for index in range(len(dataset)))
    known.write(fitted(dataset, known), Path(path))


def format_for(path: str | os.PathLike[str]) -> str:
    """Choose the format to write by the ending of a file, or by there being none for a folder.

    Raises:
        DekeyError: if no format that can be written has this ending, or several have; names them.
    """
    file = Path(path)
    suffix = "" if file.is_dir() else file.suffix.lower()
    known = {name: each for name, each in FORMATS.items() if each.write is not None and each.suffix == suffix}
    if len(known) == 1:
        return next(iter(known))
    if known:
        raise DekeyError(f"{file.name} may become one of {', '.join(known)}; say which with --to")
    endings = ", ".join(f"{name} ({each.suffix or 'a folder'})" for name, each in FORMATS.items() if each.write is not None)
    raise DekeyError(f"no format ends in '{suffix}'; say with --to which one to write: {endings}")


def known_format(name: str) -> Format:
    """Give the format of a name; raises DekeyError with the nearest name."""
    if name not in FORMATS:
        raise DekeyError(f"there is no format '{name}'{nearest(name, FORMATS)}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _writable() -> str:
    return ", ".join(name for name, known in FORMATS.items() if known.write is not None)


def _titles(*, folder: bool = False) -> str:
    titles = [known.title for known in FORMATS.values() if not folder or known.suffix == ""]
    return ", ".join(titles[:-1]) + (" or " if len(titles) > 1 else "") + titles[-1] if titles else "a label file"


def _sentence(path: Path, errors: Sequence[Problem]) -> str:
    if len(errors) == 1:
        return f"{path}: {errors[0]} (`dekey inspect {path}` tells more)"
    return f"{path} has {len(errors)} errors, the first: {errors[0]} (`dekey inspect {path}` lists them all)"

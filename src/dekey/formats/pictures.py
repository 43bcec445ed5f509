"""Where the images of an annotation file lie, without looking for each of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from dekey.data.dataset import PictureFiles

# How many images, spread over the file, are looked for before the folder is decided.
_LOOKED_FOR = 32


def picture_files(annotations: Path, names: Sequence[str], images: Path | None) -> tuple[PictureFiles, dict[int, str]]:
    """Decide the image folder, and check that every name stays inside it.

    With `images` it is that folder. Without, it is the annotation file's folder or its ``images/``, whichever holds more
    of some 32 names taken from all over the list (the first one, if both hold as many). No other file is looked for.
    Backslashes count as slashes.

    Args:
        annotations: path of the annotation file.
        names: S names as the file writes them.
        images: the folder the caller names, or None.

    Returns:
        The files, and for every name that leaves the folder (by ``..``, or by an absolute path to elsewhere) its
        position and the reason; such a name is replaced by an empty one.
    """
    names = [name.replace("\\", "/") if "\\" in name else name for name in names]
    checked = list(names)
    folders = [annotations.parent, annotations.parent / "images"] if images is None else [images]
    refused: dict[int, str] = {}
    for index, name in enumerate(names):
        if not name or ".." in name or ":" in name or "\0" in name or name[0] == "/":
            reason = _reason(name, images)
            if reason:
                refused[index], checked[index] = reason, ""
    step = max(len(names) // _LOOKED_FOR, 1)
    probes = [name for name in checked[::step] if name]
    counts = [sum((folder / name).is_file() for name in probes) for folder in folders] if len(folders) > 1 else [0]
    return PictureFiles(folders[counts.index(max(counts))], checked), refused


def _reason(name: str, images: Path | None) -> str | None:
    """Say why a name must not be followed; None where it may."""
    if not name or "\0" in name:
        return "is empty or holds a zero byte"
    absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).drive)
    if not absolute and ".." not in PurePosixPath(name).parts:
        return None
    if images is not None:
        root = os.path.abspath(images)  # noqa: PTH100 - Path.resolve would follow links, abspath only removes '..'
        if os.path.commonpath([root, os.path.abspath(images / name)]) == root:  # noqa: PTH100
            return None
    return "is an absolute path" if absolute else "leaves the image folder"

"""Where the images of a label file lie, without looking for each of them, and how they are named in one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from dekey.data.dataset import Dataset, PictureFiles
from dekey.data.images import IMAGE_SUFFIXES
from dekey.errors import DekeyError
from dekey.formats.references import likeliest

MAX_SIDE: Final = 1_000_000
"""No picture has a side of so many pixels; what a label file states beyond is a mistake of the file."""
# Bytes of a name, and of a path with room for the folder, that Linux takes; shorter names are not measured.
_LONGEST, _LONGEST_PATH, _SHORT = 255, 2048, 60


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
        if (
            not name
            or ".." in name
            or ":" in name
            or "\0" in name
            or name[0] == "/"
            or len(name) > _SHORT
            or not name.isascii()
        ):
            reason = _reason(name, images)
            if reason:
                refused[index], checked[index] = reason, ""
    folder = folders[0] if len(folders) == 1 else likeliest([(each, checked) for each in folders])[0]
    return PictureFiles(folder, checked), refused


def with_suffixes(annotations: Path, names: Sequence[str], images: Path | None) -> list[str]:
    """Give names without the suffix of a picture the one that a picture of that name has, where there is exactly one.

    Args:
        annotations: the label file or folder.
        names: image names, relative to one of the folders that `picture_files` looks in.
        images: the folder the caller names, or None.
    """
    bare = {name for name in names if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES}
    if not bare:
        return list(names)
    home = annotations if annotations.is_dir() else annotations.parent
    folders = [home, home / "images"] if images is None else [images]
    inner = {str(PurePosixPath(name).parent) for name in bare if not _reason(name, images)}
    found: dict[str, set[str]] = {}
    for folder in folders:
        for part in inner:
            try:
                files = sorted((folder / part).iterdir())
            except OSError:
                continue
            for file in files:
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    whole = PurePosixPath(part) / file.name
                    found.setdefault(str(whole.with_suffix("")), set()).add(str(whole))
    return [next(iter(found[name])) if name in bare and len(found.get(name, ())) == 1 else name for name in names]


def _reason(name: str, images: Path | None) -> str | None:
    """Say why a name must not be followed; None where it may."""
    if not name or "\0" in name:
        return "is empty or holds a zero byte"
    try:
        longest = max(map(len, name.encode("utf-8").split(b"/")))
    except UnicodeEncodeError:
        return "holds half a character, which no file name can"
    if longest > _LONGEST:
        return "is longer than a file name can be"
    if len(name) > _LONGEST_PATH:
        return "is longer than a path can be"
    absolute = PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).drive)
    if not absolute and ".." not in PurePosixPath(name).parts:
        return None
    if images is not None:
        root = os.path.abspath(images)  # noqa: PTH100 - Path.resolve would follow links, abspath only removes '..'
        if os.path.commonpath([root, os.path.abspath(images / name)]) == root:  # noqa: PTH100
            return None
    return "is an absolute path" if absolute else "leaves the image folder"


def written_names(dataset: Dataset, folder: Path) -> list[str]:
    """Name the images as a label file in `folder` writes them: relative to it, or to the folder that holds them all.

    Raises:
        DekeyError: if an image has no file, or the images share no folder.
    """
    return _written(dataset, folder)[1]


def written_root(dataset: Dataset, folder: Path) -> Path:
    """Give the folder from which the names of `written_names` start, for whoever reads the file; raises as that does."""
    return _written(dataset, folder)[0]


def picture_file(dataset: Dataset, index: int) -> Path:
    """Give the file of an image, for a label file that names files.

    Raises:
        DekeyError: if it has none, as frames of videos and packages.
    """
    picture = dataset.pictures[index]
    if not isinstance(picture, Path):
        name = dataset.picture_name(index)
        raise DekeyError(f"{name} has no file, and labels name files; write it out with dekey.data.frames.save_frames first")
    return picture


def label_names(names: Sequence[str], suffix: str) -> list[PurePosixPath]:
    """Name a label file for each image, where a format keeps one beside it: the image's name with another suffix.

    Raises:
        DekeyError: if two images would share one.
    """
    files = [PurePosixPath(name).with_suffix(suffix) for name in names]
    if len(set(files)) < len(files):
        (twice, _), *_ = Counter(files).most_common(1)
        raise DekeyError(f"two images would share the label file {twice}; rename one of them")
    return files


def _written(dataset: Dataset, folder: Path) -> tuple[Path, list[str]]:
    pictures = dataset.pictures
    if isinstance(pictures, PictureFiles) and pictures.folder.resolve() == folder.resolve():
        return folder, list(pictures.names)
    paths = [_normal(picture_file(dataset, index)) for index in range(len(dataset))]
    own = _normal(folder)
    for root in (own, *_common(paths)):
        if all(path.is_relative_to(root) for path in paths):
            return root, [path.relative_to(root).as_posix() for path in paths]
    raise DekeyError("the images share no folder, and annotations name them relative to one; bring them together")


def _normal(path: Path) -> Path:
    """Make a path absolute and take out '..', without following links: names are about names."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _common(paths: Sequence[Path]) -> list[Path]:
    if not paths:
        return []
    root = paths[0].parent
    for path in paths:
        while not path.is_relative_to(root):
            root = root.parent
    return [root]

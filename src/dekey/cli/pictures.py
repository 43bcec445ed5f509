"""Which pictures a command was given, and the names that what it makes of them has."""

from __future__ import annotations

import glob
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dekey.errors import DekeyError


def image_files(paths: Sequence[str]) -> list[Path]:
    """List the images that files, folders (not deeper) and patterns name, each once.

    Raises:
        DekeyError: if a path names nothing, or a folder holds no image.
    """
    from dekey.data.images import IMAGE_SUFFIXES

    files: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
            if not inside:
                known = ", ".join(sorted(IMAGE_SUFFIXES))
                raise DekeyError(f"folder {text} holds no image, expected files ending in {known}; name another folder")
            files.extend(inside)
        elif path.is_file():
            files.append(path)
        else:
            matched = sorted(Path(name) for name in glob.glob(text))  # noqa: PTH207 - patterns may be absolute
            matched = [file for file in matched if file.is_file()]
            if not matched:
                raise DekeyError(f"{text} is no file, no folder and no pattern that matches files; mend the path")
            files.extend(matched)
    return list(dict.fromkeys(files))


def distinct_names(files: Sequence[Path]) -> dict[Path, str]:
    """Give each file its name, or its whole path as it was given where two share a name."""
    shared = Counter(file.name for file in files)
    return {file: file.name if shared[file.name] == 1 else file.as_posix() for file in files}


def drawn_names(names: dict[Path, str]) -> dict[Path, str]:
    """Give each file the name of its drawing, a JPEG; no two share one, whatever case the file system minds.

    >>> list(drawn_names({Path("a.png"): "a.png", Path("a.jpg"): "a.jpg", Path("x/b.png"): "x/b.png"}).values())
    ['a.jpg', 'a.jpg.jpg', 'x_b.jpg']
    """
    drawn: dict[Path, str] = {}
    taken: set[str] = set()
    for file, name in names.items():
        flat = name.replace("/", "_").replace("\\", "_")
        numbered = (f"{flat}-{number}.jpg" for number in itertools.count(2))
        drawn[file] = next(
            one for one in itertools.chain([f"{Path(flat).stem}.jpg", f"{flat}.jpg"], numbered) if one.casefold() not in taken
        )
        taken.add(drawn[file].casefold())
    return drawn


def drawing_folder(folder: Path, files: Sequence[Path]) -> Path:
    """Make the folder for the drawn pictures.

    Raises:
        DekeyError: if it is a file, or one of the pictures lies in it and could be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise DekeyError(f"--draw {folder} is a file, expected a folder for the pictures")
    if any(file.resolve().parent == folder.resolve() for file in files):
        raise DekeyError(f"--draw {folder} holds the pictures themselves, which would be overwritten; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder

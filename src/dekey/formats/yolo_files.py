"""Where the files of an Ultralytics YOLO-pose data set lie, see `dekey.formats.yolo`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dekey.data.dataset import Problem
from dekey.data.images import IMAGE_SUFFIXES
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.files import files_below, read_text
from dekey.formats.yolo_description import Description, describes, inside

_MAX_LIST_BYTES = 256 * 1024**2
# How far above a split's folder its data.yaml is looked for.
_LEVELS = 3


def descriptions(folder: Path) -> list[Path]:
    """List the data.yaml of poses in a folder."""
    try:
        return sorted(file for file in folder.iterdir() if describes(file, poses=True))
    except OSError:
        return []


def split_root(path: Path) -> Path | None:
    """Find the folder of the data.yaml above a split: a folder named images or labels, or in one, or a list of images."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - names are about names, links are not followed
    if path.is_dir():
        below = path.parts[-_LEVELS:]
        if "images" not in below and "labels" not in below:
            return None
    elif path.suffix.lower() != ".txt" or not _lists_images(path):
        return None
    return next((parent for parent in path.parents[:_LEVELS] if descriptions(parent)), None)


def _lists_images(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            first = stream.read(4096).split(b"\n")[0].decode().strip()
    except (OSError, UnicodeDecodeError):
        return False
    return PurePosixPath(first.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def find_description(path: Path) -> Path:
    """Find the data.yaml of a file, folder or split.

    Raises:
        DekeyError: if there is none, or several.
    """
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        return path
    folder = path if path.is_dir() and descriptions(path) else split_root(path)
    if folder is None:
        raise DekeyError(
            f"neither {path} nor a folder above it holds a data.yaml with kpt_shape; write one with kpt_shape, names and train"
        )
    found = descriptions(folder)
    if len(found) > 1:
        raise DekeyError(f"{folder} holds {', '.join(each.name for each in found[:4])}; name the one that is meant")
    return found[0]


def find_split(
    description: Description, source: Path | None, images: Path | None, problems: list[Problem]
) -> tuple[Path, list[tuple[str, Path]]]:
    """Give the folder where image names start, and each image's name with its label file.

    Args:
        description: the data.yaml.
        source: folder or list of images of the split; None for the first one that the data.yaml states.
        images: folder of the images that the caller names, or None.
        problems: labels without an image are appended.

    Raises:
        DekeyError: if there are no images, or no label file for any of them.
    """
    home = description.path.parent
    root = home / description.root
    if source is not None:
        top = Path(os.path.abspath(home))  # noqa: PTH100
        sources: Sequence[str] = [Path(os.path.abspath(source)).relative_to(top).as_posix()]  # noqa: PTH100
        root = home
    else:
        split = next((key for key in ("train", "val", "validation", "test") if key in description.splits), None)
        if split is None:
            raise DekeyError(f"{description.path} states no train, val or test; name the folder of images")
        sources = description.splits[split]
        # os.path, because a name that is too long does not exist there and is an exception in pathlib.
        if not any(os.path.exists(root / (inside(each) or "")) for each in sources):  # noqa: PTH110
            root = home
    pairs: list[tuple[str, Path]] = []
    top = root
    for each in sources:
        place = inside(each)
        if place is None:
            raise DekeyError(
                f"{description.path} names images outside its folder ({each[:200]}); write the path relative to the file"
            )
        place = _renamed(place, "labels", "images")
        if place.suffix.lower() == ".txt":
            pairs += _listed(root / place, root, images)
            top = images or root
        elif images is not None and not (images / place).is_dir():
            if len(sources) > 1:
                raise DekeyError(f"{images} does not hold {place}; name the folder in which the {len(sources)} folders lie")
            # A folder elsewhere may hold any pictures; those of the data set are those with a label file.
            pairs += [pair for pair in _found(images, PurePosixPath(), root, place, problems) if pair[1].is_file()]
            top = images
        else:
            top = images or root
            pairs += _found(top, place, root, place, problems)
    if not pairs:
        where = ", ".join(sources)[:200]
        raise DekeyError(f"{description.path}: no image lies in {where} beside it; name the folder of images with --images")
    if not any(label.is_file() for _, label in pairs):
        raise DekeyError(
            f"{description.path}: none of the {len(pairs)} images has a label file, expected for instance {pairs[0][1]}"
        )
    return top, pairs


def _found(
    top: Path, place: PurePosixPath, root: Path, label_place: PurePosixPath, problems: list[Problem]
) -> list[tuple[str, Path]]:
    """List the images in and below top/place by name; labels without an image are problems."""
    labels = root / _renamed(label_place, "images", "labels")
    homes = [labels] if labels != top / place else []
    pairs: list[tuple[str, Path]] = []
    for name in files_below(top / place):
        inner = PurePosixPath(name)
        if inner.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        label = root / label_of(label_place / inner)
        own = labels / inner.with_suffix(".txt")
        if label != own and own.is_file() and not label.is_file():
            label = own  # the folder was renamed as a whole, as dekey wrote it before and --images elsewhere may have it
        elif label != own:
            parts = inner.parent.parts
            last = len(parts) - parts[::-1].index("images")
            homes.append(root / label_place / _renamed(PurePosixPath(*parts[:last]), "images", "labels"))
        pairs.append(((place / inner).as_posix(), label))
    known = {label for _, label in pairs}
    for home in dict.fromkeys(homes):
        for name in files_below(home):
            if name.endswith(".txt") and home / name not in known:
                problems.append(problem("missing-image", f"no image belongs to the labels {home / name}", name))
    return pairs


def label_of(image: PurePosixPath) -> PurePosixPath:
    """Give the label file of an image as Ultralytics finds it: the last folder ``images`` of the path becomes ``labels``."""
    return (_renamed(image.parent, "images", "labels") / image.name).with_suffix(".txt")


def _listed(path: Path, root: Path, images: Path | None) -> list[tuple[str, Path]]:
    """Read a list of images; names start at the root, './' in front at the list's folder, which is the same for most."""
    lines = [line.strip().replace("\\", "/") for line in read_text(path, _MAX_LIST_BYTES).splitlines()]
    start = path.parent.relative_to(root)
    names = [(PurePosixPath(start) / line[2:]).as_posix() if line.startswith("./") else line for line in lines if line]
    pairs = []
    for name in names:
        own = inside(name)
        pairs.append((name, root / label_of(own if own is not None and own.name else PurePosixPath("-"))))
    return pairs


def _renamed(path: PurePosixPath, old: str, new: str) -> PurePosixPath:
    """Replace the last part of a path that is named `old`."""
    parts = list(path.parts)
    if old in parts:
        parts[len(parts) - 1 - parts[::-1].index(old)] = new
    return PurePosixPath(*parts)

"""Writing files whole or not at all; telling one file from another."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from dekey.errors import DekeyError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what the block writes there takes its place when the block ends without error.

    A link stays, and the file that it leads to is replaced.

    Raises:
        DekeyError: if the folder does not exist or `path` is one, or a device or a pipe.
    """
    path = _target(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a temporary name beside each of `paths`; all take their places when the block ends without error, or none does.

    Raises:
        DekeyError: if a folder does not exist or a path is one.
    """
    with ExitStack() as stack:
        paths = [_target(path) for path in paths]
        places = [stack.enter_context(_staged(path)) for path in paths]
        yield [staged for staged, _ in places]
        for staged, _ in places:
            _to_disk(staged)
        done: list[tuple[Path, Path, bool]] = []
        try:
            for path, (staged, aside) in zip(paths, places, strict=True):
                new = not path.is_file()
                done.append((path, aside, new))
                if not new:
                    path.replace(aside)
                staged.replace(path)
        except BaseException:  # an interrupt, too, must not leave one file new and another old
            for path, aside, new in done:
                if new:
                    path.unlink(missing_ok=True)
                elif aside.exists():
                    aside.replace(path)
            raise


def _target(path: Path) -> Path:
    """Follow a link to the file that is to be replaced, and check that one can lie there."""
    if path.is_dir():
        raise DekeyError(f"{path} is a folder, expected the name of a file to write")
    if path.exists() and not path.is_file():
        raise DekeyError(f"{path} is a device or a pipe, expected the name of a file to write")
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not path.parent.is_dir():
        raise DekeyError(f"the folder {path.parent} does not exist; create it first")
    return path


def _to_disk(path: Path) -> None:
    with path.open("r+b") as stream:  # Windows refuses to sync what was opened for reading alone
        os.fsync(stream.fileno())


@contextmanager
def _staged(path: Path) -> Iterator[tuple[Path, Path]]:
    """Give two temporary names beside `path`, for what is to come and what was there; both are gone after the block."""
    staged, aside = (path.with_name(f".{path.name}.{secrets.token_hex(4)}.{end}") for end in ("part", "old.part"))
    try:
        yield staged, aside
    finally:
        staged.unlink(missing_ok=True)
        aside.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which becomes `path` when the block ends without error.

    Raises:
        DekeyError: if `path` exists and holds something, is the working directory, or its parent does not exist.
    """
    if not path.name:
        raise DekeyError(f"found {path}, whose place no new folder can take, expected the name of a new folder to write")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DekeyError(f"{path} exists already and is not empty, expected the name of a new folder to write")
    if not path.parent.is_dir():
        raise DekeyError(f"the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    temporary.mkdir()
    try:
        yield temporary
        if path.is_dir():
            path.rmdir()
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when the block ends without error, see `replacing`."""
    with replacing(path) as temporary, temporary.open("x", encoding="utf-8", newline="\n") as stream:
        yield stream
        stream.flush()


def write_text(path: Path, text: str) -> None:
    """Write a text, see `replacing`."""
    with replaced(path) as stream:
        stream.write(text)


def sha256(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()

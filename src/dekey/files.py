"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dekey.errors import DekeyError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what the block writes there takes its place when the block ends without error.

    Raises:
        DekeyError: if the folder does not exist or `path` is one.
    """
    if path.is_dir():
        raise DekeyError(f"{path} is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise DekeyError(f"the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which becomes `path` when the block ends without error.

    Raises:
        DekeyError: if `path` exists and holds something, or its parent does not exist.
    """
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

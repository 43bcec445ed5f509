"""Where answers go, and checks of options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path

from dekey.errors import DekeyError
from dekey.files import write_text


def write_output(text: str, out: str | None) -> None:
    """Print a text, or write it to a file under a temporary name that then takes its place."""
    if out is None:
        print(text)
        return
    write_text(Path(out), text + "\n")


def check_target(out: str | None, option: str = "--out") -> None:
    """Refuse a place that cannot be written to before any work is done.

    Raises:
        DekeyError: if the folder is missing or read-only, or the name is that of a folder, a device or a pipe.
    """
    if out is None:
        return
    target = Path(out)
    if target.is_dir():
        raise DekeyError(f"{option} {out} is a folder, expected the name of a file")
    if target.exists() and not target.is_file():
        raise DekeyError(f"{option} {out} is a device or a pipe, expected the name of a file; leave it out to print")
    if not target.absolute().parent.is_dir():
        raise DekeyError(f"{option} {out} lies in a folder that does not exist; make the folder first")
    if not os.access(target.absolute().parent, os.W_OK):
        raise DekeyError(f"{option} {out} lies in a folder that cannot be written to; name another one")


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch without images."""
    if batch_size < 1:
        raise DekeyError(f"found --batch-size {batch_size}, expected 1 or more")

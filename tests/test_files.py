"""Files are written whole or not at all, on every system."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from dekey import files


@pytest.fixture
def windows_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows has it: what is open for reading alone cannot be synced."""
    sync = os.fsync

    def refusing(number: int) -> None:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        sync(number)

    monkeypatch.setattr(os, "fsync", refusing)


@pytest.mark.usefixtures("windows_sync")
def test_files_are_written_where_only_writers_may_sync(tmp_path: Path) -> None:
    files.write_text(tmp_path / "one.json", "1")
    with files.replacing_all([tmp_path / "two.json", tmp_path / "three.json"]) as staged:
        for number, path in enumerate(staged, start=2):
            path.write_text(str(number))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one.json": "1", "two.json": "2", "three.json": "3"}

"""Files are written whole or not at all, on every system."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from dekey import files
from dekey.errors import DekeyError


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


def test_devices_and_pipes_are_left_alone_and_links_are_followed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (lambda path: files.write_text(path, "1"), lambda path: files.replacing_all([path]).__enter__()):
        with pytest.raises(DekeyError, match="is a device or a pipe"):
            write(pipe)
    assert pipe.is_fifo()
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("before")
    link.symlink_to("real.txt")
    files.write_text(link, "after")
    assert link.is_symlink()
    assert real.read_text() == "after"


def write_both(paths: list[Path]) -> None:
    with files.replacing_all(paths) as staged:
        for path in staged:
            path.write_text("after")


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_interrupt_amid_the_swap_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.write_text("before")
    own, calls = Path.replace, 0

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return own(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_both(paths)
    assert sorted((path.name, path.read_text()) for path in tmp_path.iterdir()) == [("one", "before"), ("two", "before")]

"""How much memory a program and all its children held at once, and how large a folder is. Standard library only."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

_PAUSE_SECONDS = 2.0


class PeakMemory:
    """Watches a process and its descendants while the block runs.

    What is added up is the proportional set size, in which memory that processes share counts once; a peak between two looks
    is missed. Where the system does not tell (only Linux does), `mib` stays None.

    Attributes:
        mib: the greatest sum so far, MiB.
    """

    def __init__(self, process: int | None = None) -> None:
        self.mib: float | None = None
        self._process = os.getpid() if process is None else process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            self._look()

    def _look(self) -> None:
        held = [proportional_mib(process) for process in family(self._process)]
        known = [value for value in held if value is not None]
        if known:
            self.mib = round(max(self.mib or 0.0, sum(known)), 1)


def family(process: int) -> list[int]:
    """List a process and all its descendants, by their numbers."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name stands in brackets and may hold anything; the parent is the second field after it.
            parent = int(status.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    found = [process]
    for each in found:
        found += children.get(each, [])
    return found


def proportional_mib(process: int) -> float | None:
    """Give the proportional set size of a process in MiB, None where it is gone or not told."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), None)


def folder_mib(folder: Path) -> int:
    """Add up what the files of a folder take on the disk, MiB; a file with several names counts once, a link nothing."""
    seen: dict[tuple[int, int], int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            facts = (Path(root) / name).lstat()
            seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return round(sum(seen.values()) / 2**20)

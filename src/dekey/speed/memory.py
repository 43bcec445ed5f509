"""How much memory the process has and has had."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Resident memory of the process.

    Attributes:
        now: bytes at this moment; None where the system does not say.
        peak: the most bytes since the process began; None where the system does not say.
    """

    now: int | None
    peak: int | None


def memory() -> Memory:
    """Ask the system."""
    try:
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE))
        return Memory(1024 * int(found["VmRSS"]), 1024 * int(found["VmHWM"]))
    except (OSError, KeyError):  # not Linux
        return Memory(None, _highest())


def _highest() -> int | None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else 1024 * highest

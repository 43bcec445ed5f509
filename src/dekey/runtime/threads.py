"""How many threads a runtime may use: the cores that the process really has."""

from __future__ import annotations

import math
import os
from pathlib import Path

from dekey.errors import DekeyError

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Count the cores that this process may use, by its affinity and by a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        pass
    return max(cores, 1)


def chosen_threads(asked: int | None) -> int | None:
    """Give the threads to ask a runtime for; None where it may choose by itself.

    A runtime counts the physical cores of the machine. Where the process has fewer (an affinity, a container's quota), as
    many threads as the machine has cores would wait for each other.

    Raises:
        DekeyError: if fewer than one is asked for.
    """
    if asked is not None and asked < 1:
        raise DekeyError(f"found {asked} threads, expected 1 or more")
    if asked is not None:
        return asked
    cores = usable_cores()
    return cores if cores < (os.cpu_count() or 1) else None

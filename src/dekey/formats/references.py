"""Image references that can be read in more than one way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_LOOKED_FOR: Final = 32


def likeliest(readings: Sequence[tuple[Path, Sequence[str]]]) -> tuple[Path, list[str]]:
    """Choose the reading of the image references under which most files are there.

    Of each reading some 32 names from all over the list are looked for; the first reading wins where none is better. Whether
    a name stays in its folder is not asked here.

    Args:
        readings: a folder and the S names below it, for each reading.

    Returns:
        Folder and names of the chosen one, with forward slashes.
    """
    counts = []
    for folder, names in readings:
        probes = [name.replace("\\", "/") for name in names[:: max(len(names) // _LOOKED_FOR, 1)]]
        # os.path, because a name that is too long is no file there and an exception in pathlib.
        counts.append(sum(os.path.isfile(folder / name) for name in probes if name))  # noqa: PTH113
    folder, names = readings[counts.index(max(counts))]
    return folder, [name.replace("\\", "/") for name in names]

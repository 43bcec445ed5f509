"""Work on files in threads, a few of them ahead of whoever takes the results, in the order of the files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dekey.runtime.threads import usable_cores

T = TypeVar("T")

MOST_READERS = 4
"""Threads that read: they are to keep up with a network on the same cores, not to take these from it."""


def read_ahead(
    files: Sequence[Path], count: int, read: Callable[[Path], T], threads: int | None = None
) -> Iterator[tuple[Sequence[Path], list[T]]]:
    """Give files with what `read` makes of them, `count` at a time; the next ones are worked on while the caller has these.

    Args:
        files: in the order in which they are given back.
        count: how many at a time; no more than twice as many results are held.
        read: reads a file, or predicts it whole.
        threads: how many files are worked on at once; as many as there are cores, up to `MOST_READERS`, where None.

    Raises:
        DekeyError: or whatever else `read` raises, once it is the turn of the file.
    """
    pool = ThreadPoolExecutor(
        min(usable_cores(), MOST_READERS) if threads is None else threads, thread_name_prefix="dekey-read"
    )
    try:
        parts = [files[start : start + count] for start in range(0, len(files), count)]
        coming = [pool.submit(read, file) for file in parts[0]] if parts else []
        for part, following in itertools.zip_longest(parts, parts[1:], fillvalue=()):
            own, coming = coming, [pool.submit(read, file) for file in following]
            yield part, [one.result() for one in own]
    finally:
        pool.shutdown(cancel_futures=True)

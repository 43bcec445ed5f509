"""Timing in blocks: what is compared is measured in turn, each for a while, after a pause.

Two runtimes, or two sessions of one, must not be called in alternation: the threads of the one wait spinning for a while after
a call and take the cores of the other. And one long measurement of each would compare different minutes, in which other
programs of the machine may have done different things. So there are rounds, and a block of each candidate in every round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Block = Callable[[float], list[T]]
"""Measures for about so many seconds, after some calls that are not counted."""

PAUSE = 0.05
"""Seconds before each block: waiting threads have stopped spinning by then."""

WARM = 2
"""Calls at the beginning of a block that are not counted: caches and clocks settle."""

ROUNDS = 5

_WAITED = Path("/proc/thread-self/schedstat")  # ns running, ns waiting for a core, slices (docs.kernel.org/scheduler)


def in_rounds(
    blocks: Mapping[str, Block[T]],
    seconds: float,
    advance: Callable[[int, int], None] | None = None,
    rounds: int = ROUNDS,
) -> dict[str, list[list[T]]]:
    """Measure each candidate in every round.

    Args:
        blocks: what measures each; told how long.
        seconds: for all of it, pauses and uncounted calls left out; a slow candidate takes as long as it needs for a call.
            After two rounds no other is begun once it has taken twice as long.
        advance: called after each block with the blocks done and all blocks.
        rounds: how often each has its turn.

    Returns:
        For each candidate what its blocks gave, a list a round.
    """
    share = seconds / (rounds * max(len(blocks), 1))
    taken: dict[str, list[list[T]]] = {name: [] for name in blocks}
    begun = time.perf_counter()
    for turn in range(rounds):
        if turn >= 2 and time.perf_counter() - begun > 2 * seconds:
            break
        for place, (name, block) in enumerate(blocks.items(), 1):
            time.sleep(PAUSE)
            taken[name].append(block(share))
            if advance is not None:
                advance(turn * len(blocks) + place, rounds * len(blocks))
    return taken


def calls(call: Callable[[], T]) -> Block[T]:
    """Make a block of calls one after the other; it gives what each returned, at least one."""

    def block(seconds: float) -> list[T]:
        for _ in range(WARM):
            call()
        end = time.perf_counter() + seconds
        answers = [call()]
        while time.perf_counter() < end:
            answers.append(call())
        return answers

    return block


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Give the milliseconds that a call takes instead of its answer."""

    def run() -> float:
        begun = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - begun)

    return run


@dataclass(frozen=True)
class Milliseconds:
    """What calls took.

    Attributes:
        median: ms.
        p90: ms that nine of ten calls did not exceed.
        calls: how many were timed.
    """

    median: float
    p90: float
    calls: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Milliseconds:
        """Sum up single calls.

        >>> Milliseconds.of([1.0, 2.0, 3.0, 4.0, 4.0])
        Milliseconds(median=3.0, p90=4.0, calls=5)
        """
        taken = np.fromiter(values, dtype=np.float64)
        return cls(float(np.median(taken)), float(np.percentile(taken, 90)), len(taken))


class Waiting:
    """Measures which share of its time a thread was ready to run and had no core, because something else used it."""

    def __init__(self) -> None:
        self._waited = self._seconds = 0.0

    @property
    def share(self) -> float | None:
        """Of all blocks so far; None where the system does not say."""
        return self._waited / self._seconds if self._seconds else None

    def over(self, block: Block[T]) -> Block[T]:
        """Make a block that is the given one, and measures."""

        def run(seconds: float) -> list[T]:
            begun, before = time.perf_counter(), _waited()
            answers = block(seconds)
            after = _waited()
            if before is not None and after is not None:
                self._waited += after - before
                self._seconds += time.perf_counter() - begun
            return answers

        return run


def _waited() -> float | None:
    """Give the seconds that this thread has waited for a core since it began; Linux alone counts them."""
    try:
        return 1e-9 * int(_WAITED.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None

"""How far a run is, by steps or by the clock, and the learning rate that belongs there."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field


def learning_rate(progress: float, highest: float, warmup: float) -> float:
    """Give the rate at `progress` in [0, 1]: a straight rise over the share `warmup`, then half a cosine to zero.

    >>> [round(learning_rate(p, 1.0, 0.1), 3) for p in (0.0, 0.1, 0.55, 1.0)]
    [0.0, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return highest * progress / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


@dataclass
class Schedule:
    """When to validate and when to end.

    With `steps` the run is a fixed number of steps, the same on every machine. With `budget` the clock decides: progress
    is the share of the budget that is spent, validation included, and the run ends with it.

    Attributes:
        steps: steps of the whole run, or None.
        budget: seconds of the whole run, or None.
        steps_per_round: with `steps`, how many lie between two validations.
        rounds: with `budget`, how many validations to aim at.
        spent: seconds spent before this process took over (a resumed run).
    """

    steps: int | None
    budget: float | None
    steps_per_round: int
    rounds: int = 8
    spent: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of training so far, earlier processes included."""
        return self.spent + time.monotonic() - self._started

    def resume(self, spent: float) -> None:
        """Take over from a run that had spent so many seconds."""
        self.spent, self._started = spent, time.monotonic()

    def progress(self, step: int) -> float:
        """Share of the run that is done before `step`."""
        if self.budget is not None:
            return min(self.elapsed() / self.budget, 1.0)
        assert self.steps is not None
        return min(step / self.steps, 1.0)

    def middle(self, step: int) -> float:
        """Share of the run that is done in the middle of `step`: at its beginning the first step's rate would be zero."""
        if self.budget is not None:
            return self.progress(step)
        assert self.steps is not None
        return min((step + 0.5) / self.steps, 1.0)

    def ends_round(self, step: int, round_started: float) -> bool:
        """Tell whether validation is due before `step`; `round_started` is `elapsed` at the round's first step."""
        if self.budget is not None:
            return self.elapsed() - round_started >= self.budget / self.rounds or self.finished(step)
        return step % self.steps_per_round == 0 or self.finished(step)

    def finished(self, step: int) -> bool:
        """Tell whether the run is over before `step`."""
        return self.progress(step) >= 1.0


def default_epochs(objects: int) -> int:
    """Give the passes over the data for a run without budget: 400 for few objects, 20 for many.

    >>> [default_epochs(n) for n in (50, 1000, 50_000)]
    [400, 190, 27]
    """
    return round(min(max(6000 / math.sqrt(max(objects, 1)), 20), 400))

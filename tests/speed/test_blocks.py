from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from dekey.speed.blocks import PAUSE, WARM, Block, Waiting, calls, in_rounds, timed


def test_every_candidate_has_its_turn_in_every_round_after_a_pause() -> None:
    order: list[str] = []
    begun: list[float] = []

    def block(name: str) -> Block[float]:
        def run(seconds: float) -> list[float]:
            begun.append(time.perf_counter())
            order.append(name)
            return [seconds]

        return run

    told: list[tuple[int, int]] = []
    start = time.perf_counter()
    taken = in_rounds({"a": block("a"), "b": block("b")}, 6.0, lambda *done: told.append(done), rounds=3)
    assert "".join(order) == "ababab"
    assert taken == {"a": [[1.0]] * 3, "b": [[1.0]] * 3}
    assert told == [(number, 6) for number in range(1, 7)]
    pauses = [after - before for before, after in zip([start, *begun], begun, strict=False)]
    assert min(pauses) >= PAUSE


def test_slow_candidates_have_two_rounds_and_no_more() -> None:
    def slow(seconds: float) -> list[float]:
        time.sleep(0.1)
        return [seconds]

    assert len(in_rounds({"slow": slow}, 0.01)["slow"]) == 2


def test_the_first_calls_are_not_counted_and_one_always_is() -> None:
    numbers = iter(range(1000))
    assert calls(lambda: next(numbers))(0.0) == [WARM]
    assert next(numbers) == WARM + 1
    many = calls(timed(lambda: time.sleep(0.01)))(0.1)
    assert 2 <= len(many) <= 11
    assert min(many) >= 10.0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_block_knows_when_another_program_took_its_core() -> None:
    def busy(seconds: float) -> list[float]:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return [seconds]

    cores = os.sched_getaffinity(0)
    one = Waiting()
    assert one.share is None
    other = None
    try:
        os.sched_setaffinity(0, {min(cores)})
        other = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        assert other.stdout is not None
        other.stdout.readline()
        assert one.over(busy)(0.5) == [0.5]
    finally:
        os.sched_setaffinity(0, cores)
        if other is not None:
            other.kill()
            other.communicate()
    assert one.share is not None
    assert 0.3 < one.share < 1
    idle = Waiting()
    idle.over(lambda seconds: [time.sleep(seconds)])(0.2)
    assert idle.share is not None
    assert idle.share < one.share

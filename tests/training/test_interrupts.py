"""A run that was stopped anywhere and gone on with ends as one that was not."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dekey.config import Config, read_config
from dekey.data import embedded
from dekey.formats import write
from dekey.training import train
from dekey.training.module import Progress
from dekey.training.run import Run


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    write(embedded.load("test").subset(np.arange(8)), folder / "labels.json")
    return folder / "labels.json"


def config_of(path: Path, **run: Any) -> Config:
    values = {
        "data": {"train": str(path), "images": str(embedded.path("test").parent / "images"), "val_fraction": 0.25},
        "model": {
            "kind": "heatmap",
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [8, 8, 8],
            "input_size": [64, 64],
        },
        "run": {"epochs": 2, "batch_size": 4, "device": "cpu", **run},
    }
    return read_config(values)


def steps_of(folder: Path) -> list[int]:
    with (folder / "log.csv").open() as stream:
        return [int(row["step"]) for row in csv.DictReader(stream)]


def interrupting(step: int, times: int = 1) -> Callable[[Progress], None]:
    """Press Ctrl-C when so many steps are done.

    The handler is called, no signal is raised: pytest has Python's handlers run on a small stack of their own, into which the
    registers of a CPU with AMX need not fit, and the kernel then kills the process.
    """

    def watch(progress: Progress) -> None:
        if progress.step == step:
            for _ in range(times):
                handler = signal.getsignal(signal.SIGINT)
                assert callable(handler)
                handler(signal.SIGINT, None)

    return watch


def test_an_interrupt_at_any_step_changes_nothing(photographs: Path, tmp_path: Path) -> None:
    config = config_of(photographs)
    train(config, tmp_path / "whole")
    weights, steps = load_file(tmp_path / "whole" / "model.safetensors"), steps_of(tmp_path / "whole")
    assert len(steps) >= 3
    for step in range(1, steps[-1] + 1):
        out = tmp_path / f"stopped-{step}"
        with pytest.raises(KeyboardInterrupt):
            train(config, out, watch=interrupting(step))
        train(config, out, resume=True)
        assert steps_of(out) == steps, step
        resumed = load_file(out / "model.safetensors")
        assert all(torch.equal(resumed[name], weights[name]) for name in weights), step


def test_a_second_interrupt_ends_the_run_at_once(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config_of(photographs, epochs=50), tmp_path / "run", watch=interrupting(3, times=2))


def test_a_run_that_patience_ended_is_over(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = iter(range(100))
    monkeypatch.setattr(Run, "_figure", lambda run, held_out: float(next(worse)))
    config = config_of(photographs, epochs=20, patience=2)
    said: list[str] = []
    train(config, tmp_path / "run", say=said.append)
    assert "no gain in 2 rounds, stopping early" in said
    steps = steps_of(tmp_path / "run")
    assert len(steps) == 3
    train(config, tmp_path / "run", resume=True, say=said.append)
    assert any("already over" in text for text in said)
    assert steps_of(tmp_path / "run") == steps

"""`train`: a configuration in, a folder with a measured model and its report out."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch

from dekey.config import Config
from dekey.errors import DekeyError
from dekey.models.checkpoint import choose_device
from dekey.training import hardware
from dekey.training.leaks import SECONDS, SHARE, find_leaks
from dekey.training.module import Progress
from dekey.training.prepare import Material, Say, prepare, resolve
from dekey.training.results import RunResult
from dekey.training.run import Run, what_matters
from dekey.training.run_folder import RunFolder
from dekey.training.start import open_start
from dekey.training.teacher import TeacherModel, open_teacher

logger = logging.getLogger(__name__)


def train(
    config: Config,
    out: str | Path,
    *,
    resume: bool = False,
    say: Say = logger.info,
    watch: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Train a model, keep the best round, measure it and write its report.

    The same configuration on the same machine gives the same weights, also when it is killed and resumed, unless a
    wall-clock budget decides how many steps there are.

    Args:
        config: see `dekey.config.read_config`.
        out: folder of the run; made here.
        resume: go on where the run in that folder stopped.
        say: told what is being done, one sentence each.
        watch: called after every step.

    Raises:
        DekeyError: on data, configuration or hardware that do not fit, and on a loss that is not finite.
        KeyboardInterrupt: after an interrupt; a checkpoint is saved first.
        OSError: if a file cannot be written; what was there stays.
    """
    started = time.monotonic()
    folder = RunFolder(Path(out))
    folder.check(resume)
    state = folder.load_checkpoint() if resume else None
    device = choose_device(config.run.device)
    say(f"reading {', '.join(map(str, config.data.train_files))}")
    config, start = open_start(config) if state is None else (config, None)
    material = prepare(config, device.type, say)
    if start is not None:
        start.check(material)
    config = resolve(config, material, device.type)
    if state is not None and state["config"] != what_matters(config):
        raise DekeyError(f"{folder.path} was started with another configuration; resume with {folder.config.name} as it is")
    teacher = _teacher(config, material, state, say)
    budget = config.run.budget
    leaks = find_leaks(material.train, material.held_out, SECONDS if budget is None else min(SHARE * budget, SECONDS))
    material = replace(material, leaks=leaks)
    if warning := leaks.sentence():
        say(warning)
    batch_size = int(state["batch_size"] if state else config.run.batch_size)
    with _surroundings(device):
        while True:
            run = None
            try:
                run = Run(config, material, folder, device, batch_size, state, started, say, watch, teacher, start)
                run.fit()
                break
            except (RuntimeError, MemoryError) as error:
                if not hardware.is_out_of_memory(error):
                    raise
                # What was tried may have been less than what was asked for.
                batch_size = batch_size if run is None else run.module.rounds.stream.batch_size
                if batch_size == 1:
                    raise DekeyError(
                        f"memory does not suffice for one object a step ({str(error).splitlines()[0]}); use a smaller "
                        "model.input_size or model.backbone"
                    ) from error
                batch_size //= 2
            say(f"memory did not suffice, going on with {batch_size} objects a step")
        return run.result()


def _teacher(config: Config, material: Material, state: dict[str, Any] | None, say: Say) -> TeacherModel | None:
    """Open the teacher of a run, if it has one; a resumed run takes the one with which it was started."""
    path = config.teacher.model
    if path is None:
        return None
    opened = open_teacher(path, material, state.get("teacher") if state else None)
    say(f"taught by {path} as well as by the labels, with weight {config.teacher.weight:g}")
    return opened


@contextmanager
def _surroundings(device: torch.device) -> Iterator[None]:
    """Hold still what training needs from the process, and put it back: chance, OpenCV's threads, Lightning's chatter."""
    threads = cv2.getNumThreads()
    lightning = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [one.level for one in lightning]
    if device.type == "cpu":
        hardware.keep_pages()
    # Batches are prepared by threads of our own; OpenCV's would fight with torch for the cores.
    cv2.setNumThreads(1)
    for one in lightning:
        one.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        cv2.setNumThreads(threads)
        for one, level in zip(lightning, levels, strict=True):
            one.setLevel(level)

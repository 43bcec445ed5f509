"""`Run`: one attempt at a training run, from the network to the best weights on disk."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import nn

from dekey.config import Config
from dekey.errors import DekeyError
from dekey.files import write_text
from dekey.metrics import evaluate
from dekey.models.build import build_model
from dekey.models.checkpoint import TorchBackend, load_model, save_model
from dekey.runtime import Manifest, Predictor
from dekey.training import hardware
from dekey.training.description import describe, manifest_of
from dekey.training.fitting import small_size
from dekey.training.module import Progress, Rounds, Row, TrainingModule
from dekey.training.prepare import Material, Say, workers
from dekey.training.results import RunResult, measure_and_report
from dekey.training.run_folder import CHECKPOINT_FORM, RunFolder
from dekey.training.schedule import Schedule, default_epochs
from dekey.training.start import StartModel
from dekey.training.stream import BatchStream
from dekey.training.teacher import Teacher, TeacherModel
from dekey.training.thresholds import calibrate

# Between two validations at most this many held-out images are looked at; the final figures use all of them.
ROUND_IMAGES = 256
# How many of them go through the network together.
LOOK_IMAGES = 32
# Share of a run after which no picture is smaller than the input.
LATEST_SMALL = 0.5
# A run validates about this often, one of more passes than these once a pass, up to 40 times.
ROUNDS = 10


def what_matters(config: Config) -> dict[str, Any]:
    """Give the settings that a resumed run must share with the one it continues: all that the weights depend on."""
    values = config.model_dump(mode="json")
    for key in ("device", "patience", "licence"):
        values["run"].pop(key)
    for key in ("workers", "memory_gb"):
        values["data"].pop(key)
    values["model"].pop("input_scale")  # it has become the input's size
    # A teacher may lie elsewhere when the run goes on: the hash of its weights says whether it is the same.
    if values["teacher"].pop("model") is None:
        values.pop("teacher")
    if values["start"]["model"] is None:
        values.pop("start")
    return values


class Run:
    """One attempt at a run with one batch size."""

    def __init__(
        self,
        config: Config,
        material: Material,
        folder: RunFolder,
        device: torch.device,
        batch_size: int,
        state: dict[str, Any] | None,
        started: float,
        say: Say,
        watch: Callable[[Progress], None] | None,
        teacher: TeacherModel | None = None,
        start: StartModel | None = None,
    ) -> None:
        self.config, self.material, self.folder, self.device = config, material, folder, device
        self.say, self.started, self.teacher = say, started, teacher
        # Where memory did not suffice for a step, it may not suffice for a look at more images either.
        self.looks = min(LOOK_IMAGES, batch_size) if device.type == "cuda" else LOOK_IMAGES
        self.rows: list[Row] = list(state["rows"]) if state else []
        self.rounds_without_gain = int(state["rounds_without_gain"]) if state else 0
        torch.manual_seed(config.run.seed)
        # A resumed run goes on with the network it began with, whatever timm's weights are here now.
        self.architecture: dict[str, Any] = state["architecture"] if state else describe(config, material)
        say(f"building {config.model.backbone}")
        if start is None:
            model = self._build(pretrained=False if state else config.model.pretrained)
            self.source: str = state["source"] if state else model.backbone.source  # type: ignore[union-attr,assignment]
        else:
            model, self.architecture = start.network(self.architecture, **self._for_training())
            self.source = start.sentence
        say(f"weights: {self.source}")
        self.architecture = {**self.architecture, "learned_scales": model.backbone.learned_scales}  # type: ignore[union-attr]
        self.precision = hardware.choose_precision(config.run.precision, device)
        stream = BatchStream(material.views, material.augment, batch_size, config.run.seed, workers(config.data))
        if device.type == "cpu" and state is None:
            probe = BatchStream(material.views, material.augment, min(2, batch_size), config.run.seed).batch(0)
            stream.batch_size = hardware.fitting_batch_size(model, probe, batch_size, hardware.available_memory())
        model.to(memory_format=torch.channels_last)
        schedule = self._schedule(stream)
        stream.settled = material.augment.settled(has_boxes=material.kind != "heatmap")
        stream.settles_at = lambda step: schedule.progress(step) >= 1 - config.augment.settle
        if config.augment.small:
            stream.small = self._small_size(model)
        stream.small_at = lambda step: (
            step * stream.batch_size < float(config.augment.small) * len(stream.views)
            and schedule.progress(step) < LATEST_SMALL
        )
        self.module = TrainingModule(
            model,
            Rounds(stream, schedule),
            lr=config.optim.lr,
            weight_decay=config.optim.weight_decay,
            warmup=config.optim.warmup,
            ema=config.optim.ema,
            precision=self.precision,
            seed=config.run.seed,
            finish_round=self._finish_round,
            watch=watch,
            save=self._save,
            teacher=Teacher(teacher, model, device, self.precision, config.teacher.weight) if teacher else None,
        )
        self.round_images = material.held_out.subset(_spread(len(material.held_out), ROUND_IMAGES))
        self._state = state

    def _build(self, pretrained: Any) -> nn.Module:
        return build_model(self.material.kind, self.architecture, pretrained=pretrained, **self._for_training())

    def _for_training(self) -> dict[str, float]:
        return {} if self.material.kind == "article" else {"peak_weight": float(self.config.model.peak_weight)}

    def _small_size(self, model: nn.Module) -> tuple[int, int] | None:
        """Give the size of the first pictures, and say so; None, and why, where they cannot be smaller than the others."""
        size, passes = small_size(self.material.input_size), self.config.augment.small
        height, width = size
        reason = None
        if self.teacher is not None:
            reason = "a teacher is asked about pictures of the input's size"
        elif size == self.material.input_size:
            reason = f"an input of {width}x{height} px is small as it is"
        else:
            try:
                model.check_input_size(size)  # type: ignore[operator]
            except DekeyError as error:
                reason = str(error)
        if reason is not None:
            self.say(f"no smaller pictures at the beginning: {reason}")
            return None
        until = f"for {passes:g} passes or half of the run"
        self.say(f"{until} pictures have {width}x{height} px; what is measured till then says little")
        return size

    def _schedule(self, stream: BatchStream) -> Schedule:
        run = self.config.run
        objects = len(stream.views)
        if run.budget is not None:
            return Schedule(None, run.budget, 0, ROUNDS, spent=time.monotonic() - self.started)
        epochs = default_epochs(objects) if run.epochs == "auto" else run.epochs
        steps = max(round(epochs * objects / stream.batch_size), 1)
        return Schedule(steps, None, max(steps // max(ROUNDS, min(epochs, 40)), 1))

    def fit(self) -> None:
        """Train to the end of the schedule, or until patience or the user ends it."""
        config, module = self.config, self.module
        if self._state is None and module.rounds.schedule.finished(0):
            raise DekeyError(f"the budget of {config.run.budget:g} s was over before the first step; give a longer one")
        if self._state is None:
            self.folder.make()
            write_text(self.folder.config, config.to_yaml())
        logs = TensorBoardLogger(str(self.folder.path), name=None, version="tensorboard")
        trainer = Trainer(
            accelerator="gpu" if self.device.type == "cuda" else "cpu",
            devices=1 if self.device.index is None else [self.device.index],
            precision="32-true",
            max_epochs=-1,
            gradient_clip_val=config.optim.clip,
            logger=logs,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1 << 30,
        )
        self.logs = logs
        if self._state is not None:
            self._restore(self._state)
        rounds = module.rounds
        if rounds.schedule.finished(module.step) or self._out_of_patience():
            self.say("the run was already over; measuring it again")
            return
        self.say(f"training in {self.precision} on {self.device}, {rounds.stream.batch_size} objects a step")
        with interruptible(rounds):
            try:
                trainer.fit(module, train_dataloaders=rounds)
            except SystemExit as error:  # what Lightning makes of an interrupt at once
                raise KeyboardInterrupt from error
            finally:
                rounds.close()
                logs.finalize("")
        if rounds.interrupted:
            if module.step:
                self._save()
            raise KeyboardInterrupt

    def _finish_round(self, module: TrainingModule, row: Row) -> None:
        """Validate the moving average, keep it if it is the best, write log and checkpoint, decide whether to go on."""
        began = time.monotonic()
        backend = TorchBackend(module.average, self._manifest({}), self.device)
        measured = evaluate(self.round_images, Predictor(backend, self.looks), normaliser=self.config.data.normaliser)
        names = ("median_px", "p90_px", "nme", "pck@0.1", "box_AP", "AP")
        held_out = {name: measured[name] for name in names if name in measured}
        row.update({f"val_{name}": value for name, value in held_out.items()})
        row["val_seconds"] = round(time.monotonic() - began, 2)
        self.rows.append(row)
        figure = self._figure(held_out)
        if module.best is None or figure <= module.best:
            module.best = figure
            self.rounds_without_gain = 0
            save_model(module.average, self._manifest(held_out), self.folder.model)
        else:
            self.rounds_without_gain += 1
        self.folder.write_log(self.rows)
        self.logs.log_metrics({name: value for name, value in row.items() if name != "step"}, step=module.step)
        self._save()
        if self._out_of_patience() and not module.rounds.schedule.finished(module.step):
            self.say(f"no gain in {self.rounds_without_gain} rounds, stopping early")
            module.trainer.should_stop = True
        if module.rounds.schedule.finished(module.step):
            module.trainer.should_stop = True

    def _out_of_patience(self) -> bool:
        patience = self.config.run.patience
        return patience is not None and self.rounds_without_gain >= patience

    def _figure(self, held_out: dict[str, float]) -> float:
        """Give the error by which rounds are compared, 0 where nothing on the held-out images is labelled.

        For crops and pictures of one object that is the mean error, which counts every point. A family that gives boxes may
        also miss objects, whose error nobody knows: there it is what boxes and keypoints lack to be all right.
        """
        if self.material.kind == "heatmap":
            return held_out.get("nme", 0.0)
        shares = [held_out[name] for name in ("box_AP", "pck@0.1") if name in held_out]
        return 1 - sum(shares) / len(shares) if shares else 0.0

    def _manifest(self, metrics: dict[str, float]) -> Manifest:
        origin = {} if self.teacher is None else {"teacher": self.teacher.sentence}
        return manifest_of(self.config, self.material, self.architecture, self.source, metrics, origin)

    def _save(self) -> None:
        """Write the checkpoint: everything that decides how the run goes on."""
        module = self.module
        self.folder.save_checkpoint(
            {
                "form": CHECKPOINT_FORM,
                "config": what_matters(self.config),
                "architecture": self.architecture,
                "schema": self.material.train.schema.to_dict(),
                "weights": module.state_dict(),
                "optimizer": module.trainer.optimizers[0].state_dict(),
                "step": module.step,
                "seconds": module.rounds.schedule.elapsed(),
                "best": module.best,
                "rows": self.rows,
                "rounds_without_gain": self.rounds_without_gain,
                "batch_size": module.rounds.stream.batch_size,
                "source": self.source,
                "teacher": self.teacher.sha256 if self.teacher else None,
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        module = self.module
        if state.get("schema") != self.material.train.schema.to_dict():
            files = ", ".join(map(str, self.config.data.train_files))
            raise DekeyError(f"{self.folder.path} was started with other keypoints or classes than {files} gives now")
        module.load_state_dict(state["weights"])
        module.step = module.rounds.step = int(state["step"])
        module.best = state["best"]
        module.rounds.schedule.resume(float(state["seconds"]))
        module.optimizer_state = state["optimizer"]
        self.say(f"going on at step {module.step}")

    def result(self) -> RunResult:
        """Measure the best weights on all held-out images and write the report."""
        model, manifest = load_model(self.folder.model)
        if manifest.kind == "center":
            self.say("calibrating scores on the held-out images")
            views = self.material.views_of(self.material.held_out, self.config.data.padding)
            manifest, sentence = calibrate(model, manifest, views, self.device)
            self.say(sentence)
            save_model(model, manifest, self.folder.model)
        return measure_and_report(
            Predictor(TorchBackend(model, manifest, self.device), self.looks),
            self.config,
            self.material,
            self.folder,
            self.rows,
            facts={
                "weights": self.source,
                "teacher": self.teacher.facts if self.teacher else None,
                "precision": self.precision,
                "batch_size": self.module.rounds.stream.batch_size,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "machine": hardware.machine_facts(self.device),
                "seconds": round(time.monotonic() - self.started, 1),
            },
            say=self.say,
        )


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Choose at most `most` of `count` positions, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@contextmanager
def interruptible(rounds: Rounds) -> Iterator[None]:
    """Turn the first interrupt into the end of the round; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        if rounds.interrupted:
            raise KeyboardInterrupt
        rounds.interrupted = True

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

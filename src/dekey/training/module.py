"""The training step under Lightning, and the rounds around it: log, validate, keep the best, save, stop."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from dekey.errors import DekeyError
from dekey.models.base import Batch
from dekey.training.schedule import Schedule, learning_rate
from dekey.training.stream import BatchStream
from dekey.training.teacher import Teacher

logger = logging.getLogger(__name__)

Row = dict[str, float]


@dataclass
class Progress:
    """How a run is doing, for whoever watches it.

    Attributes:
        done: share of the run, 0 to 1.
        seconds: of training so far.
        step: steps so far.
        epoch: passes over the data so far.
        loss: mean over the current round.
        images_per_second: over the current round.
        waiting: share of the round's time spent waiting for data.
        best: best held-out figure so far, None before the first round.
    """

    done: float
    seconds: float
    step: int
    epoch: float
    loss: float
    images_per_second: float
    waiting: float
    best: float | None


@dataclass
class Rounds:
    """The training data as Lightning sees it: one iteration is one round.

    Attributes:
        stream: where batches come from.
        schedule: when a round ends.
        step: the next step to hand out.
        interrupted: set it and the round ends with the batch at hand.
        complete: the schedule ended the last round, no interrupt.
    """

    stream: BatchStream
    schedule: Schedule
    step: int = 0
    interrupted: bool = False
    complete: bool = False
    _batches: Iterator[Batch] | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Batch]:
        if self._batches is None:
            self._batches = self.stream.iterate(self.step)
        started = self.schedule.elapsed()
        self.complete = False
        while not self.interrupted:
            yield next(self._batches)
            self.step += 1
            if self.schedule.ends_round(self.step, started):
                self.complete = True
                return

    def close(self) -> None:
        """Stop the threads that prepare batches."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]
            self._batches = None


@dataclass
class _Tally:
    """Sums over a round."""

    started: float
    waited: float
    images: int = 0
    steps: int = 0
    terms: dict[str, Tensor] = field(default_factory=dict)

    def add(self, terms: dict[str, Tensor], images: int) -> None:
        self.images += images
        self.steps += 1
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, torch.zeros_like(value)) + value.detach()

    def means(self) -> Row:
        return {f"loss/{name}": float(value) / max(self.steps, 1) for name, value in self.terms.items()}


class TrainingModule(LightningModule):
    """Trains a model and keeps a moving average of its weights, which is what is validated and kept.

    Args:
        model: any `KeypointModel`.
        rounds: the data.
        lr, weight_decay, warmup, ema: see `dekey.config.OptimConfig`.
        precision: "bf16" computes the forward pass in bf16 where torch's autocast finds that safe; weights stay fp32.
        seed: makes chance inside the network (dropout, stochastic depth) a function of the step.
        finish_round: called with the module and the round's row when a round is over; validates and saves.
        watch: called now and then with the state of things.
        save: writes a checkpoint between rounds.
        teacher: adds its terms to the loss; no part of what is saved.
    """

    def __init__(
        self,
        model: nn.Module,
        rounds: Rounds,
        *,
        lr: float,
        weight_decay: float,
        warmup: float,
        ema: float,
        precision: Literal["fp32", "bf16"],
        seed: int,
        finish_round: Callable[[TrainingModule, Row], None],
        watch: Callable[[Progress], None] | None = None,
        save: Callable[[], None] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.rounds = rounds
        self.lr, self.weight_decay, self.warmup, self.ema, self.seed = lr, weight_decay, warmup, ema, seed
        self.precision = precision
        self.step = 0
        self.best: float | None = None
        self.optimizer_state: dict[str, Any] | None = None
        self._finish_round, self._watch, self._save = finish_round, watch, save
        self._tally = _Tally(0.0, 0.0)
        self._saved_at = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; norms and biases are not decayed."""
        decayed = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
        return optimizer

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; Lightning cannot, because batches are frozen."""
        return batch if device.type == "cpu" else batch.to(device)

    def on_train_start(self) -> None:
        """List what is clipped, averaged and copied, and where it goes; done at each step it took longer than the work."""
        pairs = list(zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True))
        self._averages, self._averaged = _columns([pair for pair in pairs if pair[1].is_floating_point()])
        self._copies, self._copied = _columns([pair for pair in pairs if not pair[1].is_floating_point()])
        self._learned = list(self.model.parameters())

    def on_train_epoch_start(self) -> None:
        """Begin a round."""
        if self.rounds.interrupted:
            self.trainer.should_stop = True
        schedule, stream = self.rounds.schedule, self.rounds.stream
        self._tally = _Tally(schedule.elapsed(), stream.waited)
        self._saved_at = schedule.elapsed()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss of a batch.

        Raises:
            DekeyError: if it is not finite; the message names the images.
        """
        rate = learning_rate(self.rounds.schedule.middle(self.step), self.lr, self.warmup)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
        seed = self.seed * 1_000_003 + self.step
        if batch.images.device.type == "cpu":
            # torch.manual_seed would also note for every GPU that may come which line of which file asked for it.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        terms = self._loss(batch)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise DekeyError(self._not_finite(batch, terms))
        self._tally.add({"total": total, **terms}, len(batch))
        return total

    def _loss(self, batch: Batch) -> dict[str, Tensor]:
        # Lightning's own mixed precision refuses to clip the gradients of a fused optimiser; bf16 needs no scaling of them.
        answers = None if self.teacher is None else self.teacher.answers(batch.images)
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            maps = self.model(batch.images)
            terms: dict[str, Tensor] = self.model.loss(batch, maps)  # type: ignore[operator]
            if self.teacher is not None and answers is not None:
                terms |= self.teacher.terms(maps, answers)
        return terms

    def _not_finite(self, batch: Batch, terms: dict[str, Tensor]) -> str:
        guilty = [name for name, value in terms.items() if not torch.isfinite(value)]
        images = []
        self.model.eval()
        with torch.no_grad():
            for row, name in enumerate(batch.names):
                alone = self._loss(batch[row : row + 1])
                if not all(torch.isfinite(value) for value in alone.values()):
                    images.append(name)
        self.model.train()
        named = ", ".join(dict.fromkeys(images or batch.names))
        return (
            f"the loss ({', '.join(guilty) or 'sum'}) is not finite at step {self.step} on the images {named}; earlier weights "
            "are kept, look at these images or lower optim.lr"
        )

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients, in one call for all of them; Lightning would make one for each on a CPU."""
        assert gradient_clip_val is not None
        nn.utils.clip_grad_norm_(self._learned, gradient_clip_val, foreach=True)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average along, tell the watcher, save where a round is long."""
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._averaged, 1 - decay)
            if self._copies:
                torch._foreach_copy_(self._copies, self._copied)
        self.step += 1
        schedule = self.rounds.schedule
        if self.rounds.interrupted:
            self.trainer.should_stop = True
        if self._watch is not None:
            self._watch(self.progress())
        if self._save is not None and schedule.elapsed() - self._saved_at > 120:
            self._save()
            self._saved_at = schedule.elapsed()

    def on_train_epoch_end(self) -> None:
        """End a round; one that an interrupt cut short is gone on with when the run is resumed."""
        if self.rounds.interrupted:
            self.trainer.should_stop = True
            if not self.rounds.complete:
                return
        now = self.progress()
        row: Row = {
            "epoch": round(now.epoch, 3),
            "step": self.step,
            "seconds": round(now.seconds, 2),
            "lr": learning_rate(self.rounds.schedule.progress(self.step), self.lr, self.warmup),
            "loss": now.loss,
            "images_per_second": round(now.images_per_second, 2),
            "waiting": round(now.waiting, 4),
        }
        row.update({name: value for name, value in self._tally.means().items() if name != "loss/total"})
        self._finish_round(self, row)

    def progress(self) -> Progress:
        """Say how the run is doing."""
        schedule, stream, tally = self.rounds.schedule, self.rounds.stream, self._tally
        seconds = schedule.elapsed()
        in_round = max(seconds - tally.started, 1e-9)
        return Progress(
            done=schedule.progress(self.step),
            seconds=seconds,
            step=self.step,
            epoch=self.step * stream.batch_size / len(stream.views),
            loss=tally.means().get("loss/total", math.nan),
            images_per_second=tally.images / in_round,
            waiting=(stream.waited - tally.waited) / in_round,
            best=self.best,
        )


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]

"""Gradients of a batch computed in parts, side by side, each part on cores of its own.

A convolution over a few small maps does not fill several cores: its threads wait for each other at the end of every layer, and
what lies between the layers (the loss, the optimiser's bookkeeping, Python) runs on one core alone. Parts of a batch have
nothing to wait for until their gradients are added. They share the weights and nothing else, so this is the data parallelism
of several machines (Li et al., "PyTorch Distributed", VLDB 2020) inside one process: no copies of the weights, no messages.

Batch normalisation sees one part at a time, as it does on several machines; its running statistics are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import torch
from torch import Tensor, nn

from dekey.models.base import Batch

Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]

# Batch normalisation over fewer images is too rough.
SMALLEST_PART = 4


def choose_parts(batch_size: int, cores: int) -> int:
    """Choose into how many parts a batch is divided on a CPU: one a core, of at least `SMALLEST_PART` images.

    >>> choose_parts(8, 2), choose_parts(16, 16), choose_parts(6, 8), choose_parts(1, 8)
    (2, 4, 1, 1)
    """
    return max(min(cores, batch_size // SMALLEST_PART), 1)


class PartedGradients:
    """Computes the gradients of a model's loss over a batch in parts; the sum lands in the model's ``grad``.

    The result is a function of batch and weights alone: gradients are added in the order of the parts, whichever ends first.

    Args:
        model: the network, in its final place in memory; its parameters must stay there.
        loss: gives the terms of a model's loss over a batch; called in several threads at once.
        parts: how many; 1 computes in the calling thread with all its threads.
        cores: to divide among the parts.
    """

    def __init__(self, model: nn.Module, loss: Loss, parts: int = 1, cores: int = 1) -> None:
        self.loss = loss
        # A module that draws from torch's one global generator would draw in any order.
        self.parts = 1 if _draws(model) else parts
        self.models = [model, *(_twin(model) for _ in range(self.parts - 1))]
        self._threads = max(cores // self.parts, 1)
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of the mean loss over a batch and give its terms, averaged over the images.

        Terms that are not finite are given without gradients, so that the caller can say what is wrong.
        """
        divided = _divided(batch, self.parts)
        for twin in self.models[1 : len(divided)]:
            twin.train(self.models[0].training)
            for own, shared in zip(twin.buffers(), self.models[0].buffers(), strict=True):
                own.copy_(shared)
        shares = [len(part) / len(batch) for part in divided]
        if len(divided) == 1:
            return self._part(self.models[0], divided[0], 1.0)
        if self._pool is None:
            self._pool = _pool(self.parts, self._threads)
        answers = list(self._pool.map(self._part, self.models, divided, shares))
        self._gather(shares)
        with torch.no_grad():
            return {
                name: torch.stack([share * answer[name] for share, answer in zip(shares, answers, strict=True)]).sum()
                for name in answers[0]
            }

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _part(self, model: nn.Module, batch: Batch, share: float) -> dict[str, Tensor]:
        terms = self.loss(model, batch)
        total = torch.stack(list(terms.values())).sum()
        if torch.isfinite(total):
            (total if share == 1 else total * share).backward()
        return {name: value.detach() for name, value in terms.items()}

    def _gather(self, shares: Sequence[float]) -> None:
        """Add the twins' gradients to the model's and average the running statistics."""
        with torch.no_grad():
            for twin in self.models[1 : len(shares)]:
                for own, other in zip(self.models[0].parameters(), twin.parameters(), strict=True):
                    if other.grad is None:
                        continue
                    if own.grad is None:
                        own.grad = other.grad
                    else:
                        own.grad += other.grad
                    other.grad = None
            for places in zip(*(model.buffers() for model in self.models[: len(shares)]), strict=True):
                if places[0].is_floating_point():
                    places[0].copy_(sum(share * place for share, place in zip(shares, places, strict=True)))


def _divided(batch: Batch, parts: int) -> list[Batch]:
    """Divide a batch into up to `parts` runs of images that differ by at most one in length."""
    parts = min(parts, len(batch))
    ends = [len(batch) * part // parts for part in range(parts + 1)]
    return [batch[start:stop] for start, stop in pairwise(ends)]


def _twin(model: nn.Module) -> nn.Module:
    """Copy a model that goes on using the original's weights, with gradients and buffers of its own."""
    twin = copy.deepcopy(model)
    for own, shared in zip(twin.parameters(), model.parameters(), strict=True):
        own.data = shared.data
        own.grad = None
    return twin


def _draws(model: nn.Module) -> bool:
    """Tell whether a network draws random numbers: dropout of any kind, stochastic depth."""
    return any(
        float(getattr(module, name, 0.0) or 0.0) > 0
        for module in model.modules()
        for name in ("p", "drop_prob")
        if isinstance(getattr(module, name, None), (int, float))
    )


def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """Start threads that compute with `threads` cores each; those of the calling thread stay as they are."""
    before = torch.get_num_threads()

    def settle() -> None:
        torch.get_num_threads()  # takes the process's number over, which it would otherwise do later, over the next line
        torch.set_num_threads(threads)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="dekey-part", initializer=settle)
    # An executor starts its threads with its first tasks; they wait for each other, so that each has one.
    together = Barrier(workers)
    list(pool.map(lambda _: together.wait(), range(workers)))
    torch.set_num_threads(before)
    return pool

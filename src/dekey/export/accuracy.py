"""What a cheaper form of a model costs in accuracy, measured on labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dekey.data import Dataset
from dekey.errors import DekeyError
from dekey.metrics import evaluate
from dekey.runtime import Backend, Predictor

ALLOWED_LOSS = 0.01
"""The largest relative loss of a figure that `dekey export` lets pass: 1 %."""

ERRORS = ("nme", "mean_px")
"""Figures that are better the lower they are; the first that is defined is judged."""

SCORES = ("AP", "box_AP", "found_share")
"""Figures that are better the higher they are; each that is defined is judged."""


@dataclass(frozen=True)
class AccuracyLoss:
    """Figures before and after.

    Attributes:
        images: images measured on.
        before, after: the figures that are judged.
        relative: how much worse each has become, as a share of what it was; negative where it is better.
    """

    images: int
    before: dict[str, float]
    after: dict[str, float]
    relative: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest relative loss; NaN where there is nothing to judge."""
        return max(self.relative.values(), default=math.nan)


def accuracy_loss(original: Backend, exported: Backend, dataset: Dataset, normaliser: str | None = None) -> AccuracyLoss:
    """Measure two backends on the same images.

    Args:
        original: the model.
        exported: its cheaper form.
        dataset: labelled images that it was not trained on.
        normaliser: what NME divides by, see `dekey.evaluate`.
    """
    before, after = (_figures(backend, dataset, normaliser) for backend in (original, exported))
    return compared(before, after, len(dataset))


def compared(before: Mapping[str, float], after: Mapping[str, float], images: int) -> AccuracyLoss:
    """Judge figures against each other; one that is no longer defined is an infinite loss."""
    error = next((name for name in ERRORS if name in before), None)
    names = [name for name in (error, *SCORES) if name is not None and name in before]
    relative = {}
    for name in names:
        if name not in after:
            loss = math.inf
        elif name in ERRORS:
            loss = after[name] - before[name]
        else:
            loss = before[name] - after[name]
        if before[name] > 0:
            relative[name] = loss / before[name]
        elif name in ERRORS:
            relative[name] = math.inf if loss > 0 else 0.0
    judged = list(relative)
    return AccuracyLoss(
        images,
        {name: before[name] for name in judged},
        {name: after.get(name, math.nan) for name in judged},
        relative,
    )


def check_loss(loss: AccuracyLoss, allowed: float = ALLOWED_LOSS) -> None:
    """Refuse a loss above what is allowed.

    Raises:
        DekeyError: if it is, or if there was nothing to judge.
    """
    if not loss.relative:
        raise DekeyError(
            "the model finds nothing on the held-out images, so that what this precision costs cannot be measured; train "
            "longer, or take it unmeasured with --force"
        )
    name = max(loss.relative, key=loss.relative.__getitem__)
    # Written so that a NaN fails.
    if not loss.relative[name] <= allowed:
        raise DekeyError(
            f"{name} goes from {loss.before[name]:.5g} to {loss.after[name]:.5g} on {loss.images} held-out images, "
            f"{100 * loss.relative[name]:.1f} % worse, allowed are {100 * allowed:g} %; nothing was written, take another "
            "precision or --force"
        )


def _figures(backend: Backend, dataset: Dataset, normaliser: str | None) -> dict[str, float]:
    predictor = Predictor(backend)
    manifest = predictor.manifest
    evaluation = evaluate(
        dataset,
        predictor.predict_dataset(dataset),
        normaliser=normaliser,
        score_threshold=manifest.object_threshold,
        boxes=manifest.finds_boxes,
    )
    return dict(evaluation.values)

"""Batches, augmentation and the training run."""

from dekey.training.fit import train
from dekey.training.module import Progress
from dekey.training.results import RunResult

__all__ = ["Progress", "RunResult", "train"]

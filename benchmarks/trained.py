"""What the benchmarks of detectors share: a run for some minutes, kept and used again; numbers that JSON can hold."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

import dekey
from dekey.config import read_config
from dekey.runtime import Predictor

if TYPE_CHECKING:
    from torch import nn

# Of OKS where a data set states none; the same for every method and keypoint.
SIGMA = 0.05


def train_or_load(
    folder: Path,
    train_files: Path | Sequence[Path],
    minutes: float,
    seed: int,
    overrides: Sequence[str] = (),
    val: Path | None = None,
) -> Predictor:
    """Train a detector into `folder`, or take the one that a finished run of the same settings left there.

    Args:
        folder: of the run.
        train_files: one label file or several.
        minutes: wall clock of training.
        seed: of the run.
        overrides: settings other than the default, such as ``augment.cover=0``.
        val: labels of the held-out images; without it a part of the training images is held out.

    Raises:
        SystemExit: if the folder holds a finished run of other settings.
    """
    files = [train_files] if isinstance(train_files, Path) else list(train_files)
    values: dict[str, Any] = {
        "data": {"train": [str(file) for file in files], "val": None if val is None else str(val)},
        "run": {"budget": minutes * 60, "seed": seed},
        "model": {"kind": "center", "pretrained": False},
    }
    note = folder / "benchmark.json"
    asked = {"values": values, "overrides": list(overrides)}
    if note.is_file():
        if json.loads(note.read_text()) != asked:
            raise SystemExit(f"{folder} holds a run of other settings; name another folder with --keep")
        print(f"{folder.name}: taken from {folder}", file=sys.stderr, flush=True)
        return dekey.load(folder)
    from dekey.training import train

    train(
        read_config(values, overrides=overrides),
        folder,
        say=lambda text: print(f"{folder.name}: {text}", file=sys.stderr, flush=True),
    )
    note.write_text(json.dumps(asked))
    return dekey.load(folder)


def about(folder: Path, predictor: Predictor) -> dict[str, Any]:
    """Give what a run should be known by: input, stride, parameters, epochs, threshold."""
    facts = json.loads((folder / "run.json").read_text())
    channels = predictor.manifest.architecture["decoder_channels"]
    return {
        "input_size": list(predictor.manifest.input_size),
        "decoder_channels": channels,
        "epochs": facts["times"].get("epochs"),
        "images_per_second": facts["times"].get("images per second"),
        "parameters": facts["parameters"],
        "weights": facts["weights"],
        "threshold": predictor.manifest.object_threshold,
    }


def gflop(model: nn.Module, input_size: Sequence[int], device: str = "cpu") -> float:
    """Count the operations of a network for one input (H, W) px, in 10⁹; a multiplication and an addition are two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *input_size, dtype=torch.uint8, device=device))
    return round(float(counter.get_total_flops()) / 1e9, 3)


def quantile(values: ArrayLike, share: float) -> float | None:
    """Give a quantile of what is finite, rounded to thousandths; None where nothing is."""
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    return round(float(np.quantile(known, share)), 3) if known.size else None


def share(part: float, whole: float) -> float | None:
    """Give part / whole, None where the whole is 0."""
    return round(part / whole, 4) if whole else None


def chosen(values: dict[str, float], names: Sequence[str]) -> dict[str, float | None]:
    """Take numbers out of an evaluation, None where one is not defined."""
    found = {name: values.get(name) for name in names}
    return {name: None if value is None or not math.isfinite(value) else round(value, 4) for name, value in found.items()}

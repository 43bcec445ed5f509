"""What the peers share: an environment of their own, the same splits, the same metrics, the same choice of a threshold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memory
import numpy as np
import record
from numpy.typing import NDArray

import dekey
from dekey.data import Dataset, Instances

# 15 % held out with seed 0, as `dekey train` divides a file without val.json.
HELD_OUT = 0.15
# Of OKS, for every keypoint: nobody has stated any for the data, and every method is measured with the same.
SIGMA = 0.05
# What start-up, reading the pictures and the looks at held-out and test images may take besides the minutes.
SPARE_SECONDS = 1800
# The build with windows needs libraries of a desktop; the one without does all that is asked of it.
NO_WINDOWS = ("opencv-python ; sys_platform == 'never'",)
_TRIED = (0.005, 0.01, 0.02, *(step / 20 for step in range(1, 20)))


def splits(folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """Read the images to train on, those to choose by, and those to test on."""
    train, test = dekey.read(folder / "train.json"), dekey.read(folder / "test.json")
    if (folder / "val.json").is_file():
        return train, dekey.read(folder / "val.json"), test
    train, val = train.split(HELD_OUT, 0)
    return train, val, test


def make_environment(folder: Path, program: str, packages: Sequence[str], overrides: Sequence[str] = NO_WINDOWS) -> Path:
    """Install packages into a virtual environment, unless just these were; give the path of its `program`.

    One that was made for another list is given what it lacks: a peer whose environment had no second runtime would be timed
    without it, and nobody would notice.

    Args:
        folder: of the environment.
        program: file in it that an environment in order has, such as ``bin/yolo``.
        packages: in the words of the package index.
        overrides: requirements that replace those of the packages.

    Raises:
        SystemExit: if the program is not there after all.
    """
    path, mark = folder / program, folder / "installed"
    wanted = "".join(line + "\n" for line in (*packages, *overrides))
    if path.is_file() and mark.is_file() and mark.read_text() == wanted:
        return path
    if not path.is_file():
        subprocess.run(["uv", "venv", "--clear", "--python", "3.11", str(folder)], check=True, stdout=sys.stderr)
    (folder / "overrides.txt").write_text("".join(line + "\n" for line in overrides))
    command = ["uv", "pip", "install", "--python", str(folder / "bin" / "python")]
    # From its own folder: in this one uv would hold a peer to the versions that dekey is tested with.
    subprocess.run([*command, "--override", "overrides.txt", *packages], check=True, stdout=sys.stderr, cwd=folder)
    if not path.is_file():
        raise SystemExit(f"{', '.join(packages)} installed into {folder}, but there is no {program}")
    # Last, so that an installation that broke off is done again.
    mark.write_text(wanted)
    return path


def versions(environment: Path, names: Sequence[str]) -> dict[str, str]:
    """Give the versions of packages in an environment; one that is missing is left out."""
    command = ["uv", "pip", "list", "--format", "json", "--python", str(environment / "bin" / "python")]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    found = {row["name"]: row["version"] for row in json.loads(listed.stdout)}
    return {name: found[name] for name in names if name in found}


def threads() -> int:
    """Give how many threads a peer may use: what the variable says, else one a core."""
    return int(os.environ.get("OMP_NUM_THREADS") or record.machine()["cores"])


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str], seconds: float) -> float | None:
    """Run a peer's program in `folder`, its words on standard error; give the most memory it held, MiB.

    Raises:
        SystemExit: if it fails, or takes longer than `seconds`.
    """
    process = subprocess.Popen(list(command), env=dict(variables), cwd=folder, stdout=sys.stderr)
    try:
        with memory.PeakMemory(process.pid) as peak:
            code = process.wait(timeout=seconds)
    except BaseException as error:
        process.terminate()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SystemExit(f"{Path(command[0]).name} was not done after {seconds:.0f} s") from error
        raise
    if code:
        raise SystemExit(
            f"{Path(command[0]).name} {command[1] if len(command) > 1 else ''} left with {code}; its words are above"
        )
    return peak.mib


def best_threshold(dataset: Dataset, found: Sequence[Instances], weakest: float) -> float:
    """Choose the score of the greatest F1 of pairs, as `dekey.evaluate` pairs them; the lowest where all are alike.

    Args:
        dataset: held-out images.
        found: in them.
        weakest: the lowest score that the peer gives at all.
    """

    def f1(threshold: float) -> float:
        values = dekey.evaluate(dataset, found, normaliser="sqrt_box_area", score_threshold=threshold).values
        objects, extra = values["objects"], values["extra_found_per_image"] * values["images"]
        pairs = values.get("found_share", 0.0) * objects
        return 2 * pairs / max(pairs + extra + objects, 1)

    thresholds: NDArray[np.float64] = np.unique([weakest, *(value for value in _TRIED if value > weakest)])
    return float(max(thresholds, key=lambda threshold: f1(float(threshold))))


@dataclass(frozen=True)
class Measured:
    """What a peer found, measured.

    Attributes:
        threshold: score from which an object counts as found, chosen on the held-out images.
        held_out: `dekey.evaluate` on the held-out images.
        values: of `dekey.evaluate` on the test split.
    """

    threshold: float
    held_out: dict[str, float]
    values: dict[str, float]


def measure(
    val: Dataset, found_val: Sequence[Instances], test: Dataset, found_test: Sequence[Instances], weakest: float
) -> Measured:
    """Measure a peer that finds the objects by itself.

    Raises:
        SystemExit: if no answer on the test split overlaps an object by half.
    """
    threshold = best_threshold(val, found_val, weakest)
    values = evaluated(test, found_test, threshold)
    check_found(values)
    return Measured(threshold, evaluated(val, found_val, threshold), values)


def check_found(values: Mapping[str, float]) -> None:
    """Stop where no answer is near enough to an object for an error to be measured.

    Args:
        values: of `dekey.evaluate` on the test split.

    Raises:
        SystemExit: if the error is not defined.
    """
    if "nme" not in values:
        reached = ", ".join(f"{name} {values[name]:.3f}" for name in ("AP", "box_AP") if name in values)
        raise SystemExit(f"no answer overlaps an object by half ({reached}); give it more minutes")


def evaluated(dataset: Dataset, found: Sequence[Instances], threshold: float = 0.0) -> dict[str, float]:
    """Measure found objects with their boxes, as every method of the race is measured."""
    return dekey.evaluate(
        dataset, found, sigmas=SIGMA, normaliser="sqrt_box_area", score_threshold=threshold, boxes=True
    ).values


def held_out_figures(values: Mapping[str, float], data: Path, seed: int) -> dict[str, Any]:
    """Take what the race compares from an evaluation on held-out images, and say which images these were.

    Args:
        values: of `dekey.evaluate`.
        data: folder of the data set.
        seed: by which images are held out where it has no val.json.
    """
    part = "val.json" if (data / "val.json").is_file() else f"a part of train.json by seed {seed}"
    figures = {name: round(values[name], 4) for name in ("box_AP", "median_px") if name in values}
    return {"part": part, "images": int(values["images"]), **figures}


def named(changes: Sequence[str]) -> str:
    """Write settings other than the default as the end of a file's name."""
    return "".join("-" + re.sub(r"[^\w.-]", "-", change.replace(".", "_")) for change in changes)


def about(data: Path, environment: Path, packages: Sequence[str], measured: Measured, sizes: Sequence[int]) -> dict[str, Any]:
    """Give the details that every peer's result carries.

    Args:
        data: folder of the data set.
        environment: of the peer.
        packages: whose versions matter.
        measured: what it found.
        sizes: how many images it trained on, chose by and was tested on.
    """
    return {
        **dict(zip(("train", "val", "test"), sizes, strict=True)),
        "threads": threads(),
        "score_threshold": measured.threshold,
        "sigmas": SIGMA,
        "held_out": held_out_figures(measured.held_out, data, 0),
        "packages": versions(environment, packages),
    }

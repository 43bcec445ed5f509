"""Trainings by the command line, one after another or all at once, whose finished folders are used again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trained import SIGMA, chosen

import dekey

VALUES = ("box_AP", "AP", "found_share", "median_px", "p90_px", "nme")


def folder_of(keep: Path, name: str, minutes: float, seed: int) -> Path:
    """Give the run folder of a row."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    return keep / f"{plain}-{minutes:g}m-seed{seed}"


def train_all(commands: Mapping[str, Sequence[str]], folders: Mapping[str, Path], together: bool) -> None:
    """Train every row whose folder holds no finished run.

    Args:
        commands: words after ``dekey`` of each row, without ``--out``.
        folders: run folder of each row.
        together: all at once, on the same cores.

    Raises:
        SystemExit: if one fails.
    """
    missing = [name for name in commands if not (folders[name] / "benchmark.json").is_file()]
    running = []
    for name in missing:
        print(f"training: {name}", file=sys.stderr, flush=True)
        running.append((_start(commands[name], folders[name]), folders[name]))
        if not together:
            _finish(*running.pop())
    for process, folder in running:
        _finish(process, folder)


def figures(folder: Path, test: Path) -> dict[str, Any]:
    """Measure a run on the test labels and give what it took."""
    predictor = dekey.load(folder, "cpu")
    dataset = dekey.read(test)
    manifest = predictor.manifest
    threshold = manifest.object_threshold if manifest.finds_boxes else None
    evaluation = dekey.evaluate(
        dataset, predictor.predict_dataset(dataset), score_threshold=threshold, boxes=manifest.finds_boxes, sigmas=SIGMA
    )
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    note = folder / "benchmark.json"
    return {
        "values": chosen(evaluation.values, VALUES),
        "parameters": facts["parameters"],
        "epochs": facts["times"].get("epochs"),
        "images_per_second": facts["times"].get("images per second"),
        "cpu_seconds": json.loads(note.read_text(encoding="utf-8"))["cpu_seconds"] if note.is_file() else None,
        "input_size": list(manifest.input_size),
    }


def _start(words: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Begin a row's training; what it says goes into a file beside its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("wb") as log:
        command = [sys.executable, "-m", "dekey", *words, "--out", str(folder)]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _finish(running: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a row and note the seconds that it computed."""
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{folder.name} failed, see {folder.with_suffix('.log')}")
    (folder / "benchmark.json").write_text(json.dumps({"cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}))

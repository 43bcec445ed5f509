"""What every result carries: the machine, the versions, the commit and the day; and where it is written.

Standard library only, and torch is never imported for its version: a benchmark of start-up time may use it too.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "numpy", "onnxruntime", "timm", "lightning", "opencv-python-headless", "dekey")
# What decides which kernels a CPU gets; the rest of the list says nothing about speed here.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
BUSY_LOAD = 0.5
# Of a method that finds the objects by itself; average precision of keypoints takes sigmas, that of boxes boxes.
DETECTION_VALUES = (
    "AP", "AP50", "AP75", "AR", "box_AP", "box_AP50", "box_AP75", "box_AR", "found_share", "extra_found_per_image",
)  # fmt: skip


def cpu_flags() -> frozenset[str]:
    """Read the instruction sets of the CPU; empty where the system does not list them."""
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def machine() -> dict[str, Any]:
    """Describe the machine: CPU, cores this process may use, flags, memory in GiB, system, load before the work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "flags": sorted(cpu_flags() & set(FLAGS)),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that matter; one that is missing is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, Any]:
    """Give the commit, and whether code that is measured differs from it; None where there is no repository."""
    # Earlier results and the tables made from them are not code: they must not mark the next run as dirty.
    measured = ("src", "benchmarks", "configs", "pyproject.toml", ":(exclude)benchmarks/results")
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", *measured)
    return {"id": head, "dirty": None if changed is None else bool(changed)}


def facts() -> dict[str, Any]:
    """Collect machine, versions, commit and UTC time; call it before the work, so that the load is the others' load.

    Says on standard error when the machine is not quiet: times taken then are worth little.
    """
    found: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    load = found["machine"]["load_before"]
    if load is not None and load > BUSY_LOAD:
        print(f"load average is {load} before the start: the machine is not quiet, do not publish this run", file=sys.stderr)
    return found


def write(name: str, payload: Mapping[str, Any], begun: Mapping[str, Any] | None = None, folder: Path = RESULTS) -> Path:
    """Write a result with its facts to FOLDER/NAME.json, whole or not at all.

    Where a result of another machine lies there, that one stays and the new one's name also says the machine.

    Args:
        name: file name without suffix: letters, digits, ``-``, ``_`` and ``.``.
        payload: what was measured; its key ``benchmark`` says which table it belongs to.
        begun: `facts` from before the work; taken now if left out.
        folder: where results lie.

    Raises:
        ValueError: if the name is not a plain file name, a value is not finite, or ``benchmark`` is missing.
    """
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise ValueError(f"'{name}' is no plain file name; use letters, digits, '-', '_' and '.'")
    if "benchmark" not in payload:
        raise ValueError("the payload does not say which benchmark it belongs to; add the key 'benchmark'")
    whole = {**payload, **(facts() if begun is None else begun)}
    text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    if _is_of_another(path, whole.get("machine", {})):
        path = folder / f"{name}-{machine_name(whole['machine'])}.json"
    handle, part = tempfile.mkstemp(dir=folder, prefix=f".{name}-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path


def machine_name(machine: Mapping[str, Any]) -> str:
    """Write a machine's CPU and cores as a part of a file name."""
    words = re.sub(r"\(R\)|\(TM\)|Processor|CPU", " ", machine["cpu"])
    return "-".join([*re.findall(r"[a-z0-9]+", words.lower()), f"{machine['cores']}core"])


def _is_of_another(path: Path, machine: Mapping[str, Any]) -> bool:
    """Say whether a result lies there that was taken on another CPU or another number of cores."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))["machine"]
        return any(there[key] != machine[key] for key in ("cpu", "cores"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def accuracy(
    data: str,
    method: str,
    seed: int,
    minutes: float,
    input_size: int,
    epochs: float,
    images_per_second: float,
    values: Mapping[str, float],
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the payload of one row of an accuracy table, the same for every method.

    Args:
        data: name of the data set's folder; the row goes to the table ``accuracy-DATA``.
        method: what was trained, in the words of the table.
        seed: of the run; runs that differ in it alone share a row.
        minutes: wall clock of training.
        input_size: side of the network input, px.
        epochs: passes over the training images.
        images_per_second: of training, data included.
        values: numbers of `dekey.metrics.evaluate` on the test split; ``nme`` (share of the square root of the truth box's
            area), ``median_px`` and ``p90_px`` are taken, and those of `DETECTION_VALUES` that are there go to the key
            ``detection``.
        details: whatever else the run should be known by.
    """
    return {
        "benchmark": "accuracy",
        "data": data,
        "method": method,
        "seed": seed,
        "minutes": minutes,
        "input_size": input_size,
        "epochs": round(epochs, 2),
        "images_per_second": round(images_per_second, 2),
        "nme": _finite("nme", values),
        "median_px": _finite("median_px", values),
        "p90_px": _finite("p90_px", values),
        "detection": {name: _finite(name, values) for name in DETECTION_VALUES if name in values},
        "details": dict(details),
    }


def _finite(name: str, values: Mapping[str, float]) -> float:
    value = float(values[name])
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; a result that is not a number is not recorded")
    return value


def _cpu_model() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            # A virtual machine may hide the model's number; family and model tell the generation all the same.
            family = {key.strip(): text.strip() for key, _, text in (row.partition(":") for row in _lines("/proc/cpuinfo"))}
            return f"{value.strip()} (family {family.get('cpu family', '?')} model {family.get('model', '?')})"
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    json.dump(facts(), sys.stdout, indent=2)
    print()

"""The whole race: every method on every data set for the same minutes, one after another, then the tables.

    python benchmarks/race.py --data ../shared/data/wagon_hatch_half --minutes 10 30 --environments ~/environments

A result that is there already, of this machine, is not measured again (`--again` does); so a race that was interrupted goes on
where it stopped. Methods take turns within a duration. Never do two run at once, and each waits, three minutes at most, until
the machine is quiet after the one before. A method that fails is told of at the end and does not stop the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memory
import peers
import record
import tables

HERE = Path(__file__).resolve().parent
# Until the load of the run before has died away.
WAIT_SECONDS = 180
# What a machine without an accelerator installs and never uses.
ACCELERATORS = ("nvidia*", "triton", "cuda*")


@dataclass(frozen=True)
class Method:
    """One of the racers.

    Attributes:
        script: in this folder.
        method: what its results call it.
        environment: folder of its own environment inside `--environments`; none where it runs in this one.
        options: further words of its command line.
    """

    script: str
    method: str
    environment: str | None = None
    options: tuple[str, ...] = ()


METHODS = {
    "dekey": Method("accuracy.py", "dekey"),
    "yolo": Method("yolo_pose.py", "YOLO11n-pose, from scratch", "yolo"),
    "keypoint_rcnn": Method("keypoint_rcnn.py", "Keypoint R-CNN ResNet-18, from scratch", "torchvision"),
    "lightning_pose": Method("lightning_pose.py", "Lightning Pose ResNet-18, from scratch", "lightning_pose"),
    "simple_baselines": Method("simple_baselines.py", "Simple Baselines ResNet-18, the 2018 recipe"),
    "simple_baselines_improved": Method(
        "simple_baselines.py", "Simple Baselines ResNet-18, improved recipe", options=("--recipe", "improved")
    ),
}


@dataclass(frozen=True)
class Leg:
    """One run of the race."""

    name: str
    data: Path
    minutes: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name} on {self.data.name}, {self.minutes:g} minutes, seed {self.seed}"

    def command(self, environments: Path, results: Path) -> list[str]:
        """Give the command line of its script."""
        method = METHODS[self.name]
        words = ["--data", str(self.data), "--minutes", f"{self.minutes:g}", "--seed", str(self.seed)]
        if method.environment is not None:
            words += ["--environment", str(environments / method.environment)]
        return [sys.executable, str(HERE / method.script), *words, *method.options, "--results", str(results)]

    def is_of(self, result: dict[str, Any], machine: dict[str, Any]) -> bool:
        """Say whether a result is this run's, taken on a machine like this."""
        return (
            result["benchmark"] == "accuracy"
            and (result["method"], result["data"]) == (METHODS[self.name].method, self.data.name)
            and (result["minutes"], result["seed"]) == (self.minutes, self.seed)
            and all(result["machine"][key] == machine[key] for key in ("cpu", "cores"))
        )


def legs(data: Sequence[Path], minutes: Sequence[float], methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Leg]:
    """List the runs: the short ones first, and methods in turns, so that a slow hour hits them alike."""
    for duration in sorted(minutes):
        for folder in data:
            for seed in seeds:
                for name in methods:
                    yield Leg(name, folder, duration, seed)


def wait_until_quiet(limit: float = WAIT_SECONDS, pause: float = 5.0) -> None:
    """Wait until the load average is what a benchmark may begin at, `limit` seconds at most."""
    until = time.monotonic() + limit
    while hasattr(os, "getloadavg") and os.getloadavg()[0] > record.BUSY_LOAD and time.monotonic() < until:
        time.sleep(pause)


def environment_row(name: str, install: str, folder: Path) -> dict[str, Any]:
    """Measure an installed environment: MiB, of which CUDA's and Triton's, and packages."""
    packages = list(folder.glob("lib/python*/site-packages"))
    useless = [found for own in packages for pattern in ACCELERATORS for found in own.glob(pattern) if found.is_dir()]
    return {
        "name": name,
        "install": install,
        "mib": memory.folder_mib(folder),
        "accelerator_mib": sum(memory.folder_mib(found) for found in useless),
        "packages": sum(len(list(own.glob("*.dist-info"))) for own in packages),
    }


def install_sizes(environments: Path, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Install dekey into environments of its own, to predict and to train, and measure them beside the peers'."""
    rows = []
    for name, extra, label in (("dekey", "", "dekey, to predict"), ("dekey-train", "[train]", "dekey, to train")):
        folder = environments / name
        peers.make_environment(folder, "bin/dekey", [f"dekey{extra} @ {record.ROOT.as_uri()}"], overrides=())
        rows.append(environment_row(label, f"dekey{extra}", folder))
    for name in dict.fromkeys(METHODS[each].environment for each in methods):
        if name is not None and (environments / name).is_dir():
            install = {"yolo": "ultralytics", "torchvision": "torchvision", "lightning_pose": "lightning-pose"}[name]
            rows.append(environment_row(install, install, environments / name))
    return rows


def run(
    todo: Sequence[Leg], environments: Path, results: Path, again: bool, wait: float = WAIT_SECONDS
) -> tuple[list[Leg], list[Leg]]:
    """Run what has no result yet; give what was run, and of it what failed."""
    machine, ran, failed = record.machine(), [], []
    for position, leg in enumerate(todo):
        if not again and any(leg.is_of(result, machine) for result in tables.load(results)):
            say(f"{position + 1} of {len(todo)}: {leg}: there already")
            continue
        wait_until_quiet(wait)
        say(f"{position + 1} of {len(todo)}: {leg}")
        ran.append(leg)
        # A script of the race may print its result or where it is; standard output is kept for the race itself.
        if subprocess.run(leg.command(environments, results), cwd=record.ROOT, stdout=sys.stderr).returncode:
            failed.append(leg)
            say(f"{leg}: failed, the others go on")
    return ran, failed


def say(text: str) -> None:
    """Say how far the race is."""
    print(f"race: {text}", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="run every method for the same minutes, one after another, then write tables")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders with train.json, test.json, perhaps val.json"
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["dekey", "yolo", "keypoint_rcnn"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' environments; made if missing")
    parser.add_argument("--again", action="store_true", help="measure what has a result too")
    parser.add_argument("--wait", type=float, default=WAIT_SECONDS, help="seconds at most for the machine to become quiet")
    parser.add_argument("--no-install", action="store_true", help="leave out the sizes of the installations")
    parser.add_argument(
        "--results", type=Path, default=record.RESULTS, help="folder for the JSON; elsewhere, no table is written"
    )
    arguments = parser.parse_args(words)
    for folder in arguments.data:
        if not all((folder / name).is_file() for name in ("train.json", "test.json")):
            parser.error(f"{folder} has no train.json and test.json")
    environments, results = arguments.environments.expanduser().resolve(), arguments.results.resolve()
    data = [folder.resolve() for folder in arguments.data]
    try:
        todo = list(legs(data, arguments.minutes, arguments.methods, arguments.seeds))
        ran, failed = run(todo, environments, results, arguments.again, arguments.wait)
        if not arguments.no_install and (arguments.again or not (results / "install_size.json").is_file()):
            rows = install_sizes(environments, arguments.methods)
            record.write("install_size", {"benchmark": "install_size", "rows": rows}, folder=results)
    except KeyboardInterrupt:
        say("stopped; the same command goes on where it stopped")
        return 130
    if results == record.RESULTS:
        tables.main([])
    say(f"{len(todo)} runs, {len(ran)} of them now, {len(failed)} failed")
    for leg in failed:
        say(f"failed: {leg}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

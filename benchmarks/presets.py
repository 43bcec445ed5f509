"""The presets against each other: what each finds after the same minutes of training, and what it costs in every runtime.

    python benchmarks/presets.py --data ../shared/data/faces68 --minutes 10 --keep runs/presets

Each preset is trained by `accuracy.py` and measured on the untouched test split, then written in every form and timed as
`runtimes.py` does, all presets in turns. What is done already under `--keep` is used again, so that the same command goes on
after an interruption. `--until` ends earlier: training and times need cores that nobody else uses, writing the forms and
measuring them does not. Other networks can be compared under names of their own:

    python benchmarks/presets.py ... --network "resnet18=model.backbone=resnet18 model.input_scale=1.25"
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import record
import runtimes
from trained import gflop

from dekey.config import PRESETS

HERE = Path(__file__).resolve().parent
STEPS = ("train", "export", "time", "measure")
TAKEN = ("epochs", "images_per_second", "nme", "median_px", "p90_px", "detection", "commit", "date")
DETAILS = ("family", "input", "backbone", "decoder_channels", "parameters", "precision", "weights")


def networks(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Give the settings of each network to compare by its name."""
    found = {name: [f"model.preset={name}"] for name in arguments.presets}
    for text in arguments.network:
        name, equals, changes = text.partition("=")
        if not equals or not name.replace("_", "").isalnum() or name in found:
            raise SystemExit(f"found --network '{text}', expected a new name, = and settings with spaces between them")
        found[name] = changes.split()
    return found


def asked(arguments: argparse.Namespace, changes: Sequence[str]) -> dict[str, Any]:
    """Say what a kept run has to be of."""
    return {
        "data": arguments.data.name,
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "settings": [*changes, *arguments.set],
    }


def trained(arguments: argparse.Namespace, name: str, changes: Sequence[str]) -> dict[str, Any]:
    """Train a network by `accuracy.py` into ``KEEP/NAME/run``, or take what is there.

    Raises:
        SystemExit: if what is there is not whole, or of other settings.
    """
    folder = arguments.keep / name
    note, wanted = folder / "asked.json", asked(arguments, changes)
    if note.is_file() and json.loads(note.read_text()) != wanted:
        raise SystemExit(f"{folder} holds a run of other settings; name another folder with --keep")
    files = sorted((folder / "accuracy").glob("*.json"))
    if not files:
        if (folder / "run").exists():
            raise SystemExit(f"{folder / 'run'} was not finished, and its minutes are spent; delete it")
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(wanted))
        command = [sys.executable, str(HERE / "accuracy.py"), "--data", str(arguments.data), "--seed", str(arguments.seed)]
        command += ["--minutes", str(arguments.minutes), "--keep", str(folder / "run")]
        command += ["--results", str(folder / "accuracy")]
        for change in wanted["settings"]:
            command += ["--set", change]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files = sorted((folder / "accuracy").glob("*.json"))
    result: dict[str, Any] = json.loads(files[0].read_text(encoding="utf-8"))
    return result


def size_mib(path: Path) -> float:
    """Give the size of a form: that of the file, with the weights beside an .xml, or of a run's weights alone."""
    if path.is_dir():
        path = path / "model.safetensors"
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return round(sum(file.stat().st_size for file in files) / 2**20, 2)


def exported(arguments: argparse.Namespace, name: str) -> None:
    """Write every form of a run that is not there yet."""
    folder = arguments.keep / name / "forms"
    if not all(path.exists() for path in paths(arguments, name).values()):
        folder.mkdir(exist_ok=True)
        runtimes.export(arguments.keep / name / "run", folder)


def measured(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Measure every form of a run on the test images, or take what is there."""
    from dekey.models.checkpoint import load_model

    done = arguments.keep / name / "figures.json"
    if not done.is_file():
        forms = paths(arguments, name)
        figures = {
            form: {"values": runtimes.in_process("accuracy", path, arguments), "mib": size_mib(path)}
            for form, path in forms.items()
        }
        model, manifest = load_model(forms[runtimes.REFERENCE] / "model.safetensors")
        done.write_text(json.dumps({"gflop": gflop(model, manifest.input_size), "forms": figures}))
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def paths(arguments: argparse.Namespace, name: str) -> dict[str, Path]:
    """Give where each form of a network lies."""
    folder = arguments.keep / name
    return {form: folder / "forms" / file if file else folder / "run" for form, file in runtimes.FORMS.items()}


def timed(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, dict[str, list[list[float]]]]:
    """Time every form of every network in ms, each block in a process of its own, in turns; rounds that are there count."""
    kept = arguments.keep / f"times-{'-'.join(names)}-{arguments.threads}-threads.json"
    taken: dict[str, dict[str, list[list[float]]]] = {name: {form: [] for form in runtimes.FORMS} for name in names}
    if kept.is_file():
        taken = json.loads(kept.read_text())
    for number in range(len(taken[names[0]][runtimes.REFERENCE]), arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        for form in runtimes.FORMS:
            for name in names:
                taken[name][form].append(runtimes.in_process("times", paths(arguments, name)[form], arguments))
                time.sleep(0.3)
        kept.write_text(json.dumps(taken))
    return taken


def row(name: str, result: dict[str, Any], found: dict[str, Any], times: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Put together what is known of one network."""
    from dekey.export.accuracy import compared

    reference = found["forms"][runtimes.REFERENCE]["values"]
    answers = []
    for form, own in found["forms"].items():
        loss = compared(reference, own["values"], int(reference["images"]))
        answers.append(
            {
                "form": form,
                "median_ms": round(statistics.median(statistics.median(block) for block in times[form]), 3),
                "p90_ms": round(statistics.median(float(np.percentile(block, 90)) for block in times[form]), 3),
                "mib": own["mib"],
                "values": loss.after,
                "relative_loss": loss.relative,
            }
        )
    known = {key: result[key] for key in TAKEN if key in result}
    details = {key: result["details"][key] for key in DETAILS}
    return {"name": name, **known, **details, "gflop": found["gflop"], "forms": answers}


def main() -> None:
    parser = argparse.ArgumentParser(description="what each preset finds after equal minutes, and what it costs")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=list(PRESETS), metavar="NAME")
    parser.add_argument("--network", action="append", default=[], metavar="NAME=SETTINGS", help="another network to compare")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all")
    parser.add_argument("--keep", type=Path, required=True, help="runs and forms; finished ones that lie there are used again")
    parser.add_argument("--until", choices=STEPS, default=STEPS[-1], help="end after this step (default: the last)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each runtime")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--name", help="of the result (default: presets-DATA-MINUTES-SEED)")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.labels = arguments.data / "test.json"
    if not arguments.labels.is_file():
        parser.error(f"found no test.json in {arguments.data}; name a folder with train.json and test.json")
    known = networks(arguments)
    # Those of the first training, from before it: a later step may run beside other work.
    note = arguments.keep / "facts.json"
    if not note.is_file():
        arguments.keep.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(record.facts()))
    results = {name: trained(arguments, name, changes) for name, changes in known.items()}
    if arguments.until == "train":
        return
    for name in known:
        exported(arguments, name)
    if arguments.until == "export":
        return
    times = timed(arguments, list(known))
    if arguments.until == "time":
        return
    found = {name: measured(arguments, name) for name in known}
    payload = {
        "benchmark": "presets",
        **asked(arguments, []),
        "threads": arguments.threads,
        "rounds": len(times[next(iter(known))][runtimes.REFERENCE]),
        "calls": arguments.calls,
        "images": int(next(iter(found.values()))["forms"][runtimes.REFERENCE]["values"]["images"]),
        "runtimes": {package: record.metadata.version(package) for package in ("onnxruntime", "openvino", "nncf")},
        "rows": [row(name, results[name], found[name], times[name]) for name in known],
    }
    name = arguments.name or f"presets-{arguments.data.name}-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name, payload, json.loads(note.read_text()), arguments.results))


if __name__ == "__main__":
    main()

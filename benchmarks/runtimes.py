"""One trained network in every runtime and precision: milliseconds an image, and what each costs in accuracy.

    python benchmarks/runtimes.py RUN ../shared/data/faces68/test.json --threads 2

RUN is a run folder whose training data are still there: int8 is calibrated on them. Every form is exported once, measured on
the test labels, and timed on one input at a time in processes of its own, in rounds: a runtime's waiting threads spin after a
call and would slow down whatever came next in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record

FORMS = {
    "torch fp32": "",
    "ONNX Runtime fp32": "fp32.onnx",
    "ONNX Runtime int8": "int8.onnx",
    "OpenVINO fp32": "fp32.xml",
    "OpenVINO bf16": "bf16.xml",
    "OpenVINO int8": "int8.xml",
}
REFERENCE = "torch fp32"


def export(run: Path, folder: Path) -> None:
    """Write every form into a folder, whatever it costs in accuracy: that is what is measured here."""
    from dekey.export import export_int8_onnx, export_onnx, export_openvino
    from dekey.export.int8 import CALIBRATION_PICTURES
    from dekey.models.checkpoint import load_torch_backend
    from dekey.training.prepare import crops_of, material_of

    backend = load_torch_backend(run / "model.safetensors", "cpu")
    config, material = material_of(run / "config.yaml")
    pictures = list(crops_of(material.views_of(material.held_out, config.data.padding), 8))
    calibration = list(crops_of(material.views, CALIBRATION_PICTURES))
    export_onnx(backend, folder / "fp32.onnx", pictures)
    export_int8_onnx(backend, folder / "int8.onnx", pictures, calibration)
    for precision in ("fp32", "bf16", "int8"):
        export_openvino(backend, folder / f"{precision}.xml", pictures, precision, calibration)  # type: ignore[arg-type]


def opened(path: Path, threads: int) -> Any:
    """Open a form with so many threads; torch's own number is the process's, see `in_process`."""
    from dekey.runtime.open import open_backend

    return open_backend(path, "cpu", threads=threads)


def accuracy(path: Path, labels: Path, threads: int) -> dict[str, float]:
    """Measure a form on labelled images."""
    import dekey
    from dekey.runtime import Predictor

    dataset = dekey.read(labels)
    predictor = Predictor(opened(path, threads))
    manifest = predictor.manifest
    found = predictor.predict_dataset(dataset)
    evaluation = dekey.evaluate(dataset, found, score_threshold=manifest.object_threshold, boxes=manifest.finds_boxes)
    return {name: value for name, value in evaluation.values.items() if value == value}


def times(path: Path, threads: int, calls: int) -> list[float]:
    """Time single calls in ms after a pause and some calls that lay out buffers."""
    backend = opened(path, threads)
    height, width = backend.manifest.input_size
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    for _ in range(5):
        backend.run(image)
    time.sleep(0.1)
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        backend.run(image)
        taken.append(1e3 * (time.perf_counter() - begun))
    return taken


def in_process(step: str, path: Path, arguments: argparse.Namespace) -> Any:
    """Run one step on one form in a process of its own."""
    command = [sys.executable, __file__, str(path), str(arguments.labels), "--threads", str(arguments.threads)]
    command += ["--calls", str(arguments.calls), "--step", step]
    # torch, and the libraries below every runtime, take their number of threads from it when they start.
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def rows(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure every form; the first row is what the others are compared with."""
    from dekey.export.accuracy import compared

    paths = {name: folder / file if file else arguments.run for name, file in FORMS.items()}
    figures = {name: in_process("accuracy", path, arguments) for name, path in paths.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in FORMS}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for name, path in paths.items():
            taken[name].append(in_process("times", path, arguments))
            time.sleep(0.5)
    reference = statistics.median(statistics.median(one) for one in taken[REFERENCE])
    answers = []
    for name in FORMS:
        median = statistics.median(statistics.median(one) for one in taken[name])
        loss = compared(figures[REFERENCE], figures[name], int(figures[REFERENCE]["images"]))
        answers.append(
            {
                "form": name,
                "median_ms": round(median, 3),
                "p90_ms": round(statistics.median(float(np.percentile(one, 90)) for one in taken[name]), 3),
                "speedup": round(reference / median, 2),
                "values": loss.after,
                "relative_loss": loss.relative,
            }
        )
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description="one trained network in every runtime and precision")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("labels", type=Path, help="label file of the test images")
    parser.add_argument("--name", default="runtimes", help="name of the result")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--step", choices=["accuracy", "times"], help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    if arguments.step == "accuracy":
        print(json.dumps(accuracy(arguments.run, arguments.labels, arguments.threads)))
        return
    if arguments.step == "times":
        print(json.dumps(times(arguments.run, arguments.threads, arguments.calls)))
        return
    begun = record.facts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(arguments.run, folder)
        manifest = opened(folder / "fp32.onnx", 1).manifest
        payload = {
            "benchmark": "runtimes",
            "title": f"{arguments.labels.parent.name}, {manifest.architecture.get('backbone', manifest.kind)}",
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "calls": arguments.calls,
            "input_size": list(manifest.input_size),
            "kind": manifest.kind,
            "backbone": manifest.architecture.get("backbone"),
            "runtimes": {package: record.metadata.version(package) for package in ("onnxruntime", "openvino", "nncf")},
            "rows": rows(arguments, folder),
        }
    print(record.write(arguments.name, payload, begun, arguments.results).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()

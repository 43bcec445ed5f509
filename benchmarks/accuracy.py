"""dekey's own row of an accuracy table: `dekey train` for so many minutes, measured on the untouched test split.

    python benchmarks/accuracy.py --data ../shared/data/faces68 --minutes 10 --seed 0

Nothing is tuned to the data set: what differs between data sets is what dekey itself chooses. The best round is chosen on
val.json, or where there is none on images held out from train.json; test.json is looked at once, at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import memory
import peers
import record

import dekey
from dekey.config import read_config
from dekey.data import Dataset
from dekey.runtime import Predictor

# Enough for a steady median, few enough to be quick; the first are not counted.
TIMED, WARM = 40, 3


def curve(rows: Sequence[Mapping[str, str]]) -> list[list[float | None]]:
    """Read from the log, round by round, the seconds until its held-out figures were known, box AP and median px."""

    def number(row: Mapping[str, str], name: str) -> float | None:
        value = float(row.get(name) or "nan")
        return round(value, 4) if math.isfinite(value) else None

    return [
        [round(float(row["seconds"]) + (number(row, "val_seconds") or 0.0), 1)]
        + [number(row, f"val_{name}") for name in ("box_AP", "median_px")]
        for row in rows
    ]


def milliseconds(folder: Path, predictor: Predictor, test: Dataset) -> dict[str, float]:
    """Time what finds objects by itself on single test images, from decoded pixels to objects.

    In torch, in ONNX Runtime, and where it is installed in OpenVINO, in bf16 where the processor can, as it does for a peer.
    """
    if not predictor.manifest.finds_boxes:
        return {}
    from dekey.export import export_onnx
    from dekey.models.checkpoint import load_torch_backend

    pictures = [sample.read_image() for sample in test.subset(range(min(TIMED, len(test))))]
    file = folder / "model.onnx"
    export_onnx(load_torch_backend(folder / "model.safetensors", "cpu"), file, pictures[:4])
    runtimes: dict[str, Callable[[], Predictor]] = {
        "torch": lambda: dekey.load(folder),
        "ONNX Runtime": lambda: dekey.load(file),
    }
    if find_spec("openvino") is not None:
        from dekey.runtime.openvino import OpenvinoBackend, computes_bf16

        runtimes["OpenVINO"] = lambda: Predictor(OpenvinoBackend(file, "bf16" if computes_bf16() else "fp32"))
    times = {}
    for name, load in runtimes.items():
        model = load()
        own = []
        for picture in [*pictures[:WARM], *pictures]:
            began = time.perf_counter()
            model(picture)
            own.append(1000 * (time.perf_counter() - began))
        times[name] = round(statistics.median(own[WARM:]), 2)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="dekey train for some minutes, then measured on the test split")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting other than the default")
    parser.add_argument("--tiles", type=int, metavar="PX", help="measure a detector on tiles of the test images too")
    parser.add_argument("--keep", type=Path, help="keep the run folder there")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    from dekey.training import train

    val = arguments.data / "val.json"
    values: dict[str, Any] = {
        "data": {"train": str(arguments.data / "train.json"), "val": str(val) if val.is_file() else None},
        "run": {"budget": arguments.minutes * 60, "seed": arguments.seed},
        "model": {"pretrained": False},
    }
    config = read_config(values, overrides=arguments.set)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary) / "run"
        with memory.PeakMemory() as peak:
            train(config, folder, say=lambda text: print(text, file=sys.stderr, flush=True))
        with (folder / "log.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        facts = json.loads((folder / "run.json").read_text())
        predictor = dekey.load(folder, tiles=arguments.tiles)
        test = dekey.read(arguments.data / "test.json")
        # 0.05 for every keypoint: nobody has stated sigmas for these data, and the peers are measured with the same.
        values = dekey.evaluate(test, predictor, sigmas=0.05, normaliser="sqrt_box_area").values
        peers.check_found(values)
        held_out = json.loads((folder / "evaluation.json").read_text())["model"]["values"]
        times = {} if arguments.tiles else milliseconds(folder, predictor, test)
    changes = [*arguments.set, *([f"tiles={arguments.tiles}"] if arguments.tiles else [])]
    payload = record.accuracy(
        arguments.data.name,
        "dekey" + "".join(f", {change}" for change in changes),
        arguments.seed,
        arguments.minutes,
        predictor.manifest.input_size[0],
        float(rows[-1]["epoch"]),
        statistics.median(float(row["images_per_second"]) for row in rows),
        values,
        {
            "family": predictor.manifest.kind,
            "input": list(predictor.manifest.input_size),
            "backbone": config.model.backbone,
            "decoder_channels": list(config.model.decoder_channels),
            "precision": facts["precision"],
            "batch_size": facts["batch_size"],
            "parameters": facts["parameters"],
            "waiting": statistics.median(float(row["waiting"]) for row in rows),
            "weights": facts["weights"],
            "held_out": peers.held_out_figures(held_out, arguments.data, arguments.seed),
            "peak_memory_mib": peak.mib,
            "ms_per_image": times,
            "curve": curve(rows),
        },
    )
    name = f"accuracy-{arguments.data.name}-dekey-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name + peers.named(changes), payload, begun, arguments.results))


if __name__ == "__main__":
    main()

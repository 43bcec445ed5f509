"""What the article's network reaches by the article's own lines, beside the mean box and dekey's model of the article.

    python benchmarks/keras_article.py
    python benchmarks/keras_article.py --data ../shared/data/faces68 --minutes 2

Every method has the same minutes of wall clock on the same images, those with exactly one object, reading included, and is
measured on the test part by `dekey.evaluate` in pixels of the images. The ground is the mean box and the mean keypoints of the
training part, as shares of the image, put into every test image. The Keras network is trained by `compile` and `fit` with
Adam, mean squared error and batches of 32 until the minutes are over, without augmentation, and its last weights count, as in
the article; `dekey train` has its own defaults. The CPU seconds of each method stand beside its epochs: where other work shares
the core they differ, and so does what the methods could do with the same minutes. Those of `dekey train` hold its last
measurement and report as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

import dekey
import dekey.keras
from dekey.config import read_config
from dekey.data import Dataset, Instances, embedded, geometry
from dekey.training import train

keras: Any = sys.modules["keras"]


def one_object_each(data: Dataset) -> Dataset:
    """Give the images with exactly one object."""
    return data.subset(np.flatnonzero(np.diff(data.starts) == 1))


def mean_answers(learnt: Dataset, test: Dataset) -> list[Instances]:
    """Put the mean box and the mean keypoints of one data set, as shares of the image, into every image of another."""
    extents = learnt.sizes[:, ::-1].astype(np.float64)
    box = (learnt.instances.boxes.reshape(-1, 2, 2) / extents[:, None]).mean(axis=0)
    points = np.nanmean(learnt.instances.keypoints / extents[:, None], axis=0)
    found = []
    for size in test.sizes[:, ::-1].astype(np.float64):
        found.append(Instances.create((points * size)[None], (box * size).reshape(1, 4), scores=np.ones(1)))
    return found


def measured(test: Dataset, found: list[Instances]) -> dict[str, float]:
    """Measure keypoints in px of the images, and the overlap of the one box of each with its truth."""
    values = dekey.evaluate(test, found, boxes=False)
    # A box that lies outside its image is no answer: it overlaps with nothing.
    pairs = zip(test.instances.boxes, found, strict=True)
    overlaps = np.array([geometry.iou(truth[None], one.boxes[:1])[0, 0] if len(one) else 0.0 for truth, one in pairs])
    return {
        "median_px": round(values["median_px"], 3),
        "p90_px": round(values["p90_px"], 3),
        "box_iou": round(float(overlaps.mean()), 4),
        "box_iou_50": round(float((overlaps >= 0.5).mean()), 4),
    }


class Clock(keras.callbacks.Callback):
    """Ends training when the minutes are over, between two batches."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until
        self.batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count a batch and look at the clock."""
        self.batches += 1
        if time.monotonic() >= self.until:
            self.model.stop_training = True


def by_keras(learnt: Dataset, test: Dataset, side: int, minutes: float, seed: int) -> dict[str, Any]:
    """Train by the article's lines."""
    until, spent = time.monotonic() + 60 * minutes, time.process_time()
    keras.utils.set_random_seed(seed)
    x, y, weights = dekey.keras.arrays(learnt, (side, side), keypoints=True)
    model = dekey.keras.article_network((side, side), learnt.schema)
    model.compile(optimizer="adam", loss="mean_squared_error")
    clock = Clock(until)
    model.fit(x, y, batch_size=32, epochs=1 << 20, sample_weight=weights, callbacks=[clock], verbose=0)
    spent = time.process_time() - spent
    found = dekey.keras.predictor(model).predict_dataset(test)
    return {
        "method": "the article's network, Keras",
        "input_size": [side, side],
        "parameters": model.count_params(),
        "epochs": round(clock.batches / -(-len(x) // 32), 1),
        "cpu_seconds": round(spent, 1),
        **measured(test, found),
    }


def by_dekey(data: Dataset, test: Dataset, minutes: float, seed: int) -> dict[str, Any]:
    """Train dekey's model of the article by `dekey train`; it holds out a part of the images to choose the best round by."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.json"
        dekey.write(data, file)
        names = {"train": str(file), "images": str(Path(data.pictures[0]).parent)}  # type: ignore[arg-type]
        values: dict[str, Any] = {
            "data": names,
            "model": {"kind": "article", "pretrained": False},
            "run": {"budget": 60 * minutes, "seed": seed, "patience": None},
        }
        out, spent = Path(folder) / "run", time.process_time()
        train(read_config(values), out, say=lambda text: print(f"dekey: {text}", file=sys.stderr, flush=True))
        spent = time.process_time() - spent
        predictor = dekey.load(out, "cpu")
        rows = (out / "log.csv").read_text().splitlines()
        last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
        found = predictor.predict_dataset(test)
        parameters = sum(one.numel() for one in predictor.backend.model.parameters())  # type: ignore[attr-defined]
        return {
            "method": "`ArticleModel`, dekey train",
            "input_size": list(predictor.manifest.input_size),
            "parameters": parameters,
            "epochs": float(last["epoch"]) if "epoch" in last else None,
            "cpu_seconds": round(spent, 1),
            **measured(test, found),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="the article's program beside the mean box and dekey's model of the article")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with train.json and test.json (default: embedded)")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each method")
    parser.add_argument("--input", type=int, nargs="+", default=[32, 64], metavar="SIDE", help="inputs of the network, px")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    if arguments.data is None:
        name, parts = "glue_tubes", (embedded.load("train"), embedded.load("test"))
    else:
        name = arguments.data.name
        parts = (dekey.read(arguments.data / "train.json"), dekey.read(arguments.data / "test.json"))
    learnt, test = (one_object_each(part) for part in parts)
    rows: list[dict[str, Any]] = [{"method": "the mean box and keypoints", **measured(test, mean_answers(learnt, test))}]
    print(rows[-1], file=sys.stderr, flush=True)
    for side in arguments.input:
        rows.append(by_keras(learnt, test, side, arguments.minutes, arguments.seed))
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append(by_dekey(learnt, test, arguments.minutes, arguments.seed))
    print(rows[-1], file=sys.stderr, flush=True)
    payload = {
        "benchmark": "keras_article",
        "data": name,
        "train_images": len(learnt),
        "test_images": len(test),
        "minutes": arguments.minutes,
        "threads": torch.get_num_threads(),
        "seed": arguments.seed,
        "keras": keras.__version__,
        "rows": rows,
    }
    print(record.write(f"keras_article-{name}-{arguments.minutes:g}m", payload, begun, arguments.results))


if __name__ == "__main__":
    main()

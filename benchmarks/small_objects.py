"""What helps a detector with small objects: finer maps, a second look at each object, or tiles.

    python benchmarks/small_objects.py --data ../shared/data/flies2 --minutes 10 --seed 0

Three detectors are trained one after another for the same minutes with the same seed: on whole images; on whole images with
maps of stride 2 (one more deconvolution); and with ``augment.zoom=0.6``, which also shows objects up to three times as large.
The last one is measured with its second look at each object, with one look at the whole image, and in tiles with one look
each. With ``--run FOLDER`` nothing is trained: that run is measured as it is and in tiles.

A tile shows an object as much larger as training did in the middle (geometrically) of the zoomed views, √3 times; neighbours
overlap so far that nine of ten objects lie whole in a tile.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
from trained import SIGMA, about, chosen, train_or_load

import dekey
from dekey.data import Dataset, geometry
from dekey.metrics import evaluate
from dekey.runtime import Predictor
from dekey.training.scenes import CLOSEST

NAMES = ("box_AP", "box_AP50", "AP", "AP50", "median_px", "p90_px", "found_share", "extra_found_per_image")
METHODS: dict[str, list[str]] = {
    "whole image": ["augment.zoom=0"],
    "whole image, stride 2": ["augment.zoom=0", "model.decoder_channels=[64,64,64,32]"],
    "second look": ["augment.zoom=0.6"],
}
LARGEST_OVERLAP = 0.5
# Calls that choose kernels and fill caches.
WARM_UP = 3


def tiling(dataset: Dataset) -> tuple[int, float]:
    """Choose side px and overlap of tiles for the images of a data set, see above."""
    side = round(float(np.median(dataset.sizes.max(axis=1))) / math.sqrt(CLOSEST))
    lengths = geometry.box_sizes(dataset.instances.boxes[~dataset.instances.crowd]).max(axis=1)
    return side, round(min(float(np.quantile(lengths, 0.9)) / side, LARGEST_OVERLAP), 3)


def measure(predictor: Predictor, dataset: Dataset) -> dict[str, Any]:
    """Measure a model: its figures, and the median time of an image, all views of it, on its own and without decoding."""
    images = [dataset[index].read_image() for index in range(min(len(dataset), 30))]
    times = []
    for image in [*images[:WARM_UP], *images]:
        began = time.perf_counter()
        predictor(image)
        times.append(1000 * (time.perf_counter() - began))
    result = evaluate(dataset, predictor, sigmas=SIGMA)
    return {**chosen(result.values, NAMES), "ms_an_image": round(statistics.median(times[WARM_UP:]), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="small objects: whole image, finer maps, tiles")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--run", type=Path, help="measure this run folder and train nothing")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all")
    parser.add_argument("--keep", type=Path, help="keep the runs there; finished ones that lie there are used again")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    test = dekey.read(arguments.data / "test.json")
    side, overlap = tiling(test)
    val = arguments.data / "val.json"
    rows = []

    def add(method: str, folder: Path, predictor: Predictor, tiles: int | None = None, once: bool = False) -> None:
        used = Predictor(predictor.backend, predictor.batch_size, tiles=tiles, overlap=overlap, once=once)
        views = {} if tiles is None else {"tiles": tiles, "overlap": overlap}
        rows.append({"method": method, **measure(used, test), **views, "details": about(folder, predictor)})
        print(rows[-1], file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        if arguments.run is not None:
            predictor = dekey.load(arguments.run)
            add("the run", arguments.run, predictor)
            twice = bool(predictor.manifest.second_look)
            add("the run, once, in tiles" if twice else "the run, in tiles", arguments.run, predictor, side, once=twice)
        else:
            for name, changes in METHODS.items():
                folder = (arguments.keep or Path(temporary)) / name.replace(", ", "-").replace(" ", "-")
                predictor = train_or_load(
                    folder,
                    arguments.data / "train.json",
                    arguments.minutes,
                    arguments.seed,
                    [*arguments.set, *changes],
                    val if val.is_file() else None,
                )
                add(name, folder, predictor)
                if predictor.manifest.second_look:
                    add(f"{name} left out", folder, predictor, once=True)
                    add(f"{name} left out, tiles", folder, predictor, side, once=True)
    payload = {
        "benchmark": "small_objects",
        "data": arguments.data.name,
        "minutes": None if arguments.run else arguments.minutes,
        "seed": None if arguments.run else arguments.seed,
        "sigma": SIGMA,
        "images": len(test),
        "objects": len(test.instances),
        "set": arguments.set,
        "rows": rows,
    }
    name = f"small_objects-{arguments.data.name}-{arguments.minutes:g}m-seed{arguments.seed}"
    if arguments.run is not None:
        name = f"small_objects-{arguments.data.name}-run-{arguments.run.resolve().name}"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()

"""One detector of the classes of several label files against one detector for each file.

    python benchmarks/merged.py --minutes 10 --seed 0

The classes have keypoints of their own. The merged model is trained for as many minutes as each of the single ones, so it has
a third of the time for each class. All hold 15 % of their training images out to choose the best round; test.json is looked at
once. Classes are confused only by the merged model: its found objects are paired with truths of any class by the overlap of
their boxes, and the classes of each pair are counted, over the test images of all files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record
from numpy.typing import NDArray
from trained import SIGMA, about, chosen, share, train_or_load

import dekey
from dekey.data import Dataset, Instances, merge
from dekey.metrics import evaluate
from dekey.metrics.matching import has_box, pair
from dekey.runtime import Predictor

DATA = ("wagon_hatch_half", "glue_tubes", "flies2")
NAMES = ("box_AP", "box_AP50", "AP", "AP50", "median_px", "p90_px", "found_share", "extra_found_per_image")


def confusions(dataset: Dataset, predictor: Predictor) -> dict[str, Any]:
    """Count which class each object was found as.

    Args:
        dataset: all test images, with the classes of the model.
        predictor: the merged model.

    Returns:
        For each class of a truth how many were found as which class and how many not at all; the found objects that overlap
        no truth, by class; and the share of the found objects whose class is wrong.
    """
    classes = dataset.schema.classes
    counts: NDArray[np.int64] = np.zeros((len(classes), len(classes)), dtype=np.int64)
    missed, extra = np.zeros(len(classes), dtype=np.int64), np.zeros(len(classes), dtype=np.int64)
    for sample, answers in zip(dataset, predictor.predict_dataset(dataset), strict=True):
        assert answers.scores is not None
        found = answers[answers.scores >= predictor.manifest.object_threshold]
        truth = sample.instances
        pairs = pair(_nameless(truth), _nameless(found), sample.size, counts=~truth.crowd & has_box(truth), lone_pairs=False)
        for row, column in enumerate(pairs.found_of_truth):
            if column >= 0:
                counts[truth.labels[row], found.labels[column]] += 1
            elif not truth.crowd[row]:
                missed[truth.labels[row]] += 1
        extra += np.bincount(found.labels[pairs.extra], minlength=len(classes))
    table = {
        name: {"found_as": dict(zip(classes, counts[row].tolist(), strict=True)), "missed": int(missed[row])}
        for row, name in enumerate(classes)
    }
    wrong = int(counts.sum() - np.trace(counts))
    return {
        "truth": table,
        "extra": dict(zip(classes, extra.tolist(), strict=True)),
        "wrong_class": wrong,
        "wrong_class_share": share(wrong, int(counts.sum())),
    }


def _nameless(instances: Instances) -> Instances:
    return replace(instances, labels=np.zeros_like(instances.labels))


def main() -> None:
    parser = argparse.ArgumentParser(description="one detector of several classes against one for each")
    parser.add_argument(
        "--data", type=Path, nargs="+", help=f"folders with train.json and test.json (default: {', '.join(DATA)})"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all")
    parser.add_argument("--keep", type=Path, help="keep the runs there; finished ones that lie there are used again")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    folders = arguments.data or [record.ROOT.parent / "shared" / "data" / name for name in DATA]
    tests = {folder.name: dekey.read(folder / "test.json") for folder in folders}
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.keep or Path(temporary)

        def trained(name: str, sources: list[Path]) -> Predictor:
            files = [source / "train.json" for source in sources]
            return train_or_load(runs / name, files, arguments.minutes, arguments.seed, arguments.set)

        merged = trained("merged", folders)
        rows, details = [], {"merged": about(runs / "merged", merged)}
        for folder in folders:
            test = tests[folder.name]
            single = trained(folder.name, [folder])
            details[folder.name] = about(runs / folder.name, single)
            row: dict[str, Any] = {
                "data": folder.name,
                "classes": list(test.schema.classes),
                "objects": len(test.instances),
            }
            for kind, predictor in (("merged", merged), ("single", single)):
                row[kind] = chosen(evaluate(test, predictor, sigmas=SIGMA).values, NAMES)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
        confused = confusions(merge(list(tests.values())), merged)
        print(confused, file=sys.stderr, flush=True)
    payload = {
        "benchmark": "merged",
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "sigma": SIGMA,
        "set": arguments.set,
        "rows": rows,
        "confusions": confused,
        "details": details,
    }
    print(record.write(f"merged-{arguments.minutes:g}m-seed{arguments.seed}", payload, begun, arguments.results))


if __name__ == "__main__":
    main()

"""From classification pictures to a detector: label, compose, train, and measure on scenes of pictures set aside.

    python benchmarks/classification.py --pictures ../shared/data/cifar10 --minutes 12

The same as the two commands of docs/commands/label.md. The scenes to test on are composed of the test pictures of the source
and no others. Beside the detector stands what can be said without looking: one object in the middle of every scene, of the mean
size, of the most frequent class, in the mean pose. Both are measured by `dekey.metrics.evaluate`; of class and place apart too:
with all classes taken for one, and then the share of the objects found whose class is right.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record
from trained import about, chosen, share

import dekey
from dekey.config import read_config
from dekey.data import Dataset, Instances, Schema, geometry
from dekey.label import Options, label_folder
from dekey.metrics import evaluate
from dekey.metrics.matching import pair

NAMES = ("box_AP", "box_AP50", "found_share", "extra_found_per_image")
PLACE_NAMES = (*NAMES, "median_px", "p90_px")


def middle_answers(train: Dataset, test: Dataset) -> list[Instances]:
    """Answer the same for every image: the middle, the mean size, the most frequent class, its mean pose in the box."""
    truth = train.instances
    counts = np.bincount(truth.labels, minlength=len(train.schema.classes))
    label = int(counts.argmax())
    own = truth[truth.labels == label]
    sides = geometry.box_sizes(truth.boxes).mean(axis=0)
    relative = (own.keypoints - own.boxes[:, None, :2]) / geometry.box_sizes(own.boxes)[:, None]
    known = np.isfinite(relative).all(-1)
    sums = np.where(known[..., None], relative, 0).sum(axis=0)
    pose = np.where(known.any(0)[:, None], sums / np.maximum(known.sum(axis=0), 1)[:, None], np.nan)
    found = []
    for height, width in test.sizes.tolist():
        corner = (np.array([width, height]) - sides) / 2
        box = np.concatenate([corner, corner + sides])
        found.append(Instances.create((corner + pose * sides)[None], box[None], [label], scores=[1.0]))
    return found


def placed(dataset: Dataset) -> Dataset:
    """Give the data with all classes taken for one."""
    schema = dataset.schema
    one = Schema.create(["object"], schema.keypoints, schema.edges, schema.mirror)
    return replace(dataset, schema=one, instances=_classless(dataset.instances), category_ids=None)


def _classless(instances: Instances) -> Instances:
    return replace(instances, labels=np.zeros_like(instances.labels))


def class_accuracy(dataset: Dataset, found: Sequence[Instances], threshold: float) -> dict[str, Any]:
    """Count, of the objects found in their place (IoU of at least 0.5, whatever the class), those named rightly."""
    right, named = 0, 0
    for sample, one in zip(dataset, found, strict=True):
        assert one.scores is not None
        above = one[one.scores >= threshold]
        pairs = pair(_classless(sample.instances), _classless(above), sample.size, lone_pairs=False)
        has = pairs.found_of_truth >= 0
        named += int(has.sum())
        right += int((sample.instances.labels[has] == above.labels[pairs.found_of_truth[has]]).sum())
    return {"found": named, "right": right, "share": share(right, named)}


def measured(dataset: Dataset, found: Sequence[Instances], threshold: float) -> dict[str, Any]:
    """Measure answers with and without their classes."""
    anywhere = [_classless(one) for one in found]
    return {
        "with_class": chosen(evaluate(dataset, found, boxes=True, score_threshold=threshold).values, NAMES),
        "place": chosen(evaluate(placed(dataset), anywhere, boxes=True, score_threshold=threshold).values, PLACE_NAMES),
        "class": class_accuracy(dataset, found, threshold),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="a detector of classification pictures")
    parser.add_argument("--pictures", type=Path, default=record.ROOT.parent / "shared" / "data" / "cifar10")
    parser.add_argument("--scenes", type=int, default=800, help="to train on")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting other than the file's")
    parser.add_argument("--keep", type=Path, help="keep labels and run there; finished labels that lie there are used again")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    from dekey.training import train

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        labelled = folder / "labelled"
        if not (labelled / "summary.json").is_file():
            label_folder(arguments.pictures, labelled, Options(scenes=arguments.scenes))
        summary = json.loads((labelled / "summary.json").read_text())
        scenes = {part: dekey.read(labelled / "scenes" / f"{part}.json") for part in ("train", "test")}
        values = {
            "data": {"train": str(labelled / "scenes" / "train.json")},
            "model": {"pretrained": False},
            "run": {"budget": arguments.minutes * 60, "seed": arguments.seed},
        }
        config = read_config(values, record.ROOT / "configs" / "classification.yaml", arguments.set)
        train(config, folder / "run", say=lambda text: print(text, file=sys.stderr, flush=True))
        predictor = dekey.load(folder / "run")
        threshold = predictor.manifest.object_threshold
        answers = predictor.predict_dataset(scenes["test"])
        rows = {
            "detector": measured(scenes["test"], answers, threshold),
            "always the middle": measured(scenes["test"], middle_answers(scenes["train"], scenes["test"]), 0.0),
        }
        payload = {
            "benchmark": "classification",
            "data": arguments.pictures.resolve().name,
            "minutes": arguments.minutes,
            "seed": arguments.seed,
            "set": arguments.set,
            "labels": {part: {key: summary[part][key] for key in ("pictures", "kept", "scenes")} for part in scenes},
            "quality": summary["quality"],
            "classes": len(scenes["test"].schema.classes),
            "rows": rows,
            "details": about(folder / "run", predictor),
        }
    name = f"classification-{payload['data']}-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()

"""Seconds of `dekey.metrics.evaluate` on 5,000 images of 5 objects with 17 keypoints.

python benchmarks/evaluate_speed.py
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import record

import dekey.metrics
from dekey.data import Dataset, Instances, Schema
from dekey.data.schema import COCO_PERSON_KEYPOINTS


def made_up(images: int, objects: int, seed: int = 0) -> tuple[Dataset, list[Instances]]:
    """Make truths and what a good detector would find: points moved by some pixels, one object in ten missed."""
    random = np.random.default_rng(seed)
    count, points = images * objects, len(COCO_PERSON_KEYPOINTS)
    corners = random.uniform(0, 400, (count, 1, 2))
    sides = random.uniform(60, 200, (count, 1, 2))
    keypoints = corners + sides * random.uniform(0.05, 0.95, (count, points, 2))
    visibility = random.choice(np.array([0, 1, 2], dtype=np.uint8), size=(count, points), p=[0.2, 0.2, 0.6])
    boxes = np.concatenate([corners, corners + sides], axis=2).reshape(count, 4)
    truth = Instances.create(
        np.where(visibility[..., None] > 0, keypoints, np.nan), boxes, visibility=visibility, areas=0.6 * sides.prod(-1)[:, 0]
    )
    starts = np.arange(images + 1, dtype=np.int64) * objects
    dataset = Dataset(
        Schema.create(["person"], COCO_PERSON_KEYPOINTS),
        [Path(f"{number}.jpg") for number in range(images)],
        np.full((images, 2), 640, dtype=np.int64),
        truth,
        starts,
        np.arange(images, dtype=np.int64),
        np.arange(count, dtype=np.int64),
    )
    found = []
    for first, last in pairwise(starts):
        kept = np.arange(first, last)[random.random(objects) > 0.1]
        moved = keypoints[kept] + random.normal(0, 4, (len(kept), points, 2))
        confidence = random.random((len(kept), points))
        found.append(Instances.create(moved, boxes[kept], scores=confidence.mean(1), keypoint_scores=confidence))
    return dataset, found


def main() -> None:
    parser = argparse.ArgumentParser(description="seconds of dekey.metrics.evaluate on made-up truths and finds")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--objects", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    dataset, found = made_up(arguments.images, arguments.objects)
    times = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        evaluation = dekey.metrics.evaluate(dataset, found)
        times.append(round(time.perf_counter() - start, 2))
    payload = {
        "benchmark": "evaluate_speed",
        "images": arguments.images,
        "objects_per_image": arguments.objects,
        "keypoints": len(COCO_PERSON_KEYPOINTS),
        "seconds": min(times),
        "all_seconds": times,
        "values": {name: round(value, 6) for name, value in sorted(evaluation.values.items())},
    }
    print(record.write("evaluate_speed", payload, begun, arguments.results).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()

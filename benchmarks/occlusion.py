"""A detector taught with occluders against one taught without, on pictures whose objects are painted over more and more.

    python benchmarks/occlusion.py --data ../shared/data/glue_tubes --minutes 10 --seed 0

Both are trained for the same minutes with the same seed; one with ``augment.cover=0.3`` and the default ``augment.erase``, the
other with neither. Then 0, 10, 20 … 60 % of the box of every test object are painted over with a part of another test image
that shows no object: one time in four as an ellipse within the box, else as a rectangle that lies within it or reaches in over
a side or a corner. Colour, noise and parts of the same picture, which training paints too, are not used. The pictures are
written once; both models look at the same files. A keypoint under the paint is occluded (`dekey.data.covered.cover_labels`).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
from numpy.typing import NDArray
from trained import about, quantile, share, train_or_load

import dekey
from dekey.data import OCCLUDED, UNLABELLED, VISIBLE, Dataset, Instances
from dekey.data.covered import cover_labels, covered_shares
from dekey.metrics import evaluate
from dekey.runtime import Predictor
from dekey.runtime.backends import Arrays, Backend
from dekey.training.cover import Place

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
METHODS = {"with": ["augment.cover=0.3"], "without": ["augment.cover=0", "augment.erase=0"]}
# Where a part of another picture without an object is looked for, before the least bad one has to do.
TRIES = 40
ELLIPSES = 0.25


class VisibilityAsScore:
    """A backend whose keypoint scores are the probabilities that a keypoint is seen.

    The Predictor keeps of them only which side of one half they are on; so they come through it whole.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend, self.manifest = backend, backend.manifest

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run the network."""
        arrays = self.backend.run(images)
        return {**arrays, "keypoint_scores": arrays["visibility"]}


def shape_on(
    rng: np.random.Generator, box: NDArray[np.float64], part: float, size: tuple[int, int]
) -> tuple[Place, NDArray[np.bool_]] | None:
    """Draw an occluder that hides `part` of a box: its place in the picture and which pixels of the place it fills."""
    height, width = size
    low = np.clip(box[:2], 0, (width, height))
    extent = np.clip(box[2:], 0, (width, height)) - low
    if not (extent >= 2).all():
        return None
    ellipse, aspect = rng.random() < ELLIPSES, math.exp(rng.uniform(-0.5, 0.5))
    filled = part * 4 / math.pi if ellipse else part
    sides = np.clip(math.sqrt(filled) * np.array([aspect, 1 / aspect]), filled, 1.0) * extent
    start = low + rng.random(2) * (extent - sides)
    # A rectangle also reaches in from one side or over a corner; of an ellipse that would hide another share.
    for axis in () if ellipse else (0, 1):
        where, beyond = int(rng.integers(3)), rng.uniform(0.1, 0.5) * sides[axis]
        if where < 2:
            start[axis] = low[axis] - beyond if where else low[axis] + extent[axis] - sides[axis]
            sides[axis] += beyond
    left, top = (max(round(float(value)), 0) for value in start)
    right, bottom = (round(float(value)) for value in start + sides)
    place = left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    tall, wide = place[3] - place[1], place[2] - place[0]
    if not ellipse:
        return place, np.ones((tall, wide), dtype=np.bool_)
    rows, columns = (((np.arange(length) + 0.5) / length * 2 - 1) ** 2 for length in (tall, wide))
    inside: NDArray[np.bool_] = rows[:, None] + columns <= 1
    return place, inside


def cut(rng: np.random.Generator, picture: NDArray[np.uint8], boxes: NDArray[np.float64], tall: int, wide: int) -> Any:
    """Cut a part (tall, wide) out of a picture, of the tried ones the one that shows the least of an object."""
    if tall > picture.shape[0] or wide > picture.shape[1]:
        size = max(wide, picture.shape[1]), max(tall, picture.shape[0])
        picture = cv2.resize(picture, size).astype(np.uint8)
    best, least = (0, 0), math.inf
    for _ in range(TRIES):
        left, top = int(rng.integers(0, picture.shape[1] - wide + 1)), int(rng.integers(0, picture.shape[0] - tall + 1))
        low, high = np.maximum(boxes[:, :2], (left, top)), np.minimum(boxes[:, 2:], (left + wide, top + tall))
        seen = float(np.clip(high - low, 0, None).prod(axis=1).sum())
        if seen < least:
            best, least = (left, top), seen
        if not seen:
            break
    left, top = best
    return picture[top : top + tall, left : left + wide]


def another(rng: np.random.Generator, dataset: Dataset, index: int) -> int:
    """Draw the position of an image that is not image `index`, be it listed again."""
    others = np.flatnonzero(dataset.image_ids != dataset.image_ids[index])
    return int(rng.choice(others))


def paint(dataset: Dataset, part: float, seed: int, folder: Path) -> tuple[Dataset, NDArray[np.bool_], float]:
    """Paint over `part` of every object and write the pictures.

    Returns:
        The pictures with their new labels, which keypoints (M, K) lie under paint, and the mean share of the boxes that does.
    """
    folder.mkdir()
    labels, hidden, shares, files = [], [], [], []
    for index in range(len(dataset)):
        rng = np.random.default_rng((seed, round(100 * part), index))
        sample = dataset[index]
        picture, instances = sample.read_image().copy(), sample.instances
        covered = np.zeros(picture.shape[:2], dtype=np.bool_)
        other = dataset[another(rng, dataset, index)]
        other_picture = other.read_image()
        for box in instances.boxes[~instances.crowd] if part else ():
            drawn = shape_on(rng, box, part, sample.size)
            if drawn is not None:
                (left, top, right, bottom), shape = drawn
                filling = cut(rng, other_picture, other.instances.boxes, *shape.shape)
                picture[top:bottom, left:right][shape] = filling[shape]
                covered[top:bottom, left:right] |= shape
        labels.append(cover_labels(instances, covered))
        # As if all were visible: then those that are occluded now are those under the paint.
        known = np.where(instances.visibility == UNLABELLED, UNLABELLED, VISIBLE).astype(np.uint8)
        hidden.append(cover_labels(replace(instances, visibility=known), covered).visibility == OCCLUDED)
        shares.append(covered_shares(instances.boxes, covered)[~instances.crowd])
        files.append(folder / f"{index}.png")
        cv2.imwrite(str(files[-1]), picture[..., ::-1])
    instances = Instances.concatenate(labels, len(dataset.schema.keypoints))
    painted = replace(dataset, pictures=files, instances=instances)
    return painted, np.concatenate(hidden), float(np.nanmean(np.concatenate(shares)))


def average_precision(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    """Give the area under precision over recall, stepwise, equal probabilities at once; None where there is one outcome."""
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    ranked, right = probabilities[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    precision, recall = right[ends] / (ends + 1), right[ends] / right[-1]
    return round(float((np.diff(recall, prepend=0.0) * precision).sum()), 4)


def measure(predictor: Predictor, painted: Dataset, hidden: NDArray[np.bool_]) -> dict[str, Any]:
    """Measure a model on painted pictures; pixel errors and visibility of the objects that it found."""
    found = Predictor(VisibilityAsScore(predictor.backend), 8).predict_dataset(painted)
    manifest = predictor.manifest
    result = evaluate(painted, found, score_threshold=manifest.object_threshold, boxes=manifest.finds_boxes)
    truth = painted.instances
    counted = truth.labelled & ~truth.crowd[:, None]
    rows = np.flatnonzero(result.found_of_truth >= 0)
    images = painted.image_of_instance()[rows]
    answers = [found[image].keypoint_scores[own] for image, own in zip(images, result.found_of_truth[rows], strict=True)]
    seen = np.array(answers, dtype=np.float64).reshape(len(rows), truth.keypoints.shape[1])
    probabilities, occluded = 1 - seen[counted[rows]], (truth.visibility[rows] == OCCLUDED)[counted[rows]]
    called = probabilities > 0.5
    row: dict[str, Any] = {
        "found_share": share(len(rows), int(result.values["objects"])),
        "extra_found_per_image": round(result.values["extra_found_per_image"], 4),
        "box_AP": round(result.values["box_AP"], 4) if "box_AP" in result else None,
    }
    for name, mask in (("covered", counted & hidden), ("uncovered", counted & ~hidden)):
        errors = result.errors[mask]
        row[f"{name}_median_px"], row[f"{name}_p90_px"] = quantile(errors, 0.5), quantile(errors, 0.9)
        row[f"{name}_keypoints"], row[f"{name}_measured"] = int(mask.sum()), int(np.isfinite(errors).sum())
    return row | {
        "occluded_AP": average_precision(probabilities, occluded),
        "occluded_rate": share(int(occluded.sum()), occluded.size),
        "occluded_precision": share(int((called & occluded).sum()), int(called.sum())),
        "occluded_recall": share(int((called & occluded).sum()), int(occluded.sum())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="detectors taught with and without occluders, on painted pictures")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each of the two trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="how often each test image is painted over, each time otherwise")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of both")
    parser.add_argument("--keep", type=Path, help="keep runs and pictures there; finished runs that lie there are used again")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    val = arguments.data / "val.json"
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        predictors = {
            name: train_or_load(
                folder / name,
                arguments.data / "train.json",
                arguments.minutes,
                arguments.seed,
                [*arguments.set, *changes],
                val if val.is_file() else None,
            )
            for name, changes in METHODS.items()
        }
        test = dekey.read(arguments.data / "test.json")
        rows = []
        with tempfile.TemporaryDirectory(dir=folder, prefix="pictures-") as pictures:
            for part in SHARES:
                often = np.tile(np.arange(len(test)), arguments.repeats if part else 1)
                painted, hidden, measured = paint(test.subset(often), part, arguments.seed, Path(pictures) / f"{part:g}")
                row: dict[str, Any] = {"share": part, "covered_share": round(measured, 4), "images": len(painted)}
                row |= {name: measure(predictor, painted, hidden) for name, predictor in predictors.items()}
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
        payload = {
            "benchmark": "occlusion",
            "data": arguments.data.name,
            "minutes": arguments.minutes,
            "seed": arguments.seed,
            "repeats": arguments.repeats,
            "images": len(test),
            "objects": len(test.instances),
            "rows": rows,
            "details": {
                name: {"set": [*arguments.set, *METHODS[name]], **about(folder / name, predictor)}
                for name, predictor in predictors.items()
            },
        }
    name = f"occlusion-{arguments.data.name}-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()

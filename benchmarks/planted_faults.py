"""Plant known faults in real labels and count what `dekey inspect` finds, and what it flags where nothing was planted.

    python benchmarks/planted_faults.py --data ../shared/data/bee_pose

In each round, every kind of fault is planted in 2 % of the objects (at least three), each object with one fault at most, so
that about a sixth of the objects are faulty at a time; rounds with fresh seeds follow until `--count` faults of each kind were
planted. Found means: by the kind of problem that fits; false are findings of that kind at objects that have no planted fault of
any kind and were not flagged in the untouched labels either. Those are real faults, rare poses or mistakes of the method, and
are counted on their own. Near-duplicates are planted as copies at seven tenths of the size, JPEG quality 50 and ten grey levels
brighter, in another file.

The thresholds of shapes follow from stated odds and were not moved to suit these figures, but the method was built while
looking at the four data sets that have shapes, so none of them is untouched ground. The thresholds of pictures were chosen on
bee_pose, flies2 and faces68; wagon_hatch_half and glue_tubes had no part in that.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import record
from numpy.typing import NDArray

import dekey
from dekey.data import Dataset, Instances
from dekey.data.doubts import find_doubts
from dekey.data.picture_hash import fingerprints, groups_of, near_pairs
from dekey.data.shape import points_of
from dekey.data.shape_faults import exchanges

SHARE, FEWEST, FEWEST_IN_GROUP, MOST_ROUNDS = 0.02, 3, 5, 80
Plant = Callable[[Instances, int, np.random.Generator], bool]


def main() -> int:
    parser = argparse.ArgumentParser(description="plant known faults and count what dekey inspect finds")
    parser.add_argument("--data", required=True, type=Path, help="folder with train.json")
    parser.add_argument("--count", type=int, default=200, help="faults of each kind")
    arguments = parser.parse_args()
    begun = record.facts()
    dataset = dekey.read(arguments.data / "train.json", problems="drop")
    untouched = flagged(dataset)
    kinds = planters(dataset)
    rows = {name: Counter() for name in kinds}
    rounds = 0
    while kinds and rounds < MOST_ROUNDS and min(row["planted"] for row in rows.values()) < arguments.count:
        one_round(dataset, kinds, untouched, np.random.default_rng(rounds), rows)
        rounds += 1
        print(f"round {rounds}: {rows['box']['planted'] if 'box' in rows else 0} boxes", file=sys.stderr)
    rows["copy"] = copies(dataset, arguments.count)
    payload = {
        "benchmark": "planted_faults",
        "data": arguments.data.name,
        "objects": len(dataset.instances),
        "rounds": rounds,
        "kinds": {name: dict(row) for name, row in rows.items()},
        "untouched": dict(Counter(kind for kind, _ in untouched)),
    }
    print(record.write(f"planted_faults-{arguments.data.name}", payload, begun))
    return 0


def flagged(dataset: Dataset) -> dict[tuple[str, int], tuple[str, ...]]:
    """Give the findings by kind and object, with the keypoints concerned; a group of another order counts for each member."""
    place = {int(id_): index for index, id_ in enumerate(dataset.annotation_ids)}
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for each in find_doubts(dataset, images=False).problems:
        own = () if each.annotation_id is None else (each.annotation_id,)
        for id_ in each.annotation_ids or own:
            found[each.kind, place[id_]] = each.keypoints
    return found


def planters(dataset: Dataset) -> dict[str, tuple[str, Plant]]:
    """Give, for each kind of fault that the data can have, the kind of problem that should be found and how to plant it."""
    known = np.isfinite(points_of(dataset.instances)).sum(axis=1)
    kinds: dict[str, tuple[str, Plant]] = {
        "box": ("keypoint-outside-box", shrink_box),
        "tiny box": ("tiny-box", tiny_box),
    }
    if int((known >= 3).sum()) < 15:
        return kinds
    tried = exchanges(dataset.schema)
    if tried:
        kinds["all sides"] = ("swapped-sides", lambda one, index, rng: exchange(one, index, tried[0]))
        kinds["one pair or limb"] = (
            "swapped-sides",
            lambda one, index, rng: exchange(one, index, tried[int(rng.integers(1, len(tried)))]),
        )
    for share in (0.05, 0.1, 0.2):
        kinds[f"moved {share:.0%}"] = ("unlikely-keypoint", lambda one, index, rng, share=share: move(one, index, rng, share))
    kinds["backwards"] = ("point-order", lambda one, index, rng: reorder(one, index))
    return kinds


def one_round(
    dataset: Dataset,
    kinds: dict[str, tuple[str, Plant]],
    untouched: dict[tuple[str, int], tuple[str, ...]],
    rng: np.random.Generator,
    rows: dict[str, Counter[str]],
) -> None:
    """Plant, look, count."""
    own = dataset.instances
    faulty = replace(own, boxes=own.boxes.copy(), keypoints=own.keypoints.copy(), visibility=own.visibility.copy())
    order = iter(rng.permutation(len(own)).tolist())
    planted: dict[int, str] = {}
    for name, (_, plant) in kinds.items():
        wanted = max(round(SHARE * len(own)), FEWEST_IN_GROUP if name == "backwards" else FEWEST)
        while wanted:
            index = next(order, None)
            if index is None:
                break
            if plant(faulty, index, rng):
                planted[index] = name
                wanted -= 1
    moved = {
        index: {dataset.schema.keypoints[k] for k in np.flatnonzero((faulty.keypoints[index] != own.keypoints[index]).any(-1))}
        for index, name in planted.items()
        if name.startswith("moved")
    }
    found = flagged(replace(dataset, instances=faulty))
    anywhere = {index for _, index in found}
    for name, (kind, _) in kinds.items():
        mine = {index for index, planted_name in planted.items() if planted_name == name}
        rows[name]["planted"] += len(mine)
        rows[name]["found"] += sum((kind, index) in found for index in mine)
        rows[name]["found_as_any"] += len(mine & anywhere)
        if name.startswith("moved"):
            rows[name]["keypoint_named"] += sum(bool(moved[i] & set(found.get((kind, i), ()))) for i in mine)
    for kind in {kind for kind, _ in kinds.values()}:
        true = {index for index, name in planted.items() if kinds[name][0] == kind}
        false = [i for k, i in found if k == kind and i not in true and (kind, i) not in untouched]
        for name in (name for name, (own_kind, _) in kinds.items() if own_kind == kind):
            # Shared by the rows of a kind: a false finding of a kind has no planted fault to belong to.
            rows[name]["kind_false"] += len(false)
            rows[name]["kind_false_at_other_faults"] += sum(index in planted for index in false)
            rows[name]["kind_true"] += sum((kind, index) in found for index in true)


def exchange(one: Instances, index: int, permutation: NDArray[np.int64]) -> bool:
    moved = permutation != np.arange(len(permutation))
    if not one.labelled[index][moved].all() and not (moved.sum() > 8 and one.labelled[index][moved].mean() > 0.7):
        return False
    one.keypoints[index], one.visibility[index] = one.keypoints[index][permutation], one.visibility[index][permutation]
    return True


def move(one: Instances, index: int, rng: np.random.Generator, share: float) -> bool:
    """Move one keypoint in any direction by a share of the diagonal of the object's hull."""
    labelled = np.flatnonzero(one.labelled[index])
    if len(labelled) < 4:
        return False
    points = one.keypoints[index][labelled]
    length = share * float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))
    angle = rng.uniform(0, 2 * np.pi)
    one.keypoints[index, rng.choice(labelled)] += length * np.array([np.cos(angle), np.sin(angle)])
    return True


def reorder(one: Instances, index: int) -> bool:
    if one.labelled[index].sum() < 4:
        return False
    one.keypoints[index], one.visibility[index] = one.keypoints[index][::-1].copy(), one.visibility[index][::-1].copy()
    return True


def shrink_box(one: Instances, index: int, rng: np.random.Generator) -> bool:
    """Leave out the quarter of the box at the side where the outermost labelled keypoint is."""
    if not np.isfinite(one.boxes[index]).all() or not one.labelled[index].any():
        return False
    axis = int(rng.integers(2))
    reach = np.nanmax(np.where(one.labelled[index], one.keypoints[index, :, axis], np.nan))
    one.boxes[index, 2 + axis] = reach - 0.25 * float((one.boxes[index, 2:] - one.boxes[index, :2]).max())
    return bool(one.boxes[index, 2 + axis] > one.boxes[index, axis] + 2)


def tiny_box(one: Instances, index: int, rng: np.random.Generator) -> bool:
    """Put a box of 3 to 8 px, as a slip of the mouse draws it, in the middle of the object's box."""
    if not np.isfinite(one.boxes[index]).all():
        return False
    middle, half = (one.boxes[index, :2] + one.boxes[index, 2:]) / 2, rng.uniform(1.5, 4, 2)
    one.boxes[index] = np.concatenate([middle - half, middle + half])
    return True


def copies(dataset: Dataset, count: int) -> Counter[str]:
    """Put changed copies into another file and look for them from this one."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:count])
    part = dataset.subset(chosen)
    changed = []
    for sample in part:
        image = sample.read_image()
        size = max(round(image.shape[1] * 0.7), 1), max(round(image.shape[0] * 0.7), 1)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        bright = np.clip(small.astype(np.int64) + 10, 0, 255).astype(np.uint8)
        changed.append(cv2.imdecode(cv2.imencode(".jpg", bright, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR))
    own = fingerprints(dataset)
    groups = groups_of(near_pairs(own), len(dataset))
    pairs = near_pairs(own, fingerprints(replace(part, pictures=changed)))
    true = {int(second) for first, second in pairs if first == chosen[second]}
    false = sum(groups[first] != groups[chosen[second]] for first, second in pairs)
    alike = int((np.bincount(groups, minlength=len(dataset)) > 1).sum())
    return Counter(
        planted=len(chosen), found=len(true), found_as_any=len(true), kind_false=int(false), kind_true=len(true), groups=alike
    )


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.data import Instances
from dekey.errors import DekeyError
from dekey.metrics import BoxAveragePrecision
from dekey.metrics.boxes import BOX_VALUES, box_areas
from dekey.metrics.matching import box_overlaps

Coco = dict[str, Any]
Results = list[dict[str, Any]]


def random_case(seed: int) -> tuple[Coco, Results]:
    """A small data set in COCO's own form with all that its rules speak of, and results with many equal scores.

    Sides are quarters of a pixel: sums and differences of corners are then exact, and no overlap depends on rounding.
    """
    rng = np.random.default_rng(seed)
    classes, images = rng.integers(1, 4), rng.integers(1, 7)
    coco: Coco = {
        "images": [{"id": int(i), "width": 400, "height": 300} for i in rng.permutation(50)[:images] + 1],
        "categories": [{"id": int(c) + 1, "name": f"c{c}"} for c in range(classes)],
        "annotations": [],
    }
    results: Results = []
    for image in coco["images"]:
        boxes = []
        for _ in range(rng.choice([0, 1, 3, 6])):
            sides = rng.choice([15.0, 40.0, 120.0]) * rng.uniform(0.6, 1.6, 2)
            box = np.round(np.concatenate([rng.uniform(0, 240, 2), sides]) * 4) / 4
            boxes.append((box, int(rng.integers(classes)) + 1))
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": boxes[-1][1],
                    "bbox": box.tolist(),
                    "area": float(np.round(box[2:].prod() * rng.uniform(0.3, 1.0), 3)),
                    "iscrowd": int(rng.uniform() < 0.15),
                }
            )
        for _ in range(rng.choice([0, 1, 6, 25, 130], p=[0.15, 0.25, 0.35, 0.2, 0.05])):
            box, category = np.concatenate([rng.uniform(0, 200, 2), rng.uniform(5, 100, 2)]), int(rng.integers(classes)) + 1
            if boxes and rng.uniform() < 0.8:
                box, category = boxes[rng.integers(len(boxes))]
            noise = rng.normal(0, rng.choice([0, 0.03, 0.1, 0.3]), 4) * np.tile(box[2:], 2)
            placed = np.maximum(np.round((box + noise) * 4) / 4, [0, 0, 1, 1])
            score = float(np.round(rng.uniform(), 1))
            results.append({"image_id": image["id"], "category_id": category, "score": score, "bbox": placed.tolist()})
    return coco, results


def instances(rows: list[dict[str, Any]], *, found: bool) -> Instances:
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    keypoints, labels = np.full((len(rows), 1, 2), np.nan), [row["category_id"] - 1 for row in rows]
    if found:
        return Instances.create(keypoints, boxes, labels, scores=[row["score"] for row in rows])
    crowd, areas = [row["iscrowd"] for row in rows], [row["area"] for row in rows]
    return Instances.create(keypoints, boxes, labels, crowd=crowd, areas=areas)


def measured(coco: Coco, results: Results, order: int = 1) -> BoxAveragePrecision:
    judge = BoxAveragePrecision(len(coco["categories"]))
    for image in coco["images"][::order]:
        truth = [row for row in coco["annotations"] if row["image_id"] == image["id"]]
        own = [row for row in results if row["image_id"] == image["id"]]
        judge.update(instances(truth, found=False), instances(own, found=True), image["id"])
    return judge


def pycocotools_values(coco: Coco, results: Results) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps({"info": {}, **coco}))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(value) for name, value in zip(BOX_VALUES, judge.stats, strict=True) if value > -1}


@pytest.mark.parametrize("start", range(0, 280, 40))
def test_equals_pycocotools_on_random_data(start: int) -> None:
    compared = 0
    for seed in range(start, start + 40):
        coco, results = random_case(seed)
        if not results:  # pycocotools cannot load an empty list
            continue
        expected = pycocotools_values(coco, results)
        assert measured(coco, results).compute() == pytest.approx(expected, abs=1e-6), f"seed {seed}"
        compared += 1
    assert compared >= 32


@pytest.mark.shared
@pytest.mark.parametrize("name", ["flies2", "wagon_hatch_half"])
def test_equals_pycocotools_on_real_data(shared_data: Path, name: str) -> None:
    coco = json.loads((shared_data / name / "test.json").read_text())
    rng = np.random.default_rng(5)
    results = []
    for row in coco["annotations"]:
        for _ in range(rng.integers(0, 4)):
            spread = rng.choice([0.01, 0.05, 0.1]) * np.tile(row["bbox"][2:], 2)
            box = np.maximum(row["bbox"] + rng.normal(0, 1, 4) * spread, [-1e9, -1e9, 1, 1])
            score = float(np.round(rng.uniform(), 2))
            results.append({"image_id": row["image_id"], "category_id": 1, "score": score, "bbox": box.tolist()})
    values = measured(coco, results).compute()
    assert values == pytest.approx(pycocotools_values(coco, results), abs=1e-6)
    assert 0.2 < values["box_AP"] < 0.9


def test_order_of_images_and_merging_change_nothing() -> None:
    coco, results = random_case(14)
    whole = measured(coco, results).compute()
    assert 0 < whole["box_AP"] < 1
    assert measured(coco, results, order=-1).compute() == whole
    halves = [measured({**coco, "images": coco["images"][part]}, results) for part in (slice(0, 2), slice(2, None))]
    halves[1].merge(halves[0])
    assert halves[1].compute() == whole
    with pytest.raises(DekeyError, match="merge only what was measured alike"):
        halves[0].merge(BoxAveragePrecision(7))


def test_mean_over_classes() -> None:
    coco, results = random_case(8)
    judge, classes = measured(coco, results), range(len(coco["categories"]))
    each = [judge.compute_class(label).get("box_AP") for label in classes]
    known = [value for value in each if value is not None]
    assert len(known) > 1
    assert np.mean(known) == pytest.approx(judge.compute()["box_AP"])


def test_overlaps_by_hand() -> None:
    truth = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [np.nan] * 4])
    found = np.array([[5.0, 0, 15, 10], [2, 2, 4, 4], [20, 20, 30, 30], [5, 5, 5, 5], [np.nan] * 4])
    overlaps = box_overlaps(truth, found, np.array([False, True, False]))
    np.testing.assert_allclose(overlaps, [[1 / 3, 0.04, 0, 0, 0], [0.5, 1, 0, 0, 0], [0] * 5])


def test_size_is_the_annotated_area_or_that_of_the_box() -> None:
    boxes = [[0.0, 0, 40, 40], [0, 0, 40, 40], [np.nan] * 4]
    truth = Instances.create(np.full((3, 1, 2), np.nan), boxes, areas=[900.0, np.nan, np.nan])
    np.testing.assert_array_equal(box_areas(truth), [900, 1600, np.nan])
    judge = BoxAveragePrecision()
    judge.update(truth[:2], truth[:2], 0)
    values = judge.compute()
    assert values["box_AP_small"] == values["box_AP_medium"] == pytest.approx(1)
    assert "box_AP_large" not in values
    with pytest.raises(DekeyError, match="annotate boxes"):
        judge.update(truth, truth, 1)


def test_a_second_answer_for_one_object_is_wrong_but_not_in_a_crowd() -> None:
    one = Instances.create(np.full((1, 1, 2), np.nan), [[0.0, 0, 50, 50]])
    crowd = Instances.create(np.full((1, 1, 2), np.nan), [[0.0, 0, 50, 50]], crowd=[True])
    twice = Instances.concatenate([one, one], 1)
    other = Instances.create(np.full((1, 1, 2), np.nan), [[100.0, 0, 150, 50]])
    for truth, expected in ((one, 0.5), (crowd, 1.0)):
        judge = BoxAveragePrecision()
        judge.update(Instances.concatenate([truth, other], 1), Instances.concatenate([twice, other], 1), 0)
        precision = {1: 1.0, 0.5: 51 / 101 + 50 / 101 * 2 / 3}[expected]
        assert judge.compute()["box_AP"] == pytest.approx(precision)
        assert judge.compute()["box_AR"] == 1

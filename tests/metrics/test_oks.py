from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.metrics import OksAveragePrecision, evaluate, oks
from dekey.metrics.oks import OKS_VALUES, object_areas

Coco = dict[str, Any]
Results = list[dict[str, Any]]


def random_case(seed: int) -> tuple[Coco, Results, np.ndarray]:
    """A small data set in COCO's own form with all that its rules speak of, and results with many equal scores."""
    rng = np.random.default_rng(seed)
    classes, keypoints, images = rng.integers(1, 4), rng.integers(1, 7), rng.integers(1, 7)
    coco: Coco = {
        "images": [{"id": int(i), "width": 400, "height": 300} for i in rng.permutation(50)[:images] + 1],
        "categories": [{"id": int(c) + 1, "name": f"c{c}"} for c in range(classes)],
        "annotations": [],
    }
    results: Results = []
    for image in coco["images"]:
        centres = []
        for _ in range(rng.integers(0, 5)):
            centre = rng.uniform(60, 240, 2)
            size = float(rng.choice([15.0, 40.0, 120.0]))
            xy = np.round((centre + rng.uniform(-size / 2, size / 2, (keypoints, 2))) * 4) / 4
            v = rng.choice([0, 1, 2], keypoints, p=[0.2, 0.3, 0.5]) * (rng.uniform() > 0.15)
            centres.append((xy, int(rng.integers(classes)) + 1, size))
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": centres[-1][1],
                    "bbox": [*np.round(centre - size / 2, 2).tolist(), size, size],
                    "area": float(np.round(size * size * rng.uniform(0.3, 1.1), 3)),
                    "iscrowd": int(rng.uniform() < 0.15),
                    "num_keypoints": int((v > 0).sum()),
                    "keypoints": np.column_stack([xy * (v > 0)[:, None], v]).ravel().tolist(),
                }
            )
        for _ in range(rng.choice([0, 1, 5, 25], p=[0.15, 0.3, 0.5, 0.05])):
            xy, category, size = rng.uniform(50, 250, (keypoints, 2)), int(rng.integers(classes)) + 1, 40.0
            if centres and rng.uniform() < 0.8:
                xy, category, size = centres[rng.integers(len(centres))]
            noise = rng.normal(0, size * rng.choice([0, 0.03, 0.1, 0.3]), xy.shape)
            placed = np.round((xy + noise) * 4) / 4
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": category,
                    "score": float(np.round(rng.uniform(), 1)),
                    "keypoints": np.column_stack([placed, np.ones(keypoints)]).ravel().tolist(),
                }
            )
    return coco, results, rng.uniform(0.02, 0.2, keypoints)


def instances(rows: list[dict[str, Any]], keypoints: int, *, found: bool) -> Instances:
    table = np.array([row["keypoints"] for row in rows], dtype=np.float64).reshape(-1, keypoints, 3)
    v, xy = table[..., 2], table[..., :2] + 0.5
    labels = [row["category_id"] - 1 for row in rows]
    if found:
        return Instances.create(xy, labels=labels, scores=[row["score"] for row in rows])
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    xy[v == 0] = np.nan
    return Instances.create(xy, boxes, labels, v, [row["iscrowd"] for row in rows], [row.get("area", np.nan) for row in rows])


def both(coco: Coco, results: Results, sigmas: np.ndarray) -> tuple[Dataset, list[Instances]]:
    """The same data set and results as dekey has them: half a pixel on, truth apart from what was found."""
    schema = Schema.create([c["name"] for c in coco["categories"]], [f"k{i}" for i in range(len(sigmas))], sigmas=sigmas)
    samples, found = [], []
    for image in coco["images"]:
        rows = [row for row in coco["annotations"] if row["image_id"] == image["id"]]
        truth = instances(rows, len(sigmas), found=False)
        size = (image["height"], image["width"])
        ids = np.array([row["id"] for row in rows], dtype=np.int64)
        samples.append(Sample(Path(f"{image['id']}.png"), size, truth, image["id"], ids))
        own = [row for row in results if row["image_id"] == image["id"]]
        found.append(instances(own, len(sigmas), found=True))
    return Dataset.from_samples(schema, samples), found


def pycocotools_values(coco: Coco, results: Results, sigmas: np.ndarray) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps({"info": {}, **coco}))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: float(value) for name, value in zip(OKS_VALUES, judge.stats, strict=True) if value > -1}


def oks_values(coco: Coco, results: Results, sigmas: np.ndarray) -> dict[str, float]:
    values = evaluate(*both(coco, results, sigmas)).values
    return {name: values[name] for name in OKS_VALUES if name in values}


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_equals_pycocotools_on_random_data(start: int) -> None:
    compared = 0
    for seed in range(start, start + 40):
        coco, results, sigmas = random_case(seed)
        if not results:  # pycocotools cannot load an empty list
            continue
        expected = pycocotools_values(coco, results, sigmas)
        assert oks_values(coco, results, sigmas) == pytest.approx(expected, abs=1e-6), f"seed {seed}"
        compared += 1
    assert compared >= 34


@pytest.mark.shared
@pytest.mark.parametrize("name", ["flies2", "wagon_hatch_half"])
def test_equals_pycocotools_on_real_data(shared_data: Path, name: str) -> None:
    coco = json.loads((shared_data / name / "test.json").read_text())
    rng = np.random.default_rng(5)
    results = []
    for row in coco["annotations"]:
        table = np.array(row["keypoints"], dtype=np.float64).reshape(-1, 3)
        for _ in range(rng.integers(0, 4)):
            spread = np.sqrt(row["area"]) * rng.choice([0.01, 0.05, 0.1])
            placed = np.column_stack([table[:, :2] + rng.normal(0, spread, table[:, :2].shape), np.ones(len(table))])
            score = float(np.round(rng.uniform(), 2))
            results.append(
                {"image_id": row["image_id"], "category_id": 1, "score": score, "keypoints": placed.ravel().tolist()}
            )
    sigmas = np.full(len(table), 0.05)
    values = oks_values(coco, results, sigmas)
    assert values == pytest.approx(pycocotools_values(coco, results, sigmas), abs=1e-6)
    assert 0.2 < values["AP"] < 0.9


def test_oks_by_hand() -> None:
    truth = np.array([[[0.0, 0.0], [10.0, 0.0], [np.nan, np.nan]]])
    found = np.array([[[3.0, 4.0], [10.0, 0.0], [500.0, 0.0]], [[3.0, 4.0], [np.nan, np.nan], [0.0, 0.0]]])
    visibility, sigmas = np.array([[1, 2, 0]]), np.array([0.5, 0.1, 0.1])
    near = np.exp(-25 / (2 * 1.0**2 * 50))  # d = 5, 2σ = 1, area 50
    np.testing.assert_allclose(oks(truth, visibility, np.array([50.0]), found, sigmas), [[(near + 1) / 2, near / 2]])


def test_truth_without_keypoints_is_a_region_three_boxes_wide() -> None:
    box = np.array([[100.0, 100.0, 120.0, 120.0]])
    found = np.array([[[80.5, 80.5]], [[140.5, 140.5]], [[143.5, 100.0]]])
    answer = oks(np.full((1, 1, 2), np.nan), np.array([[0]]), np.array([400.0]), found, np.array([0.1]), box)
    np.testing.assert_allclose(answer, [[1, 1, np.exp(-9 / (2 * 0.04 * 400))]])


def test_missing_keypoint_counts_as_infinitely_far() -> None:
    coco, results, sigmas = random_case(14)
    dataset, found = both(coco, results, sigmas)
    truth = dataset.instances
    answers = Instances.concatenate(found, len(sigmas)).keypoints
    lost = np.random.default_rng(0).uniform(size=answers.shape[:2]) < 0.3
    measured = [
        oks(truth.keypoints, truth.visibility, truth.areas, np.where(lost[..., None], value, answers), sigmas, truth.boxes)
        for value in (1e9, np.nan, np.inf)
    ]
    assert measured[0].max() > 0.5
    np.testing.assert_array_equal(measured[0], measured[1])
    np.testing.assert_array_equal(measured[0], measured[2])


def test_nothing_found_is_zero_not_undefined() -> None:
    coco, _, sigmas = random_case(14)
    values = oks_values(coco, [], sigmas)
    assert values["AP"] == values["AR50"] == 0


def test_merged_halves_are_the_whole() -> None:
    coco, results, sigmas = random_case(14)
    dataset, found = both(coco, results, sigmas)
    classes = len(dataset.schema.classes)
    whole, halves = OksAveragePrecision(sigmas, classes), [OksAveragePrecision(sigmas, classes) for _ in range(2)]
    for position, (sample, one) in enumerate(zip(dataset, found, strict=True)):
        for judge in (whole, halves[position % 2]):
            judge.update(sample.instances, one, sample.image_id)
    halves[1].merge(halves[0])
    assert 0 < whole.compute()["AP"] < 1
    assert halves[1].compute() == whole.compute()
    with pytest.raises(DekeyError, match="sigmas or classes"):
        whole.merge(OksAveragePrecision(sigmas * 2, classes))


def test_area_rule() -> None:
    keypoints = np.array([[[0.0, 0.0], [3.0, 5.0]]] * 3 + [[[1.0, 1.0], [np.nan, np.nan]]])
    boxes = np.array([[0.0, 0, 4, 5]] * 2 + [[np.nan] * 4] * 2)
    areas, source = object_areas(Instances.create(keypoints, boxes, areas=[7.0, np.nan, np.nan, np.nan]))
    np.testing.assert_array_equal(areas, [7, 20, 15, np.nan])
    np.testing.assert_array_equal(source, [0, 1, 2, 3])


def test_object_without_any_scale_is_refused() -> None:
    truth = Instances.create([[[5.0, 5.0]]])
    with pytest.raises(DekeyError, match="annotate boxes"):
        OksAveragePrecision(np.array([0.1])).update(truth, truth, 0)


def test_keypoints_that_a_class_lacks_are_left_out() -> None:
    truth = Instances.create([[[5.0, 5.0], [np.nan, np.nan]]], areas=[2000.0], labels=[0])
    found = Instances.create([[[5.0, 5.0], [900.0, 900.0]]], scores=[0.5])
    judge = OksAveragePrecision(np.array([0.1, 0.1]), 1, np.array([[True, False]]))
    judge.update(truth, found, 0)
    assert judge.compute()["AP_medium"] == pytest.approx(1)


def test_an_area_of_zero_is_none() -> None:
    truth = Instances.create([[[10.0, 10], [20, 20]]], boxes=[[5.0, 5, 25, 25]], areas=[0.0])
    areas, source = object_areas(truth)
    assert (areas.tolist(), source.tolist()) == ([400.0], [1])
    found = Instances.create(truth.keypoints + 0.1, scores=[0.9])
    precision = OksAveragePrecision(np.array([0.1, 0.1]))
    precision.update(truth, found, 0)
    assert precision.compute()["AP"] == pytest.approx(1)

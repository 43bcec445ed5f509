from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.schema import COCO_PERSON_KEYPOINTS
from dekey.errors import DekeyError
from dekey.metrics import Evaluation, evaluate, mean_pose_baseline
from dekey.metrics.evaluation import VALUES
from dekey.metrics.oks import OKS_VALUES

SCHEMA = Schema.create(["ant", "bee"], ["head", "left_wing", "right_wing", "tail"], sigmas=0.05)


def dataset(objects: list[Instances], schema: Schema = SCHEMA, first_id: int = 0) -> Dataset:
    samples = [Sample(Path(f"{i}.png"), (600, 800), one, first_id + i, np.arange(len(one))) for i, one in enumerate(objects)]
    return Dataset.from_samples(schema, samples)


def random_truth(rng: np.random.Generator, images: int = 12) -> list[Instances]:
    truth = []
    for _ in range(images):
        count = int(rng.integers(0, 4))
        centres = rng.choice(np.arange(100, 700, 100), (count, 1, 2), replace=False) if count else np.zeros((0, 1, 2))
        xy = centres + rng.uniform(-40, 40, (count, 4, 2))
        visibility = rng.choice([0, 1, 2], (count, 4), p=[0.1, 0.3, 0.6])
        boxes = np.concatenate([xy.min(1) - 2, xy.max(1) + 2], axis=1)
        xy[visibility == 0] = np.nan
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) * 0.6
        truth.append(Instances.create(xy, boxes, rng.integers(0, 2, count), visibility, areas=areas))
    return truth


def perturbed(rng: np.random.Generator, truth: list[Instances]) -> list[Instances]:
    """What a fair model might find: noise, a miss now and then, a wrong object, a lost keypoint; no equal scores."""
    found = []
    for one in truth:
        keep = rng.uniform(size=len(one)) < 0.85
        xy = np.where(np.isnan(one.keypoints), 5.0, one.keypoints)[keep] + rng.normal(0, 4, (int(keep.sum()), 4, 2))
        xy[rng.uniform(size=xy.shape[:2]) < 0.1] = np.nan
        boxes = np.concatenate([one.boxes[keep], [[700.0, 500, 760, 560]]])
        xy = np.concatenate([xy, rng.uniform(500, 560, (1, 4, 2))])
        found.append(Instances.create(xy, boxes, [*one.labels[keep], 0], scores=rng.uniform(size=len(xy))))
    return found


@pytest.fixture(name="case")
def case_fixture() -> tuple[list[Instances], list[Instances]]:
    rng = np.random.default_rng(11)
    truth = random_truth(rng)
    return truth, perturbed(rng, truth)


def test_every_number_has_a_value_or_a_sentence(case: tuple[list[Instances], list[Instances]]) -> None:
    result = evaluate(dataset(case[0]), case[1])
    assert all((name in result.values) != (name in result.notes) for name in VALUES)
    assert all(np.isfinite(value) for value in result.values.values())
    assert 0 < result["AP"] < 1
    assert 0.5 < result["found_share"] < 1
    assert 0.5 < result["extra_found_per_image"] <= 1
    assert result.errors.shape == (len(dataset(case[0]).instances), 4)
    assert set(result.per_keypoint) == set(SCHEMA.keypoints)
    assert set(result.per_visibility) == {"visible", "occluded"}
    assert set(result.per_class) == {"ant", "bee"}
    assert result.per_class["ant"]["AP"] + result.per_class["bee"]["AP"] == pytest.approx(2 * result["AP"])
    assert sum(row["keypoints"] for row in result.per_keypoint.values()) == result["keypoints"]


def test_order_of_objects_and_images_changes_nothing(case: tuple[list[Instances], list[Instances]]) -> None:
    truth, found = case
    rng = np.random.default_rng(0)
    order = rng.permutation(len(truth))
    shuffled = [truth[i][rng.permutation(len(truth[i]))] for i in order]
    answers = [found[i][rng.permutation(len(found[i]))] for i in order]
    first, second = evaluate(dataset(truth), found), evaluate(dataset(shuffled), answers)
    assert first.values == pytest.approx(second.values, abs=1e-12)
    for kind in ("per_keypoint", "per_visibility", "per_class"):
        for key, row in getattr(first, kind).items():
            assert row == pytest.approx(getattr(second, kind)[key], abs=1e-12)
    np.testing.assert_array_equal(first.pck_curve[1], second.pck_curve[1])


def test_whole_is_the_mean_of_its_halves_weighted_by_their_size(case: tuple[list[Instances], list[Instances]]) -> None:
    truth, found = case
    parts = [evaluate(dataset(truth[part], first_id=5), found[part]) for part in (slice(0, 6), slice(6, 12), slice(0, 12))]
    for name, weight in (("found_share", "objects"), ("pck_auc", "keypoints"), ("extra_found_per_image", "images")):
        sums = [part[name] * part[weight] for part in parts]
        assert sums[0] + sums[1] == pytest.approx(sums[2])
    assert np.nanmax(parts[2].errors) == max(np.nanmax(part.errors) for part in parts[:2])
    np.testing.assert_array_equal(parts[2].errors, np.concatenate([parts[0].errors, parts[1].errors]))


def test_perfect_answer(case: tuple[list[Instances], list[Instances]]) -> None:
    truth = case[0]
    result = evaluate(dataset(truth), truth)
    assert result["AP"] == result["AR75"] == pytest.approx(1)
    assert result["mean_px"] == result["p95_px"] == result["nme"] == result["extra_found_per_image"] == 0
    assert result["found_share"] == result["pck@0.05"] == result["pck_auc"] == result["pck@2px"] == 1
    assert "score 1" in result.notes["scores"]


def test_model_is_asked_for_the_whole_data_set(case: tuple[list[Instances], list[Instances]]) -> None:
    truth, found = case

    class Model:
        def predict_dataset(self, dataset: Dataset) -> list[Instances]:
            assert len(dataset) == len(truth)
            return found

    assert evaluate(dataset(truth), Model()).values == evaluate(dataset(truth), found).values


def test_errors_and_partners_by_hand() -> None:
    truth = Instances.create(
        [[[10.0, 10], [50, 10], [10, 50], [np.nan, np.nan]], [[300.0, 300], [340, 300], [300, 340], [340, 340]]],
        [[10.0, 10, 50, 50], [300, 300, 340, 340]],
        visibility=[[2, 1, 2, 0], [2, 2, 2, 2]],
    )
    found = Instances.create([[[10.0, 14], [53, 14], [np.nan, np.nan], [0, 0]]], [[10.0, 10, 50, 52]], scores=[0.3])
    result = evaluate(dataset([Instances.empty(4), truth]), [Instances.empty(4), found], normaliser="box_long_side")
    np.testing.assert_allclose(result.errors, [[4, 5, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_array_equal(result.normalisers, [40, 40])
    np.testing.assert_array_equal(result.found_of_truth, [0, -1])
    assert result["median_px"] == 4.5
    assert result["nme"] == pytest.approx(4.5 / 40)
    assert result["found_share"] == 1 / 2
    assert result["found_keypoint_share"] == 2 / 7
    assert result["pck@0.1"] == 1 / 7
    assert result.per_visibility["occluded"]["mean_px"] == 5
    assert result.per_keypoint["tail"] == {
        "keypoints": 1, "pck@0.05": 0, "pck@0.1": 0, "pck_auc": 0,
        "pck@2px": 0, "pck@5px": 0, "pck@10px": 0, "found_keypoint_share": 0,
    }  # fmt: skip
    assert "1 of 2 objects were not found" in result.notes["pairs"]
    assert result.notes["per_class.bee"].startswith("there is no row for 'bee'")


NOTHING = Instances.empty(4)
LABELLED = Instances.create(np.arange(8.0).reshape(1, 4, 2) * 9, [[0.0, 0, 70, 80]])
UNLABELLED = Instances.create(np.full((1, 4, 2), np.nan), [[0.0, 0, 70, 80]])
CROWD = Instances.create(LABELLED.keypoints, LABELLED.boxes, crowd=[True])
LOST = Instances.create(np.full((1, 4, 2), np.nan), scores=[0.5])


@pytest.mark.parametrize(
    ("truth", "found", "name", "sentence"),
    [
        ([], [], "median_px", "none of the 0 objects in 0 images counts"),
        ([], [], "extra_found_per_image", "no images"),
        ([NOTHING], [NOTHING], "AP", "none of the 0 objects in 1 images counts"),
        ([NOTHING], [LABELLED], "pck@0.1", "nothing can be measured"),
        ([UNLABELLED], [LABELLED], "nme", "none of the 1 objects in 1 images counts"),
        ([CROWD], [LABELLED], "found_share", "nothing can be measured"),
        ([LABELLED], [NOTHING], "median_px", "none of the 4 labelled keypoints was found"),
        ([LABELLED], [LOST], "nme", "none of the 4 labelled keypoints was found"),
        ([LABELLED], [LABELLED], "AP_large", "no object that counts has an area of 96² px² or more"),
    ],
)
def test_what_is_not_defined_is_a_sentence(truth: list[Instances], found: list[Instances], name: str, sentence: str) -> None:
    result = evaluate(dataset(truth), found)
    with pytest.raises(DekeyError, match=sentence):
        result[name]
    assert name not in result
    assert all((key in result.values) != (key in result.notes) for key in VALUES)
    assert all(np.isfinite(value) for value in result.values.values())
    assert all(note and note.count(". ") == 0 for note in result.notes.values())
    assert Evaluation.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))).notes == result.notes


def test_nothing_found_is_wrong_everywhere_but_in_pixels() -> None:
    result = evaluate(dataset([LABELLED]), [NOTHING])
    assert result["AP"] == result["AR"] == result["found_share"] == result["pck@0.1"] == result["pck_auc"] == 0


def test_no_sigmas_no_average_precision() -> None:
    schema = Schema.create(["ant", "bee"], SCHEMA.keypoints)
    result = evaluate(dataset([LABELLED], schema), [LABELLED])
    assert not set(OKS_VALUES) & set(result.values)
    with pytest.raises(DekeyError, match="nobody stated sigmas for these keypoints; pass --sigmas"):
        result["AP"]
    given = evaluate(dataset([LABELLED], schema), [LABELLED], sigmas=0.1)
    assert given["AP"] == pytest.approx(1)
    assert "given by the caller: 0.1 for every keypoint" in given.notes["sigmas"]
    with pytest.raises(DekeyError, match="found 2 sigmas for 4"):
        evaluate(dataset([LABELLED], schema), [LABELLED], sigmas=[0.1, 0.2])


def test_sigmas_of_coco_are_called_so() -> None:
    schema = Schema.create(["person"], COCO_PERSON_KEYPOINTS)
    person = Instances.create(np.arange(34.0).reshape(1, 17, 2), [[0.0, 0, 40, 40]])
    assert "COCO's constants" in evaluate(dataset([person], schema), [person]).notes["sigmas"]
    other = evaluate(dataset([person], schema.with_sigmas(0.1)), [person])
    assert "as the data set states them" in other.notes["sigmas"]


def test_where_the_area_comes_from_is_said() -> None:
    boxed = evaluate(dataset([LABELLED]), [LABELLED])
    assert "1 of 1 objects have no annotated area and get that of their box" in boxed.notes["areas"]
    hull = Instances.create(LABELLED.keypoints)
    assert "upright hull" in evaluate(dataset([hull]), [hull]).notes["areas"]
    points = Schema.create(["ant", "bee"], ["spot"], sigmas=0.1)
    spot = Instances.create([[[5.0, 5.0]]])
    spots = evaluate(dataset([spot, spot], points), [spot, spot])
    assert spots.normaliser == "image_diagonal"
    assert spots["pck@0.1"] == 1
    with pytest.raises(DekeyError, match="OKS-AP is not computed: 2 of 2 objects have no annotated area"):
        spots["AP"]
    exact = Instances.create(LABELLED.keypoints, LABELLED.boxes, areas=[3000.0])
    assert "areas" not in evaluate(dataset([exact]), [exact]).notes


def test_objects_without_normaliser_are_left_out_and_counted() -> None:
    boxless = Instances.create(LABELLED.keypoints)
    result = evaluate(dataset([LABELLED, boxless]), [LABELLED, NOTHING], normaliser="sqrt_box_area")
    assert result["pck@0.1"] == 1
    assert result["pck@10px"] == 0.5
    assert "1 of 2 objects have no such length" in result.notes["normaliser"]
    none = evaluate(dataset([boxless]), [boxless], normaliser="box_diagonal")
    assert none["median_px"] == 0
    with pytest.raises(DekeyError, match="no object has the length 'box_diagonal'"):
        none["nme"]
    assert none.pck_curve[1].size == 0


def test_curve_and_thresholds() -> None:
    moved = Instances.create(LABELLED.keypoints + np.array([3.0, 4.0]), LABELLED.boxes)
    result = evaluate(dataset([LABELLED]), [moved], normaliser="pixels")
    assert result.pck_curve[0][-1] == 20
    assert result["pck_auc"] == 0.75
    assert result["nme"] == 5
    own = evaluate(dataset([LABELLED]), [moved], normaliser="pixels", thresholds=[4.9, 5, 10])
    np.testing.assert_array_equal(own.pck_curve[1], [0, 1, 1])
    assert own["pck_auc"] == 0.5
    for wrong in ([], [0.1, 0.1], [-1, 2], [np.nan], [0.0]):
        with pytest.raises(DekeyError, match="rising"):
            evaluate(dataset([LABELLED]), [moved], thresholds=wrong)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([], "answers for 0 images but the data set has 1"),
        (LABELLED, "found Instances to measure, expected a list"),
        ("model.onnx", "found str to measure, expected a list"),
        ([None], "is a NoneType, expected Instances"),
        ([Instances.empty(3)], "has 3 keypoints an object but the data set has 4"),
        ([Instances.create(LABELLED.keypoints, labels=[2])], "names class 2 but the data set has 2"),
        ([Instances.create(LABELLED.keypoints, labels=[-1])], "names class -1"),
        ([Instances.create(LABELLED.keypoints, scores=[np.nan])], "a score that is no number"),
    ],
)
def test_answers_that_do_not_fit_are_refused(found: list[Instances], sentence: str) -> None:
    with pytest.raises(DekeyError, match=sentence):
        evaluate(dataset([LABELLED]), found)


def test_labels_that_are_no_data_set_are_refused() -> None:
    with pytest.raises(DekeyError, match=r"found str to measure against, expected a Dataset, such as dekey\.read gives"):
        evaluate("labels.json", [LABELLED])  # type: ignore[arg-type]


def test_unknown_number_names_the_nearest() -> None:
    result = evaluate(dataset([LABELLED]), [LABELLED])
    with pytest.raises(DekeyError, match="did you mean 'median_px'"):
        result["median_pixel"]
    with pytest.raises(DekeyError, match="there is no normaliser 'box'"):
        evaluate(dataset([LABELLED]), [LABELLED], normaliser="box")


def test_stored_and_read_again(case: tuple[list[Instances], list[Instances]]) -> None:
    first = evaluate(dataset(case[0]), case[1])
    stored = json.dumps(first.to_dict(), allow_nan=False)
    again = Evaluation.from_dict(json.loads(stored))
    assert again.to_dict() == first.to_dict()
    np.testing.assert_array_equal(again.errors, first.errors)
    np.testing.assert_array_equal(again.found_of_truth, first.found_of_truth)
    brief = Evaluation.from_dict(first.to_dict(arrays=False))
    assert brief.values == first.values
    assert brief.errors.size == 0
    with pytest.raises(DekeyError, match="not whole"):
        Evaluation.from_dict({"values": {}})


def test_mean_pose_by_hand() -> None:
    schema = Schema.create(["ant", "bee"], ["head", "tail"])
    nan = [np.nan, np.nan]
    train = dataset(
        [
            Instances.create([[[10.0, 10], [20, 30]]], [[10.0, 10, 20, 30]]),
            Instances.create([[[5.0, 20], nan]], [[0.0, 0, 10, 20]]),
            Instances.create([[[9.0, 9], [9, 9]]], [[0.0, 0, 10, 10]], crowd=[True]),
        ],
        schema,
    )
    held_out = dataset(
        [
            Instances.empty(2),
            Instances.create([[[0.0, 0], [0, 0]]] * 3, [[100.0, 100, 140, 120]] * 3, [0, 0, 1], crowd=[False, True, False]),
        ],
        schema,
    )
    found = mean_pose_baseline(train, held_out)
    assert [len(one) for one in found] == [0, 2]
    np.testing.assert_allclose(found[1].keypoints, [[[110, 110], [140, 120]], [nan, nan]])
    whole = mean_pose_baseline(train, held_out, region="image")
    np.testing.assert_allclose(whole[1].keypoints[0], [[7.5, 15], [20, 30]])
    assert evaluate(held_out, found).values["found_share"] == 1


def test_mean_pose_needs_boxes_and_one_schema() -> None:
    boxless = dataset([Instances.create(LABELLED.keypoints)])
    with pytest.raises(DekeyError, match="1 of 1 objects have no box"):
        mean_pose_baseline(dataset([LABELLED]), boxless)
    with pytest.raises(DekeyError, match="differ in classes or keypoints"):
        mean_pose_baseline(boxless, dataset([], Schema.create(["ant"], ["head"])))

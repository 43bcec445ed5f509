from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.metrics import evaluate
from dekey.metrics.failures import KEYPOINT_KINDS, MAX_EXAMPLES, Failures

SCHEMA = Schema.create(["ant"], ["head", "left", "right"], sigmas=0.05)
# An object of 100 × 100 px whose keypoints lie far apart; with a sigma of 0.05 a point is close within 11.8 px.
POSE = np.array([[50.0, 10], [20, 80], [80, 80]])
BOX = np.array([0.0, 0, 100, 100])


def dataset(objects: list[Instances], schema: Schema = SCHEMA) -> Dataset:
    samples = [Sample(Path(f"{i}.png"), (600, 800), one, i, np.arange(len(one))) for i, one in enumerate(objects)]
    return Dataset.from_samples(schema, samples)


def ants(*offsets: float, poses: np.ndarray | None = None, scores: list[float] | None = None) -> Instances:
    """Objects moved to the right by each offset, labelled, or found with the given poses."""
    steps = np.array(offsets)[:, None]
    places = POSE + steps[:, None] * [1, 0] if poses is None else poses
    return Instances.create(places, BOX + steps * [1, 0, 1, 0], areas=[1e4] * len(offsets), scores=scores)


def measured(truth: Instances, found: Instances, schema: Schema = SCHEMA, threshold: float = 0.0) -> Failures:
    result = evaluate(dataset([truth], schema), [found], score_threshold=threshold, boxes=True).failures
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("move", "kind"),
    [
        ([0.0, 0], "good"),
        ([5.6, 0], "good"),  # similarity 0.855
        ([0.0, 5.8], "jitter"),  # 0.845
        ([11.7, 0], "jitter"),  # 0.504
        ([11.9, 0], "miss"),  # 0.492
        ([30.0, 75], "inversion"),  # 5 px from right
        ([-30.0, 58.5], "inversion"),  # 11.5 px from left
        ([200.0, 4], "swap"),  # the head of the other
        ([170.0, 70], "swap"),  # the left of the other
        ([100.0, 0], "miss"),
        ([np.nan, 0], "miss"),
    ],
)
def test_kind_of_a_keypoint(move: list[float], kind: str) -> None:
    truth = ants(0, 200)
    poses = truth.keypoints.copy()
    poses[0, 0] += move
    result = measured(truth, ants(0, 200, poses=poses))
    expected = dict.fromkeys(KEYPOINT_KINDS, 0) | {"good": 5}
    expected[kind] += 1
    assert result.keypoints == expected
    assert result.objects == {"found": 2, "missed": 0, "invented": 0}
    if kind != "good":
        (example,) = result.examples[kind]
        assert (example.image, example.truth, example.found, example.keypoint) == (0, 0, 0, 0)
        assert example.severity == pytest.approx(np.nan_to_num(np.hypot(*move) / 100))


def test_what_a_point_was_taken_for_is_named() -> None:
    truth = ants(0, 200)
    poses = truth.keypoints.copy()
    poses[0, [1, 2]] = poses[0, [2, 1]]
    poses[1, 0] = poses[0, 0]
    result = measured(truth, ants(0, 200, poses=poses))
    assert result.keypoints == {"good": 3, "jitter": 0, "inversion": 2, "swap": 1, "miss": 0}
    (inversion,), (swap,) = result.examples["inversion"], result.examples["swap"]
    assert (inversion.keypoint, inversion.near_truth, inversion.near_keypoint) == (1, 0, 2)
    assert (swap.truth, swap.keypoint, swap.near_truth, swap.near_keypoint) == (1, 0, 0, 0)


def test_missed_and_invented_objects() -> None:
    result = measured(ants(0, 200, 400), ants(0, 600, 500, 650, scores=[0.9, 0.5, 0.8, 0.2]), threshold=0.3)
    assert result.objects == {"found": 1, "missed": 2, "invented": 2}
    assert [one.truth for one in result.examples["missed"]] == [1, 2]
    assert [(one.found, one.severity) for one in result.examples["invented"]] == [(2, 0.8), (1, 0.5)]
    assert sum(result.keypoints.values()) == 3


def test_unlabelled_points_and_crowds_are_nobodys() -> None:
    truth = ants(0, 200)
    truth.visibility[0, 1] = 0
    truth.crowd[1] = True
    poses = ants(0).keypoints
    poses[0, 0] = POSE[0] + [200, 0]
    poses[0, 2] = POSE[1]
    assert measured(truth, ants(0, poses=poses)).keypoints == dict.fromkeys(KEYPOINT_KINDS, 0) | {"miss": 2}


def test_without_sigmas_a_stand_in_is_used_and_said() -> None:
    bare = Schema.create(["ant"], SCHEMA.keypoints)
    stated = measured(ants(0), ants(0))
    assert "rest on the sigmas of OKS" in stated.note
    assert "0.05 for every keypoint" in measured(ants(0), ants(0), bare).note
    unsized = Instances.create(POSE[None], BOX[None])
    assert "1 of 1 objects have no annotated area" in measured(unsized, unsized).note
    point = Instances.create([[[5.0, 5], [np.nan, np.nan], [np.nan, np.nan]]])
    alone = evaluate(dataset([point]), [point]).failures
    assert alone is not None
    assert "1 of 1 objects have neither area, box nor extent" in alone.note
    assert sum(alone.keypoints.values()) == 0


def test_every_judged_keypoint_has_one_kind_and_order_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    truth = [ants(*rng.choice(np.arange(0, 700, 120), 3, replace=False)) for _ in range(12)]
    found = []
    for one in truth:
        mixed = one.keypoints.reshape(9, 2)[rng.permutation(9)].reshape(3, 3, 2)
        poses = np.where(rng.uniform(size=(3, 3, 1)) < 0.3, mixed, one.keypoints)
        poses += rng.normal(0, rng.choice([2, 6, 40], (3, 3, 1)), poses.shape)
        found.append(Instances.create(poses, one.boxes, scores=rng.uniform(size=3)))
    first = evaluate(dataset(truth), found).failures
    order = rng.permutation(12)
    second = evaluate(dataset([truth[i][::-1] for i in order]), [found[i] for i in order]).failures
    assert first is not None
    assert second is not None
    assert first.keypoints == second.keypoints
    assert first.objects == second.objects
    assert sum(first.keypoints.values()) == 12 * 9
    assert min(first.keypoints.values()) > 0
    for kind, rows in first.examples.items():
        assert [one.severity for one in rows] == sorted((one.severity for one in rows), reverse=True), kind
        assert len(rows) <= MAX_EXAMPLES
        assert len({(one.image, one.truth, one.found) for one in rows}) == len(rows)
    again = Failures.from_dict(json.loads(json.dumps(first.to_dict(), allow_nan=False)))
    assert again.to_dict() == first.to_dict()
    assert again.examples == first.examples

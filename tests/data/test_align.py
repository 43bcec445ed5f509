from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Schema, merge
from dekey.data.align import Alignment
from dekey.errors import DekeyError

TUBE = Schema.create(["tube"], ["head", "tail"])
FLY = Schema.create(["fly"], ["wing_l", "head", "wing_r"], sigmas=[0.1, 0.2, 0.1])


def empty(schema: Schema) -> Dataset:
    return Dataset.from_samples(schema, [])


def answers(schema: Schema, count: int = 6) -> Instances:
    random = np.random.default_rng(0)
    names = len(schema.keypoints)
    return Instances.create(
        random.uniform(0, 9, (count, names, 2)),
        labels=np.arange(count) % len(schema.classes),
        visibility=random.integers(1, 3, (count, names)),
        scores=random.random(count),
        keypoint_scores=random.random((count, names)),
    )


def test_answers_of_a_merged_model_come_under_the_names_of_each_of_its_files() -> None:
    both = merge([empty(TUBE), empty(FLY)]).schema
    assert both.keypoints == ("head", "tail", "wing_l", "wing_r")
    found = answers(both)
    flies = Alignment.between(FLY, both).apply(found)
    rows = found.labels == 1
    assert flies.labels.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(flies.keypoints, found.keypoints[rows][:, [2, 0, 3]])
    np.testing.assert_array_equal(flies.visibility, found.visibility[rows][:, [2, 0, 3]])
    assert flies.scores is not None
    assert found.scores is not None
    np.testing.assert_array_equal(flies.scores, found.scores[rows])
    assert flies.keypoint_scores is not None
    assert found.keypoint_scores is not None
    np.testing.assert_array_equal(flies.keypoint_scores, found.keypoint_scores[rows][:, [2, 0, 3]])


def test_a_keypoint_that_merging_renamed_is_found_again() -> None:
    stated = TUBE.with_sigmas([0.05, 0.05])
    both = merge([empty(stated), empty(FLY)]).schema
    assert both.keypoints == ("head", "tail", "wing_l", "fly/head", "wing_r")
    assert Alignment.between(FLY, both).columns.tolist() == [2, 3, 4]
    assert Alignment.between(stated, both).columns.tolist() == [0, 1]


def test_the_own_schema_changes_nothing() -> None:
    found = answers(FLY)
    again = Alignment.between(FLY, FLY).apply(found)
    for name in ("boxes", "labels", "keypoints", "visibility", "scores", "keypoint_scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_the_order_of_names_plays_no_part() -> None:
    turned = Schema.create(["b", "a"], ["q", "p"])
    found = answers(Schema.create(["a", "b"], ["p", "q"]), 2)
    again = Alignment.between(turned, Schema.create(["a", "b"], ["p", "q"])).apply(found)
    assert again.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(again.keypoints, found.keypoints[:, ::-1])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Schema.create(["bee"], ["head"]), r"names the classes 1 \(bee\) but the model finds 2 \(tube, fly\)"),
        (Schema.create(["tube"], ["head", "lid"]), "names the keypoints 2 .head, lid. but the model finds 4"),
        (Schema.create(["tube"], ["head", "wing_l"]), "names the keypoints 2"),
    ],
    ids=["class", "keypoint", "keypoint of another class"],
)
def test_what_the_model_does_not_know_is_one_sentence(data: Schema, expected: str) -> None:
    with pytest.raises(DekeyError, match=expected):
        Alignment.between(data, merge([empty(TUBE), empty(FLY)]).schema)


def test_a_model_without_classes_looks_at_keypoints_alone() -> None:
    data = Schema.create(["bee"], ["tail", "head"])
    assert Alignment.between(data, TUBE, classes=False).columns.tolist() == [1, 0]
    assert Alignment.between(data, TUBE, classes=False).labels is None

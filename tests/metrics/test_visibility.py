from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Instances
from dekey.metrics.visibility import OCCLUSION_VALUES, occlusion

PLACES = np.arange(10.0).reshape(1, 5, 2)


def measured(truth: list[int], found: list[int], lost: int = -1) -> tuple[dict[str, float], dict[str, str]]:
    places = PLACES.copy()
    places[0, lost if lost >= 0 else []] = np.nan
    labelled, answer = Instances.create(PLACES, visibility=[truth]), Instances.create(places, visibility=[found])
    values, notes = occlusion(labelled, answer, np.array([0]), labelled.labelled)
    assert set(values) | set(notes) == set(OCCLUSION_VALUES)
    assert not set(values) & set(notes)
    return values, notes


def test_by_hand() -> None:
    values, _ = measured([1, 1, 2, 2, 0], [1, 2, 1, 2, 1])
    assert values == {"occluded_precision": 1 / 2, "occluded_recall": 1 / 2, "occluded_f1": 1 / 2}
    values, _ = measured([1, 2, 2, 2, 2], [1, 1, 1, 2, 2])
    assert values == pytest.approx({"occluded_precision": 1 / 3, "occluded_recall": 1, "occluded_f1": 1 / 2})


def test_a_keypoint_that_was_not_found_is_left_out() -> None:
    values, _ = measured([1, 1, 2, 2, 2], [1, 2, 2, 2, 2], lost=1)
    assert values == {"occluded_precision": 1, "occluded_recall": 1, "occluded_f1": 1}
    assert measured([1, 1, 2, 2, 2], [1, 0, 2, 2, 2])[0] == values


def test_one_state_alone_defines_nothing() -> None:
    for truth, word in (([2, 2, 2, 0, 0], "occluded"), ([1, 1, 0, 0, 0], "visible")):
        values, notes = measured(truth, [1, 2, 1, 2, 1])
        assert values == {}
        assert f"labelled {word}" in notes["occluded_recall"]


def test_who_never_says_occluded_has_no_precision_but_a_recall() -> None:
    values, notes = measured([1, 1, 2, 2, 2], [2, 2, 2, 2, 2])
    assert values == {"occluded_recall": 0, "occluded_f1": 0}
    assert "called occluded" in notes["occluded_precision"]


def test_objects_without_partner_are_left_out() -> None:
    truth = Instances.create(np.concatenate([PLACES, PLACES]), visibility=[[1, 2, 2, 2, 2], [1, 1, 1, 1, 1]])
    found = Instances.create(PLACES, visibility=[[1, 2, 2, 2, 2]])
    values, _ = occlusion(truth, found, np.array([0, -1]), truth.labelled)
    assert values["occluded_recall"] == values["occluded_precision"] == 1
    nothing, notes = occlusion(truth, Instances.empty(5), np.array([-1, -1]), truth.labelled)
    assert nothing == {}
    assert "was found" in notes["occluded_recall"]

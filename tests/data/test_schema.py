from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dekey.data import Schema
from dekey.data.schema import COCO_PERSON_KEYPOINTS, COCO_PERSON_SIGMAS, mirror_from_names
from dekey.errors import DekeyError


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        (["nose", "left_eye", "right_eye"], [0, 2, 1]),
        (["eye_l", "eye_r", "tail"], [1, 0, 2]),
        (["LEye", "REye", "Chin"], [1, 0, 2]),
        (["wingL", "wingR"], [1, 0]),
        (["hand-left", "hand-right", "hip"], [1, 0, 2]),
        (["forelegL4", "forelegR4"], [1, 0]),
        (["L_F_Paw", "R_F_Paw"], [1, 0]),
        (["tip"], [0]),
        (["глаз_left", "глаз_right", "ухо_left", "ухо_right"], [1, 0, 3, 2]),
        (["œil_l", "œil_r"], [1, 0]),
        (COCO_PERSON_KEYPOINTS, [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]),
    ],
)
def test_names_that_say_their_side_decide_the_mirror(names: list[str], mirror: list[int]) -> None:
    found, note = mirror_from_names(names)
    assert found is not None, note
    assert found.tolist() == mirror


@pytest.mark.parametrize(
    "names",
    [
        ["head", "tail"],
        ["left_eye", "nose"],
        ["jaw_0", "jaw_1", "left_eye", "right_eye"],
        ["left_eye", "Left-Eye", "right_eye"],
        ["1", "2", "3"],
        ["目_left", "耳_right"],
    ],
)
def test_names_that_leave_it_open_give_no_mirror_and_the_reason(names: list[str]) -> None:
    found, note = mirror_from_names(names)
    assert found is None
    assert "undecided" in note


WORDS = st.sampled_from(["eye", "wing", "paw", "tip"])


@given(st.lists(st.tuples(WORDS, st.integers(0, 3)), min_size=1, max_size=6, unique=True), st.randoms())
def test_derived_mirror_is_an_involution_whatever_the_order(stems: list[tuple[str, int]], random: object) -> None:
    names = [f"{side}_{word}_{number}" for word, number in stems for side in ("left", "right")] + ["middle"]
    random.shuffle(names)  # type: ignore[attr-defined]
    found, note = mirror_from_names(names)
    assert found is not None, note
    assert found[found].tolist() == list(range(len(names)))
    assert all(names[partner].split("_")[1:] == name.split("_")[1:] for name, partner in zip(names, found, strict=True))


def test_dictionary_gives_the_schema_back() -> None:
    schema = Schema.create(
        ["cat", "dog"], ["nose", "ear_l", "ear_r"], edges=[(0, 1)], sigmas=[0.1, 0.2, 0.2], present=[[1, 1, 1], [1, 0, 0]]
    )
    assert Schema.from_dict(schema.to_dict()) == schema
    undecided = Schema.create(["thing"], ["a", "b"])
    back = Schema.from_dict(undecided.to_dict())
    assert back == undecided
    assert back.mirror is None
    assert back.mirror_note == undecided.mirror_note


def test_equality_looks_at_everything_but_the_note() -> None:
    derived = Schema.create(["face"], ["eye_l", "eye_r"])
    stated = Schema.create(["face"], ["eye_l", "eye_r"], mirror=[1, 0])
    assert derived.mirror_note != stated.mirror_note
    assert derived == stated
    assert hash(derived) == hash(stated)
    assert derived != Schema.create(["face"], ["eye_l", "eye_r"], mirror=[0, 1])
    assert derived != "face"


def test_only_coco_persons_get_sigmas_by_themselves() -> None:
    person = Schema.create(["person"], COCO_PERSON_KEYPOINTS)
    assert person.sigmas is not None
    assert person.sigmas.tolist() == COCO_PERSON_SIGMAS
    assert Schema.create(["person"], COCO_PERSON_KEYPOINTS[:-1]).sigmas is None
    assert Schema.create(["x"], ["a"]).with_sigmas(0.05).sigmas == pytest.approx([0.05])


STORED = Schema.create(["a"], ["k", "l"]).to_dict()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Schema.create(["a", "a"], ["k"]), "class name 'a' occurs twice"),
        (lambda: Schema.create(["a"], ["k", "k"]), "keypoint name 'k' occurs twice"),
        (lambda: Schema.create(["a"], ["k", "l"], edges=[(0, 2)]), "edge names keypoint 2"),
        (lambda: Schema.create(["a"], ["k", "l", "m"], mirror=[1, 2, 0]), "not back"),
        (lambda: Schema.create(["a"], ["k", "l"], mirror=[0]), "does not name 2 keypoints"),
        (lambda: Schema.create(["a"], ["k", "l"], sigmas=[0.1, 0.1, 0.1]), "3 sigmas for 2 keypoints"),
        (lambda: Schema.create(["a"], ["k"], sigmas=[0.0]), "positive"),
        (lambda: Schema.create(["a"], ["k"], present=[[True, True]]), "`present` has shape"),
        (lambda: Schema.create(["a"], ["wrist", "elbow"]).keypoint_index("wirst"), "did you mean 'wrist'"),
        (lambda: Schema.from_dict({"classes": ["a"]}), "stored schema is not whole"),
        (lambda: Schema.from_dict(STORED | {"edges": [[10**30, 0]]}), "stored schema is not whole"),
        (lambda: Schema.from_dict(STORED | {"classes": [1]}), "stored schema is not whole"),
        (lambda: Schema.create(["a"], ["k", "l"], edges=[(-1, 0)]), "edge names keypoint -1"),
    ],
)
def test_a_schema_that_does_not_fit_together_is_refused(make: object, says: str) -> None:
    with pytest.raises(DekeyError, match=says):
        make()  # type: ignore[operator]


def test_keypoint_index_finds_the_name() -> None:
    assert Schema.create(["a"], ["wrist", "elbow"]).keypoint_index("elbow") == 1
    assert np.all(Schema.create(["a", "b"], ["k"]).present)

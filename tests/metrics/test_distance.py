from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Instances, Schema
from dekey.errors import DekeyError
from dekey.metrics.distance import default_normaliser, normalisers, pck_curve, pixel_errors, summarise

SCHEMA = Schema.create(["face"], ["left_eye", "right_eye", "nose"])
NAN = [np.nan, np.nan]


def two_faces() -> Instances:
    return Instances.create(
        [[[0.0, 0.0], [30.0, 40.0], [10.0, 20.0]], [[5.0, 5.0], NAN, [5.0, 9.0]]],
        [[0.0, 0, 40, 90], [np.nan] * 4],
        visibility=[[2, 2, 1], [2, 0, 2]],
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sqrt_box_area", [60, np.nan]),
        ("box_diagonal", [np.hypot(40, 90), np.nan]),
        ("box_long_side", [90, np.nan]),
        ("hull_diagonal", [50, 4]),
        ("image_diagonal", [500, 500]),
        ("pixels", [1, 1]),
        ("left_eye:right_eye", [50, np.nan]),
        ("right_eye:nose", [np.hypot(20, 20), np.nan]),
    ],
)
def test_normaliser_by_hand(name: str, expected: list[float]) -> None:
    sizes = np.array([[300, 400]] * 2)
    np.testing.assert_allclose(normalisers(name, two_faces(), sizes, SCHEMA), expected)


def test_normaliser_pair_with_colons_in_the_names() -> None:
    schema = Schema.create(["a"], ["eye:left", "eye:right", "nose"])
    lengths = normalisers("eye:left:eye:right", two_faces(), np.ones((2, 2), dtype=np.int64), schema)
    np.testing.assert_allclose(lengths, [50, np.nan])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqrt_box_are", "did you mean 'sqrt_box_area'"),
        ("left_eye:rigth_eye", "did you mean 'right_eye'"),
        ("nose:nose", "names one keypoint twice"),
        ("", "there is no normaliser"),
    ],
)
def test_unknown_normaliser(name: str, message: str) -> None:
    with pytest.raises(DekeyError, match=message):
        normalisers(name, two_faces(), np.ones((2, 2), dtype=np.int64), SCHEMA)


def test_default_normaliser_is_one_that_all_objects_have() -> None:
    faces = two_faces()
    assert default_normaliser(faces[:1])[0] == "sqrt_box_area"
    assert default_normaliser(faces)[0] == "hull_diagonal"
    point = Instances.create([[[5.0, 5.0], NAN, NAN]])
    assert default_normaliser(Instances.concatenate([faces, point], 3))[0] == "image_diagonal"
    crowd = Instances.create([[[5.0, 5.0], NAN, NAN]], crowd=[True])
    assert default_normaliser(Instances.concatenate([faces[:1], crowd], 3))[0] == "sqrt_box_area"


def test_zero_length_is_no_normaliser() -> None:
    flat = Instances.create([[[5.0, 5.0], [5.0, 5.0], NAN]], [[1.0, 1, 1, 9]])
    for name in ("sqrt_box_area", "box_long_side", "hull_diagonal", "left_eye:right_eye"):
        assert np.isnan(normalisers(name, flat, np.array([[9, 9]]), SCHEMA)).all()


def test_pixel_errors_by_hand() -> None:
    found = Instances.create([[[3.0, 4.0], NAN, [10.0, 20.0]], [[0.0, 0.0], [0.0, 0.0], [np.inf, 0.0]]])
    errors = pixel_errors(two_faces(), found, np.array([0, 1]))
    np.testing.assert_allclose(errors, [[5, np.nan, 0], [np.hypot(5, 5), np.nan, np.nan]])
    assert np.isnan(pixel_errors(two_faces(), found, np.array([-1, -1]))).all()
    # Coordinates that stand beside visibility 0 are no truth.
    unlabelled = Instances.create(found.keypoints[:1], visibility=[[2, 0, 0]])
    np.testing.assert_allclose(pixel_errors(unlabelled, found, np.array([0])), [[0, np.nan, np.nan]])


def test_numbers_by_hand() -> None:
    errors = np.array([[0.0, 4.0, 12.0], [np.nan, 2.0, 7.0], [1.0, 1.0, 1.0]])
    lengths = np.array([100.0, 20.0, np.nan])
    counted = np.array([[True, True, True], [True, True, False], [True, False, False]])
    values = summarise(errors, lengths, counted, 0.2)
    # px: 0 4 12 2 1; the lost one is wrong. In lengths: 0 .04 .12 lost .1, the third object has no length.
    assert values == pytest.approx(
        {
            "median_px": 2,
            "mean_px": 3.8,
            "p75_px": 4,
            "p90_px": 8.8,
            "p95_px": 10.4,
            "nme": 0.26 / 4,
            "pck@0.05": 2 / 5,
            "pck@0.1": 3 / 5,
            "pck_auc": (1 + 0.8 + 0.4 + 0 + 0.5) / 5,
            "pck@2px": 3 / 6,
            "pck@5px": 4 / 6,
            "pck@10px": 4 / 6,
            "found_keypoint_share": 5 / 6,
        }
    )


def test_area_is_that_of_the_curve() -> None:
    ratios = np.abs(np.random.default_rng(0).normal(0, 0.1, 500))
    ratios[:50] = np.nan
    thresholds = np.linspace(0, 0.2, 20001)
    shares = pck_curve(ratios, thresholds)
    assert (np.diff(shares) >= 0).all()
    area = summarise(ratios[:, None], np.ones(500), np.ones((500, 1), dtype=bool), 0.2)["pck_auc"]
    assert area == pytest.approx(shares.mean(), abs=1e-4)


def test_nothing_counted_gives_no_numbers() -> None:
    assert summarise(np.zeros((2, 3)), np.ones(2), np.zeros((2, 3), dtype=bool), 0.2) == {}
    lost = summarise(np.full((2, 3), np.nan), np.ones(2), np.ones((2, 3), dtype=bool), 0.2)
    assert "median_px" not in lost
    assert "nme" not in lost
    assert lost["pck@0.1"] == lost["pck_auc"] == lost["found_keypoint_share"] == 0

from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Instances, geometry
from dekey.data.orientation import orientations, spread_of_orientation

SHAPE = np.array([[0.0, 0], [40, 0], [40, 20], [10, 35], [-5, 12]])


def turned(angles: np.ndarray, seed: int = 0, missing: float = 0.0) -> Instances:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    keypoints = np.stack([geometry.apply(geometry.rotate(angle), SHAPE * rng.uniform(0.5, 3)) for angle in angles])
    keypoints += rng.uniform(0, 500, (len(angles), 1, 2))
    keypoints[rng.random(keypoints.shape[:2]) < missing] = np.nan
    return Instances.create(keypoints)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_turns_are_found_whatever_size_and_place(missing: float) -> None:
    angles = np.random.default_rng(1).normal(0, 0.3, 60)
    found = orientations(turned(angles, missing=missing))
    known = np.isfinite(found)
    assert known.sum() > 40
    offset = np.median((found - angles)[known])
    np.testing.assert_allclose((found - angles)[known], offset, atol=1e-6 if not missing else 0.05)


def test_the_spread_tells_upright_from_every_direction() -> None:
    rng = np.random.default_rng(2)
    assert spread_of_orientation(turned(np.zeros(20))) < 1e-6
    assert spread_of_orientation(turned(np.radians(rng.uniform(-20, 20, 400)))) == pytest.approx(19, abs=1.5)
    assert spread_of_orientation(turned(rng.uniform(-np.pi, np.pi, 400))) > 150


def test_objects_without_an_orientation() -> None:
    nothing = Instances.create(np.full((2, 3, 2), np.nan))
    assert np.isnan(orientations(nothing)).all()
    assert spread_of_orientation(nothing) == 0.0
    alike = Instances.create(np.ones((2, 3, 2)))
    assert np.isfinite(orientations(alike)).all()

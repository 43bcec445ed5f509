from __future__ import annotations

from pathlib import Path

import numpy as np

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.report.pictures import rank


def test_an_object_without_a_normaliser_is_measured_by_its_keypoints_and_never_by_pixels() -> None:
    nan = np.nan
    points = np.array([[[0.0, 0], [30, 40]], [[0, 0], [30, 40]], [[5, 5], [nan, nan]], [[5, 5], [nan, nan]]])
    samples = [
        Sample(Path(f"{row}.png"), (60, 80), Instances.create(points[row : row + 1]), row, np.array([row])) for row in range(4)
    ]
    errors = np.array([[5.0, 5.0], [2.0, 3.0], [4.0, nan], [nan, nan]])
    ranked = rank(Dataset.from_samples(Schema.create(["a"], ["x", "y"]), samples), errors, np.array([10.0, nan, nan, nan]))
    # The third has no extent either: nothing says how much 4 px are of it. The fourth was not found, which needs no length.
    assert [(row.instance, row.found) for row in ranked] == [(3, 0), (0, 2), (1, 2)]
    np.testing.assert_allclose([row.difficulty for row in ranked], [1.0, 0.5, 0.05])

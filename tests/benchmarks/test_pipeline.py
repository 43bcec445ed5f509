from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline import fitted, measured
from pipeline_rows import pipeline

import dekey
from dekey.data import geometry


def test_pictures_are_fitted_with_their_labels(small_data: Path, tmp_path: Path) -> None:
    dataset = dekey.read(small_data).subset([0, 1])
    for size in ((300, 640), (120, 100)):
        again = fitted(dataset, size, tmp_path)
        for sample, other in zip(dataset, again, strict=True):
            affine = geometry.letterbox(sample.size, size)
            np.testing.assert_allclose(other.instances.keypoints, geometry.apply(affine, sample.instances.keypoints))
            picture = other.read_image()
            assert picture.shape == (*size, 3)
            expected = geometry.warp(sample.read_image(), affine, size).astype(int)
            assert np.abs(picture - expected).mean() < 4


def test_both_ways_are_measured_and_a_row_says_what(small_onnx: Path, small_data: Path, tmp_path: Path) -> None:
    dataset = fitted(dekey.read(small_data).subset([0, 1, 2]), (1080, 1920), tmp_path)
    result = measured(small_onnx, dataset, 1, 0.2)
    whole, reduced = result["rows"]
    assert [whole["decoded"], reduced["decoded"]] == ["whole", "reduced"]
    assert whole["values"].keys() == reduced["values"].keys() >= {"nme", "median_px"}
    for row in result["rows"]:
        ms = row["ms"]
        assert ms["read"] + ms["warp"] + ms["network"] + ms["answers"] == pytest.approx(ms["whole"], rel=0.5)
        assert 0 < row["added_ms"] < ms["whole"] * 1.5
    title, heads, rows = pipeline({"data": "tubes", "threads": 1, **json.loads(json.dumps(result))})
    assert "1920×1080" in title
    assert {len(row) for row in rows} == {len(heads)}
    assert rows[0][0] == "all pixels"

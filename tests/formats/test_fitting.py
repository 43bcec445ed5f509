"""What of a data set is left out, or refused, where a format cannot hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import FORMATS, read, write
from dekey.formats.fitting import fitted


@pytest.mark.parametrize("points", [[(20.0, 30.0)], [(20.0, 30.0), (20.0, 50.0)], [(20.0, 30.0), (70.0, 30.0)]])
@pytest.mark.parametrize("name", ["yolo", "dlib", "labelme", "label_studio"])
def test_keypoints_that_span_no_box_make_none(tmp_path: Path, points: list[tuple[float, float]], name: str) -> None:
    flat = np.full((1, 2, 2), np.nan)
    flat[0, : len(points)] = points
    objects = [Instances.create(flat), Instances.create([[[20.0, 30.0], [40.0, 50.0]]])]
    for row in range(2):
        Image.new("RGB", (200, 100)).save(tmp_path / f"{row}.png")
    samples = [Sample(tmp_path / f"{row}.png", (100, 200), own, row, np.array([row])) for row, own in enumerate(objects)]
    dataset = Dataset.from_samples(Schema.create(["a"], ["x", "y"]), samples)
    out = tmp_path / f"out{FORMATS[name].suffix}"
    with pytest.raises(DekeyError, match="neither a box nor keypoints that span one"):
        write(dataset, out, format=name)
    kept = fitted(dataset, FORMATS[name], drop=True)
    write(kept, out, format=name)
    assert "empty-box" not in {each.kind for each in find_problems(read(out, format=name, images=tmp_path))}

"""The peer sees the same pixels and the same labels as dekey: a keypoint follows its image through every crop."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema, geometry

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


crops = _script("crops")
KEYPOINTS = np.array([[60.5, 40.5], [100.5, 44.5], [80.5, 90.5]])
COLOURS = np.eye(3, dtype=np.uint8) * 255


def _dataset(names: list[str]) -> Dataset:
    image = np.zeros((160, 200, 3), dtype=np.uint8)
    for (x, y), colour in zip(KEYPOINTS, COLOURS, strict=True):
        image[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = colour
    objects = Instances.create(
        np.stack([KEYPOINTS, np.full((3, 2), np.nan), KEYPOINTS]),
        boxes=[[50, 30, 110, 100], [0, 0, 10, 10], [50, 30, 110, 100]],
        crowd=np.array([False, False, True]),
    )
    sample = Sample(image, (160, 200), objects, 1, np.array([1, 2, 3]))
    return Dataset.from_samples(Schema.create(["thing"], names), [sample])


def _centre(image: np.ndarray, channel: int) -> np.ndarray:
    weights = image[..., channel].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def test_only_objects_with_a_box_and_a_label_that_are_no_crowd_are_used():
    assert len(crops.Crops(_dataset(["a", "b", "c"]), 128)) == 1


@pytest.mark.parametrize("names", [["eye_left", "eye_right", "nose"], ["a", "b", "c"]])
def test_every_keypoint_lies_on_its_own_dot(names: list[str]):
    dataset = _dataset(names)
    some, random, mirrored = crops.Crops(dataset, 128), np.random.default_rng(0), 0
    for crop in [some.plain(0), *(some.augmented(0, random) for _ in range(40))]:
        flipped = np.linalg.det(crop.image_to_input[:, :2]) < 0
        mirrored += int(flipped)
        # A mirrored left eye is a right eye: it carries the other's name and keeps its own colour.
        channels = [1, 0, 2] if flipped else [0, 1, 2]
        inside = ((crop.keypoints > 6) & (crop.keypoints < 122)).all(-1)
        for keypoint, channel, seen in zip(crop.keypoints, channels, inside, strict=True):
            if seen:
                np.testing.assert_allclose(_centre(crop.image, channel), keypoint, atol=0.2)
    assert (mirrored > 5) == (dataset.schema.mirror is not None)


def test_a_crop_maps_back_to_its_image():
    crop = crops.Crops(_dataset(["a", "b", "c"]), 96).augmented(0, np.random.default_rng(1))
    np.testing.assert_allclose(geometry.apply(geometry.invert(crop.image_to_input), crop.keypoints), KEYPOINTS, atol=1e-9)


def test_the_region_is_the_box_and_a_quarter_more():
    crop = crops.Crops(_dataset(["a", "b", "c"]), 128).plain(0)
    np.testing.assert_allclose(geometry.apply(crop.image_to_input, np.array([80.0, 65.0])), [64, 64])
    assert crop.image_to_input[0, 0] == pytest.approx(128 / (1.25 * 70))

"""Files are decoded to no more pixels than the network sees; what is found lies where it does in the whole picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.runtime import Predictor
from tests.runtime.test_predictor import SCHEMA, DotFinder, picture

RED, GREEN = (1131.3, 613.8), (1290.6, 702.1)
SIZE = (1083, 1925)


class Finder(DotFinder):
    """A `DotFinder` that is not drawn aside by what compression leaves of the black."""

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return super().run(np.where(images < 12, np.uint8(0), images))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reading") / "large.jpg"
    Image.fromarray(picture(SIZE, RED, GREEN, 40.0)).save(path, quality=95, subsampling=0)
    return path


def box_of(side: float) -> NDArray[np.float64]:
    x, y = np.mean([RED, GREEN], axis=0)
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])


@pytest.mark.parametrize(
    ("input_size", "factor"), [((64, 96), 8), ((104, 184), 4), ((216, 384), 2), ((440, 800), 2), ((600, 1000), 1)]
)
def test_a_whole_image_is_decoded_as_small_as_its_input_allows(input_size: tuple[int, int], factor: int, file: Path) -> None:
    predictor = Predictor(Finder("image", input_size))
    read = predictor.read(file)
    assert read.size == SIZE
    assert read.pixels.shape[:2] == tuple(-(-length // factor) for length in SIZE)
    found, whole = predictor(read), predictor(read_image(file))
    tolerance = max(0.3, 0.04 * max(length / own for length, own in zip(SIZE, input_size, strict=True)))
    np.testing.assert_allclose(found.keypoints[0], [RED, GREEN], atol=tolerance)
    np.testing.assert_allclose(found.keypoints, whole.keypoints, atol=tolerance)


@pytest.mark.parametrize(("side", "factor"), [(800.0, 4), (380.0, 2), (110.0, 1)])
def test_of_several_crops_the_closest_decides(side: float, factor: int, file: Path) -> None:
    predictor = Predictor(Finder("box", (96, 96)))
    boxes = np.concatenate([box_of(side), box_of(1000.0)])
    read = predictor.read(file, boxes)
    assert read.pixels.shape[:2] == tuple(-(-length // factor) for length in SIZE)
    found = predictor(read, boxes)
    np.testing.assert_allclose(found.keypoints[1], [RED, GREEN], atol=0.5)
    np.testing.assert_allclose(found.keypoints, predictor(read_image(file), boxes).keypoints, atol=0.5)
    with pytest.raises(DekeyError, match="no area"):
        predictor.read(file, np.array([[5.0, 5.0, 5.0, 9.0]]))


def test_whether_a_second_look_goes_closer_is_not_known_yet(file: Path) -> None:
    backend = Finder("image", (64, 96))
    backend.manifest = backend.manifest.model_copy(update={"second_look": 0.4})
    assert Predictor(backend).read(file).pixels.shape[:2] == SIZE
    assert Predictor(backend, once=True).read(file).pixels.shape[0] < SIZE[0] / 7


@pytest.mark.parametrize("region", ["box", "image"])
def test_a_data_set_is_measured_as_its_files_are_predicted(region: str, file: Path) -> None:
    boxes = box_of(800.0)
    instances = Instances.create([[RED, GREEN]], boxes)
    sample = Sample(file, SIZE, instances, 1, np.zeros(1, dtype=np.int64))
    dataset = Dataset.from_samples(SCHEMA, [sample, replace(sample, picture=read_image(file), image_id=2)])
    predictor = Predictor(Finder(region, (96, 96)))
    found, of_pixels = predictor.predict_dataset(dataset)
    given = boxes if region == "box" else None
    alone = predictor(predictor.read(file, given), given)
    np.testing.assert_array_equal(found.keypoints, alone.keypoints)
    np.testing.assert_allclose(of_pixels.keypoints, found.keypoints, atol=0.8)
    assert not np.array_equal(of_pixels.keypoints, found.keypoints)


def test_an_image_with_nothing_to_look_at_is_read_all_the_same(file: Path) -> None:
    predictor = Predictor(Finder("box", (96, 96), Schema.create(["thing"], ["red", "green"])))
    assert len(predictor(predictor.read(file, np.zeros((0, 4))), np.zeros((0, 4)))) == 0

"""Training decodes large JPEG files to fewer pixels; its views show the same, and what is kept takes no more memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema, geometry
from dekey.training.augment import Augment
from dekey.training.crops import CropSet
from dekey.training.scenes import SceneSet

SIZE = (722, 1286)
SCHEMA = Schema.create(["thing"], ["left_dot", "right_dot"])


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """The same image as a file and as pixels."""
    rng = np.random.default_rng(0)
    smooth = geometry.warp(rng.integers(0, 256, (20, 34, 3), dtype=np.uint8), geometry.scale(39), SIZE)
    path = tmp_path_factory.mktemp("views") / "a.jpg"
    Image.fromarray(smooth).save(path, quality=95)
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    points = [[[500.0, 300.0], [800.0, 350.0]], [[200.0, 500.0], [260.0, 520.0]]]
    instances = Instances.create(points, [[350, 150, 950, 600], [150, 450, 330, 580]])
    sample = Sample(path, SIZE, instances, 1, np.arange(2))
    return tuple(Dataset.from_samples(SCHEMA, [replace(sample, picture=picture)]) for picture in (path, pixels))  # type: ignore[return-value]


@pytest.mark.parametrize("input_size", [(48, 80), (96, 160), (160, 288), (400, 720)])
@pytest.mark.parametrize("kind", ["scenes", "crops"])
def test_views_of_a_file_show_what_views_of_its_pixels_show(
    kind: str, input_size: tuple[int, int], datasets: tuple[Dataset, Dataset]
) -> None:
    of_file, of_pixels = (
        SceneSet(one, input_size, memory=1 << 30) if kind == "scenes" else CropSet(one, "box", input_size, memory=1 << 30)
        for one in datasets
    )
    for index in range(len(of_file)):
        (view, found, affine), (other, truth, other_affine) = (
            one.draw(index, Augment(), np.random.default_rng(0)) for one in (of_file, of_pixels)
        )
        np.testing.assert_array_equal(affine, other_affine)
        np.testing.assert_array_equal(found.keypoints, truth.keypoints)
        inside = np.abs(view.astype(int) - other)[2:-2, 2:-2]
        assert inside.mean() < 2
        kept, of_whole = one_kept(of_file, index), one_kept(of_pixels, index)
        # The same fraction of the image; a rim of a px or two where the file's blocks end.
        assert all(abs(length - expected) <= 2 for length, expected in zip(kept.shape, of_whole.shape, strict=True))


def one_kept(views: SceneSet | CropSet, index: int) -> np.ndarray:
    kept = views._pictures.get(index)
    assert kept is not None
    return kept[0]

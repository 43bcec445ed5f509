"""Many objects in an image: a backend that finds squares by their colour stands where a trained network would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import UNLABELLED, Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.runtime import Manifest, Predictor

SCHEMA = Schema.create(["red", "green"], ["head", "tail"], present=[[True, True], [True, False]])
Square = tuple[int, int, int, int]
"""Left, top and side in px, and the class."""


class SquareFinder:
    """Finds red and green squares: a head is marked with blue, a tail with yellow, and what is below 8 px is not seen.

    A square of which both marks are seen has the score 0.9 or a little more, any other less. A mark that is not seen is
    guessed at the nearest side of what is seen. What is left of the N answers is padding with score 0.
    """

    def __init__(self, input_size: tuple[int, int] = (640, 640), objects: int = 30, schema: Schema = SCHEMA) -> None:
        self.manifest = Manifest(
            kind="center",
            keypoint_schema=schema.to_dict(),
            input_size=input_size,
            region="image",
            padding=1.0,
            architecture={},
            objects=objects,
            finds_boxes=True,
            object_threshold=0.3,
        )
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        assert images.shape[1:] == (*self.manifest.input_size, 3)
        self.batches.append(len(images))
        count = self.manifest.objects
        arrays: dict[str, NDArray[Any]] = {
            "boxes": np.zeros((len(images), count, 4), dtype=np.float32),
            "scores": np.zeros((len(images), count), dtype=np.float32),
            "labels": np.full((len(images), count), 99, dtype=np.int64),
            "keypoints": np.zeros((len(images), count, 2, 2), dtype=np.float32),
            "keypoint_scores": np.zeros((len(images), count, 2), dtype=np.float32),
            "visibility": np.ones((len(images), count, 2), dtype=np.float32),
        }
        for row, image in enumerate(images):
            parts, _, stats, _ = cv2.connectedComponentsWithStats((image[..., :2].max(-1) > 127).astype(np.uint8))
            shown = [part for part in range(1, parts) if min(stats[part][2:4]) >= 8]
            for place, part in enumerate(shown[:count]):
                left, top, wide, high = stats[part][:4].tolist()
                self._answer(arrays, (row, place), image[top : top + high, left : left + wide], left, top)
        return arrays

    def _answer(
        self, arrays: dict[str, NDArray[Any]], at: tuple[int, int], patch: NDArray[np.uint8], left: int, top: int
    ) -> None:
        high, wide = patch.shape[:2]
        arrays["boxes"][at] = left, top, left + wide, top + high
        red, green = (int((patch[..., channel] > 127).sum()) for channel in (0, 1))
        arrays["labels"][at] = int(green > red)
        marks = (patch[..., 2] > 127, patch[..., :2].min(-1) > 127)
        for index, mark in enumerate(marks):
            y, x = np.nonzero(mark)
            if x.size:
                arrays["keypoints"][at][index] = left + x.mean() + 0.5, top + y.mean() + 0.5
                arrays["keypoint_scores"][at][index] = 0.9
            else:
                arrays["keypoints"][at][index] = left + index * wide, top + index * high
                arrays["keypoint_scores"][at][index] = 0.2
        arrays["scores"][at] = (0.9 if all(mark.any() for mark in marks) else 0.6) + min(wide * high, 10**6) * 1e-8


def painted(size: tuple[int, int], squares: list[Square]) -> NDArray[np.uint8]:
    image = np.zeros((*size, 3), dtype=np.uint8)
    for left, top, side, label in squares:
        image[top : top + side, left : left + side, label] = 255
        mark = max(side // 5, 1)
        image[top + mark : top + 2 * mark, left + mark : left + 2 * mark, 2] = 255
        far = side - 2 * mark
        image[top + far : top + far + mark, left + far : left + far + mark, :2] = 255
    return image


def truth_of(squares: list[Square]) -> Instances:
    values = np.array(squares, dtype=np.float64).reshape(-1, 4)
    corner, side = values[:, :2], values[:, 2:3]
    mark = np.maximum(side // 5, 1)
    keypoints = np.stack([corner + 1.5 * mark, corner + side - 1.5 * mark], axis=1)
    labels = values[:, 3].astype(np.int64)
    keypoints[labels == 1, 1] = np.nan
    return Instances.create(keypoints, boxes=np.concatenate([corner, corner + side], axis=1), labels=labels)


def scattered(seed: int, size: tuple[int, int], count: int, sides: tuple[int, int], gap: int = 8) -> list[Square]:
    """Draw squares that do not touch, small ones as often as large ones."""
    rng = np.random.default_rng(seed)
    squares: list[Square] = []
    while len(squares) < count:
        side = round(np.exp(rng.uniform(*np.log(sides))))
        left, top = (int(rng.integers(0, length - side)) for length in (size[1], size[0]))
        if all(
            left + side + gap < x or x + other + gap < left or top + side + gap < y or y + other + gap < top
            for x, y, other, _ in squares
        ):
            squares.append((left, top, side, int(rng.integers(0, 2))))
    return squares


def by_place(found: Instances) -> Instances:
    return found[np.lexsort(found.boxes.round(3).T)]


def assert_found(found: Instances, squares: list[Square], tolerance: float = 0.0) -> None:
    truth = truth_of(squares)
    assert len(found) == len(truth)
    distances = np.abs(found.boxes[:, None] - truth.boxes[None]).max(-1)
    nearest = distances.argmin(0)
    assert len(set(nearest.tolist())) == len(truth)
    found = found[nearest]
    np.testing.assert_array_equal(found.labels, truth.labels)
    np.testing.assert_allclose(found.boxes, truth.boxes, atol=tolerance + 1e-3)
    np.testing.assert_allclose(found.keypoints, truth.keypoints, atol=tolerance + 1e-3)


LARGE = (1500, 2000)


def test_small_objects_of_a_large_picture_are_found_in_tiles_and_not_without() -> None:
    squares = scattered(0, LARGE, 40, (15, 15))
    image = painted(LARGE, squares)
    assert len(Predictor(SquareFinder())(image)) == 0
    assert_found(Predictor(SquareFinder(), tiles=640)(image), squares)
    assert_found(Predictor(SquareFinder(), scales=(3.125,))(image), squares)


@pytest.mark.parametrize("seed", range(6))
def test_every_object_of_any_size_is_found_once(seed: int) -> None:
    """Up to 100 px they lie whole in a tile, beyond in the whole image too, which shows them at a third of their size."""
    squares = scattered(seed, LARGE, 25, (14, 700))
    found = Predictor(SquareFinder(), tiles=640)(painted(LARGE, squares))
    assert_found(found, squares, tolerance=5.0)
    small = [square for square in squares if square[2] <= 100]
    assert len(small) > 5
    sizes = found.boxes[:, 2] - found.boxes[:, 0]
    assert_found(found[np.flatnonzero(sizes < 104)], [square for square in squares if square[2] < 104][: len(squares)], 5.0)


@pytest.mark.parametrize("side", [60, 120, 300, 500])
@pytest.mark.parametrize("place", [(520, 100), (600, 400), (1100, 560), (580, 420)])
def test_an_object_across_a_border_comes_out_once_and_exact(side: int, place: tuple[int, int]) -> None:
    """Windows of one image px for one input px and no view of the whole: what no window shows whole is put together."""
    squares = [(*place, side, 0), (1800, 1300, 40, 1)]
    found = Predictor(SquareFinder(), scales=(3.125,))(painted(LARGE, squares))
    assert_found(found, squares)
    assert found.visibility[found.labels == 1].tolist() == [[2, UNLABELLED]]


def test_weak_pieces_at_a_border_do_not_beat_the_whole_object() -> None:
    """The object is cut in two tiles; the whole image shows it at a lower score, and its place is from there."""

    class Doubtful(SquareFinder):
        def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
            arrays = super().run(images)
            complete = arrays["scores"] > 0.8
            arrays["scores"] = np.where(complete, arrays["scores"] - 0.5, arrays["scores"])
            return arrays

    squares = [(450, 300, 260, 0)]
    found = Predictor(Doubtful(), tiles=640)(painted((700, 1000), squares))
    assert_found(found, squares, tolerance=2.0)


@pytest.mark.parametrize("options", [{}, {"tiles": 320}, {"scales": (1.0, 2.0)}, {"scales": (0.5, 3.0), "overlap": 0.4}])
def test_a_mirrored_picture_gives_mirrored_answers(options: dict[str, Any]) -> None:
    size = (640, 960)
    image = painted(size, scattered(3, size, 12, (24, 200)))
    predictor = Predictor(SquareFinder(), **options)
    here, there = predictor(image), predictor(np.ascontiguousarray(image[:, ::-1]))
    assert len(here) == 12
    turned = replace(there, boxes=there.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [960, 0, 960, 0])
    turned = by_place(replace(turned, keypoints=there.keypoints * [-1, 1] + [960, 0]))
    here = by_place(here)
    np.testing.assert_allclose(turned.boxes, here.boxes, atol=1e-3)
    np.testing.assert_allclose(turned.keypoints, here.keypoints, atol=1e-3)
    np.testing.assert_array_equal(turned.labels, here.labels)


@pytest.mark.parametrize("options", [{}, {"tiles": 320}, {"scales": (1.0, 2.0)}])
@pytest.mark.parametrize("shift", [(1, 0), (-37, 51), (60, -60)])
def test_a_moved_picture_gives_moved_answers(shift: tuple[int, int], options: dict[str, Any]) -> None:
    inner = painted((480, 480), scattered(4, (480, 480), 9, (16, 120)))
    image = np.pad(inner, ((80, 80), (80, 80), (0, 0)))
    predictor = Predictor(SquareFinder(), **options)
    here, there = by_place(predictor(image)), by_place(predictor(np.roll(image, shift[::-1], axis=(0, 1))))
    assert len(here) == len(there) == 9
    np.testing.assert_allclose(there.boxes - [*shift, *shift], here.boxes, atol=1e-3)
    np.testing.assert_allclose(there.keypoints - shift, here.keypoints, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"tiles": 300}, {"scales": (1.0, 2.0)}])
def test_a_batch_of_one_is_the_one(options: dict[str, Any]) -> None:
    sizes = [(400, 700), (200, 160), (900, 300)]
    images = [painted(size, scattered(seed, size, 4, (24, 40))) for seed, size in enumerate(sizes)]
    backend = SquareFinder((320, 448))
    predictor = Predictor(backend, batch_size=5, **options)
    together = predictor.batch(images)
    assert max(backend.batches) <= 5
    assert [len(found) for found in together] == [4, 4, 4]
    for image, found in zip(images, together, strict=True):
        alone = predictor(image)
        for name in ("boxes", "keypoints", "scores", "keypoint_scores", "labels", "visibility"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


def test_scales_below_one_show_the_image_with_a_border() -> None:
    squares = [(0, 0, 500, 0)]
    assert_found(Predictor(SquareFinder(), scales=(0.5,))(painted((640, 640), squares)), squares, 2.0)


def test_what_counts_as_found_is_the_threshold_s_to_say() -> None:
    image = painted((640, 640), [(100, 100, 60, 0), (300, 300, 60, 1)])
    image[..., 2] = 0
    image[300:360, 300:360, 2] = 255
    predictor = Predictor(SquareFinder())
    assert predictor.threshold == 0.3
    assert len(predictor(image)) == 2
    chosen = Predictor(SquareFinder(), threshold=0.7)
    assert chosen.threshold == 0.7
    assert chosen(image).labels.tolist() == [1]
    assert len(Predictor(SquareFinder(), threshold=0.0)(image)) == 2  # padding is no object
    data = Dataset.from_samples(SCHEMA, [Sample(image, (640, 640), Instances.empty(2), 1, np.zeros(0, dtype=np.int64))])
    assert [len(found) for found in chosen.predict_dataset(data)] == [2]
    assert len(Predictor(SquareFinder(), threshold=0.0)(np.zeros((20, 30, 3), dtype=np.uint8))) == 0


def test_the_threshold_of_one_look_leaves_out_what_it_would_leave_out_of_all_answers() -> None:
    finder = SquareFinder()
    squares = [answer(place, score) for place, score in ((0, 0.9), (10, 0.5), (200, 0.4), (210, 0.2), (400, 0.05))]
    finder.run = lambda images: {name: np.stack([one[name] for one in squares])[None] for name in squares[0]}  # type: ignore[method-assign]
    image = np.zeros((640, 640, 3), dtype=np.uint8)
    weakest = Predictor(finder, threshold=0.0)(image)
    assert weakest.scores is not None
    assert weakest.scores.round(2).tolist() == [0.9, 0.4, 0.05]
    for threshold in (0.04, 0.3, 0.45, 0.95):
        found, expected = Predictor(finder, threshold=threshold)(image), weakest[weakest.scores >= threshold]
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def answer(place: int, score: float) -> dict[str, NDArray[Any]]:
    """Give the arrays of one red square of 100 px, its left side at `place`."""
    return {
        "boxes": np.array([place, 100, place + 100, 200], dtype=np.float32),
        "scores": np.float32(score),
        "labels": np.int64(0),
        "keypoints": np.array([[place + 10, 110], [place + 90, 190]], dtype=np.float32),
        "keypoint_scores": np.ones(2, dtype=np.float32),
        "visibility": np.ones(2, dtype=np.float32),
    }


def test_data_of_other_classes_are_refused_by_name() -> None:
    other = Schema.create(["red", "blue"], ["head", "tail"])
    data = Dataset.from_samples(other, [])
    with pytest.raises(DekeyError, match=r"names the classes 2 \(red, blue\) but the model finds 2 \(red, green\)"):
        Predictor(SquareFinder()).predict_dataset(data)


def test_a_detector_takes_no_boxes() -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(DekeyError, match="finds the objects of an image by itself"):
        Predictor(SquareFinder())(image, np.array([[1.0, 1, 9, 9]]))
    assert len(Predictor(SquareFinder()).batch([image], [None])[0]) == 0


def test_a_class_that_the_schema_lacks_is_one_sentence() -> None:
    backend = SquareFinder(schema=Schema.create(["red"], ["head", "tail"]))
    with pytest.raises(DekeyError, match="a class outside the 1 of the model"):
        Predictor(backend)(painted((640, 640), [(100, 100, 60, 1)]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threshold": 1.5}, "threshold of 1.5, expected a score from 0 to 1"),
        ({"threshold": float("nan")}, "threshold of nan"),
        ({"tiles": 3}, "tiles of 3 px, expected 16 or more"),
        ({"overlap": 1.0}, "overlap of 1, expected a share"),
        ({"overlap": -0.1}, "overlap of -0.1"),
        ({"scales": (1.0, 0.0)}, "scale 0, expected"),
        ({"scales": (float("inf"),)}, "scale inf"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DekeyError, match=expected):
        Predictor(SquareFinder(), **options)


@pytest.mark.parametrize("options", [{"tiles": 640}, {"scales": (1.0,)}])
@pytest.mark.parametrize(("region", "finds_boxes"), [("box", False), ("image", False), ("image", True)])
def test_models_of_one_object_take_no_tiles(region: str, finds_boxes: bool, options: dict[str, Any]) -> None:
    backend = SquareFinder()
    values = {"region": region, "objects": 1, "finds_boxes": finds_boxes}
    backend.manifest = backend.manifest.model_copy(update=values)
    with pytest.raises(DekeyError, match="found tiles or scales for a model of one object"):
        Predictor(backend, **options)
    if region == "box":
        with pytest.raises(DekeyError, match=r"found a threshold of 0\.5 for a model of crops"):
            Predictor(backend, threshold=0.5)


def test_looking_once_is_refused_where_nobody_looks_twice() -> None:
    with pytest.raises(DekeyError, match="found once for a model that looks only once anyway"):
        Predictor(SquareFinder(), once=True)


def test_a_second_look_reads_small_objects_from_close_by() -> None:
    squares = scattered(5, (2000, 2000), 6, (60, 90), gap=60)
    backend, truth = SquareFinder((512, 512)), truth_of(squares)
    backend.manifest = backend.manifest.model_copy(update={"second_look": 0.4})
    image = painted((2000, 2000), squares)
    errors = {}
    for once in (True, False):
        backend.batches.clear()
        found = Predictor(backend, once=once)(image)
        assert len(found) == len(truth)
        assert sum(backend.batches) == (1 if once else 1 + len(truth))
        pairs = np.linalg.norm(found.boxes[:, None, :2] - truth.boxes[None, :, :2], axis=-1).argmin(0)
        errors[once] = np.nanmax(np.linalg.norm(found.keypoints[pairs] - truth.keypoints, axis=-1))
    assert errors[False] < 0.5 < errors[True]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dekey
from dekey.data import OCCLUDED, UNLABELLED, VISIBLE, Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.runtime import Manifest, Predictor
from dekey.runtime.predictor import with_labels

SCHEMA = Schema.create(["thing"], ["red", "green"])


class DotFinder:
    """A backend that needs no learning: the centroids of what is red and of what is green in its input."""

    def __init__(
        self, region: str = "box", input_size: tuple[int, int] = (64, 96), schema: Schema = SCHEMA, padding: float = 1.25
    ) -> None:
        self.manifest = Manifest(
            kind="heatmap",
            keypoint_schema=schema.to_dict(),
            input_size=input_size,
            region=region,  # type: ignore[arg-type]
            padding=padding,
            architecture={},
        )
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (*self.manifest.input_size, 3)
        self.batches.append(len(images))
        weights = images[..., :2].astype(np.float64)
        total = weights.sum((1, 2)) + 1e-9
        x = (weights * (np.arange(images.shape[2]) + 0.5)[None, None, :, None]).sum((1, 2)) / total
        y = (weights * (np.arange(images.shape[1]) + 0.5)[None, :, None, None]).sum((1, 2)) / total
        keypoints = np.stack([x, y], -1)[:, None].astype(np.float32)
        scores = weights.max((1, 2)) / 255
        return {
            "boxes": np.concatenate([keypoints.min(2), keypoints.max(2)], -1),
            "scores": scores.mean(1, keepdims=True),
            "labels": np.zeros((len(images), 1), dtype=np.int64),
            "keypoints": keypoints,
            "keypoint_scores": scores[:, None],
            "visibility": np.tile(np.array([0.9, 0.1]), (len(images), 1, 1)),
        }


def picture(size: tuple[int, int], red: tuple[float, float], green: tuple[float, float], sigma: float) -> NDArray[np.uint8]:
    """Black, with a Gaussian dot centred at each point (x, y), continuous frame."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for channel, (centre_x, centre_y) in enumerate((red, green)):
        image[..., channel] = np.rint(255 * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2)))
    return image


@pytest.mark.parametrize("input_size", [(64, 96), (96, 64), (128, 128)])
@pytest.mark.parametrize("scale", [0.1, 0.37, 1.0, 2.3, 5.71])
def test_what_lies_in_a_box_is_mapped_back_to_a_fraction_of_a_pixel(scale: float, input_size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        width, height = rng.uniform(60, 110, 2) * scale
        corner = rng.uniform(20, 60, 2) + 0.3 * max(width, height)
        box = np.concatenate([corner, corner + np.array([width, height])])
        red, green = (corner + rng.uniform(0.4, 0.6, 2) * [width, height] for _ in range(2))
        sigma = max(0.06 * min(width, height), 0.8)
        image = picture((int(box[3] * 1.3) + 40, int(box[2] * 1.3) + 40), tuple(red), tuple(green), sigma)
        found = Predictor(DotFinder(input_size=input_size))(image, box[None])
        # Linear resampling to a coarser grid moves a centroid by up to a fiftieth of a pixel of that grid.
        input_px = max(1.25 * width / input_size[1], 1.25 * height / input_size[0])
        assert np.abs(found.keypoints[0] - [red, green]).max() < max(0.05, 0.03 * input_px)
        np.testing.assert_array_equal(found.boxes, box[None])


def test_a_box_over_the_edge_is_filled_and_mapped_back() -> None:
    image = picture((80, 100), (9.3, 12.1), (20.2, 30.4), 2)
    found = Predictor(DotFinder())(image, np.array([[-31.7, -20.2, 40.3, 51.9]]))
    np.testing.assert_allclose(found.keypoints[0], [(9.3, 12.1), (20.2, 30.4)], atol=0.05)


@pytest.mark.parametrize("size", [(50, 200), (333, 100), (64, 96)])
def test_without_boxes_the_whole_image_is_one_object(size: tuple[int, int]) -> None:
    red, green = (size[1] * 0.41, size[0] * 0.45), (size[1] * 0.57, size[0] * 0.6)
    found = Predictor(DotFinder())(picture(size, red, green, 0.02 * sum(size)))
    assert len(found) == 1
    atol = max(0.05, 0.03 * max(size[0] / 64, size[1] / 96))
    np.testing.assert_allclose(found.keypoints[0], [red, green], atol=atol)
    np.testing.assert_allclose(found.boxes[0], [*red, *green], atol=atol)  # the hull of what was found


def test_moving_image_and_box_by_whole_pixels_moves_the_answer(small_onnx: Path) -> None:
    sample = dekey.read(dekey_part())[3]
    box = sample.instances.boxes[:1]
    wide = np.pad(sample.read_image(), ((120, 120), (120, 120), (0, 0)), mode="edge")
    for predictor in (Predictor(DotFinder()), dekey.load(small_onnx)):
        here = predictor(wide, box + 120)
        for x, y in ((1, 0), (-37, 51), (60, -60)):
            moved = np.roll(wide, (y, x), axis=(0, 1))
            there = predictor(moved, box + 120 + [x, y, x, y])
            np.testing.assert_allclose(there.keypoints - [x, y], here.keypoints, atol=1e-3)
            np.testing.assert_allclose(there.keypoint_scores, here.keypoint_scores, atol=1e-5)


def dekey_part() -> Path:
    from dekey.data import embedded

    return embedded.path("test")


def test_a_batch_answers_as_its_images_one_by_one(small_onnx: Path) -> None:
    samples = [dekey.read(dekey_part())[index] for index in range(4)]
    images = [sample.read_image()[:, : 480 - 50 * index] for index, sample in enumerate(samples)]
    boxes = [samples[0].instances.boxes, None, np.zeros((0, 4)), samples[3].instances.boxes]
    predictor = dekey.load(small_onnx, batch_size=3)
    together = predictor.batch(images, boxes)
    assert [len(found) for found in together] == [len(samples[0].instances), 1, 0, len(samples[3].instances)]
    for image, box, found in zip(images, boxes, together, strict=True):
        alone = predictor(image, box)
        np.testing.assert_allclose(found.keypoints, alone.keypoints, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        np.testing.assert_array_equal(found.visibility, alone.visibility)


def test_no_boxes_give_no_objects_with_scores() -> None:
    found = Predictor(DotFinder())(np.zeros((20, 30, 3), dtype=np.uint8), np.zeros((0, 4)))
    assert len(found) == 0
    assert found.scores is not None
    assert found.keypoint_scores is not None
    assert found.keypoint_scores.shape == (0, 2)
    assert Predictor(DotFinder()).batch([]) == []


def test_crops_go_through_the_network_in_batches_across_images() -> None:
    backend = DotFinder()
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    boxes = [np.tile([[1.0, 1, 9, 9]], (count, 1)) for count in (3, 0, 4)]
    assert [len(found) for found in Predictor(backend, batch_size=4).batch([image] * 3, boxes)] == [3, 0, 4]
    assert backend.batches == [4, 3]


def test_visibility_is_told_apart_at_one_half() -> None:
    found = Predictor(DotFinder())(np.zeros((20, 30, 3), dtype=np.uint8))
    assert found.visibility.tolist() == [[VISIBLE, OCCLUDED]]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30, 3), dtype=np.float32),
        np.zeros((20, 30), dtype=np.uint8),
        np.zeros((20, 30, 4), dtype=np.uint8),
        np.zeros((0, 30, 3), dtype=np.uint8),
        [[1, 2, 3]],
        None,
    ],
    ids=["float", "grey", "rgba", "empty", "list", "none"],
)
def test_what_is_no_picture_is_one_sentence(image: Any) -> None:
    with pytest.raises(DekeyError, match=r"expected an image \(H, W, 3\) uint8 RGB"):
        Predictor(DotFinder())(image)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (np.array([1.0, 1, 9, 9]), r"shape \(4,\), expected \(N, 4\)"),
        (np.zeros((4, 5)), r"shape \(4, 5\), expected \(N, 4\)"),  # would reshape to five boxes
        (np.array([[1.0, 1, 9, np.nan]]), "has no area"),
        (np.array([[1.0, 1, np.inf, 9]]), "has no area"),
        (np.array([[5.0, 1, 5, 9]]), "has no area"),
        (np.array([[9.0, 1, 5, 9]]), "has no area"),
        ([["a", "b", "c", "d"]], "no numbers"),
        ([[1, 2], [3]], "no numbers"),
    ],
)
def test_boxes_that_cannot_be_cut_out_are_one_sentence(boxes: Any, expected: str) -> None:
    with pytest.raises(DekeyError, match=expected):
        Predictor(DotFinder())(np.zeros((20, 30, 3), dtype=np.uint8), boxes)


def test_boxes_are_given_for_every_image_or_for_none() -> None:
    with pytest.raises(DekeyError, match="boxes for 1 images, expected 2"):
        Predictor(DotFinder()).batch([np.zeros((20, 30, 3), dtype=np.uint8)] * 2, [np.zeros((0, 4))])


def test_a_batch_holds_at_least_one() -> None:
    with pytest.raises(DekeyError, match="batch size of 0"):
        Predictor(DotFinder(), batch_size=0)


TWO = Schema.create(["pair", "single"], ["red", "green"], present=[[True, True], [False, True]])


def two_class_data() -> Dataset:
    """Two images: a pair and a single with a crowd between them; an image without objects."""
    image = picture((90, 160), (30.5, 40.5), (50.5, 42.5), 2) | picture((90, 160), (120.5, 40.5), (118.5, 50.5), 2)
    truth = Instances.create(
        [[[30.5, 40.5], [50.5, 42.5]], [[np.nan] * 2] * 2, [[np.nan] * 2, [118.5, 50.5]]],
        boxes=[[20, 30, 60, 52], [np.nan] * 4, [100, 30, 135, 62]],
        labels=[0, 0, 1],
        crowd=[False, True, False],
    )
    samples = [
        Sample(image, (90, 160), truth, 1, np.array([1, 2, 3])),
        Sample(image, (90, 160), Instances.empty(2), 2, np.zeros(0, dtype=np.int64)),
    ]
    return Dataset.from_samples(TWO, samples)


def test_a_data_set_is_answered_object_by_object_without_its_crowds() -> None:
    done: list[int] = []
    found = Predictor(DotFinder(schema=TWO), batch_size=1).predict_dataset(two_class_data(), done.append)
    assert done == [1, 1]
    assert [len(one) for one in found] == [2, 0]
    assert found[0].labels.tolist() == [0, 1]
    np.testing.assert_allclose(found[0].keypoints[0], [[30.5, 40.5], [50.5, 42.5]], atol=0.05)
    assert np.isnan(found[0].keypoints[1, 0]).all()  # a single has no red
    np.testing.assert_allclose(found[0].keypoints[1, 1], [118.5, 50.5], atol=0.05)
    assert found[0].visibility.tolist() == [[VISIBLE, OCCLUDED], [UNLABELLED, OCCLUDED]]
    assert found[0].keypoint_scores is not None
    assert found[0].keypoint_scores[1, 0] == 0


def test_classes_are_those_of_the_data_set_measured_on() -> None:
    """A model that knows one class is measured on data that tell two apart."""
    found = Predictor(DotFinder(schema=SCHEMA)).predict_dataset(two_class_data())
    assert found[0].labels.tolist() == [0, 1]
    assert dekey.evaluate(two_class_data(), found)["median_px"] < 0.05


def test_a_model_of_whole_images_gives_one_answer_an_image() -> None:
    found = Predictor(DotFinder(region="image")).predict_dataset(two_class_data())
    assert [len(one) for one in found] == [1, 1]


def test_data_of_other_keypoints_are_refused_by_name() -> None:
    predictor = Predictor(DotFinder(schema=Schema.create(["thing"], ["nose", "left_eye", "right_eye", "chin"])))
    with pytest.raises(DekeyError, match=r"keypoints 2 \(red, green\) but the model finds 4 \(nose, left_eye, right_eye, …\)"):
        predictor.predict_dataset(two_class_data())


@pytest.mark.parametrize("box", [[np.nan] * 4, [20, 30, 20, 52]], ids=["missing", "empty"])
def test_an_object_without_box_is_refused_with_its_image(box: list[float]) -> None:
    data = two_class_data()
    boxes = data.instances.boxes.copy()
    boxes[0] = box
    data = replace(data, instances=replace(data.instances, boxes=boxes))
    with pytest.raises(DekeyError, match="image 1 has an object whose box is missing or empty"):
        Predictor(DotFinder(schema=TWO)).predict_dataset(data)


def test_labels_change_nothing_but_class_and_absent_keypoints() -> None:
    found = Predictor(DotFinder())(np.zeros((20, 30, 3), dtype=np.uint8))
    labelled = with_labels(found, np.array([0]), TWO)
    np.testing.assert_array_equal(labelled.keypoints, found.keypoints)
    np.testing.assert_array_equal(labelled.visibility, found.visibility)

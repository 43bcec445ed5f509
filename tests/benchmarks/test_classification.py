from __future__ import annotations

import numpy as np
from classification import class_accuracy, measured, middle_answers, placed
from table_rows import classification

from dekey.data import Dataset, Instances, Sample, Schema

SCHEMA = Schema.create(["a", "b"], ["left_end", "right_end"])


def scene(boxes: list[list[float]], labels: list[int], image_id: int) -> Sample:
    ends = [[[x1, (y1 + y2) / 2], [x2, (y1 + y2) / 2]] for x1, y1, x2, y2 in boxes]
    return Sample(
        np.zeros((100, 200, 3), np.uint8),
        (100, 200),
        Instances.create(ends, boxes, labels),
        image_id,
        np.arange(len(labels)) + 1,
    )


TRAIN = Dataset.from_samples(SCHEMA, [scene([[0, 0, 40, 20], [10, 10, 70, 50]], [1, 1], 1), scene([[5, 5, 55, 35]], [0], 2)])
TEST = Dataset.from_samples(SCHEMA, [scene([[75, 35, 125, 65]], [1], 1), scene([[75, 35, 125, 65]], [0], 2)])


def test_the_middle_is_the_mean_size_the_most_frequent_class_and_its_mean_pose() -> None:
    found = middle_answers(TRAIN, TEST)
    for one in found:
        np.testing.assert_allclose(one.boxes, [[75, 35, 125, 65]])
        assert one.labels.tolist() == [1]
        np.testing.assert_allclose(one.keypoints, [[[75, 50], [125, 50]]])


def test_place_and_class_are_measured_apart() -> None:
    found = middle_answers(TRAIN, TEST)
    assert class_accuracy(TEST, found, 0.0) == {"found": 2, "right": 1, "share": 0.5}
    assert placed(TEST).schema.classes == ("object",)
    numbers = measured(TEST, found, 0.0)
    assert numbers["place"]["box_AP"] == 1.0
    assert numbers["place"]["median_px"] == 0.0
    # Of class b every object is found, but one answer of two is of another class; of class a none is found.
    assert numbers["with_class"]["found_share"] == 0.5
    assert 0 < numbers["with_class"]["box_AP"] < 1


def test_the_table_has_a_row_for_each_answer() -> None:
    numbers = measured(TEST, middle_answers(TRAIN, TEST), 0.0)
    part = {"pictures": 9, "kept": 3, "scenes": {"count": 2, "objects": 3}}
    result = {
        "data": "pictures",
        "minutes": 12.0,
        "classes": 2,
        "labels": {"train": part, "test": part},
        "rows": {"detector": numbers, "always the middle": numbers},
        "machine": {"load_before": 0.1},
        "details": {"epochs": 1.5},
    }
    table = classification(result)
    assert table.startswith("pictures: labels kept of 3 of 9")
    assert sum(line.startswith("| ") for line in table.splitlines()) == 4
    assert "50.0 %" in table

"""`evaluate` where the boxes are the model's own: every object in the image, with scores down to the weakest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.metrics import BoxAveragePrecision, Evaluation, evaluate
from dekey.metrics.boxes import BOX_VALUES
from dekey.metrics.evaluation import VALUES
from dekey.metrics.visibility import OCCLUSION_VALUES

SCHEMA = Schema.create(["ant", "bee"], ["head", "tail"], sigmas=0.05)


def dataset(objects: list[Instances], schema: Schema = SCHEMA) -> Dataset:
    samples = [Sample(Path(f"{i}.png"), (600, 800), one, i, np.arange(len(one))) for i, one in enumerate(objects)]
    return Dataset.from_samples(schema, samples)


def objects(*corners: float, side: float = 80, **columns: object) -> Instances:
    """Square objects whose corners lie on the diagonal."""
    low = np.array(corners)[:, None] * np.ones(2)
    keypoints = np.stack([low + 0.2 * side, low + 0.8 * side], axis=1)
    return Instances.create(keypoints, np.concatenate([low, low + side], axis=1), **columns)  # type: ignore[arg-type]


def random_case(seed: int = 4) -> tuple[Dataset, list[Instances]]:
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(10):
        count = int(rng.integers(1, 4))
        places = rng.choice(np.arange(0, 600, 100), count, replace=False).astype(float)
        side = float(rng.choice([25, 60, 110]))
        truth.append(objects(*places, side=side, labels=rng.integers(0, 2, count), visibility=rng.integers(1, 3, (count, 2))))
        weak = objects(*rng.uniform(0, 600, 6), side=side)
        both = Instances.concatenate([truth[-1], weak], 2)
        boxes = both.boxes + rng.normal(0, side * 0.05, both.boxes.shape)
        scores = np.concatenate([rng.uniform(0.2, 1, count), rng.uniform(0, 0.4, 6)])
        found.append(Instances.create(both.keypoints + rng.normal(0, 2, (count + 6, 2, 2)), boxes, both.labels, scores=scores))
    return dataset(truth), found


def test_box_values_are_those_of_the_class_that_measures_them() -> None:
    data, found = random_case()
    result = evaluate(data, found, boxes=True, score_threshold=0.3)
    judge = BoxAveragePrecision(2)
    for sample, one in zip(data, found, strict=True):
        judge.update(sample.instances, one, sample.image_id)
    expected = judge.compute()
    assert {name: result[name] for name in BOX_VALUES} == expected
    assert 0.2 < expected["box_AP"] < 1
    assert result.per_class["bee"]["box_AP"] == judge.compute_class(1)["box_AP"]
    assert all((name in result.values) != (name in result.notes) for name in VALUES)
    assert "no annotated area" in result.notes["boxes"]


def test_the_threshold_counts_outside_average_precision_alone() -> None:
    data, found = random_case()
    everything, sure = (evaluate(data, found, boxes=True, score_threshold=value) for value in (0.0, 0.3))
    for name in ("AP", "AR", *BOX_VALUES):
        assert everything[name] == sure[name]
    assert everything["found_share"] > sure["found_share"] > 0.4
    assert everything["extra_found_per_image"] > 4 > sure["extra_found_per_image"] > 0
    assert "0.3 or more" in sure.notes["threshold"]
    assert "threshold" not in everything.notes
    cut = [one[one.scores >= 0.3] for one in found if one.scores is not None]
    same = evaluate(data, cut, boxes=True)
    np.testing.assert_array_equal(same.errors, sure.errors)
    assert same["extra_found_per_image"] == sure["extra_found_per_image"]
    # Partners are positions among all that was found, the weak ones included.
    for image, position in zip(data.image_of_instance(), sure.found_of_truth, strict=True):
        scores = found[image].scores
        assert position < 0 or (scores is not None and scores[position] >= 0.3)


def test_a_model_states_its_threshold_and_that_its_boxes_are_its_own() -> None:
    data, found = random_case()

    class Model:
        manifest = SimpleNamespace(object_threshold=0.3, finds_boxes=True)

        def predict_dataset(self, dataset: Dataset) -> list[Instances]:
            return found

    by_model = evaluate(data, Model())
    assert by_model.to_dict() == evaluate(data, found, score_threshold=0.3, boxes=True).to_dict()
    assert (by_model.score_threshold, by_model.boxes) == (0.3, True)
    assert evaluate(data, Model(), score_threshold=0.0, boxes=False).to_dict() == evaluate(data, found).to_dict()
    again = Evaluation.from_dict(by_model.to_dict(arrays=False))
    assert (again.score_threshold, again.boxes) == (0.3, True)


def test_objects_with_a_box_alone_count_for_boxes_and_not_for_oks() -> None:
    labelled = objects(0, 200)
    labelled.visibility[1] = 0
    found = objects(0, scores=[0.9])
    result = evaluate(dataset([labelled]), [found], boxes=True)
    assert result["objects"] == 2
    assert result["keypoints"] == 2
    assert result["found_share"] == result["box_AR"] == 0.5
    assert result["AP"] == pytest.approx(1)
    without = evaluate(dataset([labelled]), [found])
    assert without["objects"] == without["found_share"] == 1
    bare = evaluate(dataset([labelled[1:]]), [objects(200, scores=[0.9])], boxes=True)
    assert bare["box_AP"] == pytest.approx(1)
    assert bare["found_share"] == 1
    assert "none of the 1 objects has a labelled one" in bare.notes["AP"]
    assert bare.failures is not None
    assert bare.failures.objects == {"found": 1, "missed": 0, "invented": 0}


def test_own_boxes_must_overlap_even_if_there_is_one_of_each() -> None:
    truth, found = objects(0), objects(300, scores=[0.9])
    assert evaluate(dataset([truth]), [found])["found_share"] == 1
    result = evaluate(dataset([truth]), [found], boxes=True)
    assert result["found_share"] == 0
    assert result["extra_found_per_image"] == 1


def test_what_lies_in_a_crowd_is_not_extra() -> None:
    crowd = objects(0, side=400, crowd=[True])
    result = evaluate(dataset([Instances.concatenate([crowd, objects(500)], 2)]), [objects(50, 200, 500)], boxes=True)
    assert result["extra_found_per_image"] == 0
    assert result["box_AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("truth", "boxes", "name", "sentence"),
    [
        (objects(0), False, "box_AP", "box AP is not measured"),
        (Instances.create(objects(0).keypoints), True, "box_AP50", "1 of 1 objects have no box; annotate boxes"),
        (objects(0, crowd=[True]), True, "box_AR", "no object but crowds"),
        (objects(0), True, "box_AP_small", "no object that counts has an area below 32² px²"),
        (objects(0), True, "occluded_recall", "no counted keypoint of the data set is labelled occluded"),
    ],
)
def test_what_is_not_defined_is_a_sentence(truth: Instances, boxes: bool, name: str, sentence: str) -> None:
    result = evaluate(dataset([truth]), [objects(0)], boxes=boxes)
    with pytest.raises(DekeyError, match=sentence):
        result[name]
    assert all((key in result.values) != (key in result.notes) for key in VALUES)
    assert all(note and note.count(". ") == 0 for note in result.notes.values())
    assert any(sentence in words for words in result.sentences()) == boxes


def test_occlusion_is_measured_where_the_data_have_both_states() -> None:
    truth = objects(0, 200, visibility=[[1, 2], [2, 2]])
    found = objects(0, 200, visibility=[[1, 1], [2, 2]], scores=[0.9, 0.8])
    result = evaluate(dataset([truth]), [found], boxes=True)
    assert [result[name] for name in OCCLUSION_VALUES] == pytest.approx([1 / 2, 1, 2 / 3])


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(DekeyError, match="score threshold of nan"):
        evaluate(dataset([objects(0)]), [objects(0)], score_threshold=float("nan"))

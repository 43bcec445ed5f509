from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dekey
from dekey.data import UNLABELLED, Dataset, Instances, PictureFiles, Sample, Schema
from dekey.data.embedded import load
from dekey.data.merge import merge
from dekey.errors import DekeyError

TUBE = Schema.create(["tube"], ["head", "tail"], [(0, 1)], mirror=[0, 1], sigmas=[0.05, 0.07])
FLY = Schema.create(["fly"], ["wing_l", "head", "wing_r"], [(0, 1), (1, 2)], sigmas=[0.1, 0.05, 0.1])


def example(schema: Schema, counts: tuple[int, ...] = (2, 0, 1), first_id: int = 1, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    samples, number = [], first_id
    for index, count in enumerate(counts):
        shape = (count, len(schema.keypoints))
        keypoints, visibility = random.uniform(0, 8, (*shape, 2)), random.integers(0, 3, shape)
        keypoints[visibility == UNLABELLED] = np.nan
        labels = random.integers(0, len(schema.classes), count)
        instances = Instances.create(keypoints, random.uniform(0, 8, (count, 4)), labels, visibility, areas=np.full(count, 4.0))
        picture = random.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        samples.append(Sample(picture, (8, 9), instances, first_id + index, np.arange(number, number + count)))
        number += count
    return Dataset.from_samples(schema, samples)


def assert_part(part: Dataset, original: Dataset, names: dict[str, str] | None = None) -> None:
    """`part` holds the images and objects of `original`, keypoint by name, and nothing else."""
    assert len(part) == len(original)
    columns = [part.schema.keypoint_index((names or {}).get(name, name)) for name in original.schema.keypoints]
    others = np.setdiff1d(np.arange(len(part.schema.keypoints)), columns)
    for mine, theirs in zip(part, original, strict=True):
        found, truth = mine.instances, theirs.instances
        np.testing.assert_array_equal(mine.read_image(), theirs.read_image())
        np.testing.assert_array_equal(found.keypoints[:, columns], truth.keypoints)
        np.testing.assert_array_equal(found.visibility[:, columns], truth.visibility)
        assert np.isnan(found.keypoints[:, others]).all()
        assert (found.visibility[:, others] == UNLABELLED).all()
        for name in ("boxes", "areas", "crowd"):
            np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
        assert [part.schema.classes[label] for label in found.labels] == [
            original.schema.classes[label] for label in truth.labels
        ]


def test_two_classes_that_share_a_keypoint() -> None:
    tubes, flies = example(TUBE), example(FLY, (1, 3), seed=1)
    both = merge([tubes, flies])
    assert both.schema.classes == ("tube", "fly")
    assert both.schema.keypoints == ("head", "tail", "wing_l", "wing_r")
    assert both.schema.present.tolist() == [[True, True, False, False], [True, False, True, True]]
    assert both.schema.edges.tolist() == [[0, 1], [2, 0], [0, 3]]
    assert both.schema.mirror is not None
    assert both.schema.mirror.tolist() == [0, 1, 3, 2]
    assert both.schema.sigmas is not None
    assert both.schema.sigmas.tolist() == [0.05, 0.07, 0.1, 0.1]
    assert_part(both.subset(range(3)), tubes)
    assert_part(both.subset(range(3, 5)), flies)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 3), max_size=4), st.integers(1, 9)), min_size=1, max_size=4))
def test_counts_add_up_ids_differ_and_every_part_comes_back(parts: list[tuple[bool, list[int], int]]) -> None:
    datasets = [example(TUBE if tube else FLY, tuple(counts), first) for tube, counts, first in parts]
    whole = merge(datasets)
    assert len(whole) == sum(len(each) for each in datasets)
    assert len(whole.instances) == sum(len(each.instances) for each in datasets)
    assert len(set(whole.image_ids.tolist())) == len(whole)
    assert len(set(whole.annotation_ids.tolist())) == len(whole.instances)
    first = len(datasets[0])
    np.testing.assert_array_equal(whole.image_ids[:first], datasets[0].image_ids)
    start = 0
    for each in datasets:
        assert_part(whole.subset(range(start, start + len(each))), each)
        start += len(each)


def test_merging_one_changes_nothing() -> None:
    data = load("train")
    same = merge([data])
    assert same.schema == data.schema
    assert same.schema.mirror_note == data.schema.mirror_note
    assert [*same.pictures] == [*data.pictures]
    assert same.category_ids == data.category_ids
    for name in ("sizes", "starts", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(same, name), getattr(data, name))
    for name in ("boxes", "labels", "keypoints", "visibility", "crowd", "areas"):
        np.testing.assert_array_equal(getattr(same.instances, name), getattr(data.instances, name))


def test_merging_in_steps_is_merging_at_once() -> None:
    parts = [example(TUBE), example(FLY, seed=1), example(TUBE, seed=2)]
    once, steps = merge(parts), merge([merge(parts[:2]), parts[2]])
    assert once.schema == steps.schema
    np.testing.assert_array_equal(once.instances.keypoints, steps.instances.keypoints)
    np.testing.assert_array_equal(once.image_ids, steps.image_ids)


def test_ids_that_differ_already_stay() -> None:
    both = merge([example(TUBE, first_id=1), example(FLY, first_id=100)])
    assert both.image_ids.tolist() == [1, 2, 3, 100, 101, 102]
    renumbered = merge([example(TUBE, first_id=1), example(FLY, first_id=3)])
    assert renumbered.image_ids.tolist() == [1, 2, 3, 6, 4, 5]


def test_the_same_class_in_another_order_of_keypoints() -> None:
    turned = Schema.create(["tube"], ["tail", "head"], mirror=[0, 1], sigmas=[0.07, 0.05])
    other = example(turned, seed=1)
    both = merge([example(TUBE), other])
    assert both.schema == TUBE
    assert_part(both.subset(range(3, 6)), other)


def test_the_same_class_with_other_keypoints_is_refused() -> None:
    other = Schema.create(["tube"], ["head", "cap"])
    with pytest.raises(
        DekeyError, match="class 'tube' has the keypoints 'cap', 'head' in one file and 'head', 'tail' in another"
    ):
        merge([example(TUBE), example(other)])


def test_a_keypoint_of_another_sigma_gets_a_name_of_its_own() -> None:
    fly = replace(FLY, sigmas=np.array([0.1, 0.3, 0.1]))
    flies = example(fly, seed=1)
    both = merge([example(TUBE), flies])
    assert both.schema.keypoints == ("head", "tail", "wing_l", "fly/head", "wing_r")
    assert both.schema.sigmas is not None
    assert both.schema.sigmas.tolist() == [0.05, 0.07, 0.1, 0.3, 0.1]
    assert_part(both.subset(range(3, 6)), flies, {"head": "fly/head"})
    with pytest.raises(DekeyError, match=r"keypoint 'head' of class 'fly' has the sigma 0\.3 in one file and 0\.05 in another"):
        merge([example(FLY), flies])


def test_mirror_partners_are_renamed_together() -> None:
    """`left` mirrors onto itself in one file and onto `right` in the other: neither can share a column."""
    one = Schema.create(["door"], ["left", "right", "top"], mirror=[0, 1, 2])
    other = Schema.create(["car"], ["left", "right", "top"], mirror=[1, 0, 2])
    both = merge([example(one), example(other)]).schema
    assert both.keypoints == ("left", "right", "top", "car/left", "car/right")
    assert both.mirror is not None
    assert both.mirror.tolist() == [0, 1, 2, 4, 3]
    lone = Schema.create(["sign"], ["left"], mirror=[0])
    joined = merge([example(other), example(lone)]).schema
    assert joined.keypoints == ("left", "right", "top", "sign/left")
    # `right` has no rival of its own, but it is the mirror image of a `left` that has.
    reverse = merge([example(lone), example(other)]).schema
    assert reverse.keypoints == ("left", "car/left", "car/right", "top")


def test_without_mirror_or_sigmas_in_one_there_are_none() -> None:
    undecided = Schema.create(["ant"], ["front", "back"])
    both = merge([example(TUBE), example(undecided)]).schema
    assert both.mirror is None
    assert both.sigmas is None
    assert both.mirror_note == f"the data of 'ant' have no mirror, so all have none: {undecided.mirror_note}"


def test_sigmas_that_nobody_stated_are_not_invented() -> None:
    """COCO's seventeen names bring COCO's sigmas only where a file is read."""
    from dekey.data.schema import COCO_PERSON_KEYPOINTS

    person = replace(Schema.create(["person"], COCO_PERSON_KEYPOINTS), sigmas=None)
    assert merge([example(person)]).schema.sigmas is None


def test_files_of_two_folders_keep_their_places(tmp_path: Path) -> None:
    datasets = []
    for folder, schema, ids in (("a", TUBE, (7,)), ("b", FLY, (8,))):
        data = example(schema, (1, 1))
        datasets.append(replace(data, pictures=PictureFiles(tmp_path / folder, ["1.png", "2.png"]), category_ids=ids))
    both = merge(datasets)
    assert [*both.pictures] == [
        tmp_path / "a" / "1.png",
        tmp_path / "a" / "2.png",
        tmp_path / "b" / "1.png",
        tmp_path / "b" / "2.png",
    ]
    assert both.category_ids == (7, 8)
    assert merge([datasets[0], replace(datasets[1], category_ids=(7,))]).category_ids is None
    again = merge([datasets[0], datasets[0]])
    assert isinstance(again.pictures, PictureFiles)
    assert again.pictures.folder == tmp_path / "a"


def test_written_and_read_again(tmp_path: Path) -> None:
    """What is merged is a data set like any other: COCO's form keeps which class has which keypoint."""
    tubes = load("train").subset(range(4))
    other = replace(tubes, schema=replace(tubes.schema, classes=("pen",), keypoints=("tip", tubes.schema.keypoints[0])))
    both = merge([tubes, other])
    dekey.write(both, tmp_path / "both.json")
    assert isinstance(both.pictures[0], Path)
    again = dekey.read(tmp_path / "both.json", images=both.pictures[0].parent)
    assert again.schema.classes == both.schema.classes
    columns = [again.schema.keypoint_index(name) for name in both.schema.keypoints]  # the file orders them by class
    np.testing.assert_array_equal(again.schema.present[:, columns], both.schema.present)
    np.testing.assert_allclose(again.instances.keypoints[:, columns], both.instances.keypoints, atol=0.01)


def test_nothing_to_merge_is_told() -> None:
    with pytest.raises(DekeyError, match="no data set"):
        merge([])

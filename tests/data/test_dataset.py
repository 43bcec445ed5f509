from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dekey.data import Dataset, Instances, PictureFiles, Problem, Sample, Schema
from dekey.data.embedded import load, path
from dekey.data.summary import memory, summarise
from dekey.errors import DekeyError

SCHEMA = Schema.create(["face"], ["eye_l", "eye_r"])


def example(counts: tuple[int, ...] = (2, 0, 1, 3)) -> Dataset:
    random = np.random.default_rng(0)
    samples, number = [], 0
    for index, count in enumerate(counts):
        ids = np.arange(number, number + count)
        number += count
        instances = Instances.create(random.uniform(0, 8, (count, 2, 2)))
        samples.append(Sample(np.full((8, 9, 3), index, dtype=np.uint8), (8, 9), instances, 100 + index, ids))
    return Dataset.from_samples(SCHEMA, samples)


def test_samples_put_in_columns_come_out_again() -> None:
    dataset = example()
    assert len(dataset) == 4
    assert [len(sample.instances) for sample in dataset] == [2, 0, 1, 3]
    assert [sample.image_id for sample in dataset] == [100, 101, 102, 103]
    assert dataset[-1].annotation_ids.tolist() == [3, 4, 5]
    assert dataset.image_of_instance().tolist() == [0, 0, 2, 3, 3, 3]
    assert dataset[2].read_image()[0, 0].tolist() == [2, 2, 2]
    assert dataset[2].name == "image 102"
    with pytest.raises(IndexError):
        dataset[4]
    with pytest.raises(IndexError):
        dataset[-5]
    assert len(Dataset.from_samples(SCHEMA, [])) == 0


def test_a_sample_is_a_view() -> None:
    dataset = example()
    dataset[3].instances.keypoints[0] = 5
    assert (dataset.instances.keypoints[3] == 5).all()


@given(st.lists(st.integers(0, 3), max_size=8))
def test_a_subset_holds_these_samples_in_this_order(indices: list[int]) -> None:
    dataset = example()
    chosen = dataset.subset(indices)
    assert [sample.image_id for sample in chosen] == [100 + index for index in indices]
    for index, sample in zip(indices, chosen, strict=True):
        np.testing.assert_array_equal(sample.instances.keypoints, dataset[index].instances.keypoints)
        np.testing.assert_array_equal(sample.annotation_ids, dataset[index].annotation_ids)


@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_selecting_objects_keeps_every_image(keep: list[bool]) -> None:
    dataset = example()
    chosen = dataset.select_objects(np.array(keep))
    assert len(chosen) == len(dataset)
    assert chosen.annotation_ids.tolist() == np.flatnonzero(keep).tolist()
    for before, after in zip(dataset, chosen, strict=True):
        assert after.annotation_ids.tolist() == [each for each in before.annotation_ids.tolist() if keep[each]]


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 5))
def test_a_split_divides_without_loss_and_repeatably(count: int, fraction: float, seed: int) -> None:
    dataset = example((1,) * count)
    first, second = dataset.split(fraction, seed)
    assert len(second) >= 1
    assert len(first) >= 1
    assert abs(len(second) - fraction * count) <= 1
    assert sorted([*first.image_ids, *second.image_ids]) == dataset.image_ids.tolist()
    assert sorted(second.image_ids) == second.image_ids.tolist()
    np.testing.assert_array_equal(second.image_ids, dataset.split(fraction, seed)[1].image_ids)


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(DekeyError, match=r"found 1 image\(s\), expected at least 2"):
        example((1,)).split(0.2)


def test_columns_that_do_not_fit_are_refused() -> None:
    dataset = example()
    with pytest.raises(ValueError, match=r"Dataset.starts has shape \(2,\), expected \(5,\)"):
        Dataset(
            SCHEMA,
            dataset.pictures,
            dataset.sizes,
            dataset.instances,
            np.zeros(2, int),
            dataset.image_ids,
            dataset.annotation_ids,
        )


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 10, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", (8, 9), Instances.empty(2), 1, np.zeros(0, int))
    with pytest.raises(DekeyError, match=r"a\.png is 10x8 but its annotation says 9x8"):
        sample.read_image()


def test_files_are_named_by_strings(tmp_path: Path) -> None:
    files = PictureFiles(tmp_path, ["a/b.png", "c.png"])
    assert files[0] == tmp_path / "a" / "b.png"
    assert list(files[1:]) == [tmp_path / "c.png"]
    assert list(files.take(np.array([1, 0, 1]))) == [files[1], files[0], files[1]]
    assert files[-1].name == "c.png"


def test_a_problem_is_one_sentence() -> None:
    problem = Problem("empty-box", "error", "the box has no area", "draw it again", "a.png", 7)
    assert str(problem) == "image a.png, annotation 7: the box has no area; draw it again"
    assert str(Problem("x", "error", "found", "do")) == "found; do"


def test_embedded_parts_are_whole_small_and_disjoint() -> None:
    train, test = load("train"), load("test")
    assert (len(train), len(test)) == (111, 23)
    assert train.schema == test.schema
    assert not set(train.image_ids) & set(test.image_ids)
    for dataset in (train, test):
        for index in (0, len(dataset) // 2, len(dataset) - 1):
            assert dataset[index].read_image().shape[:2] == dataset[index].size
            assert max(dataset[index].size) == 480
        assert np.isfinite(dataset.instances.boxes).all()
        assert (dataset.instances.visibility == 2).all()
    folder = path("train").parent
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 4_000_000
    assert "MIT License" in (folder / "LICENSE").read_text()
    with pytest.raises(DekeyError, match="no embedded part 'val'"):
        path("val")  # type: ignore[arg-type]


def test_embedded_labels_are_the_source_scaled(shared_data: Path) -> None:
    from dekey import read

    source, ours = read(shared_data / "glue_tubes" / "test.json"), load("test")
    np.testing.assert_allclose(ours.instances.keypoints, source.instances.keypoints / 2, atol=1e-8)
    np.testing.assert_allclose(ours.instances.boxes, source.instances.boxes / 2, atol=1e-8)
    np.testing.assert_allclose(ours.instances.areas, source.instances.areas / 4)


def test_a_summary_counts_what_is_there() -> None:
    dataset = example()
    dataset.instances.visibility[0] = [1, 0]
    summary = summarise(dataset)
    assert summary["objects_per_image"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert summary["keypoints"][0] == {"name": "eye_l", "visible": 5, "occluded": 1, "unlabelled": 0}
    assert summary["keypoints"][1]["unlabelled"] == 1
    assert summary["box_sizes"] is None
    assert summary["objects_without_box"] == 6
    assert summary["image_sizes"]["most_frequent"] == [9, 8]
    assert summarise(Dataset.from_samples(SCHEMA, []))["image_sizes"] is None


def test_memory_is_what_the_docstring_says(tmp_path: Path) -> None:
    count, keypoint_count = 1000, 17
    schema = Schema.create(["a"], [f"k{index}" for index in range(keypoint_count)])
    files = PictureFiles(tmp_path, [f"{index:06d}.jpg" for index in range(count)])
    dataset = Dataset(
        schema,
        files,
        np.ones((count, 2), dtype=np.int64),
        Instances.create(np.zeros((count, keypoint_count, 2))),
        np.arange(count + 1),
        np.arange(count),
        np.arange(count),
    )
    name, image, instance = 49 + 10, 40, 57 + 17 * keypoint_count
    assert memory(dataset) == pytest.approx(count * (name + image + instance), rel=0.02)

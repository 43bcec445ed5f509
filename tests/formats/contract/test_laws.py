"""Laws of every label format in the table: what is written is read again, and lost is exactly what was announced.

A new line in `FORMATS` is covered without a change here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Dataset, Schema
from dekey.errors import DekeyError
from dekey.formats import FEATURES, FORMATS, Format, read, recognise, write
from dekey.formats.fitting import fitted
from dekey.formats.losses import ALL, lost_features

Differences = Callable[[Dataset, Dataset], set[str]]
WRITABLE = [name for name, known in FORMATS.items() if known.write is not None]
# What a difference can show only where the data happen to be so, or what no array shows.
UNSEEN = {"order", "image_sizes", "outside_points"}


def one_class(dataset: Dataset) -> Dataset:
    """Keep the images that hold objects of the first class only, and that class with its keypoints."""
    images = dataset.image_of_instance()[dataset.instances.labels != 0]
    kept = dataset.subset(np.setdiff1d(np.arange(len(dataset)), images))
    columns = np.flatnonzero(dataset.schema.present[0])
    names, sigmas, mirror = dataset.schema.keypoints, dataset.schema.sigmas, dataset.schema.mirror
    place = {int(column): index for index, column in enumerate(columns)}
    schema = Schema.create(
        dataset.schema.classes[:1],
        [names[column] for column in columns],
        [(place[a], place[b]) for a, b in dataset.schema.edges.tolist() if a in place and b in place],
        None if mirror is None else [place[int(mirror[column])] for column in columns],
        None if sigmas is None else sigmas[columns],
    )
    objects = replace(
        kept.instances, keypoints=kept.instances.keypoints[:, columns], visibility=kept.instances.visibility[:, columns]
    )
    ids = None if dataset.category_ids is None else dataset.category_ids[:1]
    return replace(kept, schema=schema, instances=objects, category_ids=ids)


def suited(dataset: Dataset, *formats: Format) -> Dataset:
    """Leave out what one of the formats refuses."""
    if any("classes" not in known.holds for known in formats) and len(np.unique(dataset.instances.labels)) > 1:
        dataset = one_class(dataset)
    keep = np.ones(len(dataset), dtype=np.bool_)
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    for known in formats:
        left = fitted(dataset, known, drop=True)
        keep &= np.isin(names, [left.picture_name(index) for index in range(len(left))]) | (np.diff(dataset.starts) == 0)
    return dataset.subset(np.flatnonzero(keep))


def place(folder: Path, name: str) -> Path:
    return folder / f"labels_{name}{FORMATS[name].suffix}"


def there_and_back(dataset: Dataset, name: str, folder: Path, images: Path) -> Dataset:
    path = place(folder, name)
    write(dataset, path, format=name)
    return read(path, format=name, images=images)


def images_of(dataset: Dataset) -> Path:
    return dataset.pictures.folder  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("data", ["everything", "tubes"])
def test_reading_what_was_written_loses_exactly_what_was_announced(
    name: str, data: str, differences: Differences, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    known = FORMATS[name]
    dataset = suited(request.getfixturevalue(data), known)
    assert len(dataset) >= 1
    back = there_and_back(dataset, name, tmp_path, images_of(dataset))
    announced, found = set(lost_features(dataset, known)), differences(dataset, back)
    assert found <= announced, f"lost without a word: {found - announced}"
    assert announced - UNSEEN <= found, f"announced, but kept: {announced - UNSEEN - found}"


@pytest.mark.parametrize("name", WRITABLE)
def test_the_second_time_nothing_is_lost(name: str, everything: Dataset, differences: Differences, tmp_path: Path) -> None:
    """What a format gave back is what it gives back: array by array, in the same order."""
    first = there_and_back(suited(everything, FORMATS[name]), name, tmp_path, images_of(everything))
    (tmp_path / "again").mkdir()
    second = there_and_back(first, name, tmp_path / "again", images_of(everything))
    assert differences(first, second) == set()
    assert first.schema == second.schema
    for field in fields(first.instances):
        one, other = getattr(first.instances, field.name), getattr(second.instances, field.name)
        if one is not None:
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-6, equal_nan=True, err_msg=field.name)
    assert [first.picture_name(index) for index in range(len(first))] == [
        second.picture_name(index) for index in range(len(second))
    ]


@pytest.mark.parametrize(("one", "other"), list(permutations(WRITABLE, 2)))
def test_from_one_format_to_another_loses_only_what_either_announces(
    one: str, other: str, everything: Dataset, differences: Differences, tmp_path: Path
) -> None:
    dataset = suited(everything, FORMATS[one], FORMATS[other])
    between = there_and_back(dataset, one, tmp_path, images_of(everything))
    announced = set(lost_features(dataset, FORMATS[one])) | set(lost_features(between, FORMATS[other]))
    if "boxes" in lost_features(dataset, FORMATS[one]):  # what comes after can but make boxes of keypoints
        dataset = replace(dataset, instances=replace(dataset.instances, boxes=np.full_like(dataset.instances.boxes, np.nan)))
    after = there_and_back(between, other, tmp_path, images_of(everything))
    found = differences(dataset, after)
    assert found <= announced, f"lost without a word: {found - announced}"


@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_written_is_recognised_as_this_and_nothing_else(name: str, everything: Dataset, tmp_path: Path) -> None:
    write(suited(everything, FORMATS[name]), place(tmp_path, name), format=name)
    assert recognise(place(tmp_path, name)) == name


@pytest.mark.parametrize("name", [name for name in WRITABLE if "image_sizes" in FORMATS[name].holds])
def test_a_format_that_holds_sizes_is_read_without_the_images(name: str, everything: Dataset, tmp_path: Path) -> None:
    dataset = suited(everything, FORMATS[name])
    write(dataset, place(tmp_path, name), format=name)
    (tmp_path / "no images").mkdir()
    back = read(place(tmp_path, name), format=name, images=tmp_path / "no images")
    sizes = {dataset.picture_name(index): dataset.sizes[index].tolist() for index in range(len(dataset))}
    for index in range(len(back)):
        assert back.sizes[index].tolist() == sizes[back.picture_name(index).rpartition("/")[2]]


@pytest.mark.parametrize("name", WRITABLE)
def test_a_refused_data_set_writes_nothing(name: str, everything: Dataset, tmp_path: Path) -> None:
    known = FORMATS[name]
    grave = [feature for feature in lost_features(everything, known) if FEATURES[feature].grave]
    if not grave:
        pytest.skip("this format holds whatever would make labels wrong")
    with pytest.raises(DekeyError):
        write(everything, place(tmp_path, name), format=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITABLE)
def test_an_image_without_a_file_is_a_sentence_and_writes_nothing(name: str, everything: Dataset, tmp_path: Path) -> None:
    dataset = suited(everything, FORMATS[name])
    pictures = [np.zeros((*size, 3), dtype=np.uint8) for size in dataset.sizes.tolist()]
    with pytest.raises(DekeyError):
        write(replace(dataset, pictures=pictures), place(tmp_path, name), format=name)
    assert list(tmp_path.iterdir()) == []


def test_everything_uses_every_feature(everything: Dataset) -> None:
    bare = Format("Nothing", FORMATS["coco"].recognises, FORMATS["coco"].read, None, frozenset(), "")
    boxed = replace(bare, holds=frozenset({"boxes"}))
    assert set(lost_features(everything, bare)) | set(lost_features(everything, boxed)) == ALL


def test_every_format_holds_known_features_only() -> None:
    for name, known in FORMATS.items():
        assert known.holds <= ALL, name
        assert known.write is not None or known.note, f"{name} does not say why it cannot be written"


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_takes_foreign_files_for_its_own_or_raises(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    samples = {
        "empty": b"",
        "zero": bytes(3000),
        "noise": rng.integers(0, 256, 3000, dtype=np.uint8).tobytes(),
        "brackets.json": b"[" * 100_000,
        "list.json": b"[1, 2]",
        "null.json": b"null",
        "open.json": b'{"a": ',
        "latin.txt": b"\xe9\xe8 0.5 0.5\n",
        "words.txt": b"these are only words, and commas\n" * 9,
        "data.csv": b"name,age\nann,3\n",
        "page.xml": b"<?xml version='1.0'?><html><body/></html>",
        "hdf.h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "some.yaml": b"a: [1, 2\nb: }",
        "utf16.json": json.dumps({"images": []}).encode("utf-16"),
    }
    for file_name, content in samples.items():
        (tmp_path / file_name).write_bytes(content)
        assert FORMATS[name].recognises(tmp_path / file_name) is False, file_name
    (tmp_path / "folder").mkdir()
    assert FORMATS[name].recognises(tmp_path / "folder") is False
    assert FORMATS[name].recognises(tmp_path / "gone") is False

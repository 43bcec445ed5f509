"""The laws of dividing a data set: complete, disjoint, whole groups, near the fractions, the same for the same names."""

from __future__ import annotations

import numpy as np
import pytest

from dekey.data.split import LEFT_OUT, captured, cut, divide, joined, natural, numbered
from dekey.errors import DekeyError

SHARES = (0.7, 0.2, 0.1)


def material(seed: int, groups: int, most: int = 9) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, group and objects of images: groups of 1 to `most` images with 0 to 5 objects each, at least one a group."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"g{number}" for number in range(groups)], rng.integers(1, most + 1, groups)).tolist()
    numbers = numbered(labels)
    objects = rng.integers(0, 6, len(labels))
    objects[np.unique(numbers)] += 1
    return [f"{label}/{place}.png" for place, label in enumerate(labels)], numbers, objects


@pytest.mark.parametrize("shares", [SHARES, (0.75, 0.25)])
@pytest.mark.parametrize("groups", [5, 40, 300])
def test_groups_stay_whole_and_parts_come_within_the_largest_group(groups: int, shares: tuple[float, ...]) -> None:
    for seed in range(5):
        names, numbers, objects = material(seed, groups)
        parts = divide(numbers, names, objects, shares, seed)
        assert set(parts.tolist()) == set(range(len(shares)))
        assert all(len(set(parts[numbers == group].tolist())) == 1 for group in np.unique(numbers))
        largest = np.bincount(numbers, objects).max()
        found = np.bincount(parts, objects)
        assert (np.abs(found - np.array(shares) * objects.sum()) <= largest).all()


def test_many_small_groups_come_within_an_object_and_are_not_sorted_by_size() -> None:
    names, numbers, objects = material(0, 1000, most=1)
    parts = divide(numbers, names, objects, SHARES)
    assert (np.abs(np.bincount(parts, objects) - np.array(SHARES) * objects.sum()) < 2).all()
    means = np.array([objects[parts == part].mean() for part in range(3)])
    assert np.abs(means / objects.mean() - 1).max() < 0.15


def test_the_best_of_few_groups_is_found() -> None:
    names = [f"{place}.png" for place in range(6)]
    parts = divide(np.arange(6), names, np.array([60, 12, 8, 10, 4, 6]), (0.8, 0.1, 0.1))
    assert np.bincount(parts, [60, 12, 8, 10, 4, 6]).tolist() == [80, 10, 10]


def test_the_seed_decides_and_the_order_of_images_does_not() -> None:
    names, numbers, objects = material(1, 60)
    parts = divide(numbers, names, objects, SHARES, 3)
    assert np.array_equal(parts, divide(numbers, names, objects, SHARES, 3))
    assert not np.array_equal(parts, divide(numbers, names, objects, SHARES, 4))
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = [names[place] for place in order]
    again = numbered([name.split("/")[0] for name in shuffled])
    assert np.array_equal(parts[order], divide(again, shuffled, objects[order], SHARES, 3))
    moved = [f"elsewhere/{name}" for name in names]
    assert np.array_equal(parts, divide(numbers, moved, objects, SHARES, 3))


def test_a_small_share_still_gets_a_group() -> None:
    parts = divide(np.arange(20), [f"{place}.png" for place in range(20)], np.ones(20, int), (0.98, 0.01, 0.01))
    assert np.bincount(parts).tolist() == [18, 1, 1]


def test_images_without_objects_are_divided_too() -> None:
    objects = np.repeat([1, 0], 100)
    parts = divide(np.arange(200), [f"{place}.png" for place in range(200)], objects, (0.8, 0.1, 0.1))
    assert np.bincount(parts[objects == 0]).tolist() == [80, 10, 10]


def test_pairs_join_groups_in_chains() -> None:
    groups = numbered(["a", "a", "b", "c", "d", "b"])
    assert joined(groups, np.array([[1, 2], [5, 4]])).tolist() == [0, 0, 0, 3, 0, 0]
    assert joined(groups, np.zeros((0, 2), np.int64)).tolist() == groups.tolist()


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["v/2.png", "v/10.png", "v/1.png", "v/02.png"]
    assert sorted(names, key=natural) == ["v/1.png", "v/02.png", "v/2.png", "v/10.png"]


@pytest.mark.parametrize("gap", [0, 3])
def test_a_sequence_is_cut_in_order_with_gaps_between(gap: int) -> None:
    names = [f"v/{place}.png" for place in range(100)]
    order = np.random.default_rng(0).permutation(100)
    parts = cut(["v"] * 100, [names[place] for place in order], (0.8, 0.1, 0.1), gap)[np.argsort(order)]
    kept = parts[parts != LEFT_OUT]
    assert (np.diff(kept) >= 0).all()
    assert np.abs(np.bincount(kept) - (100 - 2 * gap) * np.array([0.8, 0.1, 0.1])).max() <= 1
    for part in (1, 2):
        assert np.flatnonzero(parts == part)[0] - np.flatnonzero(parts == part - 1)[-1] == gap + 1
    assert (parts == LEFT_OUT).sum() == 2 * gap


@pytest.mark.parametrize("gap", [0, 2])
def test_short_sequences_make_up_for_each_other(gap: int) -> None:
    lengths = np.random.default_rng(1).integers(1, 9, 200)
    sequences = [f"v{number}" for number, length in enumerate(lengths) for _ in range(length)]
    names = [f"{sequence}/{place:04}.png" for place, sequence in enumerate(sequences)]
    parts = cut(sequences, names, (0.8, 0.1, 0.1), gap)
    kept = parts[parts != LEFT_OUT]
    assert np.abs(np.bincount(kept) / len(kept) - (0.8, 0.1, 0.1)).max() < 0.02
    own = np.array(sequences)
    for sequence in set(sequences):
        inside = parts[own == sequence]
        held = inside[inside != LEFT_OUT]
        assert (np.diff(held) >= 0).all()
        assert (inside == LEFT_OUT).sum() == gap * (len(set(held.tolist())) - 1)


def test_a_name_listed_twice_is_in_one_part() -> None:
    names = [f"{place // 2}.png" for place in range(20)]
    parts = cut(["v"] * 20, names, (0.5, 0.5))
    assert (parts[::2] == parts[1::2]).all()
    assert np.bincount(parts).tolist() == [10, 10]


@pytest.mark.parametrize(
    ("pattern", "words"), [("(a", "no regular expression"), ("a", "has no group"), ("(a)|c", "not found in 2 of 3 image names")]
)
def test_a_pattern_that_does_not_tell_groups_apart_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(DekeyError, match=words):
        captured(["a1", "b1", "c1"], pattern)


@pytest.mark.parametrize("shares", [(1.0,), (0.8, 0.1), (0.8, 0.3, -0.1), (0.25,) * 4, (float("nan"), 0.5)])
def test_fractions_that_are_no_division_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(DekeyError, match="fractions"):
        divide(np.arange(9), [str(place) for place in range(9)], np.ones(9, int), shares)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(DekeyError, match="found 2 groups of images with objects, expected at least 3"):
        divide(np.array([0, 1, 2]), ["a", "b", "c"], np.array([1, 1, 0]), (0.8, 0.1, 0.1))

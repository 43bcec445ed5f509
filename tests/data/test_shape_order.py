from __future__ import annotations

import itertools

import numpy as np
import pytest

from dekey.data import Schema
from dekey.data.shape_faults import measure, swapped
from dekey.data.shape_order import assign, reordered_between, reordered_within

RNG = np.random.default_rng(0)
COUNT = 9
SCHEMA = Schema.create(["row"], [f"p{index}" for index in range(COUNT)], mirror=range(COUNT))
MEAN = RNG.normal(size=(COUNT, 2)).view(np.complex128)[:, 0]


def objects(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shapes = MEAN + 0.08 * rng.normal(size=(count, COUNT, 2)).view(np.complex128)[..., 0]
    return shapes * (40 * np.exp(2j * np.pi * rng.random((count, 1)))) + 300


@pytest.mark.parametrize("order", [np.arange(COUNT)[::-1], np.roll(np.arange(COUNT), 2), np.array([3, 1, 0, 2, 8, 4, 7, 6, 5])])
def test_a_group_in_another_order_is_found_with_its_order(order: np.ndarray) -> None:
    points = objects(100, 1)
    group = [3, 14, 15, 92, 65]
    points[group] = points[group][:, order]
    measured = measure(points)
    assert measured is not None
    (found,) = reordered_within(measured, SCHEMA)
    assert sorted(found.objects.tolist()) == sorted(group)
    assert np.array_equal(order[found.order], np.arange(COUNT))
    (other,) = reordered_between(objects(30, 2)[:, order], measured, SCHEMA)
    assert np.array_equal(other.order, found.order)
    assert len(other.objects) == 30


def test_the_same_order_is_no_finding() -> None:
    measured = measure(objects(100, 1))
    assert measured is not None
    assert reordered_within(measured, SCHEMA) == []
    assert reordered_between(objects(30, 2), measured, SCHEMA) == []


def test_the_assignment_is_the_cheapest() -> None:
    rng = np.random.default_rng(4)
    for count in (1, 2, 5, 6):
        cost = rng.random((count, count))
        best = min(sum(cost[row, column] for row, column in enumerate(each)) for each in itertools.permutations(range(count)))
        assert cost[np.arange(count), assign(cost)].sum() == pytest.approx(best)


def test_one_exchanged_pair_of_a_quadrilateral_is_an_exchange_and_no_order() -> None:
    rng = np.random.default_rng(6)
    corners = np.array([-1.4 - 1j, 1.4 - 1j, 1.4 + 1j, -1.4 + 1j])
    schema = Schema.create(["quad"], ["tl", "tr", "br", "bl"], mirror=[1, 0, 3, 2])
    points = (corners + 0.1 * rng.normal(size=(80, 4, 2)).view(np.complex128)[..., 0]) * 50 + 200
    points[:6] = points[:6][:, [1, 0, 2, 3]]
    measured = measure(points)
    assert measured is not None
    assert reordered_within(measured, schema) == []
    assert sorted(each.index for each in swapped(measured, schema)[0]) == list(range(6))

from __future__ import annotations

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dekey.formats.columns import numbers, row_lengths, stacked, whole_numbers


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_whole_numbers_stay_exact(values: list[int]) -> None:
    column, usable = whole_numbers(values)
    assert column.tolist() == values
    assert usable.all()
    mixed, usable = whole_numbers([*values, None])
    assert mixed[:-1].tolist() == values
    assert usable.tolist() == [True] * len(values) + [False]


@given(st.lists(st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.integers()))))
def test_anything_a_file_may_hold_gives_a_column(values: list[object]) -> None:
    for function in (whole_numbers, numbers):
        column, usable = function(values)
        assert column.shape == usable.shape == (len(values),)
        for value, good in zip(values, usable.tolist(), strict=True):
            if isinstance(value, bool | list):
                assert not good


def test_numbers_too_large_are_none() -> None:
    column, usable = numbers([10**400, 1, float("inf")])
    assert usable.tolist() == [False, True, False]
    assert np.isnan(column[0])


def test_rows_are_stacked_in_order() -> None:
    rows = [array("d", [index, index + 0.5]) for index in range(100_000)]
    assert np.array_equal(stacked(rows, 2)[:, 0], np.arange(100_000))
    assert stacked([], 3).shape == (0, 3)
    assert stacked([array("d")], 0).shape == (1, 0)
    assert row_lengths([array("d", [1]), None, "x", [1]]).tolist() == [1, -1, -2, -2]

"""Lists of parsed values into checked columns, in bulk where the file is sound."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows joined at a time: enough to be fast, few enough that the copy is small.
_ROWS = 65_536


def whole_numbers(values: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Turn values into int64, and tell which of them are whole numbers; the others become 0.

    Whole floats and strings of digits count (other tools write ids like that), true and false do not.

    >>> whole_numbers([3, 4.0, "5", None, 1.5])
    (array([3, 4, 5, 0, 0]), array([ True,  True,  True, False, False]))
    """
    if set(map(type, values)) <= {int}:
        try:
            return np.array(values, dtype=np.int64), np.ones(len(values), dtype=np.bool_)
        except OverflowError:
            pass
    parsed = [_whole(value) for value in values]
    usable = np.array([value is not None for value in parsed], dtype=np.bool_)
    return np.array([value or 0 for value in parsed], dtype=np.int64), usable


def numbers(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Turn values into float64, and tell which of them are finite numbers or None; None and the others become NaN.

    >>> numbers([1, 2.5, None, "x"])
    (array([1. , 2.5, nan, nan]), array([ True,  True,  True, False]))
    """
    parsed = [value if type(value) in (int, float) else None for value in values]
    try:
        column = np.array(parsed, dtype=np.float64)
    except OverflowError:
        column = np.array([None if value is None or abs(value) > 1e300 else value for value in parsed], dtype=np.float64)
    absent = np.array([value is None for value in values], dtype=np.bool_)
    column[np.isinf(column)] = np.nan
    return column, absent | np.isfinite(column)


def row_lengths(rows: Sequence[Any]) -> NDArray[np.int64]:
    """Give the length of each row that is an array of numbers, −1 for None, −2 for anything else."""
    lengths = (len(row) if type(row) is array else -1 if row is None else -2 for row in rows)
    return np.fromiter(lengths, dtype=np.int64, count=len(rows))


def stacked(rows: Sequence[array[float]], width: int) -> NDArray[np.float64]:
    """Stack arrays of `width` doubles into (len(rows), width)."""
    result = np.empty((len(rows), width))
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        result[start : start + len(part)] = np.frombuffer(b"".join(part)).reshape(len(part), width)
    return result


def _whole(value: Any) -> int | None:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None

"""Tests of x, y, v triples as label files write them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
# No coordinate lies further out; what does is a mistake of the file, and its arithmetic would overflow.
FARTHEST: Final = 1e9


def unknown_code(triples: NDArray[np.float64]) -> Flags:
    """Tell which triples (..., 3) have a visibility other than 0, 1, 2."""
    return ~np.isin(triples[..., 2], (0, 1, 2))


def lost(triples: NDArray[np.float64]) -> Flags:
    """Tell which triples (..., 3) are labelled but have no place."""
    return np.isin(triples[..., 2], (1, 2)) & ~usable(triples[..., :2])


def ignored(triples: NDArray[np.float64]) -> Flags:
    """Tell which triples (..., 3) are unlabelled but have a place; (0, 0) and (-1, -1) are how an absent one is written."""
    xy = triples[..., :2]
    blank = (xy == 0).all(-1) | (xy == -1).all(-1)
    return np.asarray((triples[..., 2] == 0) & usable(xy) & ~blank)


def usable(values: NDArray[np.float64]) -> Flags:
    """Tell for each row (..., n) whether all its numbers are finite and could be pixels."""
    return np.asarray((np.abs(values) < FARTHEST).all(axis=-1))


DOUBTS: Final = {
    "bad-visibility": unknown_code,
    "labelled-without-coordinates": lost,
    "coordinates-without-label": ignored,
}
"""What can be wrong with a triple, by the kind of problem."""

"""Near-duplicate pictures: a hash that survives scaling and compression, and a look at the pixels for every pair it names.

The hash is the difference hash in both directions: the picture is reduced to 9x9 grey cells, and each of 128 bits says whether
a cell is brighter than its neighbour to the right or below (Zauner, "Implementation and benchmarking of perceptual image hash
functions", 2010, compares the family). Pairs that differ in at most `MOST_BITS` bits are found without comparing all with all:
the bits are cut into eight bands, where two such hashes share one but for a single bit (pigeonhole; Manku et al.,
"Detecting near-duplicates for web crawling", WWW 2007). Above 200,000 pictures bands must be equal, which finds all pairs up to
seven bits apart and most of the others. A million pictures take 16 MB of hashes and, with the small grey copies
that are kept for the second look, 1 GB.

The second look asks for two things: the small copies must correlate, and no cell of them may differ much. Before a camera that
stands still all pictures correlate; what moved shows in a few cells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.data.small_copies import read_small
from dekey.errors import DekeyError

MOST_BITS = 15
_BANDS, _BAND_BITS = 8, 16
_SIDE = 32
# Correlation of the small copies from which two pictures count as one.
LEAST_LIKENESS = 0.985
# Grey levels by which one cell may lie outside the range of the cells around its place in the other copy, brightness and
# contrast of the whole made equal: more means that something moved by more than a cell.
_MOST_DIFFERENCE = 20.0
# Up to as many pictures, bands that differ in one bit are compared too.
_THOROUGH = 200_000
_CHUNK = 256
# Where more pictures than this share a band (black ones), each is compared with the first of them only.
_CROWD = 3000
# Pairs of which the small copies are compared at once, few enough for a cache, and of which they are prepared at once.
_PAIRS, _BLOCK = 256, 16_384


@dataclass(frozen=True)
class Fingerprints:
    """What is kept of S pictures.

    Attributes:
        hashes: (S, 8) uint16, 128 bits each.
        copies: (S, 32, 32) uint8 grey copies, aspect not kept.
        readable: (S,) bool; a picture that cannot be read, or was not reached in time, is like no other.
        ratios: (S,) width / height.
    """

    hashes: NDArray[np.uint16]
    copies: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    ratios: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hashes)


def fingerprints(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None, *, until: float = float("inf")
) -> Fingerprints:
    """Read every picture once, several at a time, and keep its hash and a small copy.

    JPEGs are decoded at an eighth, a quarter or half of their size where that is enough.

    Args:
        dataset: S pictures.
        progress: called with (pictures done, pictures in all) now and then.
        until: pictures are begun until `time.monotonic` shows this; the rest stays unread.
    """
    count = len(dataset)
    copies = np.zeros((count, _SIDE, _SIDE), dtype=np.uint8)
    cells = np.zeros((count, 9, 9), dtype=np.float32)
    readable, ratios = np.zeros(count, dtype=np.bool_), np.ones(count)

    def look(index: int) -> None:
        if time.monotonic() > until:
            return
        try:
            small = read_small(dataset.pictures[index])
        except (DekeyError, OSError):
            return
        copies[index], cells[index] = np.rint(small.cells(_SIDE)), small.cells(9)
        readable[index], ratios[index] = True, small.ratio

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as threads:
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            for _ in threads.map(look, range(start, stop)):
                pass
            if progress:
                progress(stop, count)
    across = cells[:, :8, 1:] > cells[:, :8, :-1]
    down = cells[:, 1:, :8] > cells[:, :-1, :8]
    bits = np.packbits(np.concatenate([across.reshape(count, 64), down.reshape(count, 64)], axis=1), axis=1)
    return Fingerprints(bits.view(np.uint16), copies, readable, ratios)


def near_pairs(
    own: Fingerprints, other: Fingerprints | None = None, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.int64]:
    """Find pictures that look the same.

    Args:
        own: S pictures.
        other: T pictures of another data set; without it pairs are sought among `own`.
        progress: called with (per cent done, 100) now and then; in a video at rest every frame is like every other.

    Returns:
        (P, 2) int64 positions, first < second where both are in `own`, sorted.
    """
    both = own if other is None else _joined(own, other)
    border = len(own)
    found, seen = [np.zeros((0, 2), dtype=np.int64)], np.zeros(0, dtype=np.int64)
    for band, near in enumerate(_candidates(both.hashes, np.flatnonzero(both.readable))):

        def advance(done: int, count: int, band: int = band) -> None:
            if progress:
                progress(100 * (band * count + done) // (_BANDS * count), 100)

        near = np.sort(near, axis=1)
        if other is not None:
            near = near[(near[:, 0] < border) & (near[:, 1] >= border)]
        codes = np.setdiff1d(near[:, 0] * len(both) + near[:, 1], seen)
        fresh = np.stack([codes // len(both), codes % len(both)], axis=1)
        found.append(fresh[_alike(both, fresh, advance)])
        seen = np.union1d(seen, codes)
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs if other is None else pairs - np.array([0, border])


def groups_of(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Number the groups (count,) of items that chains of pairs (P, 2) join; each is numbered by its first member.

    >>> groups_of(np.array([[0, 2], [2, 3]]), 5).tolist()
    [0, 1, 0, 0, 4]
    """
    root = np.arange(count)
    for first, second in pairs.tolist():
        while root[first] != first:
            root[first] = root[root[first]]
            first = root[first]
        while root[second] != second:
            root[second] = root[root[second]]
            second = root[second]
        root[max(first, second)] = min(first, second)
    while (root[root] != root).any():
        root = root[root]
    return root


def likeness(own: Fingerprints, pairs: NDArray[np.int64], other: Fingerprints | None = None) -> NDArray[np.float64]:
    """Give (P,) correlations of the small copies of pairs (P, 2), 1 for pictures that differ in brightness at most."""
    copies = own.copies, own.copies if other is None else other.copies
    found = np.zeros(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        used = [np.unique(block[:, side], return_inverse=True) for side in range(2)]
        first, second = (_levelled(copies[side][used[side][0]]) for side in range(2))
        for at in range(0, len(block), _PAIRS):
            one, other_one = first[used[0][1][at : at + _PAIRS]], second[used[1][1][at : at + _PAIRS]]
            found[start + at : start + at + len(one)] = (one * other_one).mean(axis=1)
    return found


def _alike(both: Fingerprints, pairs: NDArray[np.int64], progress: Callable[[int, int], None]) -> NDArray[np.bool_]:
    """Take the second look at pairs (P, 2); `progress` is called with (pairs looked at, P)."""
    alike = np.zeros(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start : start + _BLOCK]
        # A picture is in many pairs: what is needed of it alone is computed once a block.
        used, places = np.unique(block, return_inverse=True)
        copies, ratios = both.copies[used], np.log(both.ratios[used])
        contrast = copies.std(axis=(1, 2))
        cells = _levelled(copies)
        high, low = (_levelled(_around(copies, extreme), copies) for extreme in (np.maximum, np.minimum))
        for at in range(0, len(block), _PAIRS):
            first, second = places.reshape(-1, 2)[at : at + _PAIRS].T
            one, other = cells[first], cells[second]
            beyond = np.maximum.reduce(
                [
                    (one - high[second]).max(axis=1),
                    (low[second] - one).max(axis=1),
                    (other - high[first]).max(axis=1),
                    (low[first] - other).max(axis=1),
                ]
            )
            moved = beyond * np.maximum(contrast[first], contrast[second])
            same_shape = np.abs(ratios[first] - ratios[second]) < 0.1
            likely = (one * other).mean(axis=1) >= LEAST_LIKENESS
            alike[start + at : start + at + len(first)] = same_shape & (moved <= _MOST_DIFFERENCE) & likely
        progress(start + len(block), len(pairs))
    return alike


def _around(copies: NDArray[np.uint8], extreme: np.ufunc) -> NDArray[np.uint8]:
    """Give for each cell of copies (P, 32, 32) the extreme of the nine cells around it, fewer at the border."""
    padded = np.pad(copies, ((0, 0), (1, 1), (1, 1)), mode="edge")
    wide = extreme(extreme(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    found: NDArray[np.uint8] = extreme(extreme(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    return found


def _levelled(copies: NDArray[np.uint8], measured: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
    """Give copies (P, 32, 32) as (P, 1024) by the mean and spread of `measured` (P, 32, 32), their own when None.

    Measured by their own they have mean 0 and variance 1; one without content becomes 0.
    """
    values, own = (
        each.reshape(len(each), _SIDE * _SIDE).astype(np.float32) for each in (copies, copies if measured is None else measured)
    )
    mean = own.mean(axis=1, keepdims=True)
    spread = np.sqrt(((own - mean) ** 2).mean(axis=1, keepdims=True))
    levelled: NDArray[np.float32] = (values - mean) / np.maximum(spread, 1.0)
    return levelled


def _candidates(hashes: NDArray[np.uint16], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Give pairs (P, 2), first < second, that differ in at most `MOST_BITS` bits, band by band; some come twice."""
    bits = 1 << np.arange(_BAND_BITS if len(rows) <= _THOROUGH else 0)
    flips = np.concatenate([[0], bits]).astype(np.uint16)
    for band in range(_BANDS):
        keys = hashes[rows, band]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        found = [np.zeros((0, 2), dtype=np.int64)]
        for flip in flips:
            wanted = keys ^ flip
            low, high = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
            high = np.minimum(high, low + _CROWD)
            found += _close(hashes, rows, order, low, high)
        yield np.concatenate(found)


def _close(
    hashes: NDArray[np.uint16],
    rows: NDArray[np.int64],
    order: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> Iterator[NDArray[np.int64]]:
    lengths = high - low
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    start = 0
    while start < len(rows):
        # As many at once as give about two million pairs.
        stop = max(int(np.searchsorted(bounds, bounds[start] + 2_000_000, "right")) - 1, start + 1)
        own = np.repeat(np.arange(start, stop), lengths[start:stop])
        within = np.arange(len(own)) - np.repeat(bounds[start:stop] - bounds[start], lengths[start:stop])
        partner = order[low[own] + within]
        keep = own < partner
        own, partner = rows[own[keep]], rows[partner[keep]]
        bits = np.zeros(len(own), dtype=np.int64)
        for band in range(_BANDS):
            bits += _ONES[hashes[own, band] ^ hashes[partner, band]]
        near = bits <= MOST_BITS
        yield np.stack([own[near], partner[near]], axis=1)
        start = stop


def _joined(own: Fingerprints, other: Fingerprints) -> Fingerprints:
    parts: Sequence[Fingerprints] = (own, other)
    return Fingerprints(
        np.concatenate([each.hashes for each in parts]),
        np.concatenate([each.copies for each in parts]),
        np.concatenate([each.readable for each in parts]),
        np.concatenate([each.ratios for each in parts]),
    )


_ONES = np.array([bin(value).count("1") for value in range(1 << _BAND_BITS)], dtype=np.uint8)

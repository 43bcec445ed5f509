"""Images divided into parts so that nothing leaks: groups stay whole, or each sequence is cut in the order of time.

Two ways. `divide` gives whole groups (a folder, a video, a subject, pictures that look the same) to the parts. It goes through
the groups in a seeded order and gives each to the part that lacks most objects, which leaves no part further from its share
than the largest group is large; of several such orders the one that comes nearest is kept, and only one is tried where the
groups are so many that the first comes near anyway. The order is random and not by size, else all large groups would be in the
first part. `cut` divides each sequence in natural order of the names: the first images are one part, the next another, and
`gap` images between them are in none, because a frame is not independent of the one before it.

Both depend on the names and the seed alone: not on the order of the images, not on the folder that holds them all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dekey.data.picture_hash import groups_of
from dekey.errors import DekeyError

PARTS = ("train", "val", "test")
# The part of an image that lies in a gap.
LEFT_OUT = -1
# Orders tried where there are few groups, and groups that are gone through at most for that.
_MOST_ORDERS, _MOST_STEPS = 256, 200_000


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse shares that are no division into two or three parts.

    Raises:
        DekeyError: if there are not two or three, one is not above 0, or they do not sum to 1.
    """
    shown = " ".join(f"{value:g}" for value in fractions)
    if not 2 <= len(fractions) <= len(PARTS):
        raise DekeyError(f"found {len(fractions)} fractions ({shown}), expected two (train, val) or three (train, val, test)")
    if not all(value > 0 for value in fractions):
        raise DekeyError(f"found the fractions {shown}, expected each above 0; leave the last out for two parts")
    if not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DekeyError(f"found the fractions {shown}, which sum to {sum(fractions):g}, expected 1")


def check_groups(groups: NDArray[np.int64], objects: NDArray[np.int64], fractions: Sequence[float]) -> None:
    """Refuse groups (S,) of images with `objects` (S,) that cannot give each part one with objects.

    Raises:
        DekeyError: if fewer groups than parts have objects.
    """
    full = len(np.unique(groups[objects > 0]))
    if full < len(fractions):
        raise DekeyError(
            f"found {full} group{'' if full == 1 else 's'} of images with objects, expected at least "
            f"{len(fractions)}, one for each part; divide by smaller groups or cut each by time"
        )


def natural(name: str) -> tuple[str | int, ...]:
    """Give a key that sorts names by the numbers in them.

    >>> sorted(["f10.png", "f9.png", "e11.png"], key=natural)
    ['e11.png', 'f9.png', 'f10.png']
    """
    pieces = re.split(r"([0-9]+)", name)
    return (*(int(piece) if place % 2 else piece for place, piece in enumerate(pieces)), name)


def folders(names: Sequence[str]) -> list[str]:
    """Give the folder of each name.

    >>> folders(["a/b/1.png", "2.png"])
    ['a/b', '.']
    """
    return [str(PurePosixPath(name).parent) for name in names]


def captured(names: Sequence[str], pattern: str) -> list[str]:
    """Give what the first group of a regular expression finds in each name.

    Raises:
        DekeyError: if the expression is broken, has no group, or does not find it in every name.

    >>> captured(["mouse3_0001.png", "mouse12_0001.png"], "(mouse[0-9]+)_")
    ['mouse3', 'mouse12']
    """
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DekeyError(f"the pattern '{pattern}' is no regular expression: {error}; mend it") from error
    if not expression.groups:
        raise DekeyError(f"the pattern '{pattern}' has no group; put the part of the name that tells groups apart in ( )")
    found = [match[1] if (match := expression.search(name)) else None for name in names]
    missing = [name for name, group in zip(names, found, strict=True) if group is None]
    if missing:
        raise DekeyError(
            f"the first group of the pattern '{pattern}' is not found in {len(missing):,} of {len(names):,} image names, "
            f"the first '{missing[0]}'; write a pattern that fits every name"
        )
    return [group for group in found if group is not None]


def numbered(labels: Sequence[str]) -> NDArray[np.int64]:
    """Number labels (S) by their first member: equal labels, equal numbers.

    >>> numbered(["x", "y", "x"]).tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(label, place) for place, label in enumerate(labels)], dtype=np.int64)


def joined(groups: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join groups (S,), numbered by their first member, wherever a pair (P, 2) of images has a member in each.

    >>> joined(np.array([0, 0, 2, 3]), np.array([[1, 2]])).tolist()
    [0, 0, 0, 3]
    """
    chains = np.stack([groups, np.arange(len(groups))], axis=1)
    return groups_of(np.concatenate([chains, pairs.reshape(-1, 2)]), len(groups))


def divide(
    groups: NDArray[np.int64], names: Sequence[str], objects: NDArray[np.int64], fractions: Sequence[float], seed: int = 0
) -> NDArray[np.int64]:
    """Give whole groups of images to parts whose objects come near the fractions; every part gets a group with objects.

    Images of groups without objects are divided among themselves by their number.

    Args:
        groups: (S,) the group of each image.
        names: S names; equal names are expected in one group.
        objects: (S,) objects in each image.
        fractions: two or three shares, see `check_fractions`.
        seed: of the order in which the groups are given away.

    Returns:
        (S,) the part of each image, a position in `fractions`.

    Raises:
        DekeyError: if fewer groups than parts have objects.
    """
    check_fractions(fractions)
    check_groups(groups, objects, fractions)
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
    number = np.empty(len(names), dtype=np.int64)
    number[order] = np.argsort(np.argsort(first))[inverse]
    count = len(first)
    weights = np.bincount(number, objects, count).astype(np.float64)
    full, empty = np.flatnonzero(weights > 0), np.flatnonzero(weights == 0)
    rng = np.random.default_rng(seed)
    part = np.empty(count, dtype=np.int64)
    part[full] = _given(weights[full], fractions, rng)
    part[empty] = _greedy(np.bincount(number, minlength=count)[empty].astype(float), fractions, rng)[0]
    return part[number]


def _given(weights: NDArray[np.float64], fractions: Sequence[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Give groups of weights (G,) to the parts; of some orders the one that comes nearest, each part with a group."""
    best, nearest = None, math.inf
    for _ in range(max(1, min(_MOST_ORDERS, _MOST_STEPS // len(weights)))):
        parts, lack = _greedy(weights, fractions, rng)
        _fill_empty(parts, lack, weights)
        if (error := float((lack**2).sum())) < nearest:
            best, nearest = parts, error
        if np.abs(lack).max() < 1:  # less than one object
            break
    assert best is not None
    return best


def _greedy(
    weights: NDArray[np.float64], fractions: Sequence[float], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give each group, in random order, to the part that lacks most; the parts (G,), and what each lacks at the end."""
    lack = [share * float(weights.sum()) for share in fractions]
    parts = np.empty(len(weights), dtype=np.int64)
    for group in rng.permutation(len(weights)).tolist():
        part = lack.index(max(lack))
        parts[group] = part
        lack[part] -= float(weights[group])
    return parts, np.array(lack)


def _fill_empty(parts: NDArray[np.int64], lack: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    """Give a part without groups, in place, the smallest group of the part that can spare one most easily."""
    for part in range(len(lack)):
        if (parts == part).any():
            continue
        spare = [donor for donor in range(len(lack)) if (parts == donor).sum() > 1]
        donor = min(spare, key=lambda each: lack[each])
        own = np.flatnonzero(parts == donor)
        group = own[np.argmin(weights[own])]
        parts[group] = part
        lack[donor] += weights[group]
        lack[part] -= weights[group]


def cut(sequences: Sequence[str], names: Sequence[str], fractions: Sequence[float], gap: int = 0) -> NDArray[np.int64]:
    """Cut each sequence of images in natural order of the names: first train, then val, then test.

    The longest sequence is cut first and has all parts if it is long enough. What rounding leaves of the fractions is made up
    for in the next ones, so that short sequences, where a tenth is less than an image, have some parts only; a gap is left
    between the parts that a sequence has. There is no chance in it.

    Args:
        sequences: S labels of the sequences.
        names: S names; images of one name go to one part.
        fractions: two or three shares of the images, see `check_fractions`.
        gap: images left out between two parts of a sequence.

    Returns:
        (S,) the part of each image, a position in `fractions`, or `LEFT_OUT`.
    """
    check_fractions(fractions)
    members: dict[str, set[str]] = {}
    for sequence, name in zip(sequences, names, strict=True):
        members.setdefault(sequence, set()).add(name)
    have, part_of = np.zeros(len(fractions)), {}
    for place, sequence in enumerate(sorted(members, key=lambda each: (-len(members[each]), natural(each)))):
        own = sorted(members[sequence], key=natural)
        sizes = _sizes(len(own), np.array(fractions), have, gap, whole=place == 0)
        have += sizes
        at = 0
        part_of.update(dict.fromkeys(own, LEFT_OUT))
        for part in np.flatnonzero(sizes).tolist():
            part_of.update(dict.fromkeys(own[at : at + int(sizes[part])], part))
            at += int(sizes[part]) + gap
    return np.array([part_of[name] for name in names], dtype=np.int64)


def _sizes(length: int, shares: NDArray[np.float64], have: NDArray[np.float64], gap: int, *, whole: bool) -> NDArray[np.int64]:
    """Give how many images of a sequence each part gets, when the parts `have` some already; `whole`: each one if possible."""
    active = np.arange(len(shares))
    sizes = np.zeros(len(shares), dtype=np.int64)
    while True:
        kept = length - gap * (len(active) - 1)
        wanted = np.maximum(shares * (have.sum() + max(kept, 1)) - have, 0)[active]
        if len(active) == 1:
            sizes[active] = length
            return sizes
        if kept >= len(active):
            own = _rounded(wanted if wanted.any() else shares[active], kept)
            if whole:
                own = np.maximum(own, 1)
                own[np.argmax(own)] -= own.sum() - kept
            if (own > 0).all():
                sizes[active] = own
                return sizes
        active = np.delete(active, len(active) - 1 - np.argmin(wanted[::-1]))


def _rounded(wanted: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Scale to a sum of `total` and round so that it stays (largest remainders)."""
    exact = wanted * (total / wanted.sum())
    whole: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(whole - exact, kind="stable")[: total - whole.sum()]
    whole[rest] += 1
    return whole

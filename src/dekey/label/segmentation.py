"""Classification pictures become labelled ones: each is segmented, and what cannot be trusted is left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, geometry
from dekey.errors import DekeyError
from dekey.label.foreground import Foreground, find_foreground
from dekey.label.points import describe
from dekey.label.sources import Pictures

QUALITY = 0.75
# Objects below have no shape left at the working size; above, the border is hardly background.
LEAST_AREA, MOST_AREA = 0.04, 0.7
# Of a side of the picture; an object that touches more of it goes on outside.
MOST_TOUCHING = 0.15

_AHEAD = 64  # pictures segmented before they are asked for, a thread

KEPT = "kept"
REASONS = {
    "unreadable": "the picture cannot be read",
    "nothing found": "the starts found nothing",
    "too small": f"the object takes less than {LEAST_AREA:.0%} of the picture",
    "too large": f"the object takes more than {MOST_AREA:.0%} of the picture",
    "cut off": f"the object touches more than {MOST_TOUCHING:.0%} of a side of the picture",
    "low quality": "agreement · explained · edges is below the limit",
}
"""Why a picture is left out, in the order in which it is looked at."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A picture and the object in it.

    Attributes:
        index: position among the pictures.
        size: (H, W) px.
        instances: the object (N = 1) in the picture's frame.
        opacity: (h, w) uint8 at the working size: 255 where all starts saw the object, 128 at its outline.
        picture_to_work: affine from the picture's frame to that of `opacity`.
        quality: see `dekey.label.foreground.Foreground`.
    """

    index: int
    size: tuple[int, int]
    instances: Instances
    opacity: NDArray[np.uint8]
    picture_to_work: geometry.Affine
    quality: float


@dataclass(eq=False)
class Result:
    """What became of some pictures.

    Attributes:
        kept: the labelled ones, in order.
        counts: pictures by `KEPT` or the key of `REASONS`.
        per_class: (C, 2) int64, pictures and kept ones of each class.
        qualities: of every picture in which something was found.
        unreadable: the errors of the first pictures that could not be read.
    """

    kept: list[Labelled] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    per_class: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    qualities: list[float] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def label_pictures(
    pictures: Pictures,
    indices: Sequence[int],
    *,
    quality: float = QUALITY,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Segment pictures and label what is found.

    Args:
        pictures: where they come from.
        indices: which of them.
        quality: least `Foreground.quality`, 0 to 1.
        workers: threads; the answer does not depend on their number.
        advance: called after each picture.

    Returns:
        The labelled pictures and the count of those left out; each picture's answer depends on nothing but its pixels.
    """
    result = Result(counts=dict.fromkeys((KEPT, *REASONS), 0))
    result.per_class = np.zeros((len(pictures.classes), 2), dtype=np.int64)

    def segment(index: int) -> tuple[tuple[int, int], Foreground | None] | DekeyError:
        try:
            picture = pictures.read(index)
        except DekeyError as error:
            return error
        return (picture.shape[0], picture.shape[1]), find_foreground(picture)

    for index, answer in zip(indices, _in_turn(segment, indices, workers), strict=True):
        label = int(pictures.labels[index])
        foreground = None if isinstance(answer, DekeyError) else answer[1]
        why = "unreadable" if isinstance(answer, DekeyError) else verdict(foreground, quality)
        if isinstance(answer, DekeyError):
            if len(result.unreadable) < 5:
                result.unreadable.append(str(answer))
        elif foreground is not None:
            result.qualities.append(foreground.quality)
            if why == KEPT:
                affine = foreground.picture_to_work
                one = describe(foreground.mask, geometry.invert(affine), label)
                opacity = np.round(foreground.share * 255).astype(np.uint8)
                result.kept.append(Labelled(index, answer[0], one, opacity, affine, foreground.quality))
        result.counts[why] += 1
        result.per_class[label] += (1, int(why == KEPT))
        advance()
    return result


def verdict(foreground: Foreground | None, quality: float) -> str:
    """Say `KEPT` or the first of `REASONS` that holds."""
    if foreground is None:
        return "nothing found"
    if foreground.area < LEAST_AREA:
        return "too small"
    if foreground.area > MOST_AREA:
        return "too large"
    if foreground.touching > MOST_TOUCHING:
        return "cut off"
    return KEPT if foreground.quality >= quality else "low quality"


def _in_turn(
    work: Callable[[int], tuple[tuple[int, int], Foreground | None] | DekeyError], indices: Sequence[int], workers: int
) -> Iterator[tuple[tuple[int, int], Foreground | None] | DekeyError]:
    """Do the work in threads, a bounded stretch ahead, and give the answers in order."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(indices), workers * _AHEAD):
            yield from pool.map(work, indices[start : start + workers * _AHEAD])

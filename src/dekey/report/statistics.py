"""What the data themselves are like: counts, sizes, and where keypoints lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dekey.data import OCCLUDED, UNLABELLED, VISIBLE, Dataset, geometry
from dekey.metrics.matching import has_box

_MAX_DOTS = 2400  # of a chart; more hide each other and cost bytes


@dataclass(frozen=True)
class KeypointCounts:
    """How often a keypoint is visible, occluded and unlabelled among the objects that can have it."""

    name: str
    visible: int
    occluded: int
    unlabelled: int

    @property
    def labelled(self) -> int:
        """Visible and occluded together."""
        return self.visible + self.occluded


@dataclass(frozen=True)
class Positions:
    """Positions relative to a region, (0, 0) its top left and (1, 1) its bottom right corner.

    Attributes:
        xy: (P, 2).
        groups: (P,) int64 keypoint index.
        means: (K, 2) over all objects, NaN where there is none.
        region: what the positions are relative to, for a sentence.
    """

    xy: NDArray[np.float64]
    groups: NDArray[np.int64]
    means: NDArray[np.float64]
    region: str


def facts(dataset: Dataset) -> list[tuple[str, str]]:
    """List what is counted and measured in a data set as (name, text) rows; the same names for every data set."""
    objects, crowd = dataset.instances, dataset.instances.crowd
    per_image = np.diff(dataset.starts).astype(np.float64)
    sizes = geometry.box_sizes(objects.boxes)
    states = objects.visibility[_possible(dataset)]
    rows = [
        ("images", f"{len(dataset):,}"),
        ("image width × height, px", _pair_ranges(dataset.sizes[:, ::-1].astype(np.float64))),
        ("images without objects", f"{int((per_image == 0).sum()):,}"),
        ("objects", f"{len(objects):,}" + (f", {int(crowd.sum()):,} of them crowds" if crowd.any() else "")),
        ("objects per image", _range(per_image)),
        ("keypoints labelled", f"{int((states > UNLABELLED).sum()):,} of {states.size:,}"),
        ("of these visible", _share(int((states == VISIBLE).sum()), int((states > UNLABELLED).sum()))),
        ("of these occluded", _share(int((states == OCCLUDED).sum()), int((states > UNLABELLED).sum()))),
        ("objects without box", f"{int((~np.isfinite(sizes).all(axis=1)).sum()):,}"),
        ("box width × height, px", _pair_ranges(sizes)),
    ]
    if len(dataset.schema.classes) > 1:
        counts = np.bincount(objects.labels, minlength=len(dataset.schema.classes))
        rows += [(f"class {name}", f"{int(count):,}") for name, count in zip(dataset.schema.classes, counts, strict=False)]
    return rows


def keypoint_counts(dataset: Dataset) -> list[KeypointCounts]:
    """Count the states of every keypoint, in the order of the schema."""
    possible = _possible(dataset)
    counts = {
        state: ((dataset.instances.visibility == state) & possible).sum(axis=0) for state in (VISIBLE, OCCLUDED, UNLABELLED)
    }
    return [
        KeypointCounts(name, int(counts[VISIBLE][index]), int(counts[OCCLUDED][index]), int(counts[UNLABELLED][index]))
        for index, name in enumerate(dataset.schema.keypoints)
    ]


def keypoint_positions(dataset: Dataset) -> Positions | None:
    """Give where the labelled keypoints lie in their boxes, or in the image if no object has a box; None without any."""
    objects = dataset.instances
    boxed: NDArray[np.bool_] = has_box(objects)
    if boxed.any():
        regions, region = objects.boxes, "its box"
    else:
        height, width = dataset.sizes[dataset.image_of_instance()].T.astype(np.float64)
        regions, region = np.stack([np.zeros_like(width), np.zeros_like(height), width, height], axis=1), "the image"
        boxed = np.ones(len(objects), dtype=np.bool_)
    wanted = boxed & ~objects.crowd
    usable: NDArray[np.bool_] = objects.labelled & np.isfinite(objects.keypoints).all(axis=-1) & wanted[:, None]
    if not usable.any():
        return None
    spans = np.where(boxed[:, None], geometry.box_sizes(regions), 1.0)
    relative = (objects.keypoints - regions[:, None, :2]) / spans[:, None]
    counted = np.count_nonzero(usable, axis=0)
    sums = np.where(usable[..., None], relative, 0.0).sum(axis=0)
    means = np.where(counted[:, None] > 0, sums / np.maximum(counted, 1)[:, None], np.nan)
    rows, groups = np.nonzero(usable)
    # Objects at equal steps, not at random: the same data give the same chart.
    step = max(1, -(-rows.size // _MAX_DOTS))
    kept = rows % step == 0
    return Positions(relative[usable][kept], groups[kept].astype(np.int64), means, region)


def object_positions(dataset: Dataset) -> NDArray[np.float64]:
    """Give (P, 2) the centres of the objects' boxes (or keypoint hulls) relative to their images, at most 2,400."""
    objects = dataset.instances
    hulls = geometry.hulls(np.where(objects.labelled[..., None], objects.keypoints, np.nan))
    places = np.where(np.isfinite(objects.boxes).all(axis=1, keepdims=True), objects.boxes, hulls)
    centres: NDArray[np.float64] = (places[:, :2] + places[:, 2:]) / 2 / dataset.sizes[dataset.image_of_instance()][:, ::-1]
    centres = centres[np.isfinite(centres).all(axis=1)]
    return centres[:: max(1, -(-len(centres) // _MAX_DOTS))]


def object_lengths(dataset: Dataset) -> NDArray[np.float64]:
    """Give (P,) the square roots of the objects' box areas, px, without those that have no box."""
    areas = geometry.box_sizes(dataset.instances.boxes).clip(0).prod(axis=1)
    lengths: NDArray[np.float64] = np.sqrt(areas[np.isfinite(areas)])
    return lengths


def _possible(dataset: Dataset) -> NDArray[np.bool_]:
    """Tell (M, K) which keypoints the objects can have: those of their class, and none for a crowd."""
    possible = dataset.schema.present[dataset.instances.labels] & ~dataset.instances.crowd[:, None]
    return possible.astype(np.bool_)


def _range(values: NDArray[np.float64]) -> str:
    """Write minimum, median and maximum of finite values; one number where they agree."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "none"
    low, high = float(values.min()), float(values.max())
    return _number(low) if low == high else f"{_number(low)} – {_number(high)}, median {_number(float(np.median(values)))}"


def _pair_ranges(pairs: NDArray[np.float64]) -> str:
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return "none"
    low, middle, high = (np.quantile(pairs, share, axis=0) for share in (0.05, 0.5, 0.95))
    if np.array_equal(pairs.min(axis=0), pairs.max(axis=0)):
        return f"{_number(pairs[0, 0])} × {_number(pairs[0, 1])}"
    spans = (f"{_number(low[axis])} – {_number(high[axis])}" for axis in (0, 1))
    return f"median {_number(middle[0])} × {_number(middle[1])}; 90 % within {' × '.join(spans)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.1f}"


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.0f} %)" if whole else "none"

"""Pixel error, PCK and NME: how far the found keypoints lie from the truth, with an explicit normaliser."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, Schema, geometry
from dekey.errors import DekeyError, nearest
from dekey.metrics.matching import has_box, scored

NORMALISERS: Final = {
    "sqrt_box_area": "the square root of the area of the object's box",
    "box_diagonal": "the diagonal of the object's box",
    "box_long_side": "the longer side of the object's box",
    "hull_diagonal": "the diagonal of the upright hull of the object's labelled keypoints",
    "image_diagonal": "the diagonal of the image",
    "pixels": "one pixel",
}
RELATIVE_LIMITS: Final = (0.05, 0.1)
PIXEL_LIMITS: Final = (2, 5, 10)
DISTANCE_VALUES: Final = (
    "median_px", "mean_px", "p75_px", "p90_px", "p95_px", "nme",
    *(f"pck@{limit}" for limit in RELATIVE_LIMITS), "pck_auc", *(f"pck@{limit}px" for limit in PIXEL_LIMITS),
    "found_keypoint_share",
)  # fmt: skip


def pixel_errors(truth: Instances, found: Instances, found_of_truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure the distance of each labelled keypoint of each counted truth to the one found for it.

    Args:
        truth: M objects.
        found: all found objects.
        found_of_truth: (M,) index into `found`, −1 where a truth has no partner.

    Returns:
        (M, K) px; NaN where the keypoint is unlabelled, the truth has no partner or is a crowd, or the keypoint was not
        found (is NaN or infinite).
    """
    errors = np.full(truth.visibility.shape, np.nan)
    rows = np.flatnonzero((found_of_truth >= 0) & ~truth.crowd)
    answers = found.keypoints[found_of_truth[rows]]
    with np.errstate(invalid="ignore"):
        delta = answers - truth.keypoints[rows]
    distance = np.hypot(delta[..., 0], delta[..., 1])
    errors[rows] = np.where(truth.labelled[rows] & np.isfinite(distance), distance, np.nan)
    return errors


def normalisers(name: str, truth: Instances, sizes: NDArray[np.int64], schema: Schema) -> NDArray[np.float64]:
    """Give the length by which each object's errors are divided.

    Args:
        name: one of `NORMALISERS`, or two keypoints of the truth joined by a colon (``left_eye:right_eye``).
        truth: M objects.
        sizes: (M, 2) H, W px of the object's image.
        schema: names of the keypoints.

    Returns:
        (M,) px, above 0; NaN for an object that has no such length: no box, a named keypoint unlabelled, no extent.

    Raises:
        DekeyError: if the name is neither of these.
    """
    if name == "pixels":
        return np.ones(len(truth))
    if name == "image_diagonal":
        lengths = np.hypot(sizes[:, 0], sizes[:, 1]).astype(np.float64)
    elif name == "hull_diagonal":
        lengths = _diagonals(geometry.hulls(np.where(truth.labelled[..., None], truth.keypoints, np.nan)))
    elif name in NORMALISERS:
        boxes = np.where(has_box(truth)[:, None], truth.boxes, np.nan)
        width, height = geometry.box_sizes(boxes).T
        by_name = {
            "sqrt_box_area": np.sqrt(width) * np.sqrt(height),
            "box_diagonal": np.hypot(width, height),
            "box_long_side": np.maximum(width, height),
        }
        lengths = by_name[name]
    else:
        first, second = _keypoint_pair(name, schema)
        both = truth.labelled[:, first] & truth.labelled[:, second]
        delta = truth.keypoints[:, first] - truth.keypoints[:, second]
        lengths = np.where(both, np.hypot(delta[:, 0], delta[:, 1]), np.nan)
    return np.where(np.isfinite(lengths) & (lengths > 0), lengths, np.nan)


def default_normaliser(truth: Instances) -> tuple[str, str]:
    """Choose a normaliser that every counted object has, and say why in one sentence.

    `sqrt_box_area` where every counted object has a box; else `hull_diagonal` where each has two labelled keypoints at
    different places; else `image_diagonal`.
    """
    own = truth[scored(truth)]
    if has_box(own).all():
        return "sqrt_box_area", "the square root of the area of the object's box, as every object has a box"
    without = int((~has_box(own)).sum())
    missing = f"{without} of {len(own)} objects have no box"
    diagonals = _diagonals(geometry.hulls(np.where(own.labelled[..., None], own.keypoints, np.nan)))
    if (diagonals > 0).all():
        return "hull_diagonal", f"{NORMALISERS['hull_diagonal']}, as {missing}"
    return "image_diagonal", f"{NORMALISERS['image_diagonal']}, as {missing} and some have no two labelled keypoints apart"


def check_normaliser(name: str, schema: Schema) -> None:
    """Raise DekeyError unless `name` is one of `NORMALISERS` or names two keypoints of the schema."""
    if name not in NORMALISERS:
        _keypoint_pair(name, schema)


def summarise(
    errors: NDArray[np.float64],
    lengths: NDArray[np.float64],
    counted: NDArray[np.bool_],
    auc_limit: float,
) -> dict[str, float]:
    """Reduce errors to numbers; those that have nothing to be taken from are left out.

    Pixel errors and NME are over the found keypoints. PCK is over all counted keypoints whose object has a normaliser,
    and over all counted ones for limits in px: a keypoint that was not found is wrong at every limit.

    Args:
        errors: (M, K) px, NaN where not found.
        lengths: (M,) normaliser px, NaN where an object has none.
        counted: (M, K) the keypoints to look at: labelled, of counted truths.
        auc_limit: the threshold up to which the area under the PCK curve is taken.
    """
    px = errors[counted]
    values: dict[str, float] = {}
    if not px.size:
        return values
    reached = px[np.isfinite(px)]
    if reached.size:
        median, p75, p90, p95 = np.percentile(reached, [50, 75, 90, 95]).tolist()
        values |= {"median_px": median, "mean_px": float(reached.mean()), "p75_px": p75, "p90_px": p90, "p95_px": p95}
    for limit in PIXEL_LIMITS:
        values[f"pck@{limit}px"] = float((px <= limit).mean())
    values["found_keypoint_share"] = reached.size / px.size
    ratios = relative_errors(errors, lengths, counted)
    if ratios.size:
        if np.isfinite(ratios).any():
            values["nme"] = float(ratios[np.isfinite(ratios)].mean())
        for relative in RELATIVE_LIMITS:
            values[f"pck@{relative}"] = float((ratios <= relative).mean())
        # The area under the step curve t -> share(ratio <= t), exactly: each keypoint adds what is left of it.
        values["pck_auc"] = float(np.nan_to_num(np.clip(1 - ratios / auc_limit, 0, 1), nan=0.0).mean())
    return {name: values[name] for name in DISTANCE_VALUES if name in values}


def relative_errors(
    errors: NDArray[np.float64], lengths: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give (n,) errors in units of the normaliser, of the counted keypoints whose object has one; NaN where not found."""
    has_length = np.isfinite(lengths)[:, None] & counted
    ratios: NDArray[np.float64] = (errors / lengths[:, None])[has_length]
    return ratios


def pck_curve(ratios: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the share of keypoints with an error at or below each threshold; NaN counts as above all.

    >>> pck_curve(np.array([0.0, 0.1, np.nan, 0.3]), np.array([0.0, 0.1, 0.2]))
    array([0.25, 0.5 , 0.5 ])
    """
    if not ratios.size:
        return np.zeros(0)
    ordered = np.sort(ratios)  # NaN last
    shares: NDArray[np.float64] = np.searchsorted(ordered, thresholds, side="right") / ratios.size
    return shares


def _diagonals(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = geometry.box_sizes(boxes)
    return np.hypot(sizes[:, 0], sizes[:, 1])


def _keypoint_pair(name: str, schema: Schema) -> tuple[int, int]:
    colons = [place for place, letter in enumerate(name) if letter == ":"]
    for place in colons:
        first, second = name[:place], name[place + 1 :]
        if first in schema.keypoints and second in schema.keypoints and first != second:
            return schema.keypoint_index(first), schema.keypoint_index(second)
    if colons:
        first, second = name.split(":", 1)
        if first == second:
            raise DekeyError(f"the normaliser '{name}' names one keypoint twice; name two keypoints that lie apart")
        schema.keypoint_index(first)
        schema.keypoint_index(second)
    raise DekeyError(
        f"there is no normaliser '{name}'{nearest(name, NORMALISERS)}; use one of {', '.join(NORMALISERS)}, or two keypoints "
        "joined by a colon such as left_eye:right_eye"
    )

"""The report's numbers in words that can be quoted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dekey.data import Dataset
from dekey.metrics import Evaluation
from dekey.metrics.distance import NORMALISERS

MINUS, DASH = "−", "–"
# The order of the table of numbers; what a measurement has besides follows in its own order.
_LABELS = {
    "median_px": "median error, px",
    "mean_px": "mean error, px",
    "p75_px": "75 % of the errors are below, px",
    "p90_px": "90 % of the errors are below, px",
    "p95_px": "95 % of the errors are below, px",
    "nme": "normalised mean error (NME)",
    "pck@0.05": "keypoints within 0.05 of the normaliser (PCK)",
    "pck@0.1": "keypoints within 0.1 of the normaliser (PCK)",
    "pck_auc": "area under the PCK curve",
    "pck@2px": "keypoints within 2 px (PCK)",
    "pck@5px": "keypoints within 5 px (PCK)",
    "pck@10px": "keypoints within 10 px (PCK)",
    "found_share": "objects found",
    "found_keypoint_share": "keypoints found",
    "AP": "OKS average precision (AP)",
    "AP50": "AP at OKS 0.5",
    "AP75": "AP at OKS 0.75",
    "AP_medium": "AP of objects of 32² to 96² px²",
    "AP_large": "AP of objects above 96² px²",
    "AR": "OKS average recall (AR)",
    "AR50": "AR at OKS 0.5",
    "AR75": "AR at OKS 0.75",
    "AR_medium": "AR of objects of 32² to 96² px²",
    "AR_large": "AR of objects above 96² px²",
    "box_AP": "box average precision (AP)",
    "box_AP50": "box AP at IoU 0.5",
    "box_AP75": "box AP at IoU 0.75",
    "box_AP_small": "box AP of objects below 32² px²",
    "box_AP_medium": "box AP of objects of 32² to 96² px²",
    "box_AP_large": "box AP of objects above 96² px²",
    "box_AR1": "box average recall with one answer an image",
    "box_AR10": "box average recall with ten answers an image",
    "box_AR": "box average recall (AR)",
    "box_AR_small": "box AR of objects below 32² px²",
    "box_AR_medium": "box AR of objects of 32² to 96² px²",
    "box_AR_large": "box AR of objects above 96² px²",
    "occluded_precision": "keypoints called occluded that are (precision)",
    "occluded_recall": "occluded keypoints that are called so (recall)",
    "occluded_f1": "occlusion, F1",
    "images": "images",
    "objects": "objects",
    "keypoints": "labelled keypoints",
    "extra_found_per_image": "objects found beside the annotated ones, per image",
}
_SHARES = ("nme", "found_share", "found_keypoint_share", "occluded_precision", "occluded_recall")
_COUNTS = ("images", "objects", "keypoints")


def number(value: float, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, and no less than its whole part; a dash where it is not finite.

    >>> number(0.012345), number(12345.6), number(float("nan"))
    ('0.0123', '12,346', '–')
    """
    if not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{min(places, 6)}f}".replace("-", MINUS)


def share(value: float) -> str:
    """Write a share in percent.

    >>> share(0.0239)
    '2.39 %'
    """
    return f"{number(100 * value)} %" if math.isfinite(value) else DASH


def written(name: str, value: float, normaliser: str = "") -> str:
    """Write a value as its name asks for: a count whole, a share in percent, the rest as a number."""
    if name in _COUNTS:
        return f"{value:,.0f}"
    if (name in _SHARES or name.startswith("pck@")) and not (name == "nme" and normaliser == "pixels"):
        return share(value)
    return number(value)


def value_rows(evaluation: Evaluation, baseline: Evaluation | None) -> list[tuple[str, str, str, str]]:
    """List (name, words, model's value, baseline's value); a number only one of them has gets a dash."""
    names = list(evaluation.values) + [name for name in (baseline.values if baseline else {}) if name not in evaluation.values]
    order = {name: position for position, name in enumerate(_LABELS)}
    names.sort(key=lambda name: order.get(name, len(order)))

    def cell(measured: Evaluation | None, name: str) -> str:
        return written(name, measured.values[name], measured.normaliser) if measured and name in measured.values else DASH

    return [(name, _LABELS.get(name, name), cell(evaluation, name), cell(baseline, name)) for name in names]


def normaliser_words(name: str) -> str:
    """Say what errors are divided by."""
    if name in NORMALISERS:
        return NORMALISERS[name]
    start, _, end = name.partition(":")
    return f"the distance from {start} to {end}" if end else name


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def summary(held_out: Dataset, evaluation: Evaluation | None, baseline: Evaluation | None) -> list[str]:
    """Say the result in a few sentences a scientist can quote."""
    images = counted(len(held_out), "held-out image")
    if evaluation is None:
        return [f"Nothing was measured on the {images}."]
    values = evaluation.values
    lines = _objects_found(images, evaluation) if evaluation.boxes and "found_share" in values else []
    if "median_px" not in values:
        reason = evaluation.notes.get("median_px", "no keypoint is both labelled and found")
        lines.append(sentence(f"on {images} there is no error to state: {reason}"))
        return _unbroken(lines)
    where = (
        f"Over the {counted(round(values['keypoints'] * values['found_keypoint_share']), 'labelled keypoint')} found with them"
        if lines
        else f"On {images} that training never saw, with {counted(round(values['objects']), 'object')} and "
        f"{counted(round(values['keypoints']), 'labelled keypoint')}"
    )
    lines.append(
        f"{where}, the median error is {number(values['median_px'])} px"
        + (f"; 90 % of the errors are below {number(values['p90_px'])} px." if "p90_px" in values else ".")
    )
    if "nme" in values and evaluation.normaliser != "pixels":
        parts = f"The normalised mean error is {share(values['nme'])} of {normaliser_words(evaluation.normaliser)}"
        if "pck@0.1" in values:
            parts += f", and {share(values['pck@0.1'])} of the keypoints lie within a tenth of it"
        lines.append(parts + ".")
    missed = 1 - values.get("found_keypoint_share", 1.0)
    if missed > 0:
        lines.append(
            f"{share(missed)} of the labelled keypoints were not found; they have no error, but count as wrong in PCK."
        )
    if baseline is not None and "median_px" in baseline.values:
        theirs, ours = baseline.values["median_px"], values["median_px"]
        words = f"Placing the mean pose of the training objects, without looking at the image, gives {number(theirs)} px"
        if evaluation.boxes:
            lines.append(f"{words}, if it is told each object's true box, which the model has to find.")
            return _unbroken(lines)
        if 0 < ours < theirs:
            words += f", {number(theirs / ours, 2)} times as much."
        elif ours > 0:
            words += ", no more than the model's: the model has learned nothing that the mean does not know."
        else:
            words += "."
        lines.append(words)
    return _unbroken(lines)


def _objects_found(images: str, evaluation: Evaluation) -> list[str]:
    """Say how many objects were found and invented, and the average precisions that are defined."""
    values = evaluation.values
    objects, invented = round(values["objects"]), values.get("extra_found_per_image", 0.0)
    found = round(values["found_share"] * objects)
    words = (
        f"On {images} that training never saw, {found:,} of {counted(objects, 'object')} were found "
        f"({share(values['found_share'])}), and {number(invented)} per image were invented"
    )
    if evaluation.score_threshold > 0:
        words += f"; an object counts as found from a score of {number(evaluation.score_threshold, 2)} on"
    kinds = {"box_AP": "of boxes", "AP": "of poses (OKS)"}
    precisions = [f"{number(values[key])} {kind}" for key, kind in kinds.items() if key in values]
    lines = [words + "."]
    if precisions:
        lines.append(f"The average precision is {' and '.join(precisions)}.")
    return lines


def _unbroken(lines: list[str]) -> list[str]:
    """Keep every number on the line of its unit."""
    return [re.sub(r"(?<=\d) (?=px|%)", "\u00a0", line) for line in lines]


def sentence(words: str) -> str:
    """Begin with a capital and end with a full stop.

    >>> sentence("no object has a box")
    'No object has a box.'
    """
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Walk nested settings as (dotted name, text).

    >>> list(flattened({"optim": {"lr": 0.001}, "seed": None}))
    [('optim.lr', '0.001'), ('seed', 'none')]
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", text(value)


def text(value: Any) -> str:
    """Write a fact or a setting."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(int(value)) >= 10_000 else str(value)
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}".replace("-", MINUS) if math.isfinite(value) else "undefined"
    if isinstance(value, list | tuple):
        return ", ".join(text(part) for part in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text(part)}" for name, part in value.items()) or "none"
    return str(value)

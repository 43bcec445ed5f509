"""`evaluate`: every number of a data set and what was found in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dekey.data import OCCLUDED, VISIBLE, Dataset, Instances
from dekey.errors import DekeyError
from dekey.metrics import distance
from dekey.metrics.answers import checked, partners
from dekey.metrics.boxes import BOX_VALUES, BoxAveragePrecision
from dekey.metrics.explanations import chosen_sigmas, explain, normaliser_note
from dekey.metrics.failures import failures
from dekey.metrics.matching import has_box, scored
from dekey.metrics.oks import OKS_VALUES, OksAveragePrecision, object_areas
from dekey.metrics.result import Evaluation
from dekey.metrics.visibility import OCCLUSION_VALUES, occlusion

CURVE_LIMIT: Final = 0.2
CURVE_LIMIT_PIXELS: Final = 20.0
COUNT_VALUES: Final = ("images", "objects", "keypoints", "found_share", "extra_found_per_image")
VALUES: Final = (*COUNT_VALUES, *distance.DISTANCE_VALUES, *OKS_VALUES, *BOX_VALUES, *OCCLUSION_VALUES)


@runtime_checkable
class PredictsDataset(Protocol):
    """Anything that answers for a whole data set, such as the Predictor."""

    def predict_dataset(self, dataset: Dataset) -> list[Instances]:
        """Give the found objects of every image, in the order of the data set."""
        ...


def evaluate(
    dataset: Dataset,
    model_or_found: PredictsDataset | Sequence[Instances],
    *,
    sigmas: float | Sequence[float] | None = None,
    normaliser: str | None = None,
    thresholds: Sequence[float] | None = None,
    score_threshold: float | None = None,
    boxes: bool | None = None,
) -> Evaluation:
    """Measure found objects against a data set.

    Args:
        dataset: the truth.
        model_or_found: something with `predict_dataset`, or the found objects of every image in the data set's order.
        sigmas: OKS constants, one for all keypoints or (K,); without them the schema's. Where neither states any, there
            is no OKS-AP: sigmas are never invented.
        normaliser: one of `distance.NORMALISERS` or two keypoints joined by a colon; without it
            `distance.default_normaliser` chooses.
        thresholds: of the PCK curve, rising, in units of the normaliser; the last is the limit of its area. Without
            them 0 to 0.2 in 100 steps, or 0 to 20 px where the normaliser is ``pixels``.
        score_threshold: found objects with a lower score count in average precision alone; they have no partner, no pixel
            error, and are not extra. Without it what the model's manifest states, else 0, which takes all.
        boxes: whether the found boxes are the model's own, so that they are measured: box AP; objects that have a box but
            no labelled keypoint count; and partners must overlap, even where there is one of each. Without it what the
            model's manifest states, else False.

    Raises:
        DekeyError: if `dataset` is none, the found objects do not fit it, or an option is wrong.
    """
    if not isinstance(dataset, Dataset):
        raise DekeyError(f"found {type(dataset).__name__} to measure against, expected a Dataset, such as dekey.read gives")
    schema, truth = dataset.schema, dataset.instances
    if normaliser is not None:
        distance.check_normaliser(normaliser, schema)
    own_sigmas, sigmas_note = chosen_sigmas(schema, sigmas)
    score_threshold, boxes = _asked(model_or_found, score_threshold, boxes)
    found = model_or_found.predict_dataset(dataset) if isinstance(model_or_found, PredictsDataset) else model_or_found
    notes: dict[str, str] = {}
    found = checked(dataset, found, notes)

    counts = scored(truth) | (~truth.crowd & has_box(truth) & boxes)
    name, reason = (normaliser, "as asked for") if normaliser else distance.default_normaliser(truth)
    sizes = dataset.sizes[dataset.image_of_instance()]
    lengths = distance.normalisers(name, truth, sizes, schema)
    curve = _thresholds(thresholds, CURVE_LIMIT_PIXELS if name == "pixels" else CURVE_LIMIT)
    counted = truth.labelled & counts[:, None]

    paired = partners(dataset, found, score_threshold, counts, lone_pairs=not boxes)
    found_of_truth = paired.found_of_truth
    starts = np.cumsum([0, *(len(one) for one in found)], dtype=np.int64)[dataset.image_of_instance()]
    found_of_all = np.where(found_of_truth < 0, -1, starts + found_of_truth)
    everything_found = Instances.concatenate(found, len(schema.keypoints))
    errors = distance.pixel_errors(truth, everything_found, found_of_all)

    values: dict[str, float] = {
        "images": float(len(dataset)),
        "objects": float(counts.sum()),
        "keypoints": float(counted.sum()),
    }
    if counts.any():
        values["found_share"] = float((found_of_truth[counts] >= 0).mean())
    if len(dataset):
        values["extra_found_per_image"] = sum(len(extra) for extra in paired.extra) / len(dataset)

    def summarise(mask: NDArray[np.bool_]) -> dict[str, float]:
        numbers = distance.summarise(errors, lengths, counted & mask, float(curve[-1]))
        return {"keypoints": float((counted & mask).sum()), **numbers} if numbers else {}

    values |= summarise(np.ones_like(counted))
    groups = {
        "per_keypoint": {key: np.arange(len(schema.keypoints)) == index for index, key in enumerate(schema.keypoints)},
        "per_visibility": {"visible": truth.visibility == VISIBLE, "occluded": truth.visibility == OCCLUDED},
        "per_class": {key: (truth.labels == index)[:, None] for index, key in enumerate(schema.classes)},
    }
    if len(schema.classes) < 2:
        groups["per_class"] = {}
    tables = {kind: {key: summarise(mask) for key, mask in masks.items()} for kind, masks in groups.items()}

    occluded, occlusion_notes = occlusion(truth, everything_found, found_of_all, counted)
    values |= occluded
    notes |= occlusion_notes
    precisions = (_oks_precision(dataset, found, own_sigmas, notes), _box_precision(dataset, found, notes) if boxes else None)
    for precision in precisions:
        if precision is not None:
            values |= precision.compute()
            for index, key in enumerate(schema.classes if tables["per_class"] else ()):
                tables["per_class"][key] |= precision.compute_class(index)

    values = {key: values[key] for key in VALUES if key in values}
    notes["normaliser"] = normaliser_note(name, reason, lengths, scored(truth))
    notes["sigmas"] = sigmas_note
    if "found_share" in values and values["found_share"] < 1:
        missed = int((found_of_truth[counts] < 0).sum())
        notes["pairs"] = (
            f"{missed} of {int(counts.sum())} objects were not found; their keypoints are wrong in PCK and have no pixel error"
        )
    if score_threshold > 0:
        notes["threshold"] = (
            f"objects with a score of {score_threshold:g} or more count as found; average precision ranks those below as well"
        )
    explain(VALUES, values, notes, dataset, name, boxes)
    for kind, table in tables.items():
        for key in [key for key, numbers in table.items() if not numbers]:
            del table[key]
            notes[f"{kind}.{key}"] = f"there is no row for '{key}': no labelled keypoint of the data set belongs to it"
    return Evaluation(
        values,
        notes,
        name,
        tables["per_keypoint"],
        tables["per_visibility"],
        tables["per_class"],
        (curve, distance.pck_curve(distance.relative_errors(errors, lengths, counted), curve)),
        errors,
        lengths,
        found_of_truth,
        score_threshold,
        boxes,
        failures(dataset, found, found_of_truth, paired.extra, errors, counts, own_sigmas),
    )


def _asked(
    model_or_found: PredictsDataset | Sequence[Instances], score_threshold: float | None, boxes: bool | None
) -> tuple[float, bool]:
    """Fill in what the caller left open from the model's manifest, which a list of found objects does not have."""
    manifest = getattr(model_or_found, "manifest", None)
    if score_threshold is None:
        score_threshold = float(getattr(manifest, "object_threshold", 0.0))
    if not math.isfinite(score_threshold):
        raise DekeyError(f"found a score threshold of {score_threshold}, expected a number such as 0.3")
    return score_threshold, bool(getattr(manifest, "finds_boxes", False)) if boxes is None else boxes


def _oks_precision(
    dataset: Dataset, found: Sequence[Instances], sigmas: NDArray[np.float64] | None, notes: dict[str, str]
) -> OksAveragePrecision | None:
    """Fill OKS-AP image by image, or say in `notes` why it cannot be."""
    truth, counts = dataset.instances, scored(dataset.instances)
    if sigmas is None or not counts.any():
        return None
    areas, source = object_areas(truth)
    total = int(counts.sum())
    without = int((source[counts] == 3).sum())
    if without:
        notes["areas"] = (
            f"OKS-AP is not computed: {without} of {total} objects have no annotated area, no box and no keypoints that span "
            "one, so OKS has no scale; annotate boxes"
        )
        return None
    stand_ins = [
        f"{int((source[counts] == code).sum())} of {total} objects have no annotated area and get that of their {what}"
        for code, what in ((1, "box"), (2, "keypoints' upright hull"))
        if (source[counts] == code).any()
    ]
    if stand_ins:
        notes["areas"] = f"{'; '.join(stand_ins)}, so OKS is not comparable with one scaled by segmentation areas"
    truth = replace(truth, areas=areas)
    precision = OksAveragePrecision(sigmas, len(dataset.schema.classes), dataset.schema.present)
    for position, one in enumerate(found):
        own = slice(int(dataset.starts[position]), int(dataset.starts[position + 1]))
        precision.update(truth[own], one, int(dataset.image_ids[position]))
    return precision


def _box_precision(dataset: Dataset, found: Sequence[Instances], notes: dict[str, str]) -> BoxAveragePrecision | None:
    """Fill box AP image by image, or say in `notes` why it cannot be."""
    truth = dataset.instances
    own = truth[~truth.crowd]
    without = int((~has_box(own)).sum())
    if without:
        notes["boxes"] = f"box AP is not computed: {without} of {len(own)} objects have no box; annotate boxes"
    if without or not len(own):
        return None
    unsized = int(np.isnan(own.areas).sum())
    if unsized:
        notes["boxes"] = (
            f"{unsized} of {len(own)} objects have no annotated area; whether they are small, medium or large in box AP goes "
            "by the area of their box"
        )
    precision = BoxAveragePrecision(len(dataset.schema.classes))
    for position, one in enumerate(found):
        part = slice(int(dataset.starts[position]), int(dataset.starts[position + 1]))
        precision.update(truth[part], one, int(dataset.image_ids[position]))
    return precision


def _thresholds(given: Sequence[float] | None, limit: float) -> NDArray[np.float64]:
    if given is None:
        return np.linspace(0, limit, 101)
    thresholds = np.asarray(given, dtype=np.float64)
    rising = thresholds.ndim == 1 and thresholds.size > 0 and bool(np.isfinite(thresholds).all())
    if not rising or thresholds[0] < 0 or thresholds[-1] <= 0 or (np.diff(thresholds) <= 0).any():
        raise DekeyError(f"the PCK thresholds {thresholds.tolist()} are not rising numbers from 0 or above; give them sorted")
    return thresholds

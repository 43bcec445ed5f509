"""`evaluate`: every number of a data set and what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dekey.data import OCCLUDED, VISIBLE, Dataset, Instances, Schema
from dekey.data.schema import COCO_PERSON_KEYPOINTS, COCO_PERSON_SIGMAS
from dekey.errors import DekeyError
from dekey.metrics import distance
from dekey.metrics.matching import pair, scored
from dekey.metrics.oks import OKS_VALUES, OksAveragePrecision, object_areas
from dekey.metrics.result import Evaluation

CURVE_LIMIT: Final = 0.2
CURVE_LIMIT_PIXELS: Final = 20.0
COUNT_VALUES: Final = ("images", "objects", "keypoints", "found_share", "extra_found_per_image")
VALUES: Final = (*COUNT_VALUES, *distance.DISTANCE_VALUES, *OKS_VALUES)


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

    Raises:
        DekeyError: if the found objects do not fit the data set, or an option is wrong.
    """
    schema, truth = dataset.schema, dataset.instances
    if normaliser is not None:
        distance.check_normaliser(normaliser, schema)
    own_sigmas, sigmas_note = _sigmas(schema, sigmas)
    found = model_or_found.predict_dataset(dataset) if isinstance(model_or_found, PredictsDataset) else model_or_found
    notes: dict[str, str] = {}
    found = _checked(dataset, found, notes)

    name, reason = (normaliser, "as asked for") if normaliser else distance.default_normaliser(truth)
    sizes = dataset.sizes[dataset.image_of_instance()]
    lengths = distance.normalisers(name, truth, sizes, schema)
    curve = _thresholds(thresholds, CURVE_LIMIT_PIXELS if name == "pixels" else CURVE_LIMIT)
    counts = scored(truth)
    counted = truth.labelled & counts[:, None]

    found_of_truth, extra = _paired(dataset, found)
    starts = np.cumsum([0, *(len(one) for one in found)], dtype=np.int64)[dataset.image_of_instance()]
    everything_found = Instances.concatenate(found, len(schema.keypoints))
    errors = distance.pixel_errors(truth, everything_found, np.where(found_of_truth < 0, -1, starts + found_of_truth))

    values: dict[str, float] = {
        "images": float(len(dataset)),
        "objects": float(counts.sum()),
        "keypoints": float(counted.sum()),
    }
    if counts.any():
        values["found_share"] = float((found_of_truth[counts] >= 0).mean())
    if len(dataset):
        values["extra_found_per_image"] = extra / len(dataset)

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

    precision = _average_precision(dataset, found, own_sigmas, notes)
    if precision is not None:
        values |= precision.compute()
        for index, key in enumerate(schema.classes if tables["per_class"] else ()):
            tables["per_class"][key] |= precision.compute_class(index)

    values = {key: values[key] for key in VALUES if key in values}
    notes["normaliser"] = _normaliser_note(name, reason, lengths, counts)
    notes["sigmas"] = sigmas_note
    if "found_share" in values and values["found_share"] < 1:
        missed = int((found_of_truth[counts] < 0).sum())
        notes["pairs"] = (
            f"{missed} of {int(counts.sum())} objects were not found; their keypoints are wrong in PCK and have no pixel error"
        )
    _explain(values, notes, own_sigmas is not None, sigmas_note, dataset, name)
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
    )


def _checked(dataset: Dataset, found: Sequence[Instances], notes: dict[str, str]) -> list[Instances]:
    """Check what was found and give every image's objects scores; raises DekeyError where it does not fit."""
    if isinstance(found, Instances) or not isinstance(found, Sequence):
        raise DekeyError(
            f"found {type(found).__name__} to measure, expected a list of Instances, one an image, or a loaded model"
        )
    if len(found) != len(dataset):
        raise DekeyError(
            f"found answers for {len(found)} images but the data set has {len(dataset)}; give one Instances an image, "
            "empty where nothing was found, in the order of the data set"
        )
    keypoints, classes = len(dataset.schema.keypoints), len(dataset.schema.classes)
    result = []
    for position, one in enumerate(found):
        if not isinstance(one, Instances):
            raise DekeyError(f"the answer for image {position} is a {type(one).__name__}, expected Instances")
        if one.keypoints.shape[1] != keypoints:
            raise DekeyError(
                f"the answer for image {position} has {one.keypoints.shape[1]} keypoints an object but the data set has "
                f"{keypoints}; measure with the schema that the model was trained on"
            )
        if len(one) and not (one.labels.min() >= 0 and one.labels.max() < classes):
            raise DekeyError(
                f"the answer for image {position} names class {one.labels.max() if one.labels.min() >= 0 else one.labels.min()}"
                f" but the data set has {classes}, counted from 0; measure with the schema that the model was trained on"
            )
        scores = one.scores
        if scores is None:
            if len(one):
                notes["scores"] = "found objects without scores are ranked as given, as if each had score 1"
            scores = np.ones(len(one))
        if not np.isfinite(scores).all():
            raise DekeyError(f"the answer for image {position} has a score that is no number; give every object a finite score")
        result.append(replace(one, scores=scores, keypoint_scores=None))
    return result


def _paired(dataset: Dataset, found: Sequence[Instances]) -> tuple[NDArray[np.int64], int]:
    """Pair image by image: (M,) position of the partner within its image's found objects or −1, and the extra ones."""
    found_of_truth = np.full(len(dataset.instances), -1, dtype=np.int64)
    extra = 0
    for position, one in enumerate(found):
        own = slice(int(dataset.starts[position]), int(dataset.starts[position + 1]))
        height, width = dataset.sizes[position].tolist()
        pairs = pair(dataset.instances[own], one, (height, width))
        found_of_truth[own] = pairs.found_of_truth
        extra += int(pairs.extra.sum())
    return found_of_truth, extra


def _average_precision(
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


def _sigmas(schema: Schema, given: float | Sequence[float] | None) -> tuple[NDArray[np.float64] | None, str]:
    """Choose the sigmas and say in a sentence where they come from."""
    if given is not None:
        sigmas = schema.with_sigmas(given).sigmas
        assert sigmas is not None
        return sigmas, f"OKS sigmas as given by the caller: {_listed(sigmas)}"
    if schema.sigmas is None:
        return None, (
            "OKS-AP is not computed: nobody stated sigmas for these keypoints; pass --sigmas 0.05 (one for all) or one a "
            "keypoint, and state them beside the number"
        )
    if list(schema.keypoints) == COCO_PERSON_KEYPOINTS and np.array_equal(schema.sigmas, COCO_PERSON_SIGMAS):
        return schema.sigmas, "OKS sigmas are COCO's constants for its 17 person keypoints"
    return schema.sigmas, f"OKS sigmas as the data set states them: {_listed(schema.sigmas)}"


def _listed(sigmas: NDArray[np.float64]) -> str:
    if sigmas.size and (sigmas == sigmas[0]).all():
        return f"{sigmas[0]:g} for every keypoint"
    return ", ".join(f"{sigma:g}" for sigma in sigmas)


def _thresholds(given: Sequence[float] | None, limit: float) -> NDArray[np.float64]:
    if given is None:
        return np.linspace(0, limit, 101)
    thresholds = np.asarray(given, dtype=np.float64)
    rising = thresholds.ndim == 1 and thresholds.size > 0 and bool(np.isfinite(thresholds).all())
    if not rising or thresholds[0] < 0 or thresholds[-1] <= 0 or (np.diff(thresholds) <= 0).any():
        raise DekeyError(f"the PCK thresholds {thresholds.tolist()} are not rising numbers from 0 or above; give them sorted")
    return thresholds


def _normaliser_note(name: str, reason: str, lengths: NDArray[np.float64], counts: NDArray[np.bool_]) -> str:
    what = distance.NORMALISERS.get(name, f"the distance of the keypoints {name} in the truth")
    note = f"NME and PCK divide by {what}" if reason == "as asked for" else f"NME and PCK divide by {reason}"
    without = int(np.isnan(lengths[counts]).sum())
    if without:
        note += f"; {without} of {int(counts.sum())} objects have no such length and are left out of both"
    return note


def _explain(
    values: dict[str, float], notes: dict[str, str], has_sigmas: bool, sigmas_note: str, dataset: Dataset, normaliser: str
) -> None:
    """Put a sentence into `notes` for every number that has no value."""
    if not values["keypoints"]:
        distance_note = oks_note = (
            f"nothing can be measured: none of the {len(dataset.instances)} objects in {len(dataset)} images counts, "
            "which takes a labelled keypoint and no crowd"
        )
    else:
        distance_note = (
            f"pixel error and NME are not defined: none of the {int(values['keypoints'])} labelled keypoints was found"
        )
        oks_note = notes.get("areas", "") if has_sigmas else sigmas_note
    what = distance.NORMALISERS.get(normaliser, "both of these keypoints labelled")
    no_length = f"NME and PCK are not defined: no object has the length '{normaliser}' ({what}); choose another normaliser"
    for key in VALUES:
        if key in values:
            continue
        if key in OKS_VALUES:
            size = key.partition("_")[2]
            notes[key] = oks_note
            if size and "AP" in values:
                span = "from 32² to 96² px²" if size == "medium" else "of 96² px² or more"
                notes[key] = f"AP_{size} and AR_{size} are not defined: no object that counts has an area {span}"
        elif key == "extra_found_per_image":
            notes[key] = "extra_found_per_image is not defined: the data set has no images"
        elif values["keypoints"] and "pck_auc" not in values and (key.startswith("pck") or key == "nme"):
            notes[key] = no_length
        else:
            notes[key] = distance_note

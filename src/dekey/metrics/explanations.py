"""The sentences of an `Evaluation`: what its numbers rest on, and why some have no value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Schema
from dekey.data.schema import COCO_PERSON_KEYPOINTS, COCO_PERSON_SIGMAS
from dekey.metrics import distance
from dekey.metrics.boxes import BOX_VALUES
from dekey.metrics.oks import OKS_VALUES

_SPANS = {"small": "below 32² px²", "medium": "from 32² to 96² px²", "large": "of 96² px² or more"}


def chosen_sigmas(schema: Schema, given: float | Sequence[float] | None) -> tuple[NDArray[np.float64] | None, str]:
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


def normaliser_note(name: str, reason: str, lengths: NDArray[np.float64], counts: NDArray[np.bool_]) -> str:
    """Say what NME and PCK divide by, why, and how many of the counted (M,) objects have no such length (NaN in `lengths`)."""
    what = distance.NORMALISERS.get(name, f"the distance of the keypoints {name} in the truth")
    note = f"NME and PCK divide by {what}" if reason == "as asked for" else f"NME and PCK divide by {reason}"
    without = int(np.isnan(lengths[counts]).sum())
    if without:
        note += f"; {without} of {int(counts.sum())} objects have no such length and are left out of both"
    return note


def explain(
    names: Sequence[str], values: dict[str, float], notes: dict[str, str], dataset: Dataset, normaliser: str, boxes: bool
) -> None:
    """Put a sentence into `notes` for every one of `names` that has neither value nor sentence.

    Args:
        names: of all numbers.
        values: the defined ones, with ``keypoints`` and ``objects`` among them.
        notes: with ``sigmas`` and, where areas prevent or qualify OKS, ``areas``; likewise ``boxes`` for box AP.
        dataset: what was measured.
        normaliser: its name.
        boxes: whether box AP was asked for.
    """
    if not values["objects"]:
        distance_note = oks_note = (
            f"nothing can be measured: none of the {len(dataset.instances)} objects in {len(dataset)} images counts, "
            "which takes a labelled keypoint and no crowd"
        )
    elif not values["keypoints"]:
        distance_note = oks_note = (
            f"no keypoint can be measured: none of the {int(values['objects'])} objects has a labelled one"
        )
    else:
        distance_note = (
            f"pixel error and NME are not defined: none of the {int(values['keypoints'])} labelled keypoints was found"
        )
        oks_note = notes.get("areas", notes["sigmas"])
    box_note = (
        notes.get("boxes", "box AP is not defined: the data set has no object but crowds")
        if boxes
        else "box AP is not measured: the boxes were given or follow from the keypoints; boxes=True measures boxes of one's own"
    )
    what = distance.NORMALISERS.get(normaliser, "both of these keypoints labelled")
    no_length = f"NME and PCK are not defined: no object has the length '{normaliser}' ({what}); choose another normaliser"
    for key in names:
        if key in values or key in notes:
            continue
        if key in OKS_VALUES:
            notes[key] = _no_size("", key, values) or oks_note
        elif key in BOX_VALUES:
            notes[key] = _no_size("box_", key, values) or box_note
        elif key == "extra_found_per_image":
            notes[key] = "extra_found_per_image is not defined: the data set has no images"
        elif values["keypoints"] and "pck_auc" not in values and (key.startswith("pck") or key == "nme"):
            notes[key] = no_length
        else:
            notes[key] = distance_note


def _no_size(prefix: str, name: str, values: dict[str, float]) -> str:
    """Say that no object has the size that the name ends in, where that is why it has no value."""
    size = name.rpartition("_")[2]
    if size not in _SPANS or f"{prefix}AP" not in values:
        return ""
    return f"{prefix}AP_{size} and {prefix}AR_{size} are not defined: no object that counts has an area {_SPANS[size]}"

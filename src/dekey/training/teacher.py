"""A trained model that a new one learns from, besides the labels: distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.files import sha256
from dekey.models.checkpoint import load_model
from dekey.models.imitation import ANSWERS, IMITATIONS, Maps
from dekey.models.resample import Grid, Passage
from dekey.runtime.open import weights_of
from dekey.training.prepare import Material


@dataclass(frozen=True)
class TeacherModel:
    """A model that was opened as a teacher and found to know what the data ask for.

    Attributes:
        path: as it was named.
        sha256: of its weights.
        model: in evaluation mode; nothing in it is trained.
        classes: (C,) its class for each class of the data.
        keypoints: (K,) its keypoint for each keypoint of the data.
    """

    path: Path
    sha256: str
    model: nn.Module
    classes: tuple[int, ...]
    keypoints: tuple[int, ...]

    @property
    def facts(self) -> dict[str, str]:
        """What a run's record says of it."""
        return {"model": str(self.path), "sha256": self.sha256}

    @property
    def sentence(self) -> str:
        """What a manifest says of it."""
        return f"{self.path.name} (SHA-256 {self.sha256})"


def open_teacher(path: Path, material: Material, expected: str | None = None) -> TeacherModel:
    """Open a teacher and find its answers for the classes and keypoints of the data, by their names.

    Args:
        path: run folder or model.safetensors.
        material: what the student learns from.
        expected: SHA-256 of the weights with which the run was started.

    Raises:
        DekeyError: if it is not there, has changed, is of another family, or does not know all that the data ask for.
    """
    try:
        weights = weights_of(path)
    except DekeyError as error:
        if expected is None:
            raise DekeyError(f"the teacher cannot be opened: {error}; an exported file cannot teach") from error
        raise DekeyError(
            f"the run was taught by {path} (SHA-256 {expected[:12]}…), which is not there any more; put it back, or say with "
            "--teacher where it lies now"
        ) from error
    digest = sha256(weights)
    if expected is not None and digest != expected:
        raise DekeyError(
            f"the teacher {path} has the SHA-256 {digest[:12]}…, expected {expected[:12]}… as when the run was started; put "
            "that one back, or say with --teacher where it lies now"
        )
    model, manifest = load_model(weights)
    if manifest.kind != material.kind or manifest.kind not in IMITATIONS:
        raise DekeyError(
            f"the teacher {path} is a {manifest.kind} model and the student a {material.kind} model, expected two of one "
            f"family, {' or '.join(IMITATIONS)}; choose it with --model, or leave --teacher out"
        )
    if manifest.region != material.region:
        raise DekeyError(
            f"the teacher {path} looks at {_SEEN[manifest.region]} and the student at {_SEEN[material.region]}, expected the "
            f"same; set data.region={manifest.region}"
        )
    known, asked = manifest.schema_found, material.train.schema
    classes = _places(asked.classes, known.classes, "class", path)
    keypoints = _places(asked.keypoints, known.keypoints, "keypoint", path)
    _check_present(asked, known, classes, keypoints, path)
    return TeacherModel(path, digest, model.requires_grad_(False), classes, keypoints)


_SEEN = {"box": "crops around boxes", "image": "whole images"}


def _places(asked: Sequence[str], known: Sequence[str], what: str, path: Path) -> tuple[int, ...]:
    """Say where each asked name stands among the known ones."""
    missing = [name for name in asked if name not in known]
    if missing:
        told = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
        raise DekeyError(
            f"the teacher {path} knows no {what} '{missing[0]}' (it knows {told}), "
            f"expected all {len(asked)} of the data by their names; rename them, or train a teacher on these data"
        )
    return tuple(known.index(name) for name in asked)


def _check_present(asked: Schema, known: Schema, classes: Sequence[int], keypoints: Sequence[int], path: Path) -> None:
    """Raise DekeyError where a class has a keypoint that it does not have for the teacher."""
    for row, own_class in enumerate(classes):
        for column, own_keypoint in enumerate(keypoints):
            if asked.present[row, column] and not known.present[own_class, own_keypoint]:
                raise DekeyError(
                    f"the teacher {path} knows no keypoint '{asked.keypoints[column]}' of the class '{asked.classes[row]}', "
                    "expected all that the data have; train a teacher on these data"
                )


class Teacher:
    """Gives the terms of a student's loss that pull it towards its teacher's answers to the same pictures.

    Args:
        opened: the teacher.
        student: whose maps are compared; the teacher's are brought into their frame.
        device: where it runs.
        precision: as in `TrainingModule`.
        weight: of all terms.
    """

    def __init__(
        self,
        opened: TeacherModel,
        student: nn.Module,
        device: torch.device,
        precision: Literal["fp32", "bf16"],
        weight: float,
    ) -> None:
        self.opened, self.student, self.weight, self.precision = opened, student, weight, precision
        self.kind = str(student.kind)
        self.model = opened.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.passage = Passage(_grid(student), _grid(self.model))
        self.classes = torch.tensor(opened.classes, device=device)
        self.keypoints = torch.tensor(opened.keypoints, device=device)

    @torch.no_grad()
    def answers(self, images: Tensor) -> Maps:
        """Give its answers to images (B, 3, H, W) uint8 of the student, in the student's frame and order, fp32."""
        pictures = self.passage.pictures(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            maps = self.model(pictures)
        with torch.autocast(images.device.type, enabled=False):
            return ANSWERS[self.kind]({name: self._in_order(name, value.float()) for name, value in maps.items()}, self.passage)

    def terms(self, maps: Maps, answers: Maps) -> dict[str, Tensor]:
        """Give the terms of a student's maps, weighted, by names that begin with ``teacher_``."""
        terms = IMITATIONS[self.kind](self.student, maps, answers)
        return {f"teacher_{name}": self.weight * value for name, value in terms.items()}

    def _in_order(self, name: str, maps: Tensor) -> Tensor:
        """Put the channels of a map into the order of the student's classes and keypoints."""
        if name == "center_heatmap":
            return maps[:, self.classes]
        if name in ("keypoint_heatmap", "visibility_logits"):
            return maps[:, self.keypoints]
        if name == "keypoint_vectors":
            return maps.unflatten(1, (-1, 2))[:, self.keypoints].flatten(1, 2)
        return maps


def _grid(model: Any) -> Grid:
    return Grid(model.input_size, model.codec.stride, model.codec.sigma)

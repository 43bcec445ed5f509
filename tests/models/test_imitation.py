from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dekey.data import Dataset
from dekey.models.base import Batch
from dekey.models.build import build_center_detector, build_heatmap_model
from dekey.models.imitation import ANSWERS, IMITATIONS
from dekey.models.resample import Grid, Passage
from dekey.training.augment import Augment
from dekey.training.scenes import SceneSet
from dekey.training.stream import BatchStream

SIZE = (96, 96)
PRESENT = [[True, True, False, False], [False, False, True, True]]
KINDS = ("heatmap", "center")


def model_of(kind: str, seed: int, size: tuple[int, int] = SIZE) -> Any:
    torch.manual_seed(seed)
    if kind == "heatmap":
        return build_heatmap_model("test_resnet", (16, 16, 16), "lateral", 1.5, 4, size, peak_weight=10.0)
    return build_center_detector("test_resnet", (16, 16, 16), "lateral", 1.5, PRESENT, 5, size, 27.0)


def grid(model: Any) -> Grid:
    return Grid(model.input_size, model.codec.stride, model.codec.sigma)


def answers(teacher: Any, student: Any, images: Tensor) -> dict[str, Tensor]:
    passage = Passage(grid(student), grid(teacher))
    with torch.no_grad():
        return ANSWERS[teacher.kind]({n: v.float() for n, v in teacher(passage.pictures(images)).items()}, passage)


def terms(teacher: Any, student: Any, images: Tensor) -> dict[str, Tensor]:
    return IMITATIONS[student.kind](student, student(images), answers(teacher, student, images))


def total(values: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(values.values())).sum()


def taught(kind: str, batch: Batch, steps: int = 60) -> Any:
    """Give a teacher that has seen enough of a batch to be sure of something."""
    model = model_of(kind, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        total(model.loss(batch)).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def batch(shapes: Callable[..., Dataset]) -> Batch:
    """Three pictures with one to three objects of both classes."""
    return BatchStream(SceneSet(shapes(3), SIZE), Augment(), 3, 0).batch(0)


@pytest.fixture(scope="module")
def teachers(batch: Batch) -> dict[str, Any]:
    return {kind: taught(kind, batch) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_who_answers_as_the_teacher_has_nothing_left_to_learn(kind: str, teachers: dict[str, Any], batch: Batch) -> None:
    teacher = teachers[kind]
    alike = IMITATIONS[kind](teacher, teacher(batch.images), answers(teacher, teacher, batch.images))
    other = terms(teacher, model_of(kind, 1), batch.images)
    assert other.keys() == alike.keys() <= teacher.loss(batch).keys()
    for name, value in other.items():
        assert value.item() > 1e-3
        # Not quite 0 for raw heatmaps only, which a teacher may draw below 0 and above 1.
        assert abs(alike[name].item()) < 0.02 * value.item(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_of_the_size_of_those_of_the_labels(kind: str, teachers: dict[str, Any], batch: Batch) -> None:
    student = model_of(kind, 1)
    ratio = (total(terms(teachers[kind], student, batch.images)) / total(student.loss(batch))).item()
    assert 1 / 4 < ratio < 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_speaks_where_the_labels_are_silent(kind: str, teachers: dict[str, Any], batch: Batch) -> None:
    """No keypoint is labelled, and everything is a crowd: the labels ask for nothing, the teacher for the keypoints."""
    silent = replace(
        batch,
        keypoints=torch.full_like(batch.keypoints, torch.nan),
        visibility=torch.zeros_like(batch.visibility),
        valid=torch.zeros_like(batch.valid),
        boxes=torch.tensor([0.0, 0, 96, 96]).expand_as(batch.boxes).clone(),
    )
    student = model_of(kind, 1).eval()
    maps = {name: value.detach().requires_grad_() for name, value in student(batch.images).items()}
    total(student.loss(silent, maps)).backward()
    assert all(value.grad is None or not value.grad.any() for value in maps.values())
    total(IMITATIONS[kind](student, maps, answers(teachers[kind], student, batch.images))).backward()
    assert all(value.grad is not None and value.grad.any() for value in maps.values())


@pytest.mark.parametrize("kind", KINDS)
def test_told_by_the_teacher_alone_a_student_of_another_input_finds_what_it_finds(
    kind: str, teachers: dict[str, Any], batch: Batch
) -> None:
    teacher, student = teachers[kind], model_of(kind, 1, (96, 128))
    images = torch.nn.functional.pad(batch.images, (16, 16))
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        total(terms(teacher, student, images)).backward()
        optimizer.step()
    told = answers(teacher, student, images)["keypoint_heatmap"]
    with torch.no_grad():
        found = student.eval()(images)["keypoint_heatmap"]
    probability = found.sigmoid() if kind == "center" else found
    sure = told.amax((2, 3)) > 0.5
    assert sure.sum() >= 3
    # A map may hold the keypoints of several objects, so it is read where the teacher's highest peak is.
    peaks = told.flatten(2).argmax(2, keepdim=True)
    near = torch.nn.functional.max_pool2d(probability, 3, stride=1, padding=1).flatten(2).gather(2, peaks)[..., 0]
    assert (near / told.amax((2, 3)))[sure].median() > 0.5
    assert probability.mean() < 0.2


def test_a_teacher_that_sees_nothing_gives_finite_terms(batch: Batch) -> None:
    for kind in KINDS:
        values = terms(model_of(kind, 0).eval(), model_of(kind, 1), batch.images)
        assert torch.isfinite(total(values))
        total(values).backward()

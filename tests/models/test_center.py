from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dekey
from dekey.data import Dataset, geometry
from dekey.errors import DekeyError
from dekey.export import export_onnx
from dekey.models.base import Batch
from dekey.models.build import build_center_detector
from dekey.models.center import CenterDetector
from dekey.models.checkpoint import TorchBackend, load_torch_backend
from dekey.runtime import OnnxBackend
from dekey.training.augment import Augment
from dekey.training.scenes import SceneSet
from dekey.training.stream import BatchStream

SIZE = (96, 96)
TERMS = {"center", "corner_heatmap", "keypoint_heatmap", "box", "box_edges", "vectors", "visibility"}


def model_of(
    size: tuple[int, int] = SIZE, channels: tuple[int, ...] = (16, 16, 16), objects: int = 5, sigma: float = 1.5
) -> CenterDetector:
    torch.manual_seed(0)
    present = [[False, False, True, True], [True, True, False, False]]
    return build_center_detector("test_resnet", channels, "lateral", sigma, present, objects, size, 27.0)


@pytest.fixture(scope="module")
def batch(shapes: Callable[..., Dataset]) -> Batch:
    """Three pictures with one to three objects of both classes."""
    return BatchStream(SceneSet(shapes(3), SIZE), Augment(), 3, 0).batch(0)


@pytest.fixture(scope="module")
def trained(shapes_run: Path) -> TorchBackend:
    return load_torch_backend(shapes_run / "model.safetensors", "cpu")


@pytest.fixture(scope="module")
def learnt(shapes_file: Path) -> Dataset:
    return dekey.read(shapes_file)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def without_objects(batch: Batch) -> Batch:
    return replace(
        batch,
        boxes=torch.full_like(batch.boxes, torch.nan),
        keypoints=torch.full_like(batch.keypoints, torch.nan),
        visibility=torch.zeros_like(batch.visibility),
        valid=torch.zeros_like(batch.valid),
    )


def without_keypoints(batch: Batch) -> Batch:
    return replace(batch, keypoints=torch.full_like(batch.keypoints, torch.nan), visibility=torch.zeros_like(batch.visibility))


def test_visibility_is_taught_at_the_labelled_keypoints_alone(batch: Batch) -> None:
    model = model_of()
    maps = {name: value.detach().requires_grad_() for name, value in model(batch.images).items()}
    model.forward = lambda images: maps  # type: ignore[method-assign]
    model.loss(batch)["visibility"].backward()
    gradient = maps["visibility_logits"].grad
    assert gradient is not None
    taught = torch.zeros_like(gradient, dtype=torch.bool)
    for image, which, keypoint in torch.nonzero(batch.visibility > 0).tolist():
        x, y = (batch.keypoints[image, which, keypoint] / model.codec.stride).floor().long().tolist()
        taught[image, keypoint, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    assert taught.any()
    assert torch.equal(gradient != 0, taught)


STRANGE: dict[str, Callable[[Batch], Batch]] = {
    "normal": lambda batch: batch,
    "no object": without_objects,
    "only crowds": lambda batch: replace(batch, valid=torch.zeros_like(batch.valid)),
    "a crowd everywhere": lambda batch: replace(
        without_objects(batch), boxes=torch.tensor([0.0, 0, 96, 96]).expand_as(batch.boxes).clone()
    ),
    "no keypoints": without_keypoints,
    "labelled but not known": lambda batch: replace(batch, keypoints=torch.full_like(batch.keypoints, torch.nan)),
    "no extent": lambda batch: replace(batch, boxes=batch.boxes[..., [0, 1, 0, 1]]),
    "beyond the picture": lambda batch: replace(batch, boxes=batch.boxes + 500, keypoints=batch.keypoints + 500),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", STRANGE)
def test_every_term_is_finite_and_has_a_finite_gradient(kind: str, precision: str, batch: Batch) -> None:
    model = model_of()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        terms = model.loss(STRANGE[kind](batch))
    assert terms.keys() == TERMS
    for name, value in terms.items():
        assert value.shape == ()
        assert torch.isfinite(value), name
        assert value.requires_grad, name
    total(terms).backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    model = model_of()
    # Residual branches end in a scale of zero, so what is inside them learns from the second step on.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    total(model.loss(batch)).backward()
    optimizer.step()
    optimizer.zero_grad()
    total(model.loss(batch)).backward()
    idle = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert idle == []


def test_terms_without_anything_to_learn_are_zero(batch: Batch) -> None:
    model = model_of()
    bare = model.loss(without_keypoints(batch))
    assert bare["vectors"] == 0
    assert bare["visibility"] == 0
    assert bare["box"] > 0
    empty = model.loss(without_objects(batch))
    assert empty["box"] == 0
    assert empty["center"] > 0
    everywhere = model.loss(STRANGE["a crowd everywhere"](batch))
    assert total(everywhere) == 0


def test_the_order_of_the_objects_does_not_change_the_loss(batch: Batch) -> None:
    model = model_of().eval()
    order = torch.tensor([2, 0, 1])
    names = ("boxes", "labels", "keypoints", "visibility", "valid")
    permuted = replace(batch, **{name: getattr(batch, name)[:, order] for name in names})
    expected, found = model.loss(batch), model.loss(permuted)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_padding_does_not_change_the_loss(batch: Batch) -> None:
    model = model_of().eval()
    empty = without_objects(batch)
    names = ("boxes", "labels", "keypoints", "visibility", "valid")
    padded = replace(batch, **{name: torch.cat([getattr(batch, name), getattr(empty, name)], 1) for name in names})
    expected, found = model.loss(batch), model.loss(padded)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_a_batch_is_its_parts(batch: Batch) -> None:
    """`detect` in a batch answers as for each picture alone."""
    model = model_of().eval()
    with torch.inference_mode():
        together = model.detect(batch.images)
        for row in range(len(batch)):
            alone = model.detect(batch.images[row : row + 1])
            for name in together:
                torch.testing.assert_close(alone[name][0], together[name][row], atol=1e-3, rtol=1e-4)


def test_shapes_of_detect(batch: Batch) -> None:
    found = model_of().eval().detect(batch.images)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (3, 5, 4),
        "scores": (3, 5),
        "labels": (3, 5),
        "keypoints": (3, 5, 4, 2),
        "keypoint_scores": (3, 5, 4),
        "visibility": (3, 5, 4),
    }
    assert found["labels"].dtype == torch.int64
    assert (found["scores"].diff(dim=1) <= 0).all()


def test_the_first_guess_is_rare_and_of_the_typical_size(batch: Batch) -> None:
    model = model_of().eval()
    maps = model(batch.images)
    assert torch.sigmoid(maps["center_heatmap"]).mean() < 0.05
    assert (maps["box_size"].exp() * model.codec.stride).median().item() == pytest.approx(27, rel=0.5)


def test_the_temperature_moves_visibility_alone(batch: Batch) -> None:
    model = model_of().eval()
    with torch.inference_mode():
        before = model.detect(batch.images)
        model.temperature.fill_(2.0)
        after = model.detect(batch.images)
    torch.testing.assert_close(torch.logit(after["visibility"]), torch.logit(before["visibility"]) / 2, atol=1e-4, rtol=1e-4)
    for name in before.keys() - {"visibility"}:
        assert torch.equal(after[name], before[name])


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DekeyError, match="input size 100 does not fit the backbone's stride of 32; use 96"):
        model_of((100, 96))
    with pytest.raises(DekeyError, match=r"maps of 16 cells are too small for 17 objects .* fewer model\.objects"):
        model_of((64, 64), (8,), objects=17, sigma=0.5)
    with pytest.raises(DekeyError, match=r"too small for 5 objects with Gaussians of sigma 3; use a larger model\.input_size"):
        model_of((64, 64), (8,), sigma=3.0)


def test_it_learns_pictures_by_heart(trained: TorchBackend, learnt: Dataset) -> None:
    """Every object is found with class, box (IoU 0.7) and keypoints (2 px on average); nothing else is."""
    found = trained.run(np.stack([sample.read_image() for sample in learnt]))
    errors = []
    for row, sample in enumerate(learnt):
        truth = sample.instances
        sure = found["scores"][row] >= trained.manifest.object_threshold
        assert sure.sum() == len(truth), sample.name
        overlap = geometry.iou(truth.boxes, found["boxes"][row, sure].astype(np.float64))
        best = overlap.argmax(axis=1)
        assert overlap.max(axis=1).min() > 0.7, sample.name
        np.testing.assert_array_equal(found["labels"][row, sure][best], truth.labels)
        errors.append(np.linalg.norm(found["keypoints"][row, sure][best] - truth.keypoints, axis=-1)[truth.labelled])
    assert np.concatenate(errors).mean() < 2


def test_a_picture_moved_by_a_stride_gives_the_answer_moved_as_far(trained: TorchBackend, learnt: Dataset) -> None:
    """What is translated is translated through convolutions too, away from the border."""
    stride = 32
    moved = []
    for sample in learnt:
        wide = np.full((96, 96 + stride, 3), 110, np.uint8)
        wide[:, stride:] = sample.read_image()
        moved.append(wide)
    wider = TorchBackend(trained.model, trained.manifest.model_copy(update={"input_size": (96, 96 + stride)}), trained.device)
    pictures = np.stack(moved)
    still = np.stack([np.concatenate([picture[:, stride:], picture[:, :stride]], axis=1) for picture in pictures])
    one, other = wider.run(still), wider.run(pictures)
    threshold = trained.manifest.object_threshold
    pairs = 0
    for row in range(len(pictures)):
        sure, also = one["scores"][row] >= threshold, other["scores"][row] >= 0.1
        for box, label in zip(one["boxes"][row, sure], one["labels"][row, sure], strict=True):
            if box[0] > 16 and box[2] < 80:
                gaps = np.abs(other["boxes"][row, also] - box - [stride, 0, stride, 0]).max(axis=1)
                assert gaps.min() < 3
                assert other["labels"][row, also][gaps.argmin()] == label
                pairs += 1
    assert pairs > 5


def test_the_exported_graph_answers_alike_in_any_batch(trained: TorchBackend, learnt: Dataset, tmp_path: Path) -> None:
    pictures = [sample.read_image() for sample in learnt]
    parity = export_onnx(trained, tmp_path / "model.onnx", pictures)
    assert parity.images == len(pictures)
    assert parity.keypoints > 40
    exported = OnnxBackend(tmp_path / "model.onnx")
    assert exported.manifest == trained.manifest
    inputs = np.stack(pictures)
    expected, together = trained.run(inputs), exported.run(inputs)
    strong = expected["scores"] > 0.3
    assert strong.sum() >= len(learnt.instances)
    alone = [exported.run(inputs[row : row + 1]) for row in range(len(inputs))]
    for name in expected:
        assert together[name].shape == expected[name].shape
        tolerance = {"boxes": 0.05, "keypoints": 0.05}.get(name, 1e-3)
        # Where a keypoint lies that the class lacks is noise.
        known = strong[..., None] & (expected["keypoint_scores"] > 0.2) if name == "keypoints" else strong
        np.testing.assert_allclose(together[name][known], expected[name][known], atol=tolerance)
        np.testing.assert_allclose(np.concatenate([one[name] for one in alone])[known], together[name][known], atol=tolerance)


def test_batches_can_be_cut(batch: Batch) -> None:
    part = batch[:1]
    assert len(part) == 1
    assert all(len(getattr(part, one.name)) == 1 for one in fields(Batch))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import dekey
from dekey.data import Schema, geometry
from dekey.errors import DekeyError
from dekey.export import PARITY_PX, export_onnx
from dekey.models.article import ArticleModel, _averages, build_article_model
from dekey.models.base import Batch
from dekey.models.checkpoint import TorchBackend
from dekey.runtime import Manifest, OnnxBackend

SIZE = (64, 96)


def model_of(size: tuple[int, int] = SIZE) -> ArticleModel:
    torch.manual_seed(0)
    return build_article_model("test_resnet", [16, 16], "plain", 2, size)


@pytest.fixture(scope="module")
def batch(small_data: Path) -> Batch:
    """The first object of four real photographs, letterboxed."""
    data = dekey.read(small_data)
    images, boxes, keypoints, visibility = [], [], [], []
    for index in range(4):
        sample = data[index]
        affine = geometry.letterbox(sample.size, SIZE)
        own = sample.instances[:1].mapped(affine)
        images.append(geometry.warp(sample.read_image(), affine, SIZE))
        boxes.append(own.boxes)
        keypoints.append(own.keypoints)
        visibility.append(own.visibility)
    return Batch(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        boxes=torch.from_numpy(np.stack(boxes)).float(),
        labels=torch.zeros(4, 1, dtype=torch.int64),
        keypoints=torch.from_numpy(np.stack(keypoints)).float(),
        visibility=torch.from_numpy(np.stack(visibility)),
        valid=torch.ones(4, 1, dtype=torch.bool),
        image_to_input=torch.zeros(4, 2, 3),
    )


@pytest.fixture(scope="module")
def learnt(batch: Batch) -> ArticleModel:
    model = model_of().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimiser.step()
    return model.eval()


def test_it_learns_four_pictures_by_heart(learnt: ArticleModel, batch: Batch) -> None:
    with torch.inference_mode():
        before, after = model_of().eval().detect(batch.images), learnt.detect(batch.images)
    for name, truth in (("boxes", batch.boxes), ("keypoints", batch.keypoints)):
        assert (after[name] - truth).abs().mean() < 2
        assert (before[name] - truth).abs().mean() > 6  # so the pictures do differ


def test_shapes_and_constants_of_detect(batch: Batch) -> None:
    found = model_of().eval().detect(batch.images)
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "boxes": (4, 1, 4),
        "scores": (4, 1),
        "labels": (4, 1),
        "keypoints": (4, 1, 2, 2),
        "keypoint_scores": (4, 1, 2),
        "visibility": (4, 1, 2),
    }
    assert found["labels"].dtype == torch.int64
    for name in ("scores", "keypoint_scores", "visibility"):
        assert (found[name] == 1).all()
    assert (found["boxes"] >= 0).all()
    assert (found["boxes"] <= torch.tensor([96.0, 64.0, 96.0, 64.0])).all()


def test_the_loss_is_the_mean_squared_error_of_shares(batch: Batch) -> None:
    """By hand, from what `forward` gives."""
    model = model_of().eval()
    maps = model(batch.images)
    x1, y1, x2, y2 = batch.boxes[:, 0].unbind(1)
    box = torch.stack([(x1 + x2) / 2 / 96, (y1 + y2) / 2 / 64, (x2 - x1) / 96, (y2 - y1) / 64], dim=1)
    terms = model.loss(batch)
    torch.testing.assert_close(terms["box"], functional.mse_loss(maps["box_shares"], box))
    keypoints = batch.keypoints[:, 0] / torch.tensor([96.0, 64.0])
    torch.testing.assert_close(terms["keypoints"], functional.mse_loss(maps["keypoint_shares"], keypoints))


def test_what_is_not_known_does_not_change_the_loss(batch: Batch) -> None:
    model = model_of().eval()
    first_three = sum(model.loss(batch[:3]).values())
    without = replace(batch, valid=torch.tensor([[True], [True], [True], [False]]))
    torch.testing.assert_close(sum(model.loss(without).values()), first_three)
    unknown = replace(batch, boxes=batch.boxes.clone(), keypoints=batch.keypoints.clone(), visibility=batch.visibility.clone())
    unknown.boxes[3], unknown.keypoints[3], unknown.visibility[3] = torch.nan, torch.nan, 0
    torch.testing.assert_close(sum(model.loss(unknown).values()), first_three)
    beyond = replace(unknown, boxes=unknown.boxes.clone(), keypoints=unknown.keypoints.clone(), visibility=batch.visibility)
    beyond.boxes[3], beyond.keypoints[3] = torch.tensor([200.0, 10.0, 220.0, 30.0]), 200.0
    torch.testing.assert_close(sum(model.loss(beyond).values()), first_three)


def test_a_batch_without_any_label_has_a_finite_loss_and_gradient(batch: Batch) -> None:
    model = model_of().train()
    empty = replace(
        batch,
        boxes=torch.full_like(batch.boxes, torch.nan),
        keypoints=torch.full_like(batch.keypoints, torch.nan),
        visibility=torch.zeros_like(batch.visibility),
    )
    total = sum(model.loss(empty).values())
    total.backward()
    assert total == 0
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


@pytest.mark.parametrize(("length", "cells"), [(16, 8), (24, 8), (12, 8), (5, 8), (33, 8)])
def test_pooling_averages_equal_parts(length: int, cells: int) -> None:
    averages = _averages(length, cells)
    assert averages.shape == (min(cells, length), length)
    torch.testing.assert_close(averages.sum(dim=1), torch.ones(min(cells, length)))
    # Every value counts alike: no place of the picture is lost.
    torch.testing.assert_close(averages.sum(dim=0), torch.full((length,), min(cells, length) / length))
    if length % cells == 0:
        line = torch.rand(1, 1, length)
        torch.testing.assert_close(averages @ line[0, 0], functional.avg_pool1d(line, length // cells)[0, 0])


@pytest.mark.parametrize("size", [SIZE, (160, 96)], ids=["grid divides", "grid does not divide"])
def test_the_exported_graph_answers_alike(size: tuple[int, int], batch: Batch, tmp_path: Path) -> None:
    manifest = Manifest(
        kind="article",
        keypoint_schema=Schema.create(["tube"], ["head", "tail"]).to_dict(),
        input_size=size,
        region="image",
        padding=1.0,
        finds_boxes=True,
        architecture={},
    )
    backend = TorchBackend(model_of(size).eval(), manifest, torch.device("cpu"))
    pictures = list(batch.images.permute(0, 2, 3, 1).numpy())
    parity = export_onnx(backend, tmp_path / "model.onnx", pictures)
    assert parity.keypoints == 24  # two keypoints and four sides of the box, in four pictures
    assert parity.largest_px < PARITY_PX
    inputs = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    expected, found = backend.run(inputs), OnnxBackend(tmp_path / "model.onnx").run(inputs)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=0.05)


def test_an_input_that_does_not_fit_is_told() -> None:
    with pytest.raises(DekeyError, match="use 64"):
        model_of((70, 96))
    # It answers as a share of its own size: other sizes would teach it something else.
    with pytest.raises(DekeyError, match=r"found images of \(64, 64\) px"):
        model_of((64, 96)).check_input_size((64, 64))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.models.base import Batch
from dekey.models.build import build_heatmap_model, build_model
from dekey.models.checkpoint import TorchBackend, choose_device, load_model, save_model
from dekey.models.heatmap import HeatmapModel
from dekey.runtime import Manifest

ARCHITECTURE = {
    "backbone": "resnet10t",
    "decoder_channels": [16, 16, 16],
    "decoder": "lateral",
    "sigma": 1.5,
    "keypoint_count": 3,
    "input_size": [64, 96],
}


def model_of(size: tuple[int, int] = (64, 96)) -> HeatmapModel:
    torch.manual_seed(0)
    return build_model("heatmap", {**ARCHITECTURE, "input_size": list(size)})


def batch_of(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(count, 1, 3, 2, generator=generator) * torch.tensor([96.0, 64.0])
    visibility = torch.randint(0, 3, (count, 1, 3), generator=generator, dtype=torch.uint8)
    keypoints[visibility == 0] = torch.nan
    return Batch(
        images=torch.randint(0, 256, (count, 3, 64, 96), generator=generator, dtype=torch.uint8),
        boxes=torch.zeros(count, 1, 4),
        labels=torch.zeros(count, 1, dtype=torch.int64),
        keypoints=keypoints,
        visibility=visibility,
        valid=torch.ones(count, 1, dtype=torch.bool),
        image_to_input=torch.zeros(count, 2, 3),
        names=[f"{row}.jpg" for row in range(count)],
    )


def manifest_of() -> Manifest:
    schema = Schema.create(["thing"], ["left", "right", "top"])
    return Manifest(
        kind="heatmap",
        keypoint_schema=schema.to_dict(),
        input_size=(64, 96),
        region="image",
        padding=1.0,
        architecture=ARCHITECTURE,
    )


def test_shapes_of_forward_and_detect() -> None:
    model = model_of().eval()
    images = batch_of(2).images
    maps = model(images)
    assert maps["keypoint_heatmap"].shape == (2, 3, 16, 24)
    assert maps["visibility_logits"].shape == (2, 3)
    found = model.detect(images)
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "boxes": (2, 1, 4),
        "scores": (2, 1),
        "labels": (2, 1),
        "keypoints": (2, 1, 3, 2),
        "keypoint_scores": (2, 1, 3),
        "visibility": (2, 1, 3),
    }
    hull = torch.cat([found["keypoints"].amin(2), found["keypoints"].amax(2)], dim=-1)
    torch.testing.assert_close(found["boxes"], hull)


def test_unlabelled_keypoints_do_not_change_the_loss() -> None:
    model, batch = model_of().eval(), batch_of(4)
    expected = sum(model.loss(batch).values())
    moved = batch.keypoints.clone()
    moved[batch.visibility == 0] = 20.0
    changed = Batch(**{**vars(batch), "keypoints": moved})
    torch.testing.assert_close(sum(model.loss(changed).values()), expected)


def test_a_batch_without_any_label_has_a_finite_loss_and_gradient() -> None:
    model, batch = model_of(), batch_of(2)
    blank = Batch(**{**vars(batch), "visibility": torch.zeros_like(batch.visibility), "keypoints": batch.keypoints * torch.nan})
    total = sum(model.loss(blank).values())
    assert isinstance(total, torch.Tensor)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_it_learns_one_batch_by_heart() -> None:
    model, batch = model_of(), batch_of(4)
    visibility = torch.full_like(batch.visibility, 2)
    everything = Batch(**{**vars(batch), "visibility": visibility, "keypoints": batch.keypoints.nan_to_num(30.0)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        sum(model.loss(everything).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        found = model.detect(everything.images)["keypoints"]
    assert (found - everything.keypoints).norm(dim=-1).median() < 1.5


def test_an_input_that_does_not_fit_names_one_that_does() -> None:
    with pytest.raises(DekeyError, match="use 96"):
        model_of((64, 100))


def test_a_heatmap_too_small_to_read_is_refused() -> None:
    with pytest.raises(DekeyError, match="8 cells is too small for Gaussians of sigma 3, which need 11"):
        build_heatmap_model("resnet10t", (8, 8), "lateral", 3.0, 3, (64, 96))


def test_saved_and_loaded_models_answer_alike(tmp_path: Path) -> None:
    model = model_of().eval()
    model.mean.fill_(7.0)  # the normalisation travels with the weights
    path = tmp_path / "model.safetensors"
    save_model(model, manifest_of(), path)
    loaded, manifest = load_model(path)
    assert manifest == manifest_of()
    images = batch_of(2).images
    for name, value in model.detect(images).items():
        torch.testing.assert_close(loaded.detect(images)[name], value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("lateral", [True, False])
def test_models_from_before_there_were_several_decoders_are_read(lateral: bool, tmp_path: Path) -> None:
    earlier = {**{name: value for name, value in ARCHITECTURE.items() if name != "decoder"}, "lateral": lateral}
    model = build_heatmap_model("resnet10t", (16, 16, 16), "lateral" if lateral else "plain", 1.5, 3, (64, 96)).eval()
    path = tmp_path / "model.safetensors"
    save_model(model, manifest_of().model_copy(update={"architecture": earlier}), path)
    images = batch_of(2).images
    loaded, _ = load_model(path)
    assert torch.equal(loaded.detect(images)["keypoints"], model.detect(images)["keypoints"])


def test_a_description_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(DekeyError, match="expected one of heatmap, center, article; update dekey"):
        build_model("oracle", ARCHITECTURE)
    with pytest.raises(DekeyError, match="does not fit this dekey"):
        build_model("heatmap", {**ARCHITECTURE, "colour": "red"})
    with pytest.raises(DekeyError, match="does not fit this dekey"):
        build_model("center", {"backbone": "resnet10t"})


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    other = build_heatmap_model("resnet10t", (8, 8, 8), "lateral", 1.5, 3, (64, 96))
    save_model(other, manifest_of(), path)
    with pytest.raises(DekeyError, match="do not fit its description"):
        load_model(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DekeyError, match="no whole safetensors file"):
        load_model(path)


def test_the_torch_backend_restores_the_mode() -> None:
    model = model_of().train()
    backend = TorchBackend(model, manifest_of(), torch.device("cpu"))
    backend.run(np.zeros((1, 64, 96, 3), np.uint8))
    assert model.training


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(DekeyError, match="expected auto, cpu or cuda"):
        choose_device("quantum")

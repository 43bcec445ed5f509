from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dekey
from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.export import export_onnx
from dekey.models.build import build_model
from dekey.models.checkpoint import TorchBackend, load_model, save_model
from dekey.models.prune import prune
from dekey.models.widths import narrower, set_widths, widths_of
from dekey.runtime import Manifest

pytest.importorskip("torch_pruning")

SCHEMA = Schema.create(["thing"], ["left", "right", "top"])
COMMON: dict[str, Any] = {"decoder_channels": [32, 32, 32], "decoder": "lateral", "sigma": 1.5, "input_size": [64, 96]}
ARCHITECTURES = {
    "heatmap": {**COMMON, "keypoint_count": 3},
    "center": {**COMMON, "present": [[True, True, True]], "objects": 5},
}
# Residual sums, concatenations, depthwise convolutions, and all three at once.
BACKBONES = ("test_resnet", "hgnetv2_b0", "mobilenetv4_conv_small_050", "mobilenetv3_small_050")


def model_of(kind: str, backbone: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return build_model(kind, {**ARCHITECTURES[kind], "backbone": backbone, **changes}).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def manifest_of(kind: str, architecture: dict[str, Any]) -> Manifest:
    return Manifest(
        kind=kind,
        keypoint_schema=SCHEMA.to_dict(),
        input_size=(64, 96),
        region="image",
        padding=1.0,
        objects=5 if kind == "center" else 1,
        finds_boxes=kind == "center",
        architecture=architecture,
    )


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_half_of_the_channels_go_and_the_file_opens_like_any_other(kind: str, backbone: str, tmp_path: Path) -> None:
    full = model_of(kind, backbone)
    model = copy.deepcopy(full)
    prune(model, 0.5)
    before, after = (sum(one.numel() for one in each.parameters()) for each in (full, model))
    assert after < 0.45 * before
    assert not any(isinstance(module, nn.utils.parametrize.ParametrizationList) for module in model.modules())
    assert model.decoder.channels == 16
    with torch.no_grad():
        expected = {name: value.shape for name, value in full(pictures()).items()}
        maps = model(pictures())
    assert {name: value.shape for name, value in maps.items()} == expected
    architecture = {**ARCHITECTURES[kind], "backbone": backbone, "widths": narrower(model, widths_of(full))}
    save_model(model, manifest_of(kind, architecture), tmp_path / "model.safetensors")
    opened, manifest = load_model(tmp_path / "model.safetensors")
    assert manifest.architecture["widths"]
    with torch.no_grad():
        for name, value in opened(pictures()).items():
            torch.testing.assert_close(value, maps[name], rtol=0, atol=0)
    assert opened.backbone.channels == model.backbone.channels  # type: ignore[union-attr]
    assert opened.train()(pictures())["keypoint_heatmap"].requires_grad


def test_the_channels_that_matter_stay() -> None:
    """Half of a layer's channels are made to answer nothing: those are the ones that go, and the answers stay."""
    model = model_of("heatmap", "test_resnet")
    norm, after = model.decoder.norms[2], model.heatmap_head.convolution
    silent = torch.arange(32) % 2 == 0
    with torch.no_grad():
        norm.weight[silent], norm.bias[silent], after.weight[:, silent] = 0.0, 0.0, 0.0
        model.decoder.deconvolutions[2].weight[:, silent] = 0.0
        model.decoder.laterals[2].weight[silent] = 0.0
    kept = after.weight[:, ~silent].clone()
    prune(model, 0.5)
    torch.testing.assert_close(model.heatmap_head.convolution.weight, kept)


def test_a_pruned_model_is_exported_and_pruned_again(tmp_path: Path) -> None:
    plain = model_of("center", "test_resnet")
    model = copy.deepcopy(plain)
    for keep in (0.75, 0.5):
        prune(model, keep)
    architecture = {**ARCHITECTURES["center"], "backbone": "test_resnet", "widths": narrower(model, widths_of(plain))}
    assert model.decoder.channels in (8, 16)
    backend = TorchBackend(model, manifest_of("center", architecture), torch.device("cpu"))
    images = [np.asarray(one.permute(1, 2, 0)) for one in pictures()]
    export_onnx(backend, tmp_path / "model.onnx", images)
    assert dekey.load(tmp_path / "model.onnx").manifest.architecture["widths"] == architecture["widths"]


@pytest.mark.parametrize(
    "widths",
    [
        {"no.such.layer": [8, 8]},
        {"decoder.deconvolutions.0": [64, 32]},
        {"decoder.deconvolutions.0": [0, 32]},
        {"decoder.deconvolutions.0": [16.0, 32]},
        {"decoder.deconvolutions.0": [True, 32]},
        {"decoder.deconvolutions.0": "ab"},
        {"decoder.deconvolutions.0": [16, 16, 16]},
        {"decoder.deconvolutions.0": [16, 32]},  # and what comes after stays as wide
        ["decoder.deconvolutions.0"],
    ],
)
def test_widths_that_do_not_fit_are_refused(widths: Any) -> None:
    with pytest.raises(DekeyError, match=r"widths?"):
        set_widths(model_of("heatmap", "test_resnet"), widths)


def test_what_cannot_be_followed_is_told() -> None:
    with pytest.raises(DekeyError, match=r"unpooling.*another model\.decoder"):
        prune(model_of("heatmap", "test_resnet", decoder="unpooling"), 0.5)

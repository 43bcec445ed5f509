from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from dekey.errors import DekeyError
from dekey.models.backbone import _features_only, build_backbone
from dekey.models.decoder import DeconvDecoder, Head
from dekey.models.imitation import _excess
from dekey.models.losses import (
    center_focal,
    heatmap_cross_entropy,
    heatmap_mse,
    masked_mean,
    quality_focal,
    visibility_bce,
)


@pytest.mark.parametrize("name", ["resnet10t", "hgnetv2_b0", "mobilenetv4_conv_small"])
def test_backbones_give_what_they_announce(name: str) -> None:
    backbone = build_backbone(name).eval()
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert [one.shape[1] for one in features] == backbone.channels
    assert [(64 // one.shape[2], 96 // one.shape[3]) for one in features] == [(s, s) for s in backbone.strides]
    assert backbone.source == "random weights, as asked"


def test_learned_scales_stay_with_the_weights_of_timm_only(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lean = build_backbone("hgnetv2_b0"), build_backbone("hgnetv2_b0", learned_scales=None)
    assert (whole.learned_scales, lean.learned_scales) == (True, False)
    assert lean(torch.zeros(1, 3, 64, 64))[0].shape == whole(torch.zeros(1, 3, 64, 64))[0].shape
    monkeypatch.setattr("dekey.models.backbone._with_weights", lambda name: (_features_only(name, False), ""))
    assert build_backbone("hgnetv2_b0", "auto", learned_scales=None).learned_scales


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(DekeyError, match="did you mean 'resnet18'"):
        build_backbone("resnet18x")


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dekey.models.backbone._reachable", lambda repository: False)
    assert "cannot be had" in build_backbone("resnet10t", "auto").source
    with pytest.raises(DekeyError, match="HF_HOME"):
        build_backbone("resnet10t", True)


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("channels", [(16,), (24, 16, 8), (8, 8, 8, 8, 8)])
def test_decoders_give_what_they_announce(lateral: bool, channels: tuple[int, ...]) -> None:
    backbone_channels, strides = [6, 8, 10], [8, 16, 32]
    decoder = DeconvDecoder(backbone_channels, strides, channels, lateral)
    features = [torch.randn(2, c, 128 // s, 64 // s) for c, s in zip(backbone_channels, strides, strict=True)]
    answer = decoder(features)
    assert decoder.stride == 32 >> len(channels)
    assert answer.shape == (2, channels[-1], 128 // decoder.stride, 64 // decoder.stride)


def test_laterals_use_every_finer_level_they_pass() -> None:
    features = [torch.randn(1, 4, 16, 16), torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    for level in (0, 1, 2):
        decoder = DeconvDecoder([4, 4, 4], [4, 8, 16], (8, 8), lateral=True).eval()
        before = decoder(features)
        changed = [one + (index == level) for index, one in enumerate(features)]
        assert not torch.allclose(before, decoder(changed))


def test_too_many_deconvolutions_are_refused() -> None:
    with pytest.raises(DekeyError, match="use at most 5"):
        DeconvDecoder([8], [32], (8,) * 6)


def test_the_transposed_convolution_draws_no_checkerboard() -> None:
    """Equal weights on a constant input give a constant output away from the border."""
    decoder = DeconvDecoder([1], [8], (1,), lateral=False).eval()
    deconvolution = decoder.deconvolutions[0]
    assert isinstance(deconvolution, nn.ConvTranspose2d)
    nn.init.ones_(deconvolution.weight)
    inner = deconvolution(torch.ones(1, 1, 6, 6))[..., 2:-2, 2:-2]
    assert inner.min() == inner.max()


def test_head_starts_near_its_bias() -> None:
    maps = Head(8, 3, bias=-2.0)(torch.randn(1, 8, 4, 4))
    assert maps.shape == (1, 3, 4, 4)
    assert (maps + 2).abs().max() < 0.5


def test_masked_mean() -> None:
    values = torch.tensor([1.0, 2.0, 30.0], requires_grad=True)
    assert masked_mean(values, torch.tensor([1.0, 1.0, 0.0])).item() == 1.5
    empty = masked_mean(values, torch.zeros(3))
    empty.backward()  # type: ignore[no-untyped-call]
    assert empty.item() == 0
    assert values.grad is not None


def test_heatmap_mse_by_hand() -> None:
    truth = torch.zeros(1, 2, 2, 2)
    truth[0, 0, 0, 0] = 1.0
    found = torch.zeros(1, 2, 2, 2)
    found[0, 1] = 5.0
    only_first = torch.tensor([[1.0, 0.0]])
    assert heatmap_mse(found, truth, only_first, cells=2.0).item() == 0.5
    assert heatmap_mse(found, truth, only_first, cells=2.0, peak_weight=3.0).item() == 2.0
    assert heatmap_mse(found, truth, torch.zeros(1, 2), cells=2.0).item() == 0.0


def test_visibility_bce_ignores_the_unlabelled() -> None:
    logits = torch.tensor([[0.0, 50.0]])
    visible, mask = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert visibility_bce(logits, visible, mask).item() == pytest.approx(0.6931, abs=1e-4)


class _Called(TorchDispatchMode):
    """Notes which operations are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def test_the_losses_call_nothing_that_cuda_refuses_under_autocast() -> None:
    """Torch bans the cross-entropy of probabilities there, and nothing on a CPU shows it."""
    logits, truth = torch.randn(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 4, 4)
    with _Called() as called:
        heatmap_cross_entropy(logits, truth, torch.ones_like(truth), 2.0).backward()
        center_focal(logits, truth, torch.ones_like(truth)).backward()
        quality_focal(logits, truth).sum().backward()
        visibility_bce(logits, truth, torch.ones_like(truth)).backward()
        _excess(logits, truth).sum().backward()
    assert called.names
    assert "binary_cross_entropy" not in called.names


def test_the_cross_entropy_of_maps_is_zero_where_they_agree() -> None:
    truth = torch.rand(1, 2, 5, 5)
    truth[0, 0, 0, 0], truth[0, 1, 1, 1] = 1.0, 0.0
    least = functional.binary_cross_entropy(truth, truth, reduction="none")
    logits = torch.randn(1, 2, 5, 5)
    wanted = (functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") - least).sum() / 2
    assert heatmap_cross_entropy(logits, truth, torch.ones_like(truth), 0.0).item() == pytest.approx(wanted.item(), rel=1e-5)

from __future__ import annotations

import pytest
import torch
from torch import nn

from dekey.export.rewrite import SubpixelDeconvolution, fits_subpixel, fold_learned_scales, rewritten
from dekey.models.backbone import build_backbone, is_learned_scale
from dekey.models.decoder import DeconvDecoder, build_decoder, deconvolution


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 4)])
def test_a_transposed_convolution_is_a_convolution_on_the_coarse_grid(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1, bias=bias)
    coarse = torch.randn(2, 5, *size)
    with torch.inference_mode():
        torch.testing.assert_close(SubpixelDeconvolution(layer)(coarse), layer(coarse), rtol=0, atol=1e-5)


def test_only_layers_it_can_stand_for_are_taken() -> None:
    assert fits_subpixel(deconvolution(4, 4))
    for other in (
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, output_padding=1),
        nn.Conv2d(4, 4, 4, stride=2, padding=1),
    ):
        assert not fits_subpixel(other)


def settled(decoder: DeconvDecoder) -> DeconvDecoder:
    """The decoder with statistics and weights in its norms that folding must not get wrong."""
    for norm in decoder.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return decoder.eval()


@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("name", ["lateral", "plain", "bilinear", "unpooling"])
def test_a_rewritten_decoder_answers_alike(name: str, subpixel: bool) -> None:
    torch.manual_seed(1)
    decoder = settled(build_decoder(name, [6, 8, 10, 12], [4, 8, 16, 32], [9, 7, 5]))
    features = [torch.randn(2, channels, 32 // step, 24 // step) for channels, step in ((6, 1), (8, 2), (10, 4), (12, 8))]
    before = {key: value.clone() for key, value in decoder.state_dict().items()}
    other = rewritten(nn.Sequential(decoder), subpixel)[0]
    with torch.inference_mode():
        torch.testing.assert_close(other(features), decoder(features), rtol=1e-5, atol=1e-5)
    for key, value in decoder.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    kinds = {type(layer) for layer in other.modules()}
    if name in ("lateral", "plain"):
        assert nn.BatchNorm2d not in kinds
        assert (nn.ConvTranspose2d in kinds) is not subpixel
        assert (SubpixelDeconvolution in kinds) is subpixel


def test_folded_scales_answer_alike_whatever_their_sign() -> None:
    torch.manual_seed(2)
    backbone = build_backbone("hgnetv2_b0").eval()
    with torch.no_grad():
        for index, module in enumerate(filter(is_learned_scale, backbone.modules())):
            own = module.state_dict()  # the tensors themselves
            own["scale"].uniform_(0.7, 1.3).mul_(-1 if index % 3 == 1 else 1)
            own["bias"].uniform_(-0.2, 0.2)
    folded = fold_learned_scales(backbone)
    assert not any(map(is_learned_scale, folded.modules()))
    assert any(map(is_learned_scale, backbone.modules()))
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for other, own in zip(folded(images), backbone(images), strict=True):
            torch.testing.assert_close(other, own, rtol=1e-4, atol=1e-4)
    assert fold_learned_scales(folded) is folded

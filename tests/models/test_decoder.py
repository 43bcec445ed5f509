"""Laws of every member of the table of decoders, and of unpooling with switches against PyTorch's own."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dekey.errors import DekeyError
from dekey.models.backbone import build_backbone
from dekey.models.decoder import DECODERS, Bilinear, DeconvDecoder, build_decoder
from dekey.models.unpooling import Unpooling, unpool

BACKBONE_CHANNELS, STRIDES = [6, 8, 10], [4, 8, 16]
# Output strides 8, 4, 2 and 1: with laterals on the whole way, and one and two layers beyond the finest feature.
CHANNELS = [(12,), (12, 7), (8, 8, 5), (6, 6, 6, 4)]


def some_features(batch: int = 2, height: int = 64, width: int = 96) -> list[Tensor]:
    return [
        torch.randn(batch, channels, height // stride, width // stride)
        for channels, stride in zip(BACKBONE_CHANNELS, STRIDES, strict=True)
    ]


class Flat(nn.Module):
    """A module over a list of arrays, as the exporter names its inputs one by one."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        answer: Tensor = self.decoder(features)
        return answer


def exported(module: nn.Module, inputs: list[Tensor], path: Path) -> onnxruntime.InferenceSession:
    """The module in ONNX Runtime, by the exporter and opset of `dekey export`, with a free batch axis."""
    names = [f"input{index}" for index in range(len(inputs))]
    axes = {name: {0: "batch"} for name in (*names, "answer")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            tuple(inputs),
            os.fspath(path),
            input_names=names,
            output_names=["answer"],
            dynamic_axes=axes,
            opset_version=18,
            dynamo=False,
        )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, inputs: list[Tensor]) -> np.ndarray:
    feed = {f"input{index}": one.numpy() for index, one in enumerate(inputs)}
    asked = {one.name for one in session.get_inputs()}
    return np.asarray(session.run(None, {name: value for name, value in feed.items() if name in asked})[0])


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_gives_the_stride_and_channels_it_announces(name: str, channels: tuple[int, ...]) -> None:
    decoder = build_decoder(name, BACKBONE_CHANNELS, STRIDES, channels)
    assert decoder.stride == 16 >> len(channels)
    assert decoder.channels == channels[-1]
    assert decoder(some_features()).shape == (2, channels[-1], 64 // decoder.stride, 96 // decoder.stride)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", DECODERS)
def test_every_parameter_gets_a_gradient(name: str, channels: tuple[int, ...]) -> None:
    decoder = build_decoder(name, BACKBONE_CHANNELS, STRIDES, channels)
    answer = decoder(some_features())
    (answer * torch.randn_like(answer)).sum().backward()
    for parameter_name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("channels", [(12, 7), (6, 6, 6, 4)])
@pytest.mark.parametrize("name", DECODERS)
def test_onnx_runtime_answers_the_same(name: str, channels: tuple[int, ...], tmp_path: Path) -> None:
    decoder = build_decoder(name, BACKBONE_CHANNELS, STRIDES, channels)
    decoder(some_features(8))  # so that the running statistics are not those of no data
    session = exported(Flat(decoder), some_features(2), tmp_path / "decoder.onnx")
    for batch in (1, 3):
        features = some_features(batch)
        with torch.no_grad():
            expected = decoder(features).numpy()
        np.testing.assert_allclose(run(session, features), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["plain", "lateral", "bilinear"])
def test_a_constant_input_gives_a_constant_interior(name: str) -> None:
    """No checkerboard: where every channel's taps are equal among themselves, each output cell sees as many as the next."""
    decoder = build_decoder(name, BACKBONE_CHANNELS, STRIDES, (6, 5)).eval()
    for layer in decoder.deconvolutions:
        weight = layer.convolution.weight if isinstance(layer, Bilinear) else layer.weight
        weight.data[:] = weight.data.mean(dim=(2, 3), keepdim=True)
    constant = [torch.ones_like(one) for one in some_features(1, 160, 160)]
    with torch.no_grad():
        inner = decoder(constant)[..., 12:-12, 12:-12]
    assert inner.abs().max() > 0
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))


def test_decoders_share_all_but_the_upsampling() -> None:
    def rest(name: str) -> dict[str, torch.Size]:
        state = build_decoder(name, BACKBONE_CHANNELS, STRIDES, (8, 8)).state_dict()
        return {key: value.shape for key, value in state.items() if not key.startswith("deconvolutions.")}

    assert rest("lateral") == rest("unpooling") == rest("bilinear")


def test_the_table_says_what_the_class_alone_says() -> None:
    """The names of the weights of earlier models are those of today's default."""
    torch.manual_seed(0)
    ours = build_decoder("lateral", BACKBONE_CHANNELS, STRIDES, (8, 8)).state_dict()
    torch.manual_seed(0)
    alone = DeconvDecoder(BACKBONE_CHANNELS, STRIDES, (8, 8)).state_dict()
    assert all(torch.equal(ours[key], alone[key]) for key in ours.keys() | alone.keys())
    assert {"entry.weight", "deconvolutions.1.weight", "laterals.0.weight", "norms.1.running_var"} <= ours.keys()


def test_unpooling_without_a_feature_is_a_deconvolution() -> None:
    layers = build_decoder("unpooling", BACKBONE_CHANNELS, STRIDES, (6, 6, 6, 4)).deconvolutions
    assert [type(layer) for layer in layers] == [Unpooling, Unpooling, nn.ConvTranspose2d, nn.ConvTranspose2d]


def test_a_decoder_goes_on_a_real_backbone() -> None:
    backbone = build_backbone("hgnetv2_b0").eval()
    decoder = build_decoder("unpooling", backbone.channels, backbone.strides, (16, 16, 16)).eval()
    assert all(isinstance(layer, Unpooling) for layer in decoder.deconvolutions)
    with torch.no_grad():
        assert decoder(backbone(torch.randn(1, 3, 64, 96))).shape == (1, 16, 16, 24)


def test_an_unknown_decoder_names_the_nearest() -> None:
    with pytest.raises(DekeyError, match="did you mean 'unpooling'"):
        build_decoder("unpool", BACKBONE_CHANNELS, STRIDES, (8,))


def test_too_many_layers_are_refused_by_every_decoder() -> None:
    for name in DECODERS:
        with pytest.raises(DekeyError, match="use at most 4"):
            build_decoder(name, BACKBONE_CHANNELS, STRIDES, (8,) * 5)


def guides() -> dict[str, Tensor]:
    return {
        "different": torch.randn(3, 5, 8, 14),
        "many ties": torch.randint(-1, 2, (3, 5, 8, 14)).float(),
        "all equal": torch.zeros(3, 5, 8, 14),
        "two zeros": torch.tensor([0.0, -0.0]).repeat(3, 5, 8, 7),
        "infinite": torch.randn(3, 5, 8, 14).sign() * torch.inf,
    }


def by_pytorch(coarse: Tensor, finer: Tensor) -> Tensor:
    indices = nn.functional.max_pool2d(finer, 2, return_indices=True)[1]
    return nn.functional.max_unpool2d(coarse, indices, 2)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", guides())
def test_unpooling_is_that_of_pytorch(kind: str, memory_format: torch.memory_format) -> None:
    coarse = torch.randn(3, 5, 4, 7).contiguous(memory_format=memory_format)
    finer = guides()[kind].contiguous(memory_format=memory_format)
    assert torch.equal(unpool(coarse, finer), by_pytorch(coarse, finer))


def test_unpooling_undoes_pooling_where_the_maximum_lay() -> None:
    finer = torch.randn(2, 3, 6, 8)
    spread = unpool(nn.functional.max_pool2d(finer, 2), finer)
    assert torch.equal(spread[spread != 0], finer[spread != 0])
    assert (spread != 0).sum() == spread.numel() / 4


def test_gradients_of_unpooling_are_those_of_pytorch() -> None:
    coarse = torch.randn(2, 3, 4, 5, requires_grad=True)
    finer = torch.randn(2, 3, 8, 10, requires_grad=True)
    towards = torch.randn(2, 3, 8, 10)
    ours = torch.autograd.grad((unpool(coarse, finer) * towards).sum(), [coarse, finer], allow_unused=True)
    theirs = torch.autograd.grad((by_pytorch(coarse, finer) * towards).sum(), [coarse])
    assert torch.equal(ours[0], theirs[0])
    assert ours[1] is None


@pytest.mark.parametrize("kind", guides())
def test_exported_unpooling_is_that_of_pytorch(kind: str, tmp_path: Path) -> None:
    class Alone(nn.Module):
        def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
            return unpool(coarse, finer)

    session = exported(Alone(), [torch.randn(2, 5, 4, 7), torch.randn(2, 5, 8, 14)], tmp_path / "unpool.onnx")
    coarse, finer = torch.randn(3, 5, 4, 7), guides()[kind]
    np.testing.assert_array_equal(run(session, [coarse, finer]), by_pytorch(coarse, finer).numpy())

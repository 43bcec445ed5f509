from __future__ import annotations

import pytest
import torch

from dekey.codecs.heatmap import HeatmapCodec

STRIDES = (1, 2, 4, 8, 16)
SIGMAS = (0.75, 1.0, 1.5, 2.0, 3.0)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_decode_undoes_encode_everywhere_in_the_map(stride: int, sigma: float) -> None:
    height, width = 24 * stride, 32 * stride
    generator = torch.Generator().manual_seed(stride)
    keypoints = torch.rand(64, 3, 2, generator=generator) * torch.tensor([width, height])
    # The very corners and edges too: a point there has only half of its Gaussian in the map.
    keypoints[0, :, 0], keypoints[1, :, 1] = 0.0, 0.0
    keypoints[2, :, 0], keypoints[3, :, 1] = width, height
    codec = HeatmapCodec(stride, sigma)
    found = codec.decode(codec.encode(keypoints, (height, width)))
    assert (found["keypoints"] - keypoints).abs().max() < 1e-3 * stride


def test_the_peak_is_the_height_at_the_cell_and_the_score() -> None:
    codec = HeatmapCodec(4, 2.0)
    centre_of_cell = torch.tensor([[[4 * 7 + 2.0, 4 * 5 + 2.0]]])
    maps = codec.encode(centre_of_cell, (64, 64))["keypoint_heatmap"]
    assert maps.shape == (1, 1, 16, 16)
    assert maps[0, 0, 5, 7] == 1.0
    assert maps.argmax() == 5 * 16 + 7
    assert codec.decode({"keypoint_heatmap": maps})["keypoint_scores"].item() == 1.0


def test_an_absent_keypoint_gives_an_empty_map() -> None:
    maps = HeatmapCodec(4, 2.0).encode(torch.full((1, 2, 2), torch.nan), (32, 32))["keypoint_heatmap"]
    assert maps.abs().max() == 0


def test_a_point_outside_leaves_its_tail_and_no_more() -> None:
    maps = HeatmapCodec(4, 2.0).encode(torch.tensor([[[-6.0, 16.0], [-400.0, 16.0]]]), (32, 32))["keypoint_heatmap"]
    assert 0.2 < maps[0, 0].max() < 0.7
    assert maps[0, 1].max() < 1e-6


def test_decoding_stays_finite_on_flat_negative_and_noisy_maps() -> None:
    codec = HeatmapCodec(4, 1.5)
    noise = torch.randn(8, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    for maps in (torch.zeros(1, 2, 16, 16), torch.full((1, 2, 16, 16), -3.0), noise, noise * 1e-20, noise * 1e20):
        found = codec.decode({"keypoint_heatmap": maps})
        assert torch.isfinite(found["keypoints"]).all()
        assert ((found["keypoint_scores"] >= 0) & (found["keypoint_scores"] <= 1)).all()


def test_noise_moves_the_answer_less_than_the_cell_of_the_peak() -> None:
    codec = HeatmapCodec(4, 1.5)
    generator = torch.Generator().manual_seed(0)
    keypoints = 20 + 88 * torch.rand(400, 1, 2, generator=generator)
    maps = codec.encode(keypoints, (128, 128))["keypoint_heatmap"]
    noisy = maps + 0.03 * torch.randn(maps.shape, generator=generator)
    error = (codec.decode({"keypoint_heatmap": noisy})["keypoints"] - keypoints).norm(dim=-1).mean()
    cell = noisy.flatten(2).argmax(-1)
    whole = 4 * torch.stack([cell % 32, cell // 32], dim=-1) + 2.0
    assert error < 0.35 * (whole - keypoints).norm(dim=-1).mean()


def test_mirrored_and_shifted_maps_give_mirrored_and_shifted_points() -> None:
    codec = HeatmapCodec(4, 1.5)
    generator = torch.Generator().manual_seed(1)
    keypoints = 24 + 80 * torch.rand(16, 2, 2, generator=generator)
    maps = codec.encode(keypoints, (128, 128))["keypoint_heatmap"]
    maps = maps + 0.02 * torch.rand(maps.shape, generator=generator)
    found = codec.decode({"keypoint_heatmap": maps})["keypoints"]
    mirrored = codec.decode({"keypoint_heatmap": maps.flip(-1)})["keypoints"]
    torch.testing.assert_close(mirrored[..., 0], 128 - found[..., 0], atol=1e-3, rtol=0)
    shifted = codec.decode({"keypoint_heatmap": maps.roll(2, dims=-2)})["keypoints"]
    torch.testing.assert_close(shifted[..., 1], found[..., 1] + 8, atol=1e-3, rtol=0)

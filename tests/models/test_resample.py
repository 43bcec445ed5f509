from __future__ import annotations

import math

import pytest
import torch

from dekey.codecs.center import CenterCodec
from dekey.codecs.heatmap import HeatmapCodec
from dekey.models.imitation import center_answers
from dekey.models.resample import Grid, Passage

OWN = Grid((128, 192), 4, 1.5)
OTHERS = {
    "twice the input": Grid((256, 384), 4, 1.5),
    "half the stride": Grid((128, 192), 2, 1.5),
    "half the input": Grid((64, 96), 4, 1.5),
    "another shape": Grid((224, 160), 4, 1.5),
    "another shape and stride": Grid((192, 352), 2, 2.0),
    "wider Gaussians": Grid((128, 192), 4, 2.0),
    "narrower Gaussians": Grid((128, 192), 4, 1.0),
}


def in_other_frame(passage: Passage, points: torch.Tensor) -> torch.Tensor:
    """Map points (..., 2) x, y px of the own input into the other's, by the passage's own statement of where it lies."""
    scale, start = torch.tensor(passage.scale[::-1]), torch.tensor(passage.start[::-1])
    return points * scale + start


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_picture_lies_where_the_passage_says(other: Grid) -> None:
    passage = Passage(OWN, other)
    height, width = OWN.input_size
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    ramps = torch.stack([x, y, torch.full_like(x, 200)])[None]
    fitted = passage.pictures(ramps)
    assert fitted.shape == (1, 3, *other.input_size)
    inside = fitted[0, 2] > 199
    rows, columns = torch.nonzero(inside, as_tuple=True)
    assert (int(rows.min()), int(columns.min())) == passage.start
    assert (int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1) == passage.inside
    margin = 8
    place = torch.stack([columns + 0.5, rows + 0.5], dim=-1)
    found = in_other_frame(passage, torch.stack([fitted[0, 0][inside], fitted[0, 1][inside]], dim=-1))
    whole = ((place - torch.tensor(passage.start[::-1])) > margin).all(-1)
    whole &= ((torch.tensor(passage.start[::-1]) + torch.tensor(passage.inside[::-1]) - place) > margin).all(-1)
    # A filter of whole pixels is not quite even between two of them; half a pixel would be five times as much.
    assert (found - place)[whole].abs().max() < 0.1


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_heatmap_of_another_network_becomes_the_own_target(other: Grid) -> None:
    passage = Passage(OWN, other)
    generator = torch.Generator().manual_seed(0)
    height, width = OWN.input_size
    points = 24 + torch.rand(16, 4, 2, generator=generator) * torch.tensor([width - 48.0, height - 48.0])
    own, others = HeatmapCodec(OWN.stride, OWN.sigma), HeatmapCodec(other.stride, other.sigma)
    expected = own.encode(points, OWN.input_size)["keypoint_heatmap"]
    maps = others.encode(in_other_frame(passage, points), other.input_size)["keypoint_heatmap"]
    carried = passage.heatmap(0.7 * maps)
    assert carried.shape == expected.shape
    # What teaches is the place: it must be right to a twentieth of a cell, at the height that the teacher gave.
    assert (own.decode({"keypoint_heatmap": carried})["keypoints"] - points).abs().max() < OWN.stride / 20
    torch.testing.assert_close(carried, 0.7 * expected, atol=0.06, rtol=0)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_an_object_that_another_detector_sees_is_decoded_in_the_own_frame(other: Grid) -> None:
    passage = Passage(OWN, other)
    box = torch.tensor([61.0, 33.0, 117.0, 89.0])
    points = torch.tensor([[70.0, 40.0], [103.0, 71.0]])
    codec = CenterCodec(other.stride, [[True, True]], other.sigma, 3)
    corners = in_other_frame(passage, box.view(2, 2)).flatten()[None, None]
    targets = codec.encode(
        corners,
        torch.zeros(1, 1, dtype=torch.int64),
        in_other_frame(passage, points)[None, None],
        torch.full((1, 1, 2), 2),
        torch.ones(1, 1, dtype=torch.bool),
        other.input_size,
    )
    maps = codec.ideal_maps(targets)
    # An object that fills the picture is seen by every cell, so what lies between cells is known as well.
    height, width = maps["center_heatmap"].shape[-2:]
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    middles = torch.stack([x, y])[None]
    cells = targets["boxes"][0, 0]
    centre, size = (cells[:2] + cells[2:]) / 2, cells[2:] - cells[:2]
    maps["center_offset"] = centre.view(1, 2, 1, 1) - middles
    maps["box_size"] = size.log().view(1, 2, 1, 1).expand(1, 2, height, width)
    maps["keypoint_vectors"] = targets["keypoints"].reshape(1, 4, 1, 1) - middles.repeat(1, 2, 1, 1)
    maps["visibility_logits"] = torch.full((1, 2, height, width), -3.0)
    carried = center_answers(maps, passage)
    for name in ("center_heatmap", "corner_heatmap", "keypoint_heatmap"):
        carried[name] = torch.logit(carried[name].clamp(1e-6, 1 - 1e-6))
    found = CenterCodec(OWN.stride, [[True, True]], OWN.sigma, 3).decode(carried)
    assert found["scores"][0, 0] > 0.7
    torch.testing.assert_close(found["boxes"][0, 0], box, atol=0.25, rtol=0)
    torch.testing.assert_close(found["keypoints"][0, 0], points, atol=0.25, rtol=0)
    torch.testing.assert_close(found["visibility"][0, 0], torch.sigmoid(torch.tensor([-3.0, -3.0])), atol=1e-3, rtol=0)


def test_vectors_point_to_the_same_place_from_every_cell() -> None:
    """Anisotropic by rounding: 100 px of height fitted into 96 make other cells than 200 of width fitted into 192."""
    own, other = Grid((96, 224), 8, 1.5), Grid((64, 160), 4, 1.5)
    passage = Passage(own, other)
    assert passage.scale[0] != passage.scale[1]
    target = torch.tensor([100.0, 50.0])
    there = in_other_frame(passage, target) / other.stride
    height, width = (length // other.stride for length in other.input_size)
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    vectors = there.view(1, 2, 1, 1) - torch.stack([x, y])[None]
    carried = passage.lengths(vectors)[0] * own.stride
    x, y = torch.meshgrid((torch.arange(28) + 0.5) * 8, (torch.arange(12) + 0.5) * 8, indexing="xy")
    torch.testing.assert_close(carried + torch.stack([x, y]), target.view(2, 1, 1).expand(2, 12, 28), atol=1e-3, rtol=0)
    logarithms = passage.logarithms(torch.zeros(1, 2, height, width))
    cell = torch.tensor([other.stride / passage.scale[1], other.stride / passage.scale[0]])
    torch.testing.assert_close(logarithms.exp()[0, :, 0, 0] * own.stride, cell)


def test_the_same_grid_changes_nothing() -> None:
    passage = Passage(OWN, OWN)
    maps = torch.rand(2, 4, 32, 48)
    images = torch.zeros(2, 3, *OWN.input_size, dtype=torch.uint8)
    assert passage.pictures(images) is images
    assert passage.wider == 1
    for carry in (passage.heatmap, passage.peaks, passage.lengths, passage.levels):
        assert torch.equal(carry(maps), maps)
    assert math.isclose(passage.cells[0], 1)

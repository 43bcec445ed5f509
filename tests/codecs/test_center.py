from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dekey.codecs.center import LOWEST_MATCH, CenterCodec, gaussian_radius

PRESENT = [[True, True, True], [True, False, True]]
# Of two Gaussians nearer than about four standard deviations the flanks meet where peaks are read, and both answers move.
APART = 6
CELLS = 48
CORNERS = torch.tensor([[0, 1], [2, 1], [0, 3], [2, 3]])


@dataclass(frozen=True)
class Scene:
    """One image's objects, a batch of one: boxes (1, N, 4), labels (1, N), keypoints (1, N, K, 2), visibility, valid."""

    boxes: Tensor
    labels: Tensor
    keypoints: Tensor
    visibility: Tensor
    valid: Tensor

    def __getitem__(self, index: Tensor) -> Scene:
        return Scene(**{name: value[:, index] for name, value in vars(self).items()})


def apart(places: Tensor, others: list[Tensor], cells: float) -> bool:
    return all((places - other).abs().amax(-1).min() >= cells for other in others)


def scene_of(seed: int, stride: int, count: int = 6, margin: float = 2.0) -> Scene:
    """Draw objects, many of them overlapping, at least `margin` cells inside a map of `CELLS` cells.

    Same corners and same keypoints of two objects lie `APART` cells apart, and so do the mirrored corners; centres two.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    boxes: list[Tensor] = []
    keypoints: list[Tensor] = []
    for _ in range(20_000):
        if len(boxes) == count:
            break
        sides = uniform(2, low=5, high=28)
        corner = margin + uniform(2, low=0, high=1) * (CELLS - 2 * margin - sides)
        box = torch.cat([corner, corner + sides])
        points = corner + uniform(3, 2, low=0, high=1) * sides
        corners = box[CORNERS]
        if (
            apart(corners, [one[CORNERS] for one in boxes], APART)
            and all((points - one).abs().amax(-1).min() >= APART for one in keypoints)
            and apart((box[:2] + box[2:]) / 2, [(one[:2] + one[2:]) / 2 for one in boxes], 2.5)
        ):
            boxes.append(box)
            keypoints.append(points)
    assert len(boxes) == count
    labels = torch.arange(count) % 2
    points = torch.stack(keypoints)
    visibility = torch.where(torch.tensor(PRESENT)[labels], torch.randint(1, 3, (count, 3), generator=generator), 0)
    points[visibility == 0] = torch.nan
    return Scene(
        torch.stack(boxes)[None] * stride, labels[None], points[None] * stride, visibility[None].to(torch.uint8),
        torch.ones(1, count, dtype=torch.bool),
    )  # fmt: skip


def codec_of(stride: int = 4, objects: int = 8) -> CenterCodec:
    return CenterCodec(stride, PRESENT, 1.5, objects)


def encode(codec: CenterCodec, scene: Scene, cells: int = CELLS) -> dict[str, Tensor]:
    side = cells * codec.stride
    return codec.encode(scene.boxes, scene.labels, scene.keypoints, scene.visibility, scene.valid, (side, side))


def round_trip(codec: CenterCodec, scene: Scene) -> dict[str, Tensor]:
    return codec.decode(codec.ideal_maps(encode(codec, scene), scene.visibility == 2))


def check(found: dict[str, Tensor], scene: Scene, tolerance: float = 0.05) -> None:
    """Every object is found once, with its box, class, keypoints and visibility; nothing else is."""
    strong = found["scores"][0] > 0.5
    assert strong.sum() == scene.boxes.shape[1]
    for index, box in enumerate(scene.boxes[0]):
        errors = (found["boxes"][0, strong] - box).abs().amax(-1)
        best = int(errors.argmin())
        assert errors[best] < tolerance
        assert found["labels"][0, strong][best] == scene.labels[0, index]
        labelled = scene.visibility[0, index] > 0
        assert (found["keypoints"][0, strong][best] - scene.keypoints[0, index])[labelled].abs().max() < tolerance
        assert (found["keypoint_scores"][0, strong][best][labelled] > 0.8).all()
        visible = found["visibility"][0, strong][best] > 0.5
        assert torch.equal(visible[labelled], (scene.visibility[0, index] == 2)[labelled])


@given(st.floats(0.5, 500), st.floats(0.5, 500), st.floats(0.2, 0.95))
def test_the_radius_leaves_exactly_the_asked_overlap_in_the_worst_of_three_cases(w: float, h: float, overlap: float) -> None:
    radius = gaussian_radius(torch.tensor([w, h], dtype=torch.float64), overlap).item()
    shared = (w - radius) * (h - radius)
    along = shared / (2 * w * h - shared)
    inwards = (w - 2 * radius) * (h - 2 * radius) / (w * h)
    outwards = w * h / ((w + 2 * radius) * (h + 2 * radius))
    assert 0 < radius < min(w, h) / 2
    assert min(along, inwards, outwards) == pytest.approx(overlap, abs=1e-6)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("seed", range(6))
def test_decode_undoes_encode(stride: int, seed: int) -> None:
    scene = scene_of(seed, stride)
    check(round_trip(codec_of(stride), scene), scene)


def test_visibility_is_read_where_the_keypoint_is() -> None:
    codec, scene = codec_of(), scene_of(1, 4)
    maps = codec.ideal_maps(encode(codec, scene))
    assert (codec.decode(maps)["visibility"][0, :6][:, 0] > 0.99).all()
    # Something covers the surroundings of the first object's first keypoint; its centre may be as it was.
    x, y = (scene.keypoints[0, 0, 0] / 4).long().tolist()
    maps["visibility_logits"][0, :, y - 1 : y + 2, x - 1 : x + 2] = -10.0
    found = codec.decode(maps)
    index = (found["boxes"][0] - scene.boxes[0, 0]).abs().amax(-1).argmin()
    labelled = scene.visibility[0, 0] > 0
    assert (found["visibility"][0, index] > 0.5)[labelled].tolist() == [False, True, True][: int(labelled.sum())]


def test_some_of_these_objects_overlap() -> None:
    """Else the law above would say little."""
    boxes = torch.cat([scene_of(seed, 1).boxes for seed in range(6)])
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    assert (shared > 0).sum() - 36 >= 36


def test_the_order_of_the_objects_does_not_matter() -> None:
    codec = codec_of()
    for seed in range(4):
        scene = scene_of(seed, 4)
        expected = round_trip(codec, scene)
        found = round_trip(codec, scene[torch.randperm(6, generator=torch.Generator().manual_seed(seed))])
        for name in expected:
            assert torch.equal(found[name], expected[name])


def test_mirrored_objects_give_mirrored_answers() -> None:
    codec, width = codec_of(), CELLS * 4
    for seed in range(4):
        scene = scene_of(seed, 4)
        keypoints = scene.keypoints.clone()
        keypoints[..., 0] = width - keypoints[..., 0]
        x1, y1, x2, y2 = scene.boxes.unbind(-1)
        mirrored = replace(scene, boxes=torch.stack([width - x2, y1, width - x1, y2], -1), keypoints=keypoints)
        check(round_trip(codec, mirrored), mirrored)


def test_maps_moved_by_whole_cells_give_answers_moved_as_far_noise_and_all() -> None:
    codec = codec_of()
    scene = scene_of(0, 4, count=3, margin=8)
    maps = codec.ideal_maps(encode(codec, scene), scene.visibility == 2)
    generator = torch.Generator().manual_seed(0)
    maps = {name: value + 0.2 * torch.randn(value.shape, generator=generator) for name, value in maps.items()}
    found = codec.decode(maps)
    moved = codec.decode({name: value.roll((3, -2), dims=(-2, -1)) for name, value in maps.items()})
    shift = torch.tensor([-8.0, 12.0])
    torch.testing.assert_close(moved["scores"][0, :3], found["scores"][0, :3])
    torch.testing.assert_close(moved["boxes"][0, :3], found["boxes"][0, :3] + shift.repeat(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(moved["keypoints"][0, :3], found["keypoints"][0, :3] + shift, atol=1e-3, rtol=0)


def test_in_a_crowd_nothing_is_asked_but_at_the_centre_of_an_object() -> None:
    codec = codec_of()
    scene = scene_of(1, 4, count=2)
    crowd = scene.boxes.new_tensor([[[40.0, 80.0, 100.0, 120.0]]])
    with_crowd = Scene(
        torch.cat([scene.boxes, crowd], 1), torch.tensor([[0, 1, 0]]),
        torch.cat([scene.keypoints, torch.full((1, 1, 3, 2), torch.nan)], 1),
        torch.cat([scene.visibility, torch.zeros(1, 1, 3, dtype=torch.uint8)], 1), torch.tensor([[True, True, False]]),
    )  # fmt: skip
    without, targets = encode(codec, scene), encode(codec, with_crowd)
    for name in ("center_heatmap", "corner_heatmap", "keypoint_heatmap"):
        assert torch.equal(targets[name], without[name])
    assert (without["center_mask"] == 1).all()
    expected = torch.ones(CELLS, CELLS)
    expected[20:30, 10:25] = 0
    own = targets["center_heatmap"][0].amax(0) == 1
    assert torch.equal(targets["center_mask"][0, 0], torch.where(own, 1.0, expected))
    drawn = targets["keypoint_heatmap"][0] > 0.1
    assert torch.equal(targets["keypoint_mask"][0], torch.maximum(targets["center_mask"][0], drawn.float()))
    assert (targets["cell_weights"][0, 2] == 0).all()


def test_padding_asks_everything_and_leaves_no_trace() -> None:
    codec = codec_of()
    blank = Scene(
        torch.full((1, 2, 4), torch.nan), torch.zeros(1, 2, dtype=torch.int64), torch.full((1, 2, 3, 2), torch.nan),
        torch.zeros(1, 2, 3, dtype=torch.uint8), torch.zeros(1, 2, dtype=torch.bool),
    )  # fmt: skip
    targets = encode(codec, blank)
    for name in ("center_heatmap", "corner_heatmap", "keypoint_heatmap", "cell_weights"):
        assert targets[name].abs().max() == 0
    assert (targets["center_mask"] == 1).all()
    assert (targets["keypoint_mask"] == 1).all()


def test_an_object_without_keypoints_trains_its_box_and_asks_no_keypoint_inside() -> None:
    codec = codec_of()
    box = torch.tensor([[[40.0, 80.0, 100.0, 120.0], [120.0, 20.0, 160.0, 60.0]]])
    keypoints = torch.full((1, 2, 3, 2), torch.nan)
    keypoints[0, 1, 0] = torch.tensor([130.0, 30.0])
    visibility = torch.zeros(1, 2, 3, dtype=torch.uint8)
    visibility[0, 1, 0] = 2
    # The second object's class lacks keypoint 1, and its keypoint 2 is not labelled.
    targets = encode(codec, Scene(box, torch.tensor([[0, 1]]), keypoints, visibility, torch.ones(1, 2, dtype=torch.bool)))
    assert (targets["cell_weights"].amax(-1) == 1).all()
    assert (targets["center_mask"] == 1).all()
    first, second = (slice(20, 30), slice(10, 25)), (slice(5, 15), slice(30, 40))
    asked = torch.ones(3, CELLS, CELLS)
    asked[:, first[0], first[1]] = 0
    asked[2, second[0], second[1]] = 0
    assert torch.equal(targets["keypoint_mask"][0], asked)


def test_an_unlabelled_keypoint_is_not_drawn_even_where_it_has_coordinates() -> None:
    codec = codec_of()
    scene = scene_of(2, 4)
    hidden = replace(scene, visibility=torch.zeros_like(scene.visibility))
    assert encode(codec, hidden)["keypoint_heatmap"].abs().max() == 0
    check_boxes = round_trip(codec, hidden)
    assert (check_boxes["scores"][0, :6] > 0.99).all()
    assert (check_boxes["keypoint_scores"] <= LOWEST_MATCH).all()


@pytest.mark.parametrize(
    "cells", [[(5, 5), (5, 6)], [(5, 5), (6, 6)], [(7, y) for y in range(4, 9)], [(5, 5), (5, 6), (6, 5), (6, 6)]]
)
def test_equal_neighbours_are_one_answer(cells: list[tuple[int, int]]) -> None:
    codec = codec_of()
    maps = {name: torch.zeros(1, count, CELLS, CELLS) for name, count in channels().items()}
    for name in ("center_heatmap", "corner_heatmap", "keypoint_heatmap"):
        maps[name] -= 10
    for row, column in cells:
        maps["center_heatmap"][0, 1, row, column] = 5.0
    found = codec.decode(maps)
    assert (found["scores"] > 0.5).sum() == 1
    assert found["labels"][0, 0] == 1


def channels() -> dict[str, int]:
    return {
        "center_heatmap": 2, "corner_heatmap": 2, "keypoint_heatmap": 3, "visibility_logits": 3, "center_offset": 2,
        "box_size": 2, "keypoint_vectors": 6,
    }  # fmt: skip


def test_more_answers_than_objects_are_weak_and_finite() -> None:
    codec = codec_of(objects=40)
    scene = scene_of(3, 4)
    found = round_trip(codec, scene)
    check(found, scene)
    assert found["keypoints"].shape == (1, 40, 3, 2)
    assert (found["scores"][0, 6:] < 0.01).all()
    assert (found["scores"].diff() <= 0).all()
    assert all(torch.isfinite(value.float()).all() for value in found.values())


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_decoding_stays_finite_on_any_maps(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {name: size * torch.randn(2, count, 12, 16, generator=generator) for name, count in channels().items()}
    found = codec_of().decode(maps)
    assert all(torch.isfinite(value.float()).all() for value in found.values())
    for name in ("scores", "keypoint_scores", "visibility"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    assert (found["boxes"][..., 2:] >= found["boxes"][..., :2]).all()


def test_strange_objects_leave_finite_targets() -> None:
    """Without extent, larger than the picture, with a centre outside, at the very border."""
    boxes = torch.tensor(
        [[[50.0, 50, 50, 50], [-400, -400, 900, 900], [-90, 10, -10, 40], [0, 0, 192, 192], [190, 190, 192, 192]]]
    )
    keypoints = torch.full((1, 5, 3, 2), 192.0)
    codec = codec_of()
    scene = Scene(
        boxes, torch.zeros(1, 5, dtype=torch.int64), keypoints, torch.full((1, 5, 3), 2, dtype=torch.uint8),
        torch.ones(1, 5, dtype=torch.bool),
    )  # fmt: skip
    targets = encode(codec, scene)
    assert all(torch.isfinite(value.float()).all() for value in targets.values())
    assert (targets["center_heatmap"] == 1).sum() == 3  # two share a cell, one lies outside
    assert ((targets["cells"] >= 0) & (targets["cells"] < CELLS**2)).all()

"""Gradients in parts: what one batch gives in two threads is what its halves give one after the other."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dekey.models.base import Batch
from dekey.models.build import build_model
from dekey.training.parallel import PartedGradients, choose_parts

SIZE = 64


def loss_of(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = model.loss(batch)  # type: ignore[operator]
    return terms


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    architecture = {"backbone": "test_resnet", "decoder_channels": [16, 16, 16], "decoder": "lateral", "sigma": 1.5}
    return build_model("heatmap", {**architecture, "keypoint_count": 3, "input_size": [SIZE, SIZE]}, pretrained=False).train()


def batch_of(images: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        images=torch.from_numpy(rng.integers(0, 256, (images, 3, SIZE, SIZE), dtype=np.uint8)),
        boxes=torch.tensor([[[4.0, 4.0, 60.0, 60.0]]]).expand(images, 1, 4),
        labels=torch.zeros(images, 1, dtype=torch.int64),
        keypoints=torch.from_numpy(rng.uniform(8, 56, (images, 1, 3, 2)).astype(np.float32)),
        visibility=torch.full((images, 1, 3), 2, dtype=torch.uint8),
        valid=torch.ones(images, 1, dtype=torch.bool),
        image_to_input=torch.eye(2, 3, dtype=torch.float64).expand(images, 2, 3),
        names=[str(index) for index in range(images)],
    )


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("images", [8, 7])
def test_parts_in_threads_give_what_they_give_one_after_the_other(model: nn.Module, images: int) -> None:
    batch = batch_of(images)
    parts = batch[: images // 2], batch[images // 2 :]
    shares = [len(part) / images for part in parts]
    twins = [copy.deepcopy(model) for _ in parts]
    terms_of_parts = [loss_of(twin, part) for twin, part in zip(twins, parts, strict=True)]
    for share, terms in zip(shares, terms_of_parts, strict=True):
        (share * torch.stack(list(terms.values())).sum()).backward()
    expected = {
        name: sum(s * t[name].item() for s, t in zip(shares, terms_of_parts, strict=True)) for name in terms_of_parts[0]
    }
    sums = [torch.stack(grads).sum(0) for grads in zip(*map(gradients_of, twins), strict=True)]

    parted = PartedGradients(model, loss_of, parts=2, cores=2)
    terms = parted(batch)
    parted.close()

    assert {name: float(value) for name, value in terms.items()} == pytest.approx(expected, rel=1e-5)
    for found, wanted in zip(gradients_of(model), sums, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)
    for place, *others in zip(model.buffers(), *(twin.buffers() for twin in twins), strict=True):
        if place.is_floating_point():
            mean = torch.stack([share * other for share, other in zip(shares, others, strict=True)]).sum(0)
            assert torch.allclose(place, mean, rtol=1e-5, atol=1e-6)


def test_the_same_steps_give_the_same_weights_to_the_last_bit(model: nn.Module) -> None:
    def weights(one: nn.Module) -> list[Tensor]:
        parted = PartedGradients(one, loss_of, parts=2, cores=2)
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for seed in range(4):
            optimizer.zero_grad()
            parted(batch_of(8, seed))
            optimizer.step()
        parted.close()
        return [value.clone() for value in one.state_dict().values()]

    twin = copy.deepcopy(model)
    before = [value.clone() for value in model.state_dict().values()]
    first, second = weights(model), weights(twin)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(first, before, strict=True))


def test_one_part_is_the_plain_step(model: nn.Module) -> None:
    twin = copy.deepcopy(model)
    parted = PartedGradients(model, loss_of)
    parted(batch_of(4))
    torch.stack(list(loss_of(twin, batch_of(4)).values())).sum().backward()
    assert all(torch.equal(one, other) for one, other in zip(gradients_of(model), gradients_of(twin), strict=True))


def test_the_callers_threads_stay_as_they_are(model: nn.Module) -> None:
    before = torch.get_num_threads()
    parted = PartedGradients(model, loss_of, parts=2, cores=2)
    parted(batch_of(8))
    seen = list(parted._pool.map(lambda _: torch.get_num_threads(), range(4))) if parted._pool else []
    parted.close()
    assert torch.get_num_threads() == before
    assert set(seen) == {1}


def test_a_loss_that_is_not_finite_leaves_no_gradient_behind(model: nn.Module) -> None:
    def broken(one: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {name: value * (torch.nan if "0" in batch.names else 1.0) for name, value in loss_of(one, batch).items()}

    parted = PartedGradients(model, broken, parts=2, cores=2)
    terms = parted(batch_of(8))
    parted.close()
    assert not all(torch.isfinite(value) for value in terms.values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients_of(model))


def test_a_network_that_draws_random_numbers_is_not_divided() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    assert PartedGradients(network, loss_of, parts=4, cores=4).parts == 1
    assert PartedGradients(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), loss_of, parts=4, cores=4).parts == 4


def test_parts_have_at_least_four_images() -> None:
    assert [choose_parts(batch, cores) for batch, cores in ((8, 2), (32, 16), (3, 8), (16, 1))] == [2, 8, 1, 1]

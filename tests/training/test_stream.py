from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dekey.data import Dataset, Instances, Sample, Schema, embedded, geometry
from dekey.training.augment import Augment
from dekey.training.crops import CropSet
from dekey.training.schedule import Schedule, default_epochs, learning_rate
from dekey.training.stream import BatchStream

AUGMENT = Augment(rotate=30, scale=0.2, shift=0.05, colour=0.5, blur=0.3, erase=0.3)


def stream_of(batch_size: int = 5, workers: int = 1, seed: int = 3) -> BatchStream:
    dataset = embedded.load("test").subset(np.arange(8))
    return BatchStream(CropSet(dataset, "box", (64, 64), memory=1 << 28), AUGMENT, batch_size, seed, workers)


def test_every_pass_sees_every_crop_once_in_an_order_of_its_own() -> None:
    stream = stream_of()
    count = len(stream.views)
    positions = [pair for step in range(2 * count) for pair in stream.indices(step)]
    passes = [[index for number, index in positions if number == wanted] for wanted in range(5)]
    assert all(sorted(one) == list(range(count)) for one in passes)
    assert passes[0] != passes[1]


def test_batches_do_not_depend_on_threads_or_on_where_one_starts() -> None:
    plain = [stream_of().batch(step) for step in range(6)]
    threaded = stream_of(workers=3).iterate(0)
    late = stream_of(workers=2).iterate(4)
    for step, batch in enumerate(plain):
        other = next(threaded)
        assert torch.equal(batch.images, other.images)
        torch.testing.assert_close(batch.keypoints, other.keypoints, equal_nan=True)
        assert batch.names == other.names
        if step >= 4:
            assert torch.equal(batch.images, next(late).images)
    threaded.close()  # type: ignore[attr-defined]
    late.close()  # type: ignore[attr-defined]


def test_seeds_differ() -> None:
    assert not torch.equal(stream_of(seed=1).batch(0).images, stream_of(seed=2).batch(0).images)


def test_images_lie_channels_last_in_memory() -> None:
    images = stream_of().batch(0).images
    assert images.shape == (5, 3, 64, 64)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_fault_in_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of()

    def fail(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(stream.views, "draw", fail)
    with pytest.raises(OSError, match="disk gone"):
        next(stream.iterate(0))


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step / 200, 2e-3, 0.05) for step in range(201)]
    assert max(rates) == pytest.approx(2e-3)
    assert int(np.argmax(rates)) == 10
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_a_schedule_by_steps() -> None:
    schedule = Schedule(steps=10, budget=None, steps_per_round=4)
    assert [step for step in range(1, 11) if schedule.ends_round(step, 0.0)] == [4, 8, 10]
    assert not schedule.finished(9)
    assert schedule.finished(10)


def test_a_schedule_by_the_clock_counts_what_an_earlier_process_spent() -> None:
    schedule = Schedule(steps=None, budget=100.0, steps_per_round=0, rounds=10)
    assert schedule.progress(10**9) < 0.01
    schedule.resume(95.0)
    assert 0.95 <= schedule.progress(0) < 0.96
    assert schedule.ends_round(0, 80.0)
    assert not schedule.ends_round(0, 90.0)
    schedule.resume(100.0)
    assert schedule.finished(0)


@pytest.mark.parametrize(("objects", "epochs"), [(0, 400), (50, 400), (3000, 110), (10**7, 20)])
def test_default_epochs(objects: int, epochs: int) -> None:
    assert default_epochs(objects) == epochs


def test_flips_stop_where_the_run_settles() -> None:
    dataset = embedded.load("test").subset(np.arange(8))
    schema = Schema.create(dataset.schema.classes, dataset.schema.keypoints, mirror=[1, 0])
    crops = CropSet(dataset.with_schema(schema), "box", (64, 64))
    stream = BatchStream(
        crops, Augment(flip=1.0), 4, 0, settled=Augment(flip=1.0).settled(has_boxes=False), settles_at=lambda step: step >= 3
    )
    determinants = [torch.linalg.det(stream.batch(step).image_to_input[..., :2]) for step in range(6)]
    assert all((one < 0).all() for one in determinants[:3])
    assert all((one > 0).all() for one in determinants[3:])
    plain = BatchStream(crops, Augment(), 4, 0).batch(4)
    torch.testing.assert_close(stream.batch(4).keypoints, plain.keypoints)


def test_the_first_pictures_are_small_and_their_objects_with_them() -> None:
    dataset = embedded.load("test").subset(np.arange(8))
    large = BatchStream(CropSet(dataset, "box", (96, 128)), AUGMENT, 4, 0)
    small = BatchStream(CropSet(dataset, "box", (96, 128)), AUGMENT, 4, 0, small=(64, 96), small_at=lambda step: step < 2)
    assert [small.batch(step).input_size for step in range(4)] == [(64, 96), (64, 96), (96, 128), (96, 128)]
    here, there = small.batch(1), large.batch(1)
    torch.testing.assert_close(here.keypoints, there.keypoints * torch.tensor([96 / 128, 64 / 96]), equal_nan=True)
    torch.testing.assert_close(here.boxes, there.boxes * torch.tensor([96 / 128, 64 / 96]).repeat(2), equal_nan=True)
    ends = here.image_to_input.new_tensor([[96 / 128], [64 / 96]])
    torch.testing.assert_close(here.image_to_input, there.image_to_input * ends)
    # Each pixel is the mean of the area that it covers: nothing is shifted by half a pixel.
    finer = torch.nn.functional.interpolate(there.images.float(), (192, 384), mode="nearest")
    means = torch.nn.functional.avg_pool2d(finer, (3, 4))
    assert (here.images.float() - means).abs().max() <= 1
    assert torch.equal(small.batch(3).images, large.batch(3).images)


def test_no_step_of_a_run_has_a_rate_of_zero() -> None:
    for steps in (1, 2, 7):
        schedule = Schedule(steps, None, 1)
        rates = [learning_rate(schedule.middle(step), 1.0, 0.05) for step in range(steps)]
        assert min(rates) > 0
        assert rates == [learning_rate((step + 0.5) / steps, 1.0, 0.05) for step in range(steps)]


def test_boxes_of_turned_objects_are_no_larger_than_they_must_be() -> None:
    """A box is what the article's family learns; the hull of its turned corners would be up to the root of two too long."""
    box, middle = [[30.0, 30, 70, 70]], [[[50.0, 50]]]
    sample = Sample(np.zeros((100, 100, 3), np.uint8), (100, 100), Instances.create(middle, box), 1, np.array([1]))
    dataset = Dataset.from_samples(Schema.create(["a"], ["k"]), [sample])
    crops = CropSet(dataset, "image", (100, 100))
    for seed in range(5):
        _, instances, _ = crops.draw(0, Augment(rotate=180), np.random.default_rng(seed))
        np.testing.assert_allclose(geometry.box_sizes(instances.boxes), 40, atol=0.5)

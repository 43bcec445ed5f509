from __future__ import annotations

import mmap
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dekey.data.images import image_size
from dekey.errors import DekeyError
from dekey.runtime import OnnxBackend, Predictor
from dekey.runtime.backends import Arrays
from dekey.speed import Bench
from dekey.speed.memory import memory
from dekey.speed.picture import SIZE, write_picture
from dekey.speed.stages import STAGES, Watched, at_once, in_batches, rates, staged


@pytest.fixture(scope="module")
def files(small_data: Path) -> list[Path]:
    return sorted((small_data.parent / "images").iterdir())[:3]


class Slow:
    """A backend that takes 30 ms, and counts the images it was given and the most calls at the same time."""

    def __init__(self, backend: OnnxBackend) -> None:
        self.manifest = backend.manifest
        self.images: list[int] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._backend = backend

    def run(self, images: np.ndarray) -> Arrays:
        with self._lock:
            self.images.append(len(images))
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.03)
        with self._lock:
            self._now -= 1
        return self._backend.run(images)


def test_stages_add_up_and_the_network_is_the_network(small_onnx: Path, files: list[Path]) -> None:
    slow = Slow(OnnxBackend(small_onnx))
    watched = Watched(slow)
    call = staged(watched, [(file, None) for file in files])
    for _ in range(4):
        taken = call()
        assert tuple(taken) == STAGES
        assert min(taken.values()) >= 0
        assert sum(taken[stage] for stage in STAGES[:-1]) == pytest.approx(taken["whole"])
        assert taken["network"] >= 30
    assert slow.images == [1] * 4
    assert watched.images is not None
    assert watched.images.shape == (1, *watched.manifest.input_size, 3)


def test_many_images_are_all_predicted(small_onnx: Path, files: list[Path]) -> None:
    slow = Slow(OnnxBackend(small_onnx, "cpu", 1, "throughput"))
    in_batches(Predictor(slow, batch_size=4), files)(10)
    assert (slow.images, slow.most) == ([4, 4, 2], 1)
    slow.images.clear()
    at_once(Predictor(slow), files, 5)(10)
    assert slow.images == [1] * 10
    assert 2 <= slow.most <= 5


def test_a_picture_that_cannot_be_read_stops_the_threads(small_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="does not exist"):
        at_once(Predictor(OnnxBackend(small_onnx)), [tmp_path / "gone.jpg"], 2)(4)


def test_rates_are_images_a_second() -> None:
    counts: list[int] = []

    def run(count: int) -> None:
        counts.append(count)
        time.sleep(0.01 * count)

    (rate,) = rates(run, 2)(0.1)
    assert counts[0] == 2
    assert counts[1] % 2 == 0
    assert 2 <= counts[1] <= 10
    assert 50 < rate <= 100


def test_the_embedded_picture_has_the_usual_size(tmp_path: Path) -> None:
    assert image_size(write_picture(tmp_path)) == SIZE


def test_memory_grows_with_what_is_held() -> None:
    before = memory()
    if before.peak is None:
        pytest.skip("this system does not say")
    # Straight from the system: an allocator may have as much left over from earlier tests.
    held = np.frombuffer(mmap.mmap(-1, 40_000_000), dtype=np.uint8)
    held[:] = 1
    after = memory()
    assert after.peak is not None
    assert after.peak >= before.peak
    if before.now is not None and after.now is not None:
        assert after.now - before.now > 30_000_000
        assert after.peak >= after.now
    assert held.any()


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "torch"])
def test_a_bench_measures_every_runtime(runtime: str, small_onnx: Path, small_run: Path, files: list[Path]) -> None:
    if runtime == "openvino" and find_spec("openvino") is None:
        pytest.skip("needs dekey[openvino]")
    path = small_run if runtime == "torch" else small_onnx
    threads = None if runtime == "torch" else 1
    bench = Bench(path, files, device="cpu", runtime=runtime, threads=threads, batch_size=2)  # type: ignore[arg-type]
    assert (bench.pictures, bench.objects, bench.batch_size) == (3, 1.0, 2)
    assert bench.computing.precision == "fp32"
    told: list[tuple[int, int]] = []
    speed = bench.measure(0.5, lambda *done: told.append(done))
    modes = {"one_at_a_time", "batches"} | (set() if runtime == "torch" else {"at_once"})
    assert set(speed.images_per_second) == modes
    assert bench.callers == 1
    assert told[0] == (1, 5 * (len(modes) + 2))
    assert min(one.median for one in speed.stages.values()) > 0
    assert speed.stages["whole"].median > speed.stages["network"].median
    assert speed.operations > 1e6
    assert speed.operations_per_second == pytest.approx(speed.operations / speed.network.median * 1e3)
    assert speed.share_of_peak == pytest.approx(speed.operations_per_second / speed.peak)
    assert speed.peak > 1e8
    assert speed.waited is None or 0 <= speed.waited <= 1


def test_threads_are_not_for_torch(small_run: Path, files: list[Path]) -> None:
    with pytest.raises(DekeyError, match="OMP_NUM_THREADS"):
        Bench(small_run, files, device="cpu", threads=2)

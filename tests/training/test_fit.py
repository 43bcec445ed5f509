from __future__ import annotations

import csv
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dekey.config import Config, read_config
from dekey.data import embedded
from dekey.errors import DekeyError
from dekey.formats import read, write
from dekey.models.base import Batch
from dekey.models.heatmap import HeatmapModel
from dekey.training import hardware, train
from dekey.training.module import Progress
from dekey.training.run_folder import RunFolder
from dekey.training.schedule import Schedule


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen embedded photographs as a data set of its own."""
    folder = tmp_path_factory.mktemp("small")
    write(embedded.load("test").subset(np.arange(12)), folder / "labels.json")
    return folder / "labels.json"


def config_of(path: Path, **run: Any) -> Config:
    values = {
        "data": {"train": str(path), "images": str(embedded.path("test").parent / "images"), "val_fraction": 0.25},
        "model": {
            "kind": "heatmap",
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [16, 16, 16],
            "input_size": [64, 64],
        },
        "run": {"epochs": 3, "batch_size": 4, "device": "cpu", **run},
    }
    return read_config(values)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(config_of(photographs), out)
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {file.name for file in finished.iterdir()} == {
        "config.yaml",
        "evaluation.json",
        "last.ckpt",
        "log.csv",
        "model.safetensors",
        "report.html",
        "run.json",
        "tensorboard",
    }
    rows = log_of(finished)
    assert float(rows[-1]["epoch"]) == pytest.approx(3, abs=0.3)
    assert {"loss", "loss/heatmap", "lr", "images_per_second", "waiting", "val_nme", "val_median_px"} <= rows[0].keys()
    facts = json.loads((finished / "run.json").read_text())
    assert facts["weights"] == "random weights, as asked"
    assert facts["machine"]["torch"] == torch.__version__.split("+")[0] or facts["machine"]["torch"] == torch.__version__
    measured = json.loads((finished / "evaluation.json").read_text())
    assert measured["model"]["values"]["median_px"] > 0
    assert measured["baseline"]["values"]["median_px"] > 0


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    finished: Path, photographs: Path, tmp_path: Path
) -> None:
    train(config_of(photographs), tmp_path / "again")
    train(config_of(photographs, seed=1), tmp_path / "other")
    assert same(weights_of(finished), weights_of(tmp_path / "again"))
    assert not same(weights_of(finished), weights_of(tmp_path / "other"))


def test_a_run_killed_and_resumed_ends_in_the_same_weights(
    finished: Path, photographs: Path, tmp_path: Path, dies: Callable[[Callable[[], object], int], None]
) -> None:
    out = tmp_path / "killed"
    dies(lambda: train(config_of(photographs), out), 2)
    assert not (out / "report.html").exists()
    train(config_of(photographs), out, resume=True)
    assert same(weights_of(finished), weights_of(out))
    whole, resumed = log_of(finished), log_of(out)
    assert [row["val_nme"] for row in whole] == [row["val_nme"] for row in resumed]


@pytest.mark.slow
def test_kill_minus_nine_and_resume(finished: Path, photographs: Path, tmp_path: Path) -> None:
    """The same with a real process and a real SIGKILL, at a moment that chance decides."""
    out = tmp_path / "killed"
    (tmp_path / "config.yaml").write_text(config_of(photographs).to_yaml())
    command = [
        sys.executable,
        "-m",
        "dekey",
        "train",
        str(photographs),
        "--config",
        str(tmp_path / "config.yaml"),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not (out / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(config_of(photographs), out, resume=True)
    assert same(weights_of(finished), weights_of(out))


def test_a_budget_ends_the_run_near_its_time(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Progress] = []
    decisions: list[tuple[bool, float]] = []
    finished = Schedule.finished

    def noted(schedule: Schedule, step: int) -> bool:
        over = finished(schedule, step)
        decisions.append((over, schedule.elapsed()))
        return over

    monkeypatch.setattr(Schedule, "finished", noted)
    config = config_of(photographs, epochs="auto", budget=6.0)
    train(config, tmp_path / "budget", watch=states.append)
    # The clock may pass the end within a step or within the validation after it, but it is what ends the run.
    over, seconds = decisions[-1]
    assert over
    assert 6.0 <= seconds < 40.0
    assert states[-1].done > 0.8
    assert states[-1].seconds < 40.0
    assert sum(state.done >= 1.0 for state in states) <= 2


def test_a_loss_that_is_not_finite_stops_and_names_the_images(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(photographs, images=str(embedded.path("test").parent / "images"))
    guilty = whole.split(0.25, seed=2)[0][0].name
    own = HeatmapModel.loss

    def poisoned(self: HeatmapModel, batch: Batch, maps: Any = None) -> dict[str, torch.Tensor]:
        terms = own(self, batch, maps)
        return {name: value * (torch.nan if guilty in batch.names else 1.0) for name, value in terms.items()}

    monkeypatch.setattr(HeatmapModel, "loss", poisoned)
    config = config_of(photographs, seed=2)
    with pytest.raises(DekeyError, match=r"not finite at step \d+ on the images " + guilty.replace(".", r"\.") + ";"):
        train(config, tmp_path / "poisoned")


def test_memory_that_does_not_suffice_is_met_by_a_smaller_batch(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = HeatmapModel.loss
    sizes: list[int] = []

    def hungry(self: HeatmapModel, batch: Batch, maps: Any = None) -> dict[str, torch.Tensor]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, batch, maps)

    monkeypatch.setattr(HeatmapModel, "loss", hungry)
    monkeypatch.setattr(hardware, "fitting_batch_size", lambda model, batch, asked, available: asked)
    said: list[str] = []
    train(config_of(photographs, epochs=1), tmp_path / "tight", say=said.append)
    assert max(sizes) == 4
    assert sizes[-1] <= 2
    assert any("memory did not suffice, going on with 2" in text for text in said)


def test_the_batch_is_fitted_to_the_memory_before_it_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    from dekey.models.build import build_heatmap_model

    model = build_heatmap_model("test_resnet", (8, 8, 8), "lateral", 1.5, 2, (64, 64))
    batch = Batch(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64),
        torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2), 2, dtype=torch.uint8), torch.ones(2, 1, dtype=torch.bool),
        torch.zeros(2, 2, 3),
    )  # fmt: skip
    an_image = hardware.saved_bytes(model, batch) / 2
    # The picture as floats alone is 48 kB; what a network keeps is more, and grows with the batch.
    assert an_image > 48_000
    weights = 4 * sum(parameter.nbytes for parameter in model.parameters())
    with caplog.at_level(logging.WARNING):
        assert hardware.fitting_batch_size(model, batch, 64, 1 << 40) == 64
        assert hardware.fitting_batch_size(model, batch, 64, int(weights + 2 * an_image * 12)) in (4, 8)
    with pytest.raises(DekeyError, match=r"needs .* GB but .* are free"):
        hardware.fitting_batch_size(model, batch, 64, 1000)


def test_a_run_is_not_overwritten_and_another_configuration_not_resumed(finished: Path, photographs: Path) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir() if file.is_file()}
    with pytest.raises(DekeyError, match="already holds a run"):
        train(config_of(photographs), finished)
    with pytest.raises(DekeyError, match="another configuration"):
        train(config_of(photographs, batch_size=8), finished, resume=True)
    assert before == {file.name: file.read_bytes() for file in finished.iterdir() if file.is_file()}


def test_a_disk_that_is_full_leaves_the_earlier_checkpoint(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(finished)
    before = folder.checkpoint.read_bytes()

    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="could not be written"):
        folder.save_checkpoint({"step": 1})
    assert folder.checkpoint.read_bytes() == before
    assert not list(finished.glob("*.part"))


def test_bf16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(Path, "read_text", lambda self: "flags : avx2 fma")
    assert hardware.choose_precision("auto", cpu) == "fp32"
    monkeypatch.setattr(Path, "read_text", lambda self: "flags : avx2 avx512_bf16")
    assert hardware.choose_precision("auto", cpu) == "bf16"
    assert hardware.choose_precision("fp32", cpu) == "fp32"


def test_training_leaves_the_process_as_it_was(photographs: Path, tmp_path: Path) -> None:
    import cv2

    cv2.setNumThreads(2)
    torch.manual_seed(5)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
    handler = signal.getsignal(signal.SIGINT)
    train(config_of(photographs, epochs=1), tmp_path / "run")
    assert cv2.getNumThreads() == 2
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("scenes", "few", "size"), [(True, True, 4), (True, False, 4), (False, True, 8), (False, False, 16)])
def test_steps_are_small_on_a_cpu(scenes: bool, few: bool, size: int) -> None:
    assert hardware.choose_batch_size("cpu", scenes, few) == size
    assert hardware.choose_batch_size("cuda", scenes, few) == 32


def test_memory_that_suffices_for_nothing_is_told(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def hungry(self: HeatmapModel, batch: Batch, maps: Any = None) -> dict[str, torch.Tensor]:
        sizes.append(len(batch))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HeatmapModel, "loss", hungry)
    # Of four asked for two are tried: next is one, not two again.
    monkeypatch.setattr(hardware, "fitting_batch_size", lambda model, batch, asked, available: min(asked, 2))
    with pytest.raises(DekeyError, match="memory does not suffice for one object a step"):
        train(config_of(photographs, epochs=1), tmp_path / "none")
    assert sizes == [2, 1]

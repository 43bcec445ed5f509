"""Whatever the machine refuses, and files of an earlier run that no longer fit: one sentence, exit code 2, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dekey.cli import main

Complain = Callable[[list[str]], tuple[str, list[str]]]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["predict", "earlier", "1.png"], "torch sees no CUDA"),
        (["predict", "model.onnx", "1.png"], "has no CUDA|not start CUDA"),
    ],
)
def test_cuda_where_there_is_none(command: list[str], expected: str, place: Any, complain: Complain) -> None:
    import re

    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    words = [command[0], *(str(place / name) for name in command[1:]), "--device=cuda"]
    assert re.search(expected, complain(words)[0])


def test_weights_that_cannot_be_had(place: Any, complain: Complain, monkeypatch: pytest.MonkeyPatch) -> None:
    from dekey.models import backbone

    monkeypatch.setattr(backbone, "_reachable", lambda repository: False)
    words = place.train("--set", "model.backbone=resnet10t", "--set", "model.pretrained=true")
    assert "pretrained weights of 'resnet10t' cannot be had" in complain(words)[0]


def test_a_checkpoint_of_other_keypoints(place: Any, small_data: Path, complain: Complain) -> None:
    """The label file has been changed since the run was started."""
    values = json.loads(small_data.read_text(encoding="utf-8"))
    values["categories"][0]["keypoints"] = ["front", "back"]
    folder = place / "moved"
    shutil.copytree(small_data.parent, folder)
    (folder / "train.json").write_text(json.dumps(values))
    # The configuration stays the same to the letter: the same path, another content.
    text = (place / "earlier" / "config.yaml").read_text().replace(str(small_data), str(folder / "train.json"))
    (place / "earlier" / "config.yaml").write_text(text)
    import torch

    state = torch.load(place / "earlier" / "last.ckpt", weights_only=True)
    state["config"]["data"]["train"] = str(folder / "train.json")
    torch.save(state, place / "earlier" / "last.ckpt")
    words = ["train", str(folder / "train.json"), "--out", str(place / "earlier"), "--resume"]
    assert "was started with other keypoints" in complain(words)[0]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The nearest a test can come to a full disk: the system refuses to let a file grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_while_weights_are_saved(place: Any, complain: Complain) -> None:
    with no_file_above(300_000):
        sentence, _ = complain(place.train())
    assert "File too large" in sentence
    assert not (place / "new" / "model.safetensors").exists()


def test_a_full_disk_while_a_checkpoint_is_saved(place: Any, complain: Complain, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    assert "No space left on device" in complain(place.train())[0]

    def full_by_torch(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full_by_torch)
    shutil.rmtree(place / "new")
    assert "could not be written" in complain(place.train())[0]


def test_a_full_disk_while_answers_are_written(place: Any, complain: Complain) -> None:
    words = place.predict(*(str(place / f"{number}.png") for number in range(1, 7)))
    with no_file_above(100):
        assert "File too large" in complain(words)[0]


def test_a_full_disk_while_a_model_is_exported(place: Any, complain: Complain) -> None:
    words = ["export", str(place / "earlier"), "--images", str(place.folder), "--out", str(place / "model.onnx")]
    earlier = (place / "model.onnx").read_bytes()
    with no_file_above(100_000):
        sentence, _ = complain(words)
    assert sentence
    assert (place / "model.onnx").read_bytes() == earlier


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export"])
def test_a_read_only_folder(command: str, place: Any, complain: Complain, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rights do not bind the superuser, as whom tests may run, so the system's answer is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    words = {
        "train": place.train(),
        "predict": place.predict(str(place / "1.png")),
        "evaluate": place.evaluate(),
        "export": ["export", str(place / "earlier"), "--out", str(place / "model.onnx")],
    }
    sentence, said_before = complain(words[command])
    assert "cannot be written to" in sentence
    assert not said_before


def test_the_place_without_a_fault_is_accepted(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Else every complaint above might be about something else."""
    assert main(place.predict(str(place / "1.png"), "--boxes", str(place / "train.json"))) == 0
    assert main(place.evaluate("--sigmas=0.1", "--normaliser=head:tail")) == 0
    assert main(["inspect", str(place / "train.json")]) == 0
    assert main(place.train()) == 0
    assert (place / "new" / "report.html").is_file()

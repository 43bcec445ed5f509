"""Whatever is wrong with what a user gives: one sentence, exit code 2, and what was there before stays as it was."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.cli import main

TINY = [
    "--epochs=1",
    "--device=cpu",
    "--set=model.backbone=test_resnet",
    "--set=model.pretrained=false",
    "--set=model.input_size=[64, 64]",
]


def sound() -> dict[str, Any]:
    """Labels without fault: six pictures of 64x48 px, an object with two keypoints in each."""
    return {
        "categories": [{"id": 1, "name": "tube", "keypoints": ["head", "tail"]}],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(1, 7)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 40, 30], "keypoints": [12, 14, 2, 40, 30, 2]}
            for n in range(1, 7)
        ],
    }


@dataclass
class Place:
    """A folder with sound labels, pictures, an ONNX file, and the results of an earlier run."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def write(self, content: str | bytes, name: str = "train.json") -> Place:
        (self / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def change(self, change: Callable[[dict[str, Any]], object], name: str = "train.json") -> Place:
        """Write labels with a fault."""
        values = sound()
        change(values)
        return self.write(json.dumps(values), name)

    def train(self, *words: str, data: str = "train.json", out: str = "new") -> list[str]:
        return ["train", str(self / data), "--out", str(self / out), *TINY, *words]

    def predict(self, *words: str) -> list[str]:
        return ["predict", str(self / "model.onnx"), *words, "--out", str(self / "found.json")]

    def evaluate(self, *words: str) -> list[str]:
        return ["evaluate", str(self / "model.onnx"), str(self / "train.json"), "--out", str(self / "found.json"), *words]


def bomb() -> bytes:
    """A PNG of 60 bytes whose header promises 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_jpeg(place: Place) -> Place:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(place / "cut.jpg")
    (place / "cut.jpg").write_bytes((place / "cut.jpg").read_bytes()[:900])
    return place


def named(index: int, name: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["images"][index].update(file_name=name)


def objects(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: [each.update(changes) for each in values["annotations"]]


def make_folder(path: Path) -> str:
    path.mkdir()
    return str(path)


Words = Callable[[Place], list[str]]
# Told before torch is loaded, which takes many seconds.
EARLY: dict[str, tuple[Words, str]] = {
    "labels: broken JSON": (lambda p: p.write('{"images": [').train(), "is not valid JSON"),
    "labels: empty file": (lambda p: p.write("").train(), "is empty"),
    "labels: a folder": (lambda p: p.train(data="pictures"), "is a folder, expected an annotation file"),
    "labels: missing": (lambda p: p.train(data="gone.json"), "does not exist"),
    "labels: not UTF-8": (lambda p: p.write(b'{"images": "\xff\xfe"}').train(), "is not UTF-8"),
    "labels: binary": (lambda p: p.write(os.urandom(500)).train(), "is in no known format"),
    "labels: a list": (lambda p: p.write("[1, 2]").train(), "is in no known format"),
    "labels: results": (lambda p: p.write('[{"image_id": 1, "score": 1.0}]').train(), "holds COCO results"),
    "labels: too deep": (lambda p: p.write('{"images": ' + "[" * 100_000).train(), "nests too deep"),
    "labels: no images": (lambda p: p.change(lambda v: v.update(images=[])).train(), "lists no images"),
    "labels: no annotations": (lambda p: p.change(lambda v: v.update(annotations=[])).train(), "lists no annotations"),
    "labels: no keypoints": (lambda p: p.change(lambda v: v["categories"][0].pop("keypoints")).train(), "keypoints"),
    "labels: unknown category": (lambda p: p.change(objects(category_id=9)).train(), "category"),
    "labels: unknown image": (lambda p: p.change(objects(image_id=99)).train(), "image"),
    "labels: NaN": (lambda p: p.change(objects(keypoints=[float("nan"), 14, 2, 40, 30, 2])).train(), "without"),
    "labels: wrong length": (lambda p: p.change(objects(keypoints=[1, 2, 2])).train(), "keypoint"),
    "labels: path escape": (lambda p: p.change(named(0, "../../etc/passwd")).train(), "leaves the image folder"),
    "labels: absolute path": (lambda p: p.change(named(0, "/etc/passwd")).train(), "absolute path"),
    "val: missing": (lambda p: p.train("--val", str(p / "gone.json")), "does not exist"),
    "images: missing folder": (lambda p: p.train("--images", str(p / "gone")), "image folder"),
    "images: a file": (lambda p: p.train("--images", str(p / "train.json")), "image folder"),
    "config: missing": (lambda p: p.train("--config", str(p / "gone.yaml")), "cannot be read"),
    "config: broken": (lambda p: p.write("optim: {lr", "c.yaml").train("--config", str(p / "c.yaml")), "cannot be read"),
    "config: unknown key": (
        lambda p: p.write("optim: {lrr: 1}", "c.yaml").train("--config", str(p / "c.yaml")),
        "unknown configuration key 'optim.lrr' (did you mean 'lr'?)",
    ),
    "set: unknown key": (lambda p: p.train("--set", "model.backbonne=x"), "(did you mean 'backbone'?)"),
    "set: out of range": (lambda p: p.train("--set", "optim.lr=-1"), "greater than 0"),
    "set: not a number": (lambda p: p.train("--set", "optim.lr=fast"), "valid number"),
    "set: no equals": (lambda p: p.train("--set", "optim.lr"), "expected --set section.key=value"),
    "set: no YAML": (lambda p: p.train("--set", "optim.lr=["), "is no YAML"),
    "budget: no duration": (lambda p: p.train("--budget", "abc"), "expected a positive one such as 90s"),
    "budget: negative": (lambda p: p.train("--budget=-3"), "expected a positive one such as 90s"),
    "epochs: zero": (lambda p: p.train("--epochs=0"), "greater than or equal to 1"),
    "epochs: no number": (lambda p: p.train("--epochs=many"), "invalid int value"),
    "batch size: zero to train": (lambda p: p.train("--batch-size=0"), "greater than or equal to 1"),
    "batch size: zero to predict": (lambda p: p.predict(str(p / "1.png"), "--batch-size=0"), "expected 1 or more"),
    "batch size: zero to evaluate": (lambda p: p.evaluate("--batch-size=0"), "expected 1 or more"),
    "out: holds a run": (lambda p: p.train(out="earlier"), "already holds a run"),
    "out: a file": (lambda p: p.train(out="train.json"), "is a file, expected a folder"),
    "out: below a file": (lambda p: p.train(out="train.json/run"), "cannot be written to"),
    "resume: no run": (lambda p: p.train("--resume"), "holds no last.ckpt"),
    "demo: no duration": (lambda p: ["demo", "--budget", "soon", "--out", str(p / "new")], "expected a positive one"),
    "demo: holds a run": (lambda p: ["demo", "--out", str(p / "earlier")], "already holds a run"),
    "predict: no model": (lambda p: ["predict", str(p / "gone.onnx"), str(p / "1.png")], "does not exist"),
    "predict: text for a model": (
        lambda p: ["predict", str(p.write("x", "t.onnx") / "t.onnx"), str(p / "1.png")],
        "is no ONNX model",
    ),
    "predict: labels for a model": (
        lambda p: ["predict", str(p / "train.json"), str(p / "1.png")],
        "expected an .onnx file",
    ),
    "predict: a folder for a model": (
        lambda p: ["predict", str(p / "pictures"), str(p / "1.png")],
        "without model.safetensors",
    ),
    "predict: cut JPEG": (lambda p: cut_jpeg(p).predict(str(p / "cut.jpg")), "is cut short"),
    "predict: text named .jpg": (lambda p: p.write("x" * 99, "t.jpg").predict(str(p / "t.jpg")), "cannot be opened"),
    "predict: empty picture": (lambda p: p.write("", "t.png").predict(str(p / "t.png")), "cannot be opened"),
    "predict: bomb": (lambda p: p.write(bomb(), "b.png").predict(str(p / "b.png")), "b.png"),
    "predict: missing picture": (lambda p: p.predict(str(p / "gone.png")), "no pattern that matches"),
    "predict: pattern of folders": (lambda p: p.predict(str(p / "pict*")), "no pattern that matches files"),
    "predict: empty folder": (lambda p: p.predict(make_folder(p / "empty")), "holds no image"),
    "predict: --draw over pictures": (lambda p: p.predict(str(p / "1.png"), "--draw", str(p.folder)), "would be overwritten"),
    "predict: --draw a file": (lambda p: p.predict(str(p / "1.png"), "--draw", str(p / "train.json")), "is a file"),
    "predict: --out a folder": (
        lambda p: ["predict", str(p / "model.onnx"), str(p / "1.png"), "--out", str(p / "pictures")],
        "is a folder, expected the name of a file",
    ),
    "predict: --out nowhere": (
        lambda p: ["predict", str(p / "model.onnx"), str(p / "1.png"), "--out", str(p / "gone/found.json")],
        "a folder that does not exist",
    ),
    "predict: --boxes of others": (
        lambda p: p.change(lambda v: v.update(images=v["images"][1:], annotations=v["annotations"][1:]), "b.json").predict(
            str(p / "1.png"), "--boxes", str(p / "b.json")
        ),
        "says nothing of 1.png",
    ),
    "predict: --boxes without area": (
        lambda p: p.change(objects(bbox=[8, 8, 0, 30]), "b.json").predict(str(p / "1.png"), "--boxes", str(p / "b.json")),
        "has no area",
    ),
    "device: unknown to ONNX": (lambda p: p.predict(str(p / "1.png"), "--device=qpu"), "there is no device 'qpu'"),
    "evaluate: sigmas too many": (lambda p: p.evaluate("--sigmas=0.1,0.2,0.3"), "sigmas"),
    "evaluate: sigmas negative": (lambda p: p.evaluate("--sigmas=-0.1"), "sigmas"),
    "evaluate: sigmas no number": (lambda p: p.evaluate("--sigmas=a,b"), "expected a number or numbers"),
    "evaluate: sigmas NaN": (lambda p: p.evaluate("--sigmas=nan"), "sigmas"),
    "evaluate: unknown normaliser": (lambda p: p.evaluate("--normaliser=box_diag"), "did you mean 'box_diagonal'?"),
    "evaluate: no such pair": (lambda p: p.evaluate("--normaliser=head:toe"), "toe"),
    "evaluate: other keypoints": (
        lambda p: p.change(lambda v: v["categories"][0].update(keypoints=["nose", "chin"])).evaluate(),
        "evaluate on data of the model's own schema",
    ),
    "evaluate: box without area": (lambda p: p.change(objects(bbox=[8, 8, 0, 30])).evaluate(), "missing or empty"),
    "evaluate: no box": (lambda p: p.change(objects(bbox=None)).evaluate(), "missing or empty"),
    "evaluate: missing picture": (lambda p: p.change(named(2, "gone.png")).evaluate(), "gone.png does not exist"),
    "evaluate: other size": (lambda p: p.change(lambda v: v["images"][0].update(width=99)).evaluate(), "is 64x48"),
    "export: an ONNX file": (lambda p: ["export", str(p / "model.onnx")], "is already exported"),
    "export: no run": (lambda p: ["export", str(p / "pictures")], "is unfinished"),
    "export: --out no .onnx": (
        lambda p: ["export", str(p / "earlier"), "--out", str(p / "earlier" / "model.safetensors")],
        "ends in .onnx",
    ),
    "inspect: broken JSON": (lambda p: ["inspect", str(p.write('{"images": [', "b.json") / "b.json")], "is not valid JSON"),
    "inspect: unknown format": (lambda p: ["inspect", str(p / "train.json"), "--format=cocco"], "did you mean 'coco'?"),
}
LATE: dict[str, tuple[Words, str]] = {
    "data: cut JPEG": (lambda p: cut_jpeg(p).change(lambda v: [named(n, "cut.jpg")(v) for n in range(6)]).train(), "cut short"),
    "data: text named .jpg": (lambda p: p.write("x" * 99, "t.jpg").change(named(0, "t.jpg")).train(), "cannot be opened"),
    "data: other size": (lambda p: p.change(lambda v: v["images"][0].update(width=99)).train(), "64x48"),
    "data: missing picture": (lambda p: p.change(named(0, "gone.png")).train(), "gone.png"),
    "data: bomb": (lambda p: p.write(bomb(), "b.png").change(named(0, "b.png")).train(), "b.png"),
    "data: boxes without area": (lambda p: p.change(objects(bbox=[8, 8, 0, 30])).train(), "has no area"),
    "data: nothing labelled": (lambda p: p.change(objects(keypoints=[0] * 6)).train(), "none has a labelled keypoint"),
    "data: one picture": (
        lambda p: p.change(lambda v: v.update(images=v["images"][:1], annotations=v["annotations"][:1])).train(),
        "expected at least 2",
    ),
    "val: other schema": (
        lambda p: p.change(lambda v: v["categories"][0].update(keypoints=["nose", "chin"]), "v.json").train(
            "--val", str(p / "v.json")
        ),
        "other keypoints or classes",
    ),
    "set: sigmas too many": (lambda p: p.train("--set", "data.sigmas=[1, 2, 3]"), "sigmas"),
    "set: sigmas negative": (lambda p: p.train("--set", "data.sigmas=-1"), "sigmas"),
    "set: unknown normaliser": (lambda p: p.train("--set", "data.normaliser=box_diag"), "did you mean 'box_diagonal'?"),
    "model: unknown backbone": (lambda p: p.train("--set", "model.backbone=resnet51d"), "did you mean 'resnet"),
    "model: size does not fit": (lambda p: p.train("--set", "model.input_size=[64, 72]"), "input size 72 does not fit"),
    "model: too many deconvolutions": (
        lambda p: p.train("--set", "model.decoder_channels=[8, 8, 8, 8, 8, 8]"),
        "use at most 5",
    ),
    "device: unknown": (lambda p: p.train("--device=qpu"), "there is no device 'qpu'"),
    "device: unknown to a run": (
        lambda p: ["predict", str(p / "earlier"), str(p / "1.png"), "--device=qpu"],
        "there is no device 'qpu'",
    ),
    "resume: other configuration": (
        lambda p: p.train("--resume", "--set", "optim.lr=0.5", out="earlier"),
        "was started with another configuration",
    ),
    "resume: broken checkpoint": (
        lambda p: p.write("no zip", "earlier/last.ckpt").train("--resume", out="earlier"),
        "is no whole checkpoint",
    ),
    "model: broken weights": (
        lambda p: ["evaluate", str(p.write("x" * 99, "earlier/model.safetensors") / "earlier"), str(p / "train.json")],
        "is no whole safetensors file",
    ),
    "model: weights cut short": (
        lambda p: [
            "predict",
            str(p.write((p / "earlier/model.safetensors").read_bytes()[:9999], "earlier/model.safetensors") / "earlier"),
            str(p / "1.png"),
        ],
        "is no whole safetensors file",
    ),
    "export: pictures gone": (
        lambda p: ["export", str(p / "earlier"), "--images", make_folder(p / "empty"), "--out", str(p / "new.onnx")],
        "holds no image",
    ),
}


@pytest.fixture
def place(tmp_path: Path, small_onnx: Path, small_run: Path) -> Place:
    here = Place(tmp_path)
    rng = np.random.default_rng(0)
    (here / "pictures").mkdir()
    for number in range(1, 7):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(here / f"{number}.png")
    shutil.copy(small_onnx, here / "model.onnx")
    shutil.copytree(small_run, here / "earlier", ignore=shutil.ignore_patterns("tensorboard"))
    (here / "found.json").write_text("earlier answers")
    return here.change(lambda values: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def complain(words: list[str], place: Place, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Run a command that must refuse; give its sentence and what it said before."""
    before = contents(place.folder)
    capsys.readouterr()
    code = main(words)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert code == 2, err
    assert out == ""
    assert [line for line in lines if line.startswith("dekey: ") or "Traceback" in line] == lines[-1:]
    assert len(lines[-1]) < 600
    after = contents(place.folder)
    assert {name: after.get(name) for name in before} == before
    left_over = [name for name in after if name.endswith(".part")]
    assert not left_over
    return lines[-1], lines[:-1]


@pytest.mark.parametrize("kind", EARLY)
def test_mistakes_are_told_before_torch_is_loaded(kind: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = EARLY[kind]
    sentence, said_before = complain(words(place), place, capsys)
    assert expected in sentence
    assert "loading torch" not in said_before
    assert not (place / "new").exists()


@pytest.mark.parametrize("kind", LATE)
def test_mistakes_of_data_and_network_are_told(kind: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = LATE[kind]
    sentence, _ = complain(words(place), place, capsys)
    assert expected in sentence
    assert not (place / "new" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["predict", "earlier", "1.png"], "torch sees no CUDA"),
        (["predict", "model.onnx", "1.png"], "has no CUDA|not start CUDA"),
    ],
)
def test_cuda_where_there_is_none(command: list[str], expected: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    words = [command[0], *(str(place / name) for name in command[1:]), "--device=cuda"]
    assert re.search(expected, complain(words, place, capsys)[0])


def test_weights_that_cannot_be_had(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from dekey.models import backbone

    monkeypatch.setattr(backbone, "_reachable", lambda repository: False)
    words = place.train("--set", "model.backbone=resnet10t", "--set", "model.pretrained=true")
    assert "pretrained weights of 'resnet10t' cannot be had" in complain(words, place, capsys)[0]


def test_a_checkpoint_of_other_keypoints(place: Place, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "was started with other keypoints" in complain(words, place, capsys)[0]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The nearest a test can come to a full disk: the system refuses to let a file grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_while_weights_are_saved(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    with no_file_above(300_000):
        sentence, _ = complain(place.train(), place, capfd)
    assert "File too large" in sentence
    assert not (place / "new" / "model.safetensors").exists()


def test_a_full_disk_while_a_checkpoint_is_saved(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    assert "No space left on device" in complain(place.train(), place, capsys)[0]

    def full_by_torch(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full_by_torch)
    shutil.rmtree(place / "new")
    assert "could not be written" in complain(place.train(), place, capsys)[0]


def test_a_full_disk_while_answers_are_written(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = place.predict(*(str(place / f"{number}.png") for number in range(1, 7)))
    with no_file_above(100):
        assert "File too large" in complain(words, place, capsys)[0]


def test_a_full_disk_while_a_model_is_exported(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(place / "earlier"), "--images", str(place.folder), "--out", str(place / "model.onnx")]
    with no_file_above(100_000):
        complain(words, place, capsys)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export"])
def test_a_read_only_folder(
    command: str, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rights do not bind the superuser, as whom tests may run, so the system's answer is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    words = {
        "train": place.train(),
        "predict": place.predict(str(place / "1.png")),
        "evaluate": place.evaluate(),
        "export": ["export", str(place / "earlier"), "--out", str(place / "model.onnx")],
    }
    sentence, said_before = complain(words[command], place, capsys)
    assert "cannot be written to" in sentence
    assert not said_before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (named(0, "gone.png"), "missing-image"),
        (lambda values: values["images"][0].update(width=99), "wrong-size"),
        (objects(bbox=[8, 8, 0, 30]), "empty-box"),
        (objects(category_id=9), "unknown-category"),
        (named(0, "../1.png"), "unsafe-path"),
    ],
)
def test_inspect_lists_what_training_refuses(
    change: Callable[[dict[str, Any]], object], expected: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(place.change(change) / "train.json")]) == 1
    out, err = capsys.readouterr()
    assert f"error · {expected}" in out
    assert "dekey: " not in err


def test_the_list_is_long_enough() -> None:
    assert len(EARLY) + len(LATE) >= 80


def test_the_place_without_a_fault_is_accepted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Else every complaint above might be about something else."""
    assert main(place.predict(str(place / "1.png"), "--boxes", str(place / "train.json"))) == 0
    assert main(place.evaluate("--sigmas=0.1", "--normaliser=head:tail")) == 0
    assert main(["inspect", str(place / "train.json")]) == 0
    assert main(place.train()) == 0
    assert (place / "new" / "report.html").is_file()

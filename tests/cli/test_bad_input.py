"""Whatever is wrong with what a user gives: one sentence, exit code 2, and what was there before stays as it was."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dekey.cli import main

Complain = Callable[[list[str]], tuple[str, list[str]]]


def bomb() -> bytes:
    """A PNG of 60 bytes whose header promises 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_jpeg(place: Any) -> Any:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(place / "cut.jpg")
    (place / "cut.jpg").write_bytes((place / "cut.jpg").read_bytes()[:900])
    return place


def named(index: int, name: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["images"][index].update(file_name=name)


def without_names(values: dict[str, Any]) -> None:
    """No keypoint has a name, and one object has fewer than the others: nobody knows which."""
    del values["categories"][0]["keypoints"]
    del values["annotations"][1]["keypoints"][:3]


def objects(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: [each.update(changes) for each in values["annotations"]]


def zipped(path: Path) -> Path:
    """Write a zip archive that is no model."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    return path


def make_folder(path: Path) -> str:
    path.mkdir()
    return str(path)


Words = Callable[[Any], list[str]]
# Told before torch is loaded, which takes many seconds.
EARLY: dict[str, tuple[Words, str]] = {
    "labels: broken JSON": (lambda p: p.write('{"images": [').train(), "is not valid JSON"),
    "labels: empty file": (lambda p: p.write("").train(), "is empty"),
    "labels: a folder": (lambda p: p.train(data="pictures"), "is a folder in no known format"),
    "labels: missing": (lambda p: p.train(data="gone.json"), "does not exist"),
    "labels: not UTF-8": (lambda p: p.write(b'{"images": "\xff\xfe"}').train(), "is not UTF-8"),
    "labels: binary": (lambda p: p.write(os.urandom(500)).train(), "is in no known format"),
    "labels: a list": (lambda p: p.write("[1, 2]").train(), "is in no known format"),
    "labels: results": (lambda p: p.write('[{"image_id": 1, "score": 1.0}]').train(), "holds COCO results"),
    "labels: too deep": (lambda p: p.write('{"images": ' + "[" * 100_000).train(), "nests too deep"),
    "labels: no images": (lambda p: p.change(lambda v: v.update(images=[])).train(), "lists no images"),
    "labels: no annotations": (lambda p: p.change(lambda v: v.update(annotations=[])).train(), "lists no annotations"),
    "labels: no keypoints": (lambda p: p.change(without_names).train(), "list their names"),
    "labels: unknown category": (lambda p: p.change(objects(category_id=9)).train(), "category"),
    "labels: unknown image": (lambda p: p.change(objects(image_id=99)).train(), "image"),
    "labels: NaN": (
        lambda p: p.change(objects(keypoints=[float("nan"), 14, 2, 40, 30, 2])).train(),
        "6 errors, the first: image 1.png, annotation 1",
    ),
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
        "expected an .onnx, .xml or .keras file",
    ),
    "predict: a folder for a model": (
        lambda p: ["predict", str(p / "pictures"), str(p / "1.png")],
        "without model.safetensors",
    ),
    "predict: no .keras file": (lambda p: ["predict", str(p / "gone.keras"), str(p / "1.png")], "gone.keras is missing"),
    "predict: text named .keras": (
        lambda p: ["predict", str(p.write("x", "t.keras") / "t.keras"), str(p / "1.png")],
        "t.keras is no zip archive, expected a .keras file",
    ),
    "predict: another zip named .keras": (
        lambda p: ["predict", str(zipped(p / "z.keras")), str(p / "1.png")],
        "z.keras holds no config.json",
    ),
    "predict: --once of a model without a second look": (lambda p: p.predict(str(p / "1.png"), "--once"), "found once"),
    "export: no .keras file": (lambda p: ["export", str(p / "gone.keras")], "gone.keras is missing, expected a .keras file"),
    "export: no model": (lambda p: ["export", str(p / "gone")], "gone does not exist, expected the folder of a finished"),
    "export: labels for a model": (lambda p: ["export", str(p / "train.json")], "is no model file"),
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
    "data: nothing labelled": (
        lambda p: p.change(objects(keypoints=[0] * 6)).train(),
        "found no labelled keypoint in the 5 images to learn from",
    ),
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


@pytest.mark.parametrize("kind", EARLY)
def test_mistakes_are_told_before_torch_is_loaded(kind: str, place: Any, complain: Complain) -> None:
    words, expected = EARLY[kind]
    sentence, said_before = complain(words(place))
    assert expected in sentence
    assert "loading torch" not in said_before
    assert not (place / "new").exists()


@pytest.mark.parametrize("kind", LATE)
def test_mistakes_of_data_and_network_are_told(kind: str, place: Any, complain: Complain) -> None:
    words, expected = LATE[kind]
    sentence, _ = complain(words(place))
    assert expected in sentence
    assert not (place / "new" / "model.safetensors").exists()


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
    change: Callable[[dict[str, Any]], object], expected: str, place: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(place.change(change) / "train.json")]) == 1
    out, err = capsys.readouterr()
    assert f"error · {expected}" in out
    assert "dekey: " not in err


def test_the_list_is_long_enough() -> None:
    assert len(EARLY) + len(LATE) >= 80

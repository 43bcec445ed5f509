"""What the tests of commands share: a folder with everything a command needs, and what a refusal must look like."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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


@pytest.fixture
def complain(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[str, list[str]]]:
    """Runs a command that must refuse and leave every file as it was; gives its sentence and what it said before."""

    def run(words: list[str]) -> tuple[str, list[str]]:
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

    return run

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dekey.data import Dataset

# Before anything loads torch: threads that wait spinning starve each other where tests share the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real labelled data beside the checkout; tests that ask for it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development data (../shared/data beside the checkout) is not here")
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label file of twelve of the embedded photographs with two glue tubes each, copied beside it."""
    from dekey.data import embedded

    source = embedded.path("train")
    values = json.loads(source.read_text(encoding="utf-8"))
    owners = [each["image_id"] for each in values["annotations"]]
    images = [each for each in values["images"] if owners.count(each["id"]) == 2][::4][:12]
    ids = {each["id"] for each in images}
    values["images"] = images
    values["annotations"] = [each for each in values["annotations"] if each["image_id"] in ids]
    folder = tmp_path_factory.mktemp("small") / "tubes"
    (folder / "images").mkdir(parents=True)
    for each in images:
        shutil.copy(source.parent / each["file_name"], folder / each["file_name"])
    (folder / "train.json").write_text(json.dumps(values), encoding="utf-8")
    return folder / "train.json"


@pytest.fixture(scope="session")
def small_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a tiny network that has learnt `small_data` by heart, so that it is sure of what it finds."""
    from dekey.config import read_config
    from dekey.training import train

    out = tmp_path_factory.mktemp("small-run") / "run"
    no_augmentation = dict.fromkeys(("rotate", "scale", "shift", "flip", "colour", "blur", "erase"), 0.0)
    values = {
        "data": {"train": str(small_data), "val_fraction": 0.1, "workers": 1},
        "model": {
            "kind": "heatmap",
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [32, 32, 32],
            "input_size": [64, 96],
        },
        "augment": no_augmentation,
        "optim": {"lr": 5e-3, "ema": 0.9},
        "run": {"epochs": 40, "batch_size": 8, "patience": None, "device": "cpu"},
    }
    train(read_config(values), out)
    return out


@pytest.fixture(scope="session")
def small_onnx(small_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `small_run` as an ONNX file that lies alone in its folder."""
    from dekey.data.images import read_image
    from dekey.export import export_onnx
    from dekey.models.checkpoint import load_torch_backend

    path = tmp_path_factory.mktemp("small-onnx") / "tubes.onnx"
    pictures = [read_image(file) for file in sorted((small_data.parent / "images").iterdir())[:3]]
    export_onnx(load_torch_backend(small_run / "model.safetensors", "cpu"), path, pictures)
    return path


@pytest.fixture(scope="session")
def shapes() -> Callable[..., Dataset]:
    """Makes pictures of squares and triangles that may touch: two classes with keypoints of their own, all of them labelled."""
    import cv2
    import numpy as np

    from dekey.data import Dataset, Instances, Sample, Schema

    schema = Schema.create(
        ["square", "triangle"],
        ["left_corner", "right_corner", "tip", "foot"],
        present=[[True, True, False, False], [False, False, True, True]],
    )
    colours = {0: (220, 60, 40), 1: (40, 90, 230)}

    def make(count: int, seed: int = 0, size: tuple[int, int] = (96, 96), most: int = 3) -> Dataset:
        rng = np.random.default_rng(seed)
        samples = []
        for image_id in range(count):
            picture = rng.integers(90, 130, (*size, 3), dtype=np.uint8)
            centres = np.zeros((0, 2))
            boxes, labels, keypoints = [], [], []
            for _ in range(1 + image_id % most):
                side = int(rng.integers(20, 34))
                corners = rng.integers(2, np.array(size)[::-1] - side - 2, (200, 2))
                free = (np.abs(corners[:, None] + side / 2 - centres).max(axis=-1) >= 34).all(axis=1)
                if not free.any():
                    continue
                x1, y1 = corners[np.argmax(free)]
                x2, y2, label = x1 + side, y1 + side, int(rng.integers(2))
                middle = (x1 + x2) / 2
                if label == 0:
                    picture[y1:y2, x1:x2] = colours[label]
                    points = [[x1, y1], [x2, y1], [np.nan] * 2, [np.nan] * 2]
                else:
                    triangle = np.array([[x1, y2], [x2, y2], [middle, y1]])
                    cv2.fillPoly(picture, [((triangle - 0.5) * 16).round().astype(np.int32)], colours[label], cv2.LINE_AA, 4)
                    points = [[np.nan] * 2, [np.nan] * 2, [middle, y1], [middle, y2]]
                centres = np.concatenate([centres, [[middle, (y1 + y2) / 2]]])
                boxes.append([x1, y1, x2, y2])
                labels.append(label)
                keypoints.append(points)
            ids = np.arange(len(boxes)) + 10 * image_id
            samples.append(Sample(picture, size, Instances.create(keypoints, boxes, labels), image_id, ids))
        return Dataset.from_samples(schema, samples)

    return make


@pytest.fixture(scope="session")
def shapes_file(shapes: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label file of twelve such pictures, which lie beside it."""
    from dataclasses import replace

    import cv2

    from dekey.formats import write

    dataset = shapes(12)
    folder = tmp_path_factory.mktemp("shapes")
    paths = [folder / f"{index:02d}.png" for index in range(len(dataset))]
    for path, picture in zip(paths, dataset.pictures, strict=True):
        cv2.imwrite(str(path), picture[..., ::-1])  # type: ignore[index]
    write(replace(dataset, pictures=paths), folder / "labels.json")
    return folder / "labels.json"


@pytest.fixture(scope="session")
def shapes_run(shapes_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a tiny detector that has learnt the shapes of `shapes_file`, held-out ones included, by heart."""
    from dekey.config import read_config
    from dekey.training import train

    out = tmp_path_factory.mktemp("shapes-run") / "run"
    no_augmentation = dict.fromkeys(("rotate", "scale", "shift", "flip", "colour", "blur", "erase", "cover"), 0.0)
    values = {
        "data": {"train": str(shapes_file), "val": str(shapes_file), "workers": 1},
        "model": {
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [32, 32, 32],
            "input_size": [96, 96],
            "objects": 6,
        },
        "augment": no_augmentation,
        "optim": {"lr": 5e-3, "ema": 0.9},
        "run": {"epochs": 60, "batch_size": 4, "patience": None, "device": "cpu"},
    }
    train(read_config(values), out)
    return out

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

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

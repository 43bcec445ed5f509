from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dekey.config import read_config
from dekey.data import Dataset, Instances, Sample, Schema, embedded
from dekey.formats import write
from dekey.training import train
from dekey.training.leaks import find_leaks

SCHEMA = Schema.create(["dot"], ["middle"])


def scene(seed: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 220, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def dataset(pictures: list[NDArray[np.uint8]]) -> Dataset:
    one = Instances.create([[[10.0, 10.0]]], [[5, 5, 15, 15]])
    samples = [
        Sample(picture, (picture.shape[0], picture.shape[1]), one, number + 1, np.array([number + 1]))
        for number, picture in enumerate(pictures)
    ]
    return Dataset.from_samples(SCHEMA, samples)


def test_held_out_pictures_that_were_learned_from_are_named() -> None:
    learnt = [scene(seed) for seed in range(30)]
    copies = [np.clip(cv2.resize(learnt[place], (112, 84)) + 10.0, 0, 255).astype(np.uint8) for place in (3, 17)]
    found = find_leaks(dataset(learnt), dataset([scene(100), *copies, scene(101)]))
    assert set(found.pairs) == {("image 2", "image 4"), ("image 3", "image 18")}
    assert (found.held_out, found.held_out_of, found.train, found.train_of) == (4, 4, 30, 30)
    sentence = found.sentence()
    assert sentence is not None
    assert sentence.startswith("2 of 4 held-out images look the same as images to learn from: image ")
    assert find_leaks(dataset(learnt), dataset([scene(100), scene(101)])).sentence() is None


def test_what_was_not_reached_in_time_is_not_compared() -> None:
    pictures = [scene(seed) for seed in range(8)]
    found = find_leaks(dataset(pictures), dataset(pictures), seconds=0)
    assert (found.held_out, found.train, found.pairs) == (0, 0, ())
    assert found.sentence() is None


def test_a_run_says_so_at_its_beginning_and_in_what_it_leaves(tmp_path: Path) -> None:
    photographs = embedded.load("test")
    write(photographs.subset(np.arange(12)), tmp_path / "train.json")
    write(photographs.subset(np.arange(10, 14)), tmp_path / "val.json")
    said: list[str] = []
    config = read_config(
        {
            "data": {
                "train": str(tmp_path / "train.json"),
                "val": str(tmp_path / "val.json"),
                "images": str(embedded.path("test").parent / "images"),
            },
            "model": {
                "kind": "heatmap",
                "backbone": "test_resnet",
                "pretrained": False,
                "decoder_channels": [16, 16, 16],
                "input_size": [64, 64],
            },
            "run": {"epochs": 1, "batch_size": 4, "device": "cpu"},
        }
    )
    train(config, tmp_path / "run", say=said.append)
    (place,) = [number for number, each in enumerate(said) if "of 4 held-out images look the same" in each]
    assert place < next(number for number, each in enumerate(said) if each.startswith("building"))
    leaks = json.loads((tmp_path / "run" / "run.json").read_text())["leaks"]
    names = [photographs.picture_name(index).rpartition("/")[2] for index in (10, 11)]
    assert {own.rpartition("/")[2] for own, _ in leaks["pairs"]} >= set(names)
    assert (leaks["held_out_compared"], leaks["train_compared"]) == (4, 12)
    assert f"{leaks['alike']} of 4 held-out images look the same" in (tmp_path / "run" / "report.html").read_text()

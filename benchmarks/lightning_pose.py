"""The peer Lightning Pose, trained from scratch for given minutes by its own command line, measured by dekey's own metrics.

    python benchmarks/lightning_pose.py --data ../shared/data/bee_pose --minutes 10 --environment ~/lightning-pose

Biderman, Whiteway et al.: Lightning Pose, Nature Methods 2024; its package is MIT-licensed. This script installs it into an
environment of its own, writes the labels in its form, calls `litpose train`, and reads the answers on the test crops that the
program writes when its training is over. One of its requirements, nvidia-dali-cuda110, is left out: the package index has
only a stub of it, which downloads from a host of its own, and no pictures are read by it.

The peer finds the keypoints of one object, so it is given the crops that the other peers are given: truth box x 1.25, square.
Its network is its ResNet-18 with random weights, the lightest of its residual networks; its default is a ResNet-50 with
weights of other animals. The rest is its default (`config_default.yaml`): heatmaps of a quarter of the input, Adam at 1e-3
that halves after 1/2, 2/3 and 5/6 of the steps, augmentation `dlc`, 5 % held out by which the best weights are kept.

What is generous to the peer: it counts steps and not time, so its steps are timed in a short run before, which together with
its start, its looks at what it holds out, and its own measuring is no part of its minutes; its backbone learns from the first
step on, where the default waits for 20 epochs because it expects weights.

Half pixels: a target's cell j stands for x = 4·j, and so it is read (`generate_heatmaps`, `run_subpixelmaxima`), so the frame
of the labels is the frame of the answers, whatever it is; given and taken here are dekey's continuous pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import peers
import record
from crops import Crops
from numpy.typing import NDArray

import dekey

PACKAGE = "lightning-pose"
OVERRIDES = (*peers.NO_WINDOWS, "nvidia-dali-cuda110 ; sys_platform == 'never'")
METHOD = "Lightning Pose ResNet-18, from scratch"
BATCH = 16
VAL_SHARE = 0.05
# Steps of the run by which a step is timed, and how often the real one looks at what it holds out.
TRIED, LOOKS = 60, 10
# Runs in the peer's environment: when, by its own log, which step was done.
_LOGGED = """
import json, pathlib, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
log = EventAccumulator(str(next(pathlib.Path(sys.argv[1]).rglob("events.out.tfevents.*"))))
log.Reload()
print(json.dumps([[each.wall_time, each.step] for tag in log.Tags()["scalars"] for each in log.Scalars(tag)]))
"""
LABELS, TEST_LABELS = "labels.csv", "labels_test.csv"  # the peer looks at the second by itself when it is done with the first


def write_labels(crops: Crops, folder: Path, name: str) -> None:
    """Write crops as PNG into FOLDER/STEM and their keypoints as the table FOLDER/NAME; what is not annotated stays empty.

    Three lines of heads (scorer, bodyparts, coords), then a line a picture: its path, and x and y of each keypoint, px.
    """
    pictures = folder / Path(name).stem
    pictures.mkdir(parents=True)
    keypoints = crops.dataset.schema.keypoints
    with (folder / name).open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["scorer", *["labels"] * (2 * len(keypoints))])
        table.writerow(["bodyparts", *(keypoint for keypoint in keypoints for _ in "xy")])
        table.writerow(["coords", *"xy" * len(keypoints)])
        for index in range(len(crops)):
            crop = crops.plain(index)
            path = pictures / f"{index:06d}.png"
            if not cv2.imwrite(str(path), crop.image[..., ::-1]):
                raise SystemExit(f"{path} cannot be written")
            numbers = ["" if np.isnan(value) else f"{value:.3f}" for value in crop.keypoints.ravel()]
            table.writerow([str(path.relative_to(folder)), *numbers])


def configuration(crops: Crops, folder: Path, steps: int, looks: int, seed: int) -> dict[str, Any]:
    """Make the peer's configuration of a run of so many steps over the labels in `folder`, and looks at what is held out."""
    keypoints = crops.dataset.schema.keypoints
    side = {"height": crops.input_size, "width": crops.input_size}
    data = {"image_resize_dims": side, "data_dir": str(folder), "video_dir": str(folder), "csv_file": LABELS}
    milestones = [max(round(steps * share), 1) for share in (1 / 2, 2 / 3, 5 / 6)]
    return {
        "data": {**data, "num_keypoints": len(keypoints), "keypoint_names": list(keypoints), "mirrored_column_matches": None},
        "training": {
            "imgaug": "dlc",
            "train_batch_size": BATCH,
            "val_batch_size": 32,
            "test_batch_size": 32,
            "train_prob": 1 - VAL_SHARE,
            "val_prob": VAL_SHARE,
            "train_frames": 1,
            "num_gpus": 1,
            "unfreezing_step": 0,
            "min_steps": steps,
            "max_steps": steps,
            "log_every_n_steps": 10,
            "check_val_every_n_epoch": None,
            "val_check_interval": max(steps // looks, 1),
            "ckpt_every_n_epochs": None,
            "early_stopping": False,
            "rng_seed_data_pt": seed,
            "rng_seed_model_pt": seed,
            "optimizer": "Adam",
            "optimizer_params": {"learning_rate": 1e-3},
            "lr_scheduler": "multisteplr",
            "lr_scheduler_params": {"multisteplr": {"milestone_steps": milestones, "gamma": 0.5}},
            "uniform_heatmaps_for_nan_keypoints": True,
        },
        "model": {
            "losses_to_use": [],
            "backbone": "resnet18",
            "backbone_pretrained": False,
            "model_type": "heatmap",
            "heatmap_loss_type": "mse",
            "model_name": "peer",
            "checkpoint": None,
        },
        "dali": {"base": {"train": {"sequence_length": 32}, "predict": {"sequence_length": 96}}},
        "losses": {},
        "eval": {"predict_vids_after_training": False, "test_videos_directory": str(folder), "save_vids_after_training": False},
        "callbacks": {},
    }


def run(program: Path, crops: Crops, folder: Path, name: str, steps: int, looks: int, seed: int) -> tuple[float, float | None]:
    """Let the peer train for so many steps; give the seconds a step took, and its most memory, MiB."""
    settings = folder / f"{name}.yaml"
    settings.write_text(json.dumps(configuration(crops, folder, steps, looks, seed), indent=1))  # JSON is YAML
    threads = {"OMP_NUM_THREADS": str(peers.threads())}
    command = [str(program), "train", str(settings), "--output_dir", str(folder / name)]
    peak = peers.run(command, folder, {**os.environ, **threads}, 3600 + 3 * peers.SPARE_SECONDS)
    logged = subprocess.run(
        [str(program.with_name("python")), "-c", _LOGGED, str(folder / name)], check=True, capture_output=True, text=True
    )
    return step_seconds(json.loads(logged.stdout)), peak


def step_seconds(logged: Sequence[tuple[float, int]]) -> float:
    """Give the seconds that a step took between the first and the last of these (moment s, step).

    Raises:
        SystemExit: if there are not two different ones.
    """
    (began, first), (ended, last) = min(logged, default=(0.0, 0)), max(logged, default=(0.0, 0))
    if last <= first:
        raise SystemExit(f"the peer logged {len(logged)} figures, expected those of at least two steps")
    return (ended - began) / (last - first)


def read_answers(path: Path, keypoint_count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read places (N, K, 2) px and likelihoods (N, K) from the table that the peer wrote, in the order of its labels.

    Raises:
        SystemExit: if a picture is missing, or they stand in another order.
    """
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))[3:]
    if [Path(row[0]).stem for row in rows] != [f"{index:06d}" for index in range(len(rows))]:
        raise SystemExit(f"{path.name} does not have the pictures one after another; the peer has changed its form")
    numbers = np.array([row[1 : 1 + 3 * keypoint_count] for row in rows], dtype=np.float64)
    numbers = numbers.reshape(len(rows), keypoint_count, 3)
    return numbers[..., :2], numbers[..., 2]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Lightning Pose from scratch for some minutes, measured on the test split")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json and test.json")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training steps")
    parser.add_argument("--input", type=int, default=128, help="side of the network input, px; the peer takes multiples of 128")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--environment", type=Path, help="folder of the peer's environment; made there if it is missing")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args(words)
    if arguments.input % 128 or arguments.input <= 0:
        parser.error(f"--input is {arguments.input}, expected a positive multiple of 128")
    if arguments.minutes <= 0:
        parser.error(f"--minutes is {arguments.minutes:g}, expected more than none")
    if not all((arguments.data / name).is_file() for name in ("train.json", "test.json")):
        parser.error(f"{arguments.data} has no train.json and test.json")
    begun = record.facts()
    train, test = (Crops(dekey.read(arguments.data / f"{part}.json"), arguments.input) for part in ("train", "test"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        environment = (arguments.environment or folder / "environment").expanduser().resolve()
        program = peers.make_environment(environment, "bin/litpose", [PACKAGE], OVERRIDES)
        write_labels(train, folder, LABELS)
        step, _ = run(program, train, folder, "trial", TRIED, 1, arguments.seed)
        steps = max(round(60 * arguments.minutes / step), 1)
        print(f"a step takes {step:.3f} s, so {steps} of them are trained", file=sys.stderr, flush=True)
        write_labels(test, folder, TEST_LABELS)
        step, peak = run(program, train, folder, "run", steps, LOOKS, arguments.seed)
        keypoints, scores = read_answers(
            folder / "run" / "image_preds" / TEST_LABELS / "predictions.csv", len(train.dataset.schema.keypoints)
        )
        packages = peers.versions(environment, (PACKAGE, "torch", "lightning"))
    values = dekey.evaluate(test.dataset, test.found(keypoints, scores), normaliser="sqrt_box_area").values
    details = {
        "batch_size": BATCH,
        "steps": steps,
        "training_seconds": round(steps * step, 1),
        "threads": peers.threads(),
        "peak_memory_mib": peak,
        "packages": packages,
    }
    payload = record.accuracy(
        arguments.data.name,
        METHOD,
        arguments.seed,
        arguments.minutes,
        arguments.input,
        steps * BATCH / (len(train) * (1 - VAL_SHARE)),
        BATCH / step,
        values,
        details,
    )
    name = f"accuracy-{arguments.data.name}-lightning_pose-{arguments.input}px-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()

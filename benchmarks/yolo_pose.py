"""The peer YOLO11n-pose, trained from scratch for given minutes by its own command line, measured by dekey's own metrics.

    python benchmarks/yolo_pose.py --data ../shared/data/glue_tubes --minutes 30 --environment ~/yolo-environment

The package ultralytics is under the AGPL-3.0. dekey neither imports it nor depends on it: this script installs it into an
environment of its own, writes files in its form, calls its program, and reads the text files that the program writes.

What is generous to the peer: its pictures are scaled once and stay in memory, that is done before its minutes begin, and so
is the check of its best weights after they end; it may use every core; it never stops early. Everything else is its default.
The weights of its best epoch are chosen by its own fitness on val.json, or on 15 % held out from train.json as `dekey train`
does. The score from which an object counts as found is the one that pairs best there; average precision needs none.

Its curve over time holds its own box AP of every epoch, which integrates a little otherwise than COCO's; its last figures on
the held-out images (`held_out`) are dekey's. The milliseconds an image are what the peer says itself, from decoded pixels to
objects, in torch and, if its environment has them, in ONNX Runtime and OpenVINO.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import peers
import record

from dekey.data import OCCLUDED, VISIBLE, Dataset, Instances, geometry

PACKAGE = "ultralytics"
# Its answers are timed in these too; without them it would ask the package index for them in the middle of a run.
RUNTIMES = {"onnx": ("ONNX Runtime", "onnxruntime"), "openvino": ("OpenVINO", "openvino")}
ALSO = ("opencv-python-headless", "onnx", "onnxslim", *(package for _, package in RUNTIMES.values()))
MODEL = "yolo11n-pose.yaml"
# Its own threshold for average precision; dekey measures its own answers from 0.01 on.
WEAKEST = 0.001
# What the peer says of each split it looked at: milliseconds an image.
_SPEED = re.compile(r"Speed: ([\d.]+)ms preprocess, ([\d.]+)ms inference, ([\d.]+)ms postprocess")


def quiet_variables(environment: Path, folder: Path) -> dict[str, str]:
    """Make the variables under which the peer asks nobody: no update, no statistics, no font, its settings in `folder`."""
    settings = folder / "Ultralytics"
    settings.mkdir(parents=True, exist_ok=True)
    font = next(environment.glob("lib/python*/site-packages/matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"))
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):  # it fetches these where they are missing
        shutil.copy(font, settings / name)
    # It takes one thread where the variable is missing.
    threads = {"OMP_NUM_THREADS": str(peers.threads())}
    return {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", **threads}


def label_lines(instances: Instances, size: tuple[int, int]) -> list[str]:
    """Write the objects of an image as class, box centre and size, then x, y and visibility of each keypoint.

    The peer's shares of width and height are dekey's continuous pixels divided by them. It refuses an image with a place
    outside, so boxes end at the border and a keypoint beyond it becomes unlabelled; crowds are left out.

    Args:
        instances: N objects.
        size: (H, W) px of the image.
    """
    extent = np.array([size[1], size[0]], dtype=np.float64)
    boxes = np.where(np.isfinite(instances.boxes), instances.boxes, geometry.hulls(instances.keypoints))
    lines = []
    for index in np.flatnonzero(~instances.crowd & np.isfinite(boxes).all(1)):
        corners = np.clip(boxes[index].reshape(2, 2) / extent, 0, 1)
        shares = instances.keypoints[index] / extent
        inside = instances.labelled[index] & (shares >= 0).all(1) & (shares <= 1).all(1)
        points = np.column_stack([np.where(inside[:, None], shares, 0), np.where(inside, instances.visibility[index], 0)])
        numbers = [*corners.mean(0), *(corners[1] - corners[0]), *points.ravel()]
        lines.append(" ".join([str(instances.labels[index]), *(f"{value:.7g}" for value in numbers)]))
    return lines


def read_lines(lines: Sequence[str], size: tuple[int, int], keypoint_count: int) -> Instances:
    """Read what the peer found in an image: a row as in `label_lines` with its score at the end.

    A keypoint's third number is the probability that it is visible; the peer places every keypoint.
    """
    rows = np.array([line.split() for line in lines], dtype=np.float64).reshape(len(lines), 6 + 3 * keypoint_count)
    extent = np.array([size[1], size[0]], dtype=np.float64)
    centre, half = rows[:, 1:3] * extent, rows[:, 3:5] * extent / 2
    points = rows[:, 5:-1].reshape(-1, keypoint_count, 3)
    return Instances.create(
        points[..., :2] * extent,
        boxes=np.concatenate([centre - half, centre + half], axis=1),
        labels=rows[:, 0].astype(np.int64),
        visibility=np.where(points[..., 2] >= 0.5, VISIBLE, OCCLUDED),
        scores=rows[:, -1],
        keypoint_scores=points[..., 2],
    )


def write_part(dataset: Dataset, folder: Path, part: str) -> None:
    """Write a split: FOLDER/images/PART holds links named by position, FOLDER/labels/PART the text files."""
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True)
    for position, sample in enumerate(dataset):
        if not isinstance(sample.picture, Path):
            raise SystemExit(f"{sample.name} has no file; the peer reads files")
        link = folder / "images" / part / f"{position:06d}{sample.picture.suffix.lower()}"
        link.symlink_to(sample.picture.resolve())
        lines = label_lines(sample.instances, sample.size)
        (folder / "labels" / part / f"{position:06d}.txt").write_text("".join(line + "\n" for line in lines))


def write_description(dataset: Dataset, folder: Path) -> Path:
    """Write the peer's data file; JSON is YAML. Without a mirror it does not flip, as dekey does not."""
    schema = dataset.schema
    description = {
        "path": str(folder),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(schema.classes)),
        "kpt_shape": [len(schema.keypoints), 3],
    }
    if schema.mirror is not None:
        description["flip_idx"] = schema.mirror.tolist()
    path = folder / "data.yaml"
    path.write_text(json.dumps(description, indent=1))
    return path


def predict(
    program: Path, weights: Path, folder: Path, dataset: Dataset, part: str, variables: dict[str, str], side: int
) -> list[Instances]:
    """Let the peer look at the pictures of a split and read its text files, one Instances an image."""
    options = {
        "model": weights,
        "source": folder / "images" / part,
        "imgsz": side,
        "conf": WEAKEST,
        "device": "cpu",
        "save": False,
        "save_txt": True,
        "save_conf": True,
        "verbose": False,
        "project": folder / "found",
        "name": part,
        "exist_ok": True,
    }
    peers.run([str(program), "pose", "predict", *words(options)], folder, variables, peers.SPARE_SECONDS)
    found = []
    for position in range(len(dataset)):
        path = folder / "found" / part / "labels" / f"{position:06d}.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        height, width = dataset.sizes[position].tolist()
        found.append(read_lines(lines, (height, width), len(dataset.schema.keypoints)))
    return found


def words(options: Mapping[str, object]) -> list[str]:
    """Write options as the peer's command line takes them."""
    return [f"{key}={value}" for key, value in options.items()]


def milliseconds(
    program: Path, weights: Path, folder: Path, variables: dict[str, str], side: int, threshold: float
) -> dict[str, float]:
    """Let the peer say how long it takes for a test image, in each runtime that its environment has; none that fails."""
    common = {"imgsz": side, "device": "cpu"}
    options = {"source": folder / "images" / "test", "conf": threshold, "save": False, **common}
    present = peers.versions(program.parents[1], [package for _, package in RUNTIMES.values()])
    found = {}
    for form, (name, package) in {"": ("torch", PACKAGE), **RUNTIMES}.items():
        model = weights
        if form:
            if package not in present:
                continue
            model = weights.with_suffix(".onnx") if form == "onnx" else weights.with_name(f"{weights.stem}_openvino_model")
            export = [str(program), "export", f"model={weights}", f"format={form}", *words(common)]
            if not _spoken(export, folder, variables) or not model.exists():
                continue
        spoken = _spoken([str(program), "pose", "predict", f"model={model}", *words(options)], folder, variables)
        if (speed := read_speed(spoken)) is not None:
            found[name] = speed
    return found


def _spoken(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Give all that a program says; nothing where it fails."""
    done = subprocess.run(
        list(command), env=dict(variables), cwd=folder, capture_output=True, text=True, timeout=peers.SPARE_SECONDS
    )
    if done.returncode:
        print(f"not timed: {' '.join(command[1:4])}: {done.stderr.strip()[-300:]}", file=sys.stderr, flush=True)
    return "" if done.returncode else done.stdout + done.stderr


def read_speed(spoken: str) -> float | None:
    """Read from the peer's words how many milliseconds an image took, before, in and after the network."""
    said = _SPEED.findall(spoken)
    return round(sum(map(float, said[-1])), 2) if said else None


def curve(rows: Sequence[Mapping[str, str]]) -> list[list[float | None]]:
    """Read seconds and the peer's own box AP of every epoch; it has no error in pixels."""
    return [[round(float(row["time"]), 1), float(row["metrics/mAP50-95(B)"]), None] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="YOLO11n-pose from scratch for some minutes, measured on the test split")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, its own validation included")
    parser.add_argument("--input", type=int, default=320, help="side of the network input, px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the training; the held-out part is the same for all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the peer's training")
    parser.add_argument("--environment", type=Path, help="folder of the peer's environment; made there if it is missing")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    train, val, test = peers.splits(arguments.data)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        environment = (arguments.environment or folder / "environment").expanduser().resolve()
        program = peers.make_environment(environment, "bin/yolo", [PACKAGE, *ALSO])
        variables = quiet_variables(environment, folder / "settings")
        for part, dataset in (("train", train), ("val", val), ("test", test)):
            write_part(dataset, folder, part)
        options = {
            "model": MODEL,
            "pretrained": False,
            "data": write_description(train, folder),
            "imgsz": arguments.input,
            "time": arguments.minutes / 60,
            "patience": 0,
            "device": "cpu",
            "workers": record.machine()["cores"],
            "batch": arguments.batch,
            "cache": "ram",
            "amp": False,
            "plots": False,
            "seed": arguments.seed,
            "project": folder / "run",
            "name": "train",
            "exist_ok": True,
        }
        command = [str(program), "pose", "train", *words(options), *arguments.set]
        peak = peers.run(command, folder, variables, arguments.minutes * 60 + peers.SPARE_SECONDS)
        with (folder / "run" / "train" / "results.csv").open() as stream:
            rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(stream)]
        weights = folder / "run" / "train" / "weights" / "best.pt"
        found_val = predict(program, weights, folder, val, "val", variables, arguments.input)
        found_test = predict(program, weights, folder, test, "test", variables, arguments.input)
        measured = peers.measure(val, found_val, test, found_test, WEAKEST)
        sizes = (len(train), len(val), len(test))
        details = {
            "batch_size": arguments.batch,
            "training_seconds": float(rows[-1]["time"]),
            **peers.about(arguments.data, environment, (PACKAGE, "torch", "opencv-python-headless"), measured, sizes),
            "peak_memory_mib": peak,
            "ms_per_image": milliseconds(program, weights, folder, variables, arguments.input, measured.threshold),
            "curve": curve(rows),
        }
    payload = record.accuracy(
        arguments.data.name,
        "YOLO11n-pose, from scratch" + "".join(f", {change}" for change in arguments.set),
        arguments.seed,
        arguments.minutes,
        arguments.input,
        float(rows[-1]["epoch"]),
        len(train) * float(rows[-1]["epoch"]) / float(rows[-1]["time"]),
        measured.values,
        details,
    )
    name = f"accuracy-{arguments.data.name}-yolo11n_pose-{arguments.input}px-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name + peers.named(arguments.set), payload, begun, arguments.results))


if __name__ == "__main__":
    main()

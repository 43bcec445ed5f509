"""The peer Keypoint R-CNN of torchvision, trained from scratch for given minutes, measured by dekey's own metrics.

    python benchmarks/keypoint_rcnn.py --data ../shared/data/glue_tubes --minutes 30 --environment ~/torchvision-environment

Keypoint R-CNN is of He, Gkioxari, Dollár and Girshick: Mask R-CNN (ICCV 2017). dekey does not depend on torchvision's
detectors: this script installs torchvision into an environment of its own and runs `keypoint_rcnn_program.py` there, which
exchanges JSON files with it.

Torchvision's reference recipe, where it applies: stochastic gradient descent with momentum 0.9 and weight decay 1e-4, a linear
warm-up, the learning rate a tenth after 36/46 and a hundredth after 43/46 of the time, images mirrored by half with the data
set's own table (not at all without one) and drawn at 0.8 to 1 times their size; images without an object that has a labelled
keypoint are left out. All layers learn and batch normalisation is not frozen, as torchvision has it without pretrained weights.

What is generous to the peer, since the published recipe (ResNet-50, images of 800 px, eight layers of 512 channels for every
region's keypoints, 512 regions an image) would see a few hundred images in ten minutes of two cores: by default the backbone is
ResNet-18, the input that of the other methods, the keypoints' layers are four of 128 channels, and a training image has 64
regions (`--backbone resnet50 --head 8x512 --regions 512` is the published form); bf16 where the CPU has it, channels_last;
images are scaled once, with a filter, before its minutes begin; its looks at held-out images do not count against its minutes.
Ten times in a run its weights are kept, and those of the greatest sum of box AP and OKS-AP on the held-out images are tested.
A labelled keypoint outside its object's box is moved to the border of the box for training: the method answers only inside the
box, and would ignore it. The held-out images and the choice of the score threshold are those of `yolo_pose.py`.

Its frame is dekey's: in torchvision's source, a keypoint's cell is the whole part of (x - left) · cells / width, an answer lies
at its cell's middle (Heckbert's c = d + 0.5), images are scaled without aligning corners, and a mirrored x is width - x.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peers
import record
from numpy.typing import NDArray

from dekey.data import VISIBLE, Dataset, Instances, geometry

PROGRAM = Path(__file__).with_name("keypoint_rcnn_program.py")
PACKAGES = ("torchvision", "numpy", "pillow")
# By this an environment is known to be in order.
MARK = "lib/python3.11/site-packages/torchvision/version.py"
# Below this score the peer gives no answer: torchvision's own limit.
WEAKEST = 0.05
# Torchvision leaves objects out whose box is thinner, px of the file.
THINNEST = 1.0


def to_record(instances: Instances, size: tuple[int, int], image: Path) -> dict[str, Any]:
    """Write the objects of an image as the peer takes them: boxes inside the image, keypoints inside their boxes.

    Crowds, objects without any place and those too thin are left out. An object without a box gets its keypoints' hull.

    Args:
        instances: N objects.
        size: (H, W) px of the image.
        image: its file.

    Returns:
        ``boxes`` x1 y1 x2 y2 px, ``labels``, and ``keypoints`` x, y, visibility; 0, 0, 0 where unlabelled.
    """
    boxes = np.where(np.isfinite(instances.boxes), instances.boxes, geometry.hulls(instances.keypoints))
    extent = np.array([size[1], size[0]], dtype=np.float64)
    boxes = np.clip(boxes, 0, np.tile(extent, 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = ~instances.crowd & np.isfinite(boxes).all(1)
    kept &= (np.where(np.isfinite(sides), sides, 0) > THINNEST).all(1)
    low, high = boxes[kept, None, :2], boxes[kept, None, 2:]
    labelled = instances.labelled[kept]
    points = np.where(labelled[..., None], np.clip(instances.keypoints[kept], low, high), 0)
    visibility = np.where(labelled, instances.visibility[kept], 0)
    return {
        "image": str(image),
        "boxes": boxes[kept].tolist(),
        "labels": instances.labels[kept].tolist(),
        "keypoints": np.concatenate([points, visibility[..., None]], axis=2).tolist(),
    }


def records(dataset: Dataset, teach: bool) -> list[dict[str, Any]]:
    """Write a split; to teach, images without an object that has a labelled keypoint are left out.

    Raises:
        SystemExit: if an image has no file, or nothing is left to teach.
    """
    rows = []
    for sample in dataset:
        if not isinstance(sample.picture, Path):
            raise SystemExit(f"{sample.name} has no file; the peer reads files")
        row = to_record(sample.instances, sample.size, sample.picture.resolve())
        if not teach or any(point[2] for points in row["keypoints"] for point in points):
            rows.append(row)
    if not rows:
        raise SystemExit("no image has an object with a labelled keypoint; the peer has nothing to learn from")
    return rows


def outside_share(instances: Instances) -> float | None:
    """Give the share of labelled keypoints that lie outside their object's box, which the peer cannot answer."""
    labelled = instances.labelled & np.isfinite(instances.boxes).all(1)[:, None]
    low, high = instances.boxes[:, None, :2], instances.boxes[:, None, 2:]
    outside: NDArray[np.bool_] = ((instances.keypoints < low) | (instances.keypoints > high)).any(2)
    return round(float(outside[labelled].mean()), 4) if labelled.any() else None


def from_records(rows: Sequence[dict[str, Any]], sizes: NDArray[np.int64], keypoint_count: int) -> list[Instances]:
    """Read what the peer found, one Instances an image; it gives no visibility, so every keypoint counts as visible.

    A keypoint's score is the height of its map before any softmax; it is handed on squeezed into 0 to 1.

    Args:
        rows: an image each.
        sizes: (I, 2) H, W px of the images.
        keypoint_count: K.
    """
    found = []
    for row, (height, width) in zip(rows, sizes.tolist(), strict=True):
        count = len(row["scores"])
        boxes = np.array(row["boxes"], dtype=np.float64).reshape(count, 4)
        heights = np.array(row["keypoint_scores"], dtype=np.float64).reshape(count, keypoint_count)
        found.append(
            Instances.create(
                np.array(row["keypoints"], dtype=np.float64).reshape(count, keypoint_count, 2),
                boxes=np.clip(boxes, 0, [width, height, width, height]),
                labels=np.array(row["labels"], dtype=np.int64),
                visibility=np.full((count, keypoint_count), VISIBLE),
                scores=np.array(row["scores"], dtype=np.float64),
                keypoint_scores=1 / (1 + np.exp(-np.clip(heights, -50, 50))),
            )
        )
    return found


def head(text: str) -> tuple[int, int]:
    """Read LAYERSxCHANNELS."""
    layers, _, channels = text.partition("x")
    if not (layers.isdigit() and channels.isdigit() and int(layers) and int(channels)):
        raise argparse.ArgumentTypeError(f"'{text}' is not LAYERSxCHANNELS, such as 4x128")
    return int(layers), int(channels)


def fitness(values: dict[str, float]) -> float:
    """Sum box AP and OKS-AP; -1 for what is not defined."""
    return sum(values.get(name, -1.0) for name in ("box_AP", "AP"))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Keypoint R-CNN from scratch for some minutes, measured on the test split")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training; looks at held-out images are not counted")
    parser.add_argument("--input", type=int, default=320, help="longest side of the network input, px")
    parser.add_argument("--backbone", choices=("resnet18", "resnet34", "resnet50"), default="resnet18")
    parser.add_argument(
        "--head", type=head, default=(4, 128), metavar="LAYERSxCHANNELS", help="of the keypoints; 8x512 published"
    )
    parser.add_argument("--regions", type=int, default=64, help="of a training image; 512 published")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.02, help="height of the learning rate")
    parser.add_argument("--clip", type=float, default=10.0, help="limit of the gradient's norm")
    parser.add_argument("--looks", type=int, default=10, help="at the held-out images, evenly over the minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the training; the held-out part is the same for all")
    parser.add_argument("--environment", type=Path, help="folder of the peer's environment; made there if it is missing")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    return parser.parse_args()


def main() -> None:
    arguments, begun = parse(), record.facts()
    train, val, test = peers.splits(arguments.data)
    keypoint_count = len(train.schema.keypoints)
    crowded = int(np.bincount(train.image_of_instance()).max()) if len(train.instances) else 1
    task: dict[str, Any] = {
        "minutes": arguments.minutes,
        "input": arguments.input,
        "backbone": arguments.backbone,
        "head_layers": arguments.head[0],
        "head_channels": arguments.head[1],
        "regions": arguments.regions,
        "batch": arguments.batch,
        "lr": arguments.lr,
        "clip": arguments.clip,
        "seed": arguments.seed,
        "bf16": "avx512_bf16" in record.cpu_flags(),
        "threads": peers.threads(),
        "looks": arguments.looks,
        "classes": len(train.schema.classes),
        "keypoints": keypoint_count,
        # Torchvision's 100 would only cost time where an image never holds so many.
        "most_found": min(100, max(20, 4 * crowded)),
        "mirror": None if train.schema.mirror is None else train.schema.mirror.tolist(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        environment = (arguments.environment or folder / "environment").expanduser().resolve()
        peers.make_environment(environment, MARK, PACKAGES)
        python = environment / "bin" / "python"
        for part, dataset in (("train", train), ("val", val), ("test", test)):
            (folder / f"{part}.json").write_text(json.dumps(records(dataset, part == "train")))
        limit = arguments.minutes * 60 + peers.SPARE_SECONDS
        run = [str(python), str(PROGRAM), str(folder / "task.json")]
        (folder / "task.json").write_text(json.dumps({"do": "train", **task}))
        peak = peers.run(run, folder, os.environ, limit)
        history = json.loads((folder / "history.json").read_text())
        looks = [
            from_records(json.loads((folder / f"found_{look}.json").read_text()), val.sizes, keypoint_count)
            for look in range(len(history["looks"]))
        ]
        seen = [peers.evaluated(val, found) for found in looks]
        best = max(range(len(looks)), key=lambda look: (fitness(seen[look]), look))
        (folder / "task.json").write_text(json.dumps({"do": "test", "look": best, **task}))
        peers.run(run, folder, os.environ, limit)
        answer = json.loads((folder / "found_test.json").read_text())
        found_test = from_records(answer["found"], test.sizes, keypoint_count)
        measured = peers.measure(val, looks[best], test, found_test, WEAKEST)
        sizes = (len(train), len(val), len(test))
        about = peers.about(arguments.data, environment, ("torchvision", "torch"), measured, sizes)
    seconds = history["looks"][-1]["seconds"]
    payload = record.accuracy(
        arguments.data.name,
        "Keypoint R-CNN" + variant(arguments) + ", from scratch",
        arguments.seed,
        arguments.minutes,
        arguments.input,
        history["images"] / len(train),
        history["images"] / seconds,
        measured.values,
        {
            **{key: task[key] for key in ("backbone", "head_layers", "head_channels", "regions", "lr", "bf16")},
            "batch_size": arguments.batch,
            "parameters": history["parameters"],
            "training_seconds": seconds,
            "best_look": best,
            **about,
            "keypoints_outside_boxes": outside_share(test.instances),
            "peak_memory_mib": peak,
            "ms_per_image": {} if answer["ms_per_image"] is None else {"torch": answer["ms_per_image"]},
            "curve": [
                [look["seconds"], *(values.get(name) for name in ("box_AP", "median_px"))]
                for look, values in zip(history["looks"], seen, strict=True)
            ],
        },
    )
    kind = peers.named([variant(arguments).strip(" ,").replace(", ", "-")]).strip("-").replace("ResNet-", "resnet")
    name = (
        f"accuracy-{arguments.data.name}-keypoint_rcnn-{kind}-{arguments.input}px-{arguments.minutes:g}m-seed{arguments.seed}"
    )
    print(record.write(name, payload, begun, arguments.results))


def variant(arguments: argparse.Namespace) -> str:
    """Say what kind of the peer it is: its backbone, and what differs from the defaults."""
    layers, channels = arguments.head
    usual = (4, 128, 64, 4, 0.02, 10.0)
    chosen = (layers, channels, arguments.regions, arguments.batch, arguments.lr, arguments.clip)
    shape = f"head {layers}x{channels}, {arguments.regions} regions"
    words = f"{shape}, batch {arguments.batch}, lr {arguments.lr:g}, clip {arguments.clip:g}"
    return f" {arguments.backbone.replace('resnet', 'ResNet-')}" + ("" if chosen == usual else f", {words}")


if __name__ == "__main__":
    main()

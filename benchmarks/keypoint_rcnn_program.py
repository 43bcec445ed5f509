"""The peer's own program: Keypoint R-CNN of torchvision, trained and asked. It runs in the peer's environment, without dekey.

`keypoint_rcnn.py` calls it with one JSON file and reads the JSON files that it writes; see there for what it does and why.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import resnet
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

Target = dict[str, Tensor]
# Shares of the longest side between which the peer draws a training image's size: its own 640 to 800 px.
JITTER = (0.8, 0.84, 0.88, 0.92, 0.96, 1.0)
# Its reference recipe: 46 epochs, the learning rate a tenth from epoch 36 and a hundredth from epoch 43 on.
DROPS = (36 / 46, 43 / 46)
WARM_UP = 0.05


class Predictor(KeypointRCNNPredictor):
    """The peer's last layer, its maps laid out as the peer's loss takes them, which cannot view channels_last."""

    def forward(self, features: Tensor) -> Tensor:
        """Map features (R, C, 14, 14) of R regions to maps (R, K, 56, 56)."""
        maps: Tensor = super().forward(features).contiguous()
        return maps


def build(task: dict[str, Any]) -> KeypointRCNN:
    """Build the network with random weights, every layer trained."""
    body = getattr(resnet, task["backbone"])(weights=None)
    channels, layers = task["head_channels"], task["head_layers"]
    backbone = _resnet_fpn_extractor(body, 5)
    model = KeypointRCNN(
        backbone,
        num_classes=1 + task["classes"],
        # The longest side alone decides how an image is scaled, as with the other methods.
        min_size=2**20,
        max_size=task["input"],
        box_batch_size_per_image=task["regions"],
        box_detections_per_img=task["most_found"],
        keypoint_head=KeypointRCNNHeads(backbone.out_channels, (channels,) * layers),
        keypoint_predictor=Predictor(channels, task["keypoints"]),
    )
    return model.to(memory_format=torch.channels_last)


def read_part(path: Path, side: int, keypoint_count: int) -> list[tuple[Tensor, Target, tuple[float, float]]]:
    """Read a split into memory: each image uint8 (3, H, W), its longest side `side`; its target in the pixels of that image.

    The third value is by how much x and y were multiplied.
    """
    samples = []
    for row in json.loads(path.read_text()):
        with Image.open(row["image"]) as file:
            picture = file.convert("RGB")
        scale = side / max(picture.size)
        width, height = (max(round(length * scale), 1) for length in picture.size)
        factor = (width / picture.width, height / picture.height)
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=None))
        target = to_target(row, keypoint_count)
        multiply = torch.tensor(factor)
        target["boxes"] *= multiply.repeat(2)
        target["keypoints"][..., :2] *= multiply
        samples.append((torch.from_numpy(pixels.copy()).permute(2, 0, 1), target, factor))
    return samples


def to_target(row: dict[str, Any], keypoint_count: int) -> Target:
    """Turn a record into tensors; an image without objects has none, of the right shapes."""
    return {
        "boxes": torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4),
        # Its class 0 is the background.
        "labels": 1 + torch.tensor(row["labels"], dtype=torch.int64),
        "keypoints": torch.tensor(row["keypoints"], dtype=torch.float32).reshape(-1, keypoint_count, 3),
    }


def mirrored(image: Tensor, target: Target, mirror: list[int]) -> tuple[Tensor, Target]:
    """Mirror an image with its target, as the peer's reference does: x becomes width - x, unlabelled places stay 0."""
    width = image.shape[-1]
    boxes, keypoints = target["boxes"].clone(), target["keypoints"][:, mirror].clone()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    keypoints[..., 0] = width - keypoints[..., 0]
    keypoints[keypoints[..., 2] == 0] = 0
    return image.flip(-1), {**target, "boxes": boxes, "keypoints": keypoints}


def learning_rate(share: float) -> float:
    """Give the learning rate after this share of the time, relative to its height: a warm-up, then two drops."""
    if share < WARM_UP:
        return 1e-3 + (1 - 1e-3) * share / WARM_UP
    return 0.1 ** sum(share >= drop for drop in DROPS)


def autocast(task: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Compute in bf16 where the task says so."""
    return torch.autocast("cpu", torch.bfloat16) if task["bf16"] else contextlib.nullcontext()


@torch.inference_mode()
def ask(model: KeypointRCNN, samples: list[Any], task: dict[str, Any]) -> tuple[list[Any], float | None]:
    """Let the network find the objects of every image, in the pixels of its file; and give the median ms an image."""
    model.eval()
    model.transform.max_size = task["input"]
    found, times = [], []
    for image, _, factor in samples:
        began = time.perf_counter()
        with autocast(task):
            answer = model([image.float() / 255])[0]
        times.append(1000 * (time.perf_counter() - began))
        divide = torch.tensor(factor)
        found.append(
            {
                "boxes": (answer["boxes"].float() / divide.repeat(2)).tolist(),
                "labels": (answer["labels"] - 1).tolist(),
                "scores": answer["scores"].float().tolist(),
                "keypoints": (answer["keypoints"][..., :2].float() / divide).tolist(),
                "keypoint_scores": answer["keypoints_scores"].float().tolist(),
            }
        )
    return found, round(statistics.median(times[2:]), 2) if len(times) > 2 else None


def train(task: dict[str, Any], folder: Path) -> None:
    """Train for the task's minutes; at each look write weights and what is found in the held-out images.

    Reading the images before, and the looks between, are not counted.
    """
    torch.manual_seed(task["seed"])
    random = np.random.default_rng(task["seed"])
    samples, held_out = (read_part(folder / f"{part}.json", task["input"], task["keypoints"]) for part in ("train", "val"))
    model = build(task)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=task["lr"], momentum=0.9, weight_decay=1e-4)
    limit, images, steps, looks, spoken = 60 * task["minutes"], 0, 0, [], 0.0
    begun, aside, over = time.perf_counter(), 0.0, False
    while not over:
        order = random.permutation(len(samples))
        for start in range(0, len(order), task["batch"]):
            elapsed = time.perf_counter() - begun - aside
            over = elapsed >= limit and steps > 0
            if over or elapsed >= limit * (len(looks) + 1) / task["looks"]:
                paused = time.perf_counter()
                looks.append({"seconds": round(elapsed, 1), "images": images})
                torch.save(model.state_dict(), folder / f"weights_{len(looks) - 1}.pt")
                write(folder / f"found_{len(looks) - 1}.json", ask(model, held_out, task)[0])
                aside += time.perf_counter() - paused
            if over:
                break
            model.train()
            model.transform.max_size = round(task["input"] * JITTER[random.integers(len(JITTER))])
            batch = [samples[index][:2] for index in order[start : start + task["batch"]]]
            if task["mirror"] is not None:
                batch = [mirrored(*each, task["mirror"]) if random.random() < 0.5 else each for each in batch]
            for group in optimizer.param_groups:
                group["lr"] = task["lr"] * learning_rate(elapsed / limit)
            with autocast(task):
                losses = model([image.float() / 255 for image, _ in batch], [target for _, target in batch])
            loss = sum(value.float() for value in losses.values())
            if not math.isfinite(loss.item()):
                raise FloatingPointError(
                    f"the loss is {loss.item()} at step {steps}: { {k: v.item() for k, v in losses.items()} }"
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), task["clip"])
            optimizer.step()
            images, steps = images + len(batch), steps + 1
            if elapsed - spoken >= 10:
                spoken = elapsed
                said = ", ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
                print(f"{elapsed:5.0f} s of {limit:.0f}: {images / elapsed:.1f} images/s, {said}", file=sys.stderr, flush=True)
    write(folder / "history.json", {"looks": looks, "images": images, "steps": steps, "parameters": parameters})


def test(task: dict[str, Any], folder: Path) -> None:
    """Let the weights of the chosen look find the objects of the test split."""
    model = build(task)
    model.load_state_dict(torch.load(folder / f"weights_{task['look']}.pt", weights_only=True))
    found, ms = ask(model, read_part(folder / "test.json", task["input"], task["keypoints"]), task)
    write(folder / "found_test.json", {"found": found, "ms_per_image": ms})


def write(path: Path, value: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value))


def main() -> None:
    path = Path(sys.argv[1])
    task = json.loads(path.read_text())
    torch.set_num_threads(task["threads"])
    (train if task["do"] == "train" else test)(task, path.parent)


if __name__ == "__main__":
    main()

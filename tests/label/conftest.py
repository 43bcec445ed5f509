from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def draw_ellipse(
    centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0, size: int = 96, seed: int = 0
) -> tuple[Picture, NDArray[np.bool_]]:
    """Draw a textured ellipse on a textured ground; give the picture and the ellipse's pixels.

    The centre is in the continuous frame; axes are half lengths, px; the angle in degrees, clockwise on the screen.
    """
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size) + 0.5 - centre[0], np.arange(size) + 0.5 - centre[1])
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    mask = (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1
    ground = np.array([70.0, 110, 60]) + rng.normal(0, 6, (size, size, 3))
    colour = np.array([200.0, 90, 60]) + rng.normal(0, 10, (size, size, 3))
    return np.where(mask[..., None], colour, ground).clip(0, 255).astype(np.uint8), mask


def write_batches(folder: Path, counts: dict[str, int], size: int = 32) -> Path:
    """Write CIFAR's binary layout with an ellipse in each picture; class 0 lies, class 1 stands."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(counts.items()):
        records = []
        for index in range(count):
            label = index % 2
            axes = (10.0, 5.0) if label == 0 else (5.0, 10.0)
            picture, _ = draw_ellipse((16.0 + index % 3, 15.0), axes, size=size, seed=1000 * seed + index)
            records.append(np.concatenate([[label], picture.transpose(2, 0, 1).ravel()]).astype(np.uint8))
        (folder / name).write_bytes(np.stack(records).tobytes())
    (folder / "batches.meta.txt").write_text("lying\nstanding\n\n")
    return folder


def write_folders(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 6) -> Path:
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            axes = (26.0, 13.0) if label == 0 else (13.0, 26.0)
            picture, _ = draw_ellipse((46.0 + index, 50.0), axes, size=96, seed=100 * label + index)
            cv2.imwrite(str(folder / name / f"{index}.png"), picture[..., ::-1])
    return folder


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    return write_batches(tmp_path / "cifar", {"data_batch_1.bin": 8, "test_batch.bin": 4})

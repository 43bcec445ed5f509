"""The detect graph as one ONNX file: uint8 pictures in, keypoints out, the manifest in its metadata, parity proven."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dekey.errors import DekeyError
from dekey.export.rewrite import fold_learned_scales
from dekey.files import replacing
from dekey.models.checkpoint import TorchBackend
from dekey.runtime.backends import INPUT, OUTPUTS, Arrays, Backend, OnnxBackend
from dekey.runtime.manifest import Manifest

# A keypoint of the exported file may lie this far from PyTorch's, in pixels of the network's input.
PARITY_PX = 0.05
# And its score may differ by this much; other kernels add up in another order, which moves the fifth digit.
PARITY_SCORE = 1e-3
# Answers of a detector below this score are not compared.
NOISE = 0.1
OPSET = 18


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the model it was made of.

    Attributes:
        images: pictures compared.
        keypoints: keypoints compared: those that the model itself takes for found.
        largest_px: largest distance of a keypoint, in px of the network's input.
        largest_score: largest difference of a score.
    """

    images: int
    keypoints: int
    largest_px: float
    largest_score: float


class _DetectGraph(nn.Module):
    """`detect` with the channel order of pictures in memory, and its arrays as a tuple."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.model.detect(images.permute(0, 3, 1, 2))  # type: ignore[operator]
        return tuple(found[name] for name in OUTPUTS)


def export_onnx(backend: TorchBackend, path: str | os.PathLike[str], pictures: Sequence[NDArray[np.uint8]]) -> Parity:
    """Write the model as ONNX, then run both on real pictures and compare.

    The file takes ``images`` (B, H, W, 3) uint8 RGB with any B and gives the arrays of `detect`. It is written under a
    temporary name and only takes its place when it has passed.

    Args:
        backend: the model.
        path: file to write.
        pictures: network inputs (H, W, 3) uint8, or pictures of any size, which are letterboxed.

    Returns:
        What the comparison measured.

    Raises:
        DekeyError: if there is no picture, a keypoint lies further away than `PARITY_PX`, or a score differs by more
            than `PARITY_SCORE`.
    """
    if not pictures:
        raise DekeyError("found no picture for the parity check, expected at least one; name some with --images")
    target = Path(path)
    with replacing(target) as temporary:
        write_graph(backend.model, backend.manifest, temporary, backend.device)
        parity = compare(backend, OnnxBackend(temporary), pictures)
        check_parity(parity)
    return parity


def check_parity(parity: Parity) -> None:
    """Refuse a graph that answers otherwise than its model.

    Raises:
        DekeyError: if a keypoint lies further away than `PARITY_PX`, or a score differs by more than `PARITY_SCORE`.
    """
    # Written so that a NaN fails.
    if not (parity.largest_px <= PARITY_PX and parity.largest_score <= PARITY_SCORE):
        raise DekeyError(
            f"the exported graph moves a keypoint by {parity.largest_px:.3f} px and a score by {parity.largest_score:.1e}, "
            f"allowed are {PARITY_PX} px and {PARITY_SCORE}; nothing was written, please report this with the "
            "backbone's name"
        )


def write_graph(model: nn.Module, manifest: Manifest, path: Path, device: torch.device) -> None:
    """Write the detect graph of a model with its manifest, unproven."""
    height, width = manifest.input_size
    graph = _DetectGraph(fold_learned_scales(model)).eval()
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8, device=device)
    with _quiet():
        # The tracing exporter takes 2 s where torch.export takes a minute and more on two cores, and ONNX Runtime makes
        # the same graph of both; decode holds no data-dependent branch that tracing could lose.
        torch.onnx.export(
            graph,
            (example,),
            os.fspath(path),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
    write_metadata(path, manifest)


def write_metadata(path: Path, manifest: Manifest) -> None:
    """Put the manifest into an ONNX file, in place of what metadata it had."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, manifest.to_metadata())
    onnx.checker.check_model(model)
    onnx.save_model(model, os.fspath(path))


def compare(backend: TorchBackend, exported: Backend, pictures: Sequence[NDArray[np.uint8]]) -> Parity:
    """Run both over pictures and measure the largest differences; one that is no number makes the answer NaN.

    Answers of a detector are compared with the nearest one of the same class: objects of nearly equal score may change places,
    and what fills up the N answers is noise.
    """
    size = backend.manifest.input_size
    inputs = np.stack([_as_input(picture, size) for picture in pictures])
    distances, differences = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, len(inputs), 16):
        expected, found = backend.run(inputs[start : start + 16]), exported.run(inputs[start : start + 16])
        if backend.manifest.objects > 1:
            expected, found = _paired(expected, found)
        if backend.manifest.finds_boxes:
            differences.append(np.abs(found["scores"] - expected["scores"]).ravel())
            distances.append(np.abs(found["boxes"] - expected["boxes"]).ravel())
        sure = expected["keypoint_scores"] >= backend.manifest.default_threshold
        distances.append(np.linalg.norm(found["keypoints"] - expected["keypoints"], axis=-1)[sure])
        differences.append(np.abs(found["keypoint_scores"] - expected["keypoint_scores"]).ravel())
    px, scores = np.concatenate(distances), np.concatenate(differences)
    return Parity(len(inputs), len(px), float(px.max(initial=0)), float(scores.max(initial=0)))


def _paired(expected: Arrays, found: Arrays) -> tuple[Arrays, Arrays]:
    """Give the expected answers (M, …) of all images that are no noise, and for each the nearest found one of its class."""
    images, objects = np.nonzero(expected["scores"] >= NOISE)
    gaps = np.abs(expected["boxes"][images, objects][:, None] - found["boxes"][images]).max(axis=-1)
    # Several answers for one object may have the same box, read off the same corners; their scores tell them apart.
    gaps += np.abs(expected["scores"][images, objects][:, None] - found["scores"][images])
    gaps[expected["labels"][images, objects][:, None] != found["labels"][images]] = np.inf
    partners = gaps.argmin(axis=1)
    return (
        {name: array[images, objects] for name, array in expected.items()},
        {name: array[images, partners] for name, array in found.items()},
    )


def _as_input(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from dekey.data import geometry

    if picture.shape[:2] == size:
        return picture
    return geometry.warp(picture, geometry.letterbox(picture.shape[:2], size), size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and version chatter away from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

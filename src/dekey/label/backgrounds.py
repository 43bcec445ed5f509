"""Grounds for composed scenes: pictures without their objects, laid over each other in patches with soft edges.

An enlarged picture alone would be smoother than the objects on it, and every sharp outline would then be one of an object. So a
ground has several patches of other pictures at about the objects' scale, and some of them have the outline of an object: what
tells objects from the ground must be what is inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry

Picture = NDArray[np.uint8]
# Patches beside the one below them all, and how long they are, as a share of the scene's longer side.
_PATCHES, _LENGTHS = (3, 6), (0.3, 0.8)
# Of the patches, those with the outline of an object.
_OUTLINED = 0.5
_SOFT = 0.04


def without_object(picture: Picture, opacity: NDArray[np.uint8]) -> Picture:
    """Paint over the object of a picture with what surrounds it.

    After Telea, "An Image Inpainting Technique Based on the Fast Marching Method", Journal of Graphics Tools 2004. Its time
    grows with the fourth power of the size, and what it paints is smooth: a picture larger than its opacity is painted at the
    size of the opacity.

    Args:
        picture: (H, W, 3) uint8.
        opacity: (h, w) uint8 of the object, at any size.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    whole = picture.shape[1], picture.shape[0]
    reduced = max(whole) > max(opacity.shape)
    size = opacity.shape[::-1] if reduced else whole
    work = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if reduced else np.ascontiguousarray(picture)
    reach = max(round(0.03 * min(size)), 1)
    mask = (cv2.resize(opacity, size, interpolation=cv2.INTER_LINEAR) > 32).astype(np.uint8)
    mask = np.asarray(cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)), dtype=np.uint8)
    painted = np.asarray(cv2.inpaint(work, mask, 3 * reach, cv2.INPAINT_TELEA), dtype=np.uint8)
    if not reduced:
        return painted
    shown = np.asarray(cv2.resize(mask.astype(np.float32), whole, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    large = cv2.resize(painted, whole, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.blendLinear(large, np.ascontiguousarray(picture), shown, 1 - shown), dtype=np.uint8)


def lay_ground(
    rng: np.random.Generator,
    size: tuple[int, int],
    draw_picture: Callable[[], Picture],
    outlines: Sequence[NDArray[np.uint8]] = (),
) -> Picture:
    """Compose a ground.

    Args:
        rng: source of chance.
        size: (H, W) px.
        draw_picture: gives a picture without objects each time it is called.
        outlines: opacities (h, w) uint8 that patches may have; without them all are rounded.

    Returns:
        (H, W, 3) uint8.
    """
    ground = _view(rng, draw_picture(), size).astype(np.float32)
    for _ in range(int(rng.integers(_PATCHES[0], _PATCHES[1] + 1))):
        length = rng.uniform(*_LENGTHS) * max(size)
        aspect = math.exp(rng.uniform(-0.5, 0.5))
        tall, wide = (min(max(round(length * side), 8), 2 * max(size)) for side in (aspect, 1 / aspect))
        top, left = (int(rng.integers(-part // 2, whole - part // 2)) for part, whole in zip((tall, wide), size, strict=True))
        if len(outlines) and rng.random() < _OUTLINED:
            opacity = _stretched(outlines[int(rng.integers(len(outlines)))], (tall, wide))
        else:
            opacity = _rounded((tall, wide), max(size) * _SOFT)
        patch = _view(rng, draw_picture(), (tall, wide)).astype(np.float32)
        rows, columns = slice(max(top, 0), min(top + tall, size[0])), slice(max(left, 0), min(left + wide, size[1]))
        own = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        ground[rows, columns] += (patch[own] - ground[rows, columns]) * opacity[own][..., None]
    laid: Picture = ground.round().astype(np.uint8)
    return laid


def _view(rng: np.random.Generator, picture: Picture, size: tuple[int, int]) -> Picture:
    """Give a random part of a picture that fills `size` (H, W), flipped or not."""
    height, width = picture.shape[:2]
    factor = max(size[0] / height, size[1] / width) * math.exp(rng.uniform(0, 0.5))
    room = np.array([factor * width - size[1], factor * height - size[0]])
    corner = rng.random(2) * np.maximum(room, 0)
    affine = geometry.compose(geometry.scale(factor), geometry.translate(-corner[0], -corner[1]))
    if rng.random() < 0.5:
        affine = geometry.compose(geometry.mirror(width), affine)
    # Repeated edge pixels keep the black beyond the picture out of the interpolation.
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
    return geometry.warp(padded, geometry.compose(geometry.translate(-2, -2), affine), size)


def _rounded(size: tuple[int, int], soft: float) -> NDArray[np.float32]:
    """Give the opacity of a rectangle (H, W) that fades over `soft` px at each edge."""
    down, across = (
        np.clip(np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5) / soft, 0, 1) for length in size
    )
    opacity: NDArray[np.float32] = (down[:, None] * across).astype(np.float32)
    return opacity


def _stretched(opacity: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    import cv2

    large = cv2.resize(opacity, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip((large.astype(np.float32) - 96) / 96, 0, 1), dtype=np.float32)

"""More and smaller objects: objects pasted from other pictures, and views that come close to one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.covered import cover_labels
from dekey.data.geometry import Affine
from dekey.data.instances import Instances
from dekey.training.augment import flip_labels

Donor = tuple[NDArray[np.uint8], Instances]
"""A part of a picture (h, w, 3) uint8, and the one object in it (N = 1) in the part's own frame."""

# How much of a picture around an object comes along, as a share of the box's longer side; the edge fades within it.
_MARGIN = 0.15
# From this opacity on a pixel shows what was pasted and no longer what was there.
_OPAQUE = 0.5
# An ellipse fades over this share of its radius.
_FADE = 0.2
_PAD = 4


def cut_donor(image: NDArray[np.uint8], instances: Instances, index: int, overlap: float = 0.1) -> Donor | None:
    """Cut an object out of a picture, with a margin, so that it can be pasted elsewhere.

    Args:
        image: (H, W, 3) uint8.
        instances: all objects of the picture, in its frame.
        index: which of them.
        overlap: largest share of the object's box that another's box may cover: pieces of others would come along unlabelled.

    Returns:
        A copy of the part and the object, or None where it has no box, is a crowd, is not whole inside the picture, has no
        labelled keypoint or overlaps another.
    """
    one = instances[index : index + 1]
    box = one.boxes[0]
    height, width = image.shape[:2]
    whole = (box >= -0.5).all() and box[2] <= width + 0.5 and box[3] <= height + 0.5
    if not whole or one.crowd[0] or not one.labelled.any() or not (box[2:] - box[:2] >= 2).all():
        return None
    if (_shares(instances.boxes[np.arange(len(instances)) != index], box)[1] > overlap).any():
        return None
    region = _region(one, np.array([0.0, 0.0, width, height]))
    left, top = math.floor(region[0]), math.floor(region[1])
    part = image[top : math.ceil(region[3]), left : math.ceil(region[2])]
    return part.copy(), one.mapped(geometry.translate(-left, -top))


def copy_paste(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    instances: Instances,
    donors: Sequence[Donor],
    *,
    count: int = 1,
    mirror: NDArray[np.int64] | None = None,
    scales: tuple[float, float] = (0.7, 1.4),
    overlap: float = 0.1,
    tries: int = 8,
    within: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.uint8], Instances]:
    """Paste objects of other pictures into free places of a picture.

    After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021, and
    Kisantal et al., "Augmentation for Small Object Detection", 2019. There are no masks here, so an object brings its box and
    a margin in which it fades, as a rounded rectangle or, where that cuts no keypoint, as an ellipse (Dwibedi et al., "Cut,
    Paste and Learn", ICCV 2017, on why soft edges matter). Keypoints of others that it covers become occluded.

    Args:
        rng: source of chance; the same state gives the same answer.
        image: (H, W, 3) uint8, left as it is.
        instances: N objects in the frame of the picture.
        donors: objects to draw from, see `cut_donor`; sizes as they should be pasted, before `scales`.
        count: how many objects to paste; fewer where no free place is found.
        mirror: (K,) what a flip makes of the keypoints, as in `Schema`; None where unknown, and then nothing is flipped.
        scales: smallest and largest change of a donor's size, drawn log-uniformly.
        overlap: largest share of a pasted box, and of any box in the picture, that the two may have in common.
        tries: places to look at for each object.
        within: (4,) x1 y1 x2 y2 px, where pasted boxes may lie; without it, the picture.

    Returns:
        The new picture, and the objects with the pasted ones (each no crowd) at the end.
    """
    if not donors or count < 1:
        return image, instances
    picture = image.copy()
    if within is None:
        within = np.array([0.0, 0.0, image.shape[1], image.shape[0]])
    for _ in range(count):
        part, one = donors[int(rng.integers(len(donors)))]
        factor = math.exp(rng.uniform(math.log(scales[0]), math.log(scales[1])))
        part_to_picture = geometry.scale(factor)
        if mirror is not None and rng.random() < 0.5:
            part_to_picture = geometry.compose(geometry.mirror(part.shape[1]), part_to_picture)
            one = flip_labels(one, mirror)
        elliptic = bool(rng.random() < 0.5)
        placed = one.mapped(part_to_picture)
        corner = _free_corner(rng, placed.boxes[0], instances, within, overlap, tries)
        if corner is None:
            continue
        move = geometry.translate(*(corner - placed.boxes[0, :2]))
        part_to_picture, placed = geometry.compose(part_to_picture, move), placed.mapped(move)
        covered = _blend(picture, part, part_to_picture, placed, elliptic)
        # What the fading edge swallows of the object itself is hidden too.
        placed = cover_labels(placed, ~covered)
        instances = Instances.concatenate([cover_labels(instances, covered), placed], instances.keypoints.shape[1])
    return picture, instances


def zoom_affine(
    rng: np.random.Generator, box: NDArray[np.float64], input_size: tuple[int, int], share_range: tuple[float, float]
) -> Affine:
    """Draw a view that shows an object at a chosen size, whole, anywhere in the input.

    Training on such views evens out sizes: small objects are also seen large, large ones small (Singh and Davis, "An Analysis
    of Scale Invariance in Object Detection", CVPR 2018).

    Args:
        rng: source of chance.
        box: (4,) x1 y1 x2 y2 px in the input's frame.
        input_size: (H, W) px of the input.
        share_range: smallest and largest length of the box's longer side, as a share of the input's shorter one, in (0, 1];
            drawn log-uniformly.

    Returns:
        The affine from the input's frame to that of the view, of the same size, without turn or flip.
    """
    low, high = share_range
    assert 0 < low <= high <= 1, share_range
    height, width = input_size
    extent = box[2:] - box[:2]
    share = math.exp(rng.uniform(math.log(low), math.log(high)))
    factor = share * min(height, width) / max(float(extent.max()), 1e-3)
    corner = rng.random(2) * np.maximum(np.array([width, height]) - factor * extent, 0)
    return geometry.compose(geometry.translate(-box[0], -box[1]), geometry.scale(factor), geometry.translate(*corner))


def _core(one: Instances) -> NDArray[np.float64]:
    """Give the hull (4,) px of the box and the labelled keypoints of an object (N = 1)."""
    hull = geometry.hulls(np.where(one.labelled[..., None], one.keypoints, np.nan))[0]
    box = one.boxes[0]
    return np.concatenate([np.fmin(box[:2], hull[:2]), np.fmax(box[2:], hull[2:])])


def _region(one: Instances, limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the part (4,) px that goes with an object (N = 1), inside limits (4,): its core and a margin."""
    core, box = _core(one), one.boxes[0]
    margin = max(_MARGIN * float((box[2:] - box[:2]).max()), 2.0)
    ample = np.concatenate([core[:2] - margin, core[2:] + margin])
    return np.concatenate([np.maximum(ample[:2], limits[:2]), np.minimum(ample[2:], limits[2:])])


def _shares(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give what shares of each of boxes (N, 4), and of box (4,), lie in both: two (N,); NaN where a box is missing."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = geometry.box_sizes(boxes).prod(axis=1)
    return common / np.maximum(areas, 1e-9), common / max(float((box[2:] - box[:2]).prod()), 1e-9)


def _free_corner(
    rng: np.random.Generator,
    box: NDArray[np.float64],
    instances: Instances,
    within: NDArray[np.float64],
    overlap: float,
    tries: int,
) -> NDArray[np.float64] | None:
    """Draw a top-left corner (2,) px where a box fits whole into another, `within` (4,), and hardly meets other objects."""
    extent = box[2:] - box[:2]
    room = within[2:] - within[:2] - extent
    if not (room >= 0).all():
        return None
    # An object without a box is at least where its keypoints are.
    hulls = geometry.hulls(np.where(instances.labelled[..., None], instances.keypoints, np.nan))
    taken = np.where(np.isfinite(instances.boxes), instances.boxes, hulls)
    for _ in range(tries):
        corner: NDArray[np.float64] = within[:2] + rng.random(2) * room
        theirs, ours = _shares(taken, np.concatenate([corner, corner + extent]))
        if not ((theirs > overlap) | (ours > overlap)).any():
            return corner
    return None


def _blend(
    picture: NDArray[np.uint8], part: NDArray[np.uint8], part_to_picture: Affine, placed: Instances, elliptic: bool
) -> NDArray[np.bool_]:
    """Paint an object into a picture, in place.

    Args:
        picture: (H, W, 3) uint8.
        part: (h, w, 3) uint8 with the object.
        part_to_picture: where it goes; keeps upright boxes upright.
        placed: the object (N = 1) in the picture's frame.
        elliptic: fade as an ellipse, if no keypoint is lost.

    Returns:
        Which pixels now show the pasted part, (H, W) bool.
    """
    height, width = picture.shape[:2]
    limits = geometry.apply_to_boxes(part_to_picture, np.array([[0.0, 0.0, part.shape[1], part.shape[0]]]))[0]
    region = _region(placed, limits)
    left, top = max(math.floor(region[0]), 0), max(math.floor(region[1]), 0)
    right, bottom = min(math.ceil(region[2]), width), min(math.ceil(region[3]), height)
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    opacity = _rounded(x, y, region, _core(placed))
    if elliptic:
        round_off = _ellipse(x, y, region)
        if not _loses_keypoints(placed, round_off >= _OPAQUE, left, top):
            opacity = round_off

    # Repeated edge pixels keep the black beyond the part out of the interpolation.
    padded = np.pad(part, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="edge")
    padded_to_seen = geometry.compose(geometry.translate(-_PAD, -_PAD), part_to_picture, geometry.translate(-left, -top))
    pasted = geometry.warp(padded, padded_to_seen, (bottom - top, right - left))
    seen = picture[top:bottom, left:right]
    seen[:] = (seen + (pasted.astype(np.float32) - seen) * opacity[..., None]).round().astype(np.uint8)
    covered = np.zeros((height, width), dtype=np.bool_)
    covered[top:bottom, left:right] = opacity >= _OPAQUE
    return covered


def _rounded(
    x: NDArray[np.float64], y: NDArray[np.float64], region: NDArray[np.float64], core: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Give the opacity (h, w) at columns x (w,) and rows y (h,): 1 in the core, falling to 0 at the edge of the region."""

    def along(values: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
        rise = (values - region[axis]) / max(core[axis] - region[axis], 1e-3)
        fall = (region[axis + 2] - values) / max(region[axis + 2] - core[axis + 2], 1e-3)
        return np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)

    opacity: NDArray[np.float32] = along(y, 1)[:, None] * along(x, 0)
    return opacity


def _ellipse(x: NDArray[np.float64], y: NDArray[np.float64], region: NDArray[np.float64]) -> NDArray[np.float32]:
    """Give the opacity (h, w) at columns x (w,) and rows y (h,): 1 in the middle, 0 outside the region's inscribed ellipse."""
    across, down = ((2 * (v - region[i]) / (region[i + 2] - region[i]) - 1) ** 2 for i, v in enumerate((x, y)))
    return np.clip((1 - np.sqrt(down[:, None] + across)) / _FADE, 0, 1).astype(np.float32)


def _loses_keypoints(placed: Instances, shown: NDArray[np.bool_], left: int, top: int) -> bool:
    """Tell whether a visible keypoint of an object (N = 1) lies beside what is shown (h, w), which starts at left, top."""
    inside = placed.mapped(geometry.translate(-left, -top))
    return bool((cover_labels(inside, ~shown).visibility != placed.visibility).any())

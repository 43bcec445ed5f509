"""Draw instances, interest points and heatmaps onto a copy of an image.

Coordinates are in the image's continuous frame. OpenCV counts from the first pixel's centre, so half a pixel is taken
off here, and coordinates keep four fractional bits (`_SHIFT`), so that a mark sits where the number says.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.instances import OCCLUDED, Instances, Points
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.metrics.matching import pair

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design" (2008), without black, which a dark picture swallows.
_BASE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167), (200,) * 3)
# Matplotlib's "plasma" at nine equal steps (CC0): lightness rises all the way, so order survives any colour vision.
_RAMP = (
    (13, 8, 135), (76, 2, 161), (126, 3, 168), (170, 35, 149), (204, 71, 120), (230, 108, 92), (248, 149, 64), (253, 197, 39),
    (240, 249, 33),
)  # fmt: skip
_WHITE, _DARK = (255, 255, 255), (16, 16, 16)
_SHIFT = 4
_FAR = 1e6  # px; a point further out would overflow OpenCV's integers


def palette(count: int) -> NDArray[np.uint8]:
    """Give (count, 3) RGB colours that people with colour-blindness tell apart as well as the number allows.

    Up to 8 are Okabe and Ito's; up to 24 repeat them lighter, then darker; more lie on a ramp of rising lightness in
    the order of the keypoints, where neighbours look alike but the order stays readable.

    >>> palette(2).tolist()
    [[230, 159, 0], [86, 180, 233]]
    """
    base = np.array(_BASE, dtype=np.float64)
    if count <= 3 * len(_BASE):
        colours = np.concatenate([base, base * 0.45 + 255 * 0.55, base * 0.55])[:count]
    else:
        steps = np.linspace(1, len(_RAMP) - 1, count)  # its darkest eighth is lost on a dark picture
        ramp = np.array(_RAMP, dtype=np.float64)
        colours = np.stack([np.interp(steps, np.arange(len(_RAMP)), channel) for channel in ramp.T], axis=1)
    return np.round(colours).astype(np.uint8)


def draw_instances(
    image: Image,
    instances: Instances,
    schema: Schema,
    *,
    truth: Instances | None = None,
    found_of_truth: NDArray[np.int64] | None = None,
    scale: float = 1.0,
    text: bool = True,
) -> Image:
    """Draw boxes, edges, keypoints and names; with `truth` also what was annotated and how far off each point is.

    A found keypoint is a disc in the colour of its keypoint, hollow where occluded; a true one is a white cross, joined
    by a thin white line to the found point of the object it is paired with. Boxes have the colour of their class; true
    boxes are white. Marks grow with the picture and shrink with small objects.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        instances: the N objects to draw, px of `image`; points that are unlabelled or not finite are left out.
        schema: names, edges and classes.
        truth: the T annotated objects, px of `image`.
        found_of_truth: (T,) index of the found object that belongs to each, −1 for none; without it
            `dekey.metrics.matching.pair` decides, as it does for every measured number.
        scale: how many times larger than `image` the answer is; marks on a face of 70 px need about 4.
        text: whether to write the score, and the class where there are several.

    Returns:
        (round(H · scale), round(W · scale), 3) uint8.

    Raises:
        DekeyError: if the image is not (H, W, 3) uint8, or the objects have another number of keypoints.
    """
    canvas, factor = _canvas(image, scale)
    for objects in (instances, truth):
        if objects is not None and objects.keypoints.shape[1] != len(schema.keypoints):
            raise DekeyError(
                f"found objects with {objects.keypoints.shape[1]} keypoints, expected the {len(schema.keypoints)} of the "
                "schema; draw with the schema that the model was trained for"
            )
    colours = [_rgb(colour) for colour in palette(len(schema.keypoints))]
    class_colours = [_rgb(colour) for colour in palette(max(len(schema.classes), 1))]
    thin = max(1, round(_diagonal(canvas) / 900))
    if truth is not None:
        if found_of_truth is None:
            found_of_truth = pair(truth, instances, (image.shape[0], image.shape[1])).found_of_truth
        truth = _mapped(truth, factor)
        for box in truth.boxes:
            _rectangle(canvas, box, _WHITE, thin)
    instances = _mapped(instances, factor)
    for box, label in zip(instances.boxes, instances.labels, strict=True):
        _rectangle(canvas, box, class_colours[int(label) % len(class_colours)], thin)
    radii = _radii(canvas, instances)
    shown = instances.labelled & np.isfinite(instances.keypoints).all(-1)
    for points, visible, radius in zip(instances.keypoints, shown, radii, strict=True):
        width = max(1, round(0.4 * radius))
        for start, end in schema.edges:
            if visible[start] and visible[end]:
                mean = _rgb((np.add(colours[start], colours[end]) / 2).astype(np.uint8))
                _line(canvas, points[start], points[end], mean, width)
    if truth is not None and found_of_truth is not None:
        _error_lines(canvas, truth, instances, found_of_truth, thin)
    # Crosses below discs: where the answer is right, the disc shows with the tips of its cross.
    if truth is not None:
        for points, labelled, radius in zip(truth.keypoints, truth.labelled, _radii(canvas, truth), strict=True):
            for index in np.flatnonzero(labelled & np.isfinite(points).all(-1)):
                _cross(canvas, points[index], radius)
    for points, visible, states, radius in zip(instances.keypoints, shown, instances.visibility, radii, strict=True):
        for index in np.flatnonzero(visible):
            _disc(canvas, points[index], colours[index], radius, hollow=bool(states[index] == OCCLUDED))
    if text:
        _write_names(canvas, instances, schema)
    return canvas


def draw_points(image: Image, points: Points, *, scale: float = 1.0) -> Image:
    """Draw interest points, the better the lighter; with sizes as circles of that diameter, with angles as a stroke.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        points: P points, px of `image`; those that are not finite are left out.
        scale: how many times larger than `image` the answer is.

    Returns:
        (round(H · scale), round(W · scale), 3) uint8.

    Raises:
        DekeyError: if the image is not (H, W, 3) uint8.
    """
    canvas, factor = _canvas(image, scale)
    with np.errstate(invalid="ignore"):
        xy = geometry.apply(factor, points.xy)
    default = max(1.5, _diagonal(canvas) / 350)
    ramp = palette(256)
    order = np.argsort(points.scores, kind="stable")
    ranks = np.empty(len(points), dtype=np.int64)
    ranks[order] = np.arange(len(points)) * 191 // max(len(points) - 1, 1) + 64  # the dark quarter of the ramp drowns
    for index in order:  # the best last, on top
        if not np.isfinite(xy[index]).all():
            continue
        colour = _rgb(ramp[ranks[index]])
        radius = default
        if points.sizes is not None and np.isfinite(points.sizes[index]):
            radius = max(float(points.sizes[index]) * scale / 2, 1.0)
            _ring(canvas, xy[index], colour, radius, 1)
        else:
            _disc(canvas, xy[index], colour, radius, hollow=False)
        if points.angles is not None and np.isfinite(points.angles[index]):
            angle = float(points.angles[index])
            tip = xy[index] + radius * np.array([math.cos(angle), math.sin(angle)])
            _line(canvas, xy[index], tip, colour, 1)
    return canvas


def draw_heatmaps(
    image: Image,
    maps: NDArray[np.floating[Any]],
    map_to_image: geometry.Affine | None = None,
    *,
    colours: NDArray[np.uint8] | None = None,
) -> Image:
    """Lay heatmaps over a grey copy of the image of even brightness, each in its own colour and scaled to its own maximum.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        maps: (K, h, w); values of 0 and less, and those that are not finite, show nothing.
        map_to_image: (2, 3) affine from the map's frame (cell j is centred at j + 0.5) to px of `image`; without it
            the maps cover the whole image.
        colours: (K, 3) uint8 RGB, else `palette(K)`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DekeyError: if the image is not (H, W, 3) uint8 or the maps are not (K, h, w).
    """
    canvas, _ = _canvas(image, 1.0)
    if maps.ndim != 3:
        raise DekeyError(f"found heatmaps of shape {maps.shape}, expected (K, h, w)")
    height, width = canvas.shape[:2]
    if map_to_image is None:
        map_to_image = geometry.scale(width / maps.shape[2], height / maps.shape[1])
    chosen = palette(len(maps)) if colours is None else colours
    grey = canvas.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    grey *= 110 / max(float(np.quantile(grey, 0.99)), 60)  # a dark picture must not vanish, a bright one not outshine
    over = np.repeat(grey[:, :, None], 3, axis=2)
    for heatmap, colour in zip(maps, chosen, strict=True):
        clean = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(0)
        peak = float(clean.max(initial=0.0))
        if peak <= 0:
            continue
        small = np.round(clean * (255 / peak)).astype(np.uint8)
        weight = geometry.warp(small, map_to_image, (height, width)).astype(np.float32)[:, :, None] / 255
        over += weight * 0.85 * (colour.astype(np.float32) - over)
    return np.round(over.clip(0, 255)).astype(np.uint8)


def _canvas(image: Image, scale: float) -> tuple[Image, geometry.Affine]:
    """Copy (and enlarge) the image; give the affine from its frame to the copy's."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DekeyError(f"found an image of shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8 RGB")
    if not (math.isfinite(scale) and scale > 0):
        raise DekeyError(f"found scale {scale}, expected a positive number")
    if scale == 1:
        return np.ascontiguousarray(image).copy(), geometry.identity()
    import cv2

    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8), geometry.scale(width / image.shape[1], height / image.shape[0])


def _mapped(instances: Instances, affine: geometry.Affine) -> Instances:
    with np.errstate(invalid="ignore"):  # infinite coordinates, which are not drawn
        return instances.mapped(affine)


def _diagonal(canvas: Image) -> float:
    return math.hypot(canvas.shape[0], canvas.shape[1])


def _radii(canvas: Image, instances: Instances) -> NDArray[np.float64]:
    """Give (N,) radii px: by the picture, less for a small object with many keypoints, never below 1.5."""
    extents = geometry.box_sizes(geometry.hulls(instances.keypoints))
    boxes = geometry.box_sizes(instances.boxes)
    long_side = np.nan_to_num(np.concatenate([extents, boxes], axis=1), nan=0.0).clip(0, 1e6).max(axis=1, initial=0.0)
    by_picture = _diagonal(canvas) / 130
    by_object = long_side / (9 * math.sqrt(max(instances.keypoints.shape[1], 1)))
    return np.maximum(np.minimum(by_picture, np.where(long_side > 0, by_object, by_picture)), 1.5)


def _rgb(colour: NDArray[Any]) -> Colour:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    """Give OpenCV's fixed-point coordinates of a point in the continuous frame."""
    x, y = (np.clip(point, -_FAR, _FAR) - 0.5) * (1 << _SHIFT)
    return round(float(x)), round(float(y))


def _line(canvas: Image, start: NDArray[np.float64], end: NDArray[np.float64], colour: Colour, width: int) -> None:
    import cv2

    cv2.line(canvas, _fixed(start), _fixed(end), colour, width, cv2.LINE_AA, _SHIFT)


def _ring(canvas: Image, centre: NDArray[np.float64], colour: Colour, radius: float, width: int) -> None:
    import cv2

    cv2.circle(canvas, _fixed(centre), round(min(radius, _FAR) * (1 << _SHIFT)), colour, width, cv2.LINE_AA, _SHIFT)


def _disc(canvas: Image, centre: NDArray[np.float64], colour: Colour, radius: float, *, hollow: bool) -> None:
    """Draw a keypoint with a dark rim, so that it is seen on any ground; a hollow one lets the picture through."""
    if hollow:
        width = max(1, round(radius / 3))
        _ring(canvas, centre, _DARK, radius, width + 2)
        _ring(canvas, centre, colour, radius, width)
    else:
        _ring(canvas, centre, _DARK, radius + max(0.75, radius / 6), -1)
        _ring(canvas, centre, colour, radius, -1)


def _cross(canvas: Image, centre: NDArray[np.float64], radius: float) -> None:
    arm = max(1.1 * radius, 3.0)
    width = max(1, round(radius / 4))
    for colour, thickness in ((_DARK, width + 2), (_WHITE, width)):
        for direction in (np.array([arm, arm]), np.array([arm, -arm])):
            _line(canvas, centre - direction, centre + direction, colour, thickness)


def _error_lines(canvas: Image, truth: Instances, found: Instances, found_of_truth: NDArray[np.int64], width: int) -> None:
    for true_index in np.flatnonzero(found_of_truth >= 0):
        found_index = found_of_truth[true_index]
        both = truth.labelled[true_index] & found.labelled[found_index]
        start, end = truth.keypoints[true_index], found.keypoints[found_index]
        for index in np.flatnonzero(both & np.isfinite(start).all(-1) & np.isfinite(end).all(-1)):
            _line(canvas, start[index], end[index], _WHITE, width)


def _rectangle(canvas: Image, box: NDArray[np.float64], colour: Colour, width: int) -> None:
    import cv2

    if np.isfinite(box).all():
        cv2.rectangle(canvas, _fixed(box[:2]), _fixed(box[2:]), colour, width, cv2.LINE_AA, _SHIFT)


def _write_names(canvas: Image, instances: Instances, schema: Schema) -> None:
    """Write class and score above each object, inside the picture."""
    size = max(10, round(_diagonal(canvas) / 55))
    hulls = geometry.hulls(np.where(instances.labelled[..., None], instances.keypoints, np.nan))
    places = np.where(np.isfinite(instances.boxes).all(-1, keepdims=True), instances.boxes, hulls)
    for index, place in enumerate(places):
        if not np.isfinite(place).all():
            continue
        label = int(instances.labels[index])
        words = [schema.classes[label]] if len(schema.classes) > 1 and 0 <= label < len(schema.classes) else []
        if instances.scores is not None and np.isfinite(instances.scores[index]):
            words.append(f"{instances.scores[index]:.2f}")
        if words:
            _write(canvas, " ".join(words), place[:2], size)


def _write(canvas: Image, text: str, corner: NDArray[np.float64], size: int) -> None:
    """Write white text on a dark plate whose lower left corner is `corner`, moved into the picture."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    mask = _text_mask(printable if len(printable) <= 40 else printable[:39] + "…", size)
    height, width = (min(mask.shape[axis], canvas.shape[axis]) for axis in (0, 1))
    left = int(np.clip(corner[0], 0, canvas.shape[1] - width))
    top = int(np.clip(corner[1] - height, 0, canvas.shape[0] - height))
    plate = canvas[top : top + height, left : left + width]
    weight = mask[:height, :width, None].astype(np.float32) / 255
    plate[:] = np.round((plate * np.float32(0.3) + 12) * (1 - weight) + 255 * weight).astype(np.uint8)


@lru_cache(maxsize=256)
def _text_mask(text: str, size: int) -> NDArray[np.uint8]:
    """Render text as a mask (h, w) uint8 with a margin; Pillow's own font, as OpenCV's has ASCII only."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    left, _, right, _ = font.getbbox(text)
    margin = max(2, size // 4)
    picture = Pillow.new("L", (math.ceil(right - left) + 2 * margin, round(size * 1.25) + margin))
    ImageDraw.Draw(picture).text((margin - left, margin // 2), text, fill=255, font=font)
    return np.asarray(picture)

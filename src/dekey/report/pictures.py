"""Pictures of the report: which ones are shown, how they are cut out, and their JPEG data URIs."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Points, Schema, geometry
from dekey.data.geometry import box_sizes, hulls
from dekey.draw import draw_heatmaps, draw_instances, draw_points, palette
from dekey.errors import DekeyError
from dekey.metrics import Evaluation
from dekey.report.contents import HeatmapExample, Image

TILE = 440  # px, longer side of a cut-out
SMALL = 260  # px, longer side of a heatmap or of an augmented picture
MAX_HEATMAPS = 16
MAX_OVERLAYS = 5
MAX_AUGMENTED = 12
# Together with the counts above these keep the page below 5 MB whatever the pictures show (base64 adds a third).
_TILE_BYTES, _SMALL_BYTES = 110_000, 40_000


class Picture(NamedTuple):
    """An image as a data URI, or, where it cannot be read, a sentence; with a title and a line of numbers below."""

    uri: str
    title: str
    caption: str = ""
    width: int = 0
    height: int = 0


class Ranked(NamedTuple):
    """An annotated object with its error.

    Attributes:
        image: position of its image in the data set.
        instance: position of the object among all objects of the data set.
        difficulty: mean over its labelled keypoints of error / normaliser; a missed one counts as 1.
        median_px: median error px; NaN where nothing was found.
        found: how many of its labelled keypoints were found.
        labelled: how many keypoints are labelled.
    """

    image: int
    instance: int
    difficulty: float
    median_px: float
    found: int
    labelled: int


def rank(held_out: Dataset, errors: NDArray[np.float64], normalisers: NDArray[np.float64]) -> list[Ranked]:
    """Order the annotated objects from the worst to the best; those without labels and crowds are left out.

    An object without a normaliser is measured by the diagonal of its keypoints' hull; one that was found and has no extent
    either is left out, since nothing says how much its pixels are.

    Args:
        held_out: the data set with M objects.
        errors: (M, K) px, NaN where not found or unlabelled.
        normalisers: (M,) px; NaN where an object has no such length.
    """
    labelled = held_out.instances.labelled & ~held_out.instances.crowd[:, None]
    known = np.isfinite(errors) & labelled
    objects = held_out.instances
    spans = box_sizes(hulls(np.where(objects.labelled[..., None], objects.keypoints, np.nan)))
    scale = np.where(np.isfinite(normalisers) & (normalisers > 0), normalisers, np.hypot(spans[:, 0], spans[:, 1]))
    measured = (scale > 0) | ~known.any(axis=1)
    scale = np.where(scale > 0, scale, 1.0)  # of what was not found at all, nothing is divided
    relative = np.where(known, errors / scale[:, None], 1.0)
    images = held_out.image_of_instance()
    rows = []
    for index in np.flatnonzero(labelled.any(axis=1) & measured):
        own = errors[index][known[index]]
        rows.append(
            Ranked(
                int(images[index]),
                int(index),
                float(relative[index][labelled[index]].mean()),
                float(np.median(own)) if own.size else math.nan,
                int(own.size),
                int(labelled[index].sum()),
            )
        )
    # Whole misses first: nothing is worse, whatever the size of the other errors.
    return sorted(rows, key=lambda row: (row.found > 0, -row.difficulty, row.instance))


def worst_and_typical(ranked: Sequence[Ranked], count: int = 6) -> tuple[list[Ranked], list[Ranked]]:
    """Choose the worst object of up to `count` images, and of other images those nearest the median difficulty."""
    worst = _one_an_image(ranked, count, set())
    rest = [row for row in ranked if row.found]
    if not rest:
        return worst, []
    middle = float(np.median([row.difficulty for row in rest]))
    near = sorted(rest, key=lambda row: (abs(row.difficulty - middle), row.instance))
    typical = _one_an_image(near, count, {row.image for row in worst})
    return worst, typical


def _one_an_image(rows: Sequence[Ranked], count: int, used: set[int]) -> list[Ranked]:
    chosen: list[Ranked] = []
    for row in rows:
        if len(chosen) < count and row.image not in used:
            used.add(row.image)
            chosen.append(row)
    return chosen


def cut_outs(held_out: Dataset, found: Sequence[Instances], evaluation: Evaluation, rows: Sequence[Ranked]) -> list[Picture]:
    """Draw truth and found onto the objects, each cut out with a margin and enlarged to `TILE` px."""
    return [_cut_out(held_out, found[row.image], evaluation, row) for row in rows]


def _cut_out(held_out: Dataset, found: Instances, evaluation: Evaluation, row: Ranked) -> Picture:
    sample = held_out[row.image]
    own = row.instance - int(held_out.starts[row.image])
    if row.found:
        caption = f"median {row.median_px:.1f} px"
        if row.found < row.labelled:
            caption += f", {row.found} of {row.labelled} keypoints found"
    else:
        caption = "not found"
    try:
        image = sample.read_image()
    except DekeyError as error:
        return Picture("", sample.name, str(error))
    found, found_of_truth = counted(held_out, found, evaluation, row.image)
    partner = int(found_of_truth[own])
    region = region_around(sample.instances[own : own + 1], found[partner : partner + 1] if partner >= 0 else None, sample.size)
    drawn = cut(image, region, TILE, found, held_out.schema, sample.instances, found_of_truth)
    return Picture(jpeg_uri(drawn, _TILE_BYTES), sample.name, caption, drawn.shape[1], drawn.shape[0])


def counted(held_out: Dataset, found: Instances, evaluation: Evaluation, image: int) -> tuple[Instances, NDArray[np.int64]]:
    """Leave out what lies below the score threshold of the measurement.

    Args:
        held_out: the data set.
        found: all that was found in the image.
        evaluation: of the data set, with arrays.
        image: position of the image.

    Returns:
        The D found objects that count, and for each truth of the image the position of its partner in them, −1 for none.
    """
    partners = evaluation.found_of_truth[held_out.starts[image] : held_out.starts[image + 1]]
    if evaluation.score_threshold <= 0 or found.scores is None:
        return found, partners
    above = np.flatnonzero(found.scores >= evaluation.score_threshold)
    place = np.full(len(found) + 1, -1, dtype=np.int64)  # the last one stands for no partner
    place[above] = np.arange(len(above))
    return found[above], place[partners]


def cut(
    image: Image,
    region: NDArray[np.float64],
    side: int,
    found: Instances,
    schema: Schema,
    truth: Instances,
    found_of_truth: NDArray[np.int64],
    ringed: NDArray[np.float64] | None = None,
) -> Image:
    """Cut a region (4,) px out of an image, bring its longer side to `side` px, and draw truth and found onto it.

    Args:
        image: (H0, W0, 3) uint8 RGB.
        region: x1, y1, x2, y2 px.
        side: px.
        found: D objects, px of the image.
        schema: names and edges.
        truth: T objects, px of the image.
        found_of_truth: (T,) position of each one's partner in `found`, −1 for none.
        ringed: (P, 2) px of the image, points to draw a ring around.
    """
    width, height = region[2] - region[0], region[3] - region[1]
    factor = side / max(width, height)
    size = max(round(height * factor), 1), max(round(width * factor), 1)
    image_to_tile = geometry.crop(region, size)
    tile = geometry.warp(image, image_to_tile, size, fill=128)
    drawn = draw_instances(
        tile,
        found.mapped(image_to_tile),
        schema,
        truth=truth.mapped(image_to_tile),
        found_of_truth=found_of_truth,
        text=False,
    )
    if ringed is not None:
        # Each twice: the better half is drawn on top, in the light end of the ramp.
        places = np.repeat(geometry.apply(image_to_tile, ringed), 2, axis=0)
        scores = np.tile([0.0, 1.0], len(ringed))
        drawn = draw_points(drawn, Points(places, scores, sizes=np.full(len(places), 0.1 * side)))
    return drawn


def region_around(truth: Instances, found: Instances | None, size: tuple[int, int]) -> NDArray[np.float64]:
    """Give the box (4,) px to show: box and keypoints of the object and of its partner, if not far off, with a margin."""
    box = _extent(truth)
    if box is None:
        return np.array([0.0, 0.0, size[1], size[0]])
    box = _grown(box, max(0.1 * max(size), 32.0))  # a single keypoint has no extent of its own
    partner = None if found is None else _extent(found)
    if partner is not None:
        reach = _grown(box, 2.5 * float((box[2:] - box[:2]).max()))
        low, high = np.minimum(box[:2], partner[:2]), np.maximum(box[2:], partner[2:])
        box = np.concatenate([np.maximum(low, reach[:2]), np.minimum(high, reach[2:])])
    margin = 0.12 * float((box[2:] - box[:2]).max())
    box = box + np.array([-margin, -margin, margin, margin])
    inside = np.clip(box, 0, np.array([size[1], size[0], size[1], size[0]], dtype=np.float64))
    # Beyond the border there is nothing to see, unless the object itself is out there.
    shown: NDArray[np.float64] = inside if (inside[2:] - inside[:2] >= 8).all() else box
    return shown


def _extent(one: Instances) -> NDArray[np.float64] | None:
    """Give the hull (4,) of box and labelled keypoints of a single object, None where it has neither."""
    hull = geometry.hulls(np.where(one.labelled[..., None], one.keypoints, np.nan))
    parts = np.concatenate([one.boxes, hull])
    parts = parts[np.isfinite(parts).all(axis=1)]
    return np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)]) if len(parts) else None


def _grown(box: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, least / 2)
    return np.concatenate([centre - half, centre + half])


def heatmap_pictures(examples: Sequence[HeatmapExample], schema: Schema) -> tuple[list[Picture], list[Picture]]:
    """Draw the first example keypoint by keypoint (at most `MAX_HEATMAPS`, evenly chosen) and all as overlays."""
    if not examples:
        return [], []
    colours = palette(len(schema.keypoints))
    # One bright colour for the single ones: their titles name them, and a dark colour hides a faint map.
    bright = np.tile(np.array([255, 196, 30], dtype=np.uint8), (len(colours), 1))
    first = examples[0]
    count = len(first.maps)
    single = []
    for index in evenly(count, MAX_HEATMAPS):
        peak = float(np.nan_to_num(first.maps[index]).max(initial=0.0))
        single.append(
            _overlay(first, np.array([index]), bright, schema.keypoints[index], f"peak {peak:.2f}" if peak > 0 else "no peak")
        )
    every = np.arange(count)
    overlays = [_overlay(example, every, colours, "", "") for example in examples[: MAX_OVERLAYS + 1]]
    return single, overlays


def evenly(count: int, limit: int) -> list[int]:
    """Choose at most `limit` of the positions 0 to count − 1, at equal steps, the first and the last among them.

    >>> evenly(3, 16), evenly(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, limit)).tolist()})


def _overlay(
    example: HeatmapExample, indices: NDArray[np.int64], colours: NDArray[np.uint8], title: str, caption: str
) -> Picture:
    height, width = example.crop.shape[:2]
    factor = SMALL / max(height, width)
    size = max(round(height * factor), 1), max(round(width * factor), 1)
    crop_to_small = geometry.scale(size[1] / width, size[0] / height)
    small = geometry.warp(example.crop, crop_to_small, size)
    drawn = draw_heatmaps(small, example.maps[indices], colours=colours[indices])
    truth = Instances.create(geometry.apply(crop_to_small, example.keypoints[indices].astype(np.float64))[None])
    names = Schema.create([""], [str(index) for index in indices])
    drawn = draw_instances(drawn, Instances.empty(len(indices)), names, truth=truth)
    return Picture(jpeg_uri(drawn, _SMALL_BYTES), title, caption, drawn.shape[1], drawn.shape[0])


def example_pictures(examples: Sequence[tuple[Image, Instances]], schema: Schema, side: int = SMALL) -> list[Picture]:
    """Draw labelled pictures (augmented or flipped), the longer side reduced or enlarged to `side` px."""
    pictures = []
    for image, instances in examples:
        factor = side / max(image.shape[:2])
        size = max(round(image.shape[0] * factor), 1), max(round(image.shape[1] * factor), 1)
        image_to_small = geometry.scale(size[1] / image.shape[1], size[0] / image.shape[0])
        small = geometry.warp(image, image_to_small, size)
        drawn = draw_instances(small, instances.mapped(image_to_small), schema)
        pictures.append(Picture(jpeg_uri(drawn, _SMALL_BYTES if side <= SMALL else _TILE_BYTES), "", "", size[1], size[0]))
    return pictures


def jpeg_uri(image: Image, limit: int) -> str:
    """Encode (H, W, 3) uint8 RGB as a JPEG data URI of at most `limit` bytes before base64, by lowering the quality.

    Noise may end above the limit at the lowest quality; a photograph does not.
    """
    import cv2

    data = np.zeros(0, dtype=np.uint8)
    for quality in (88, 78, 65, 50, 35, 20):
        _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if data.size <= limit:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")

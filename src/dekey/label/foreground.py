"""The object of a classification picture: several GrabCuts from different starts, and a vote.

Such a picture shows one object, about in its middle, and around it what is not the object. The method:

1. The picture is brought to a working size: enlarged twice (cubic) but to no less than 64 px on its longer side, and reduced to
   160 px at most. Colours are CIE Lab.
2. *How unlike the border* a pixel is: the least Mahalanobis distance to the colour clusters of a ring along the border,
   clusters below 8 % of it left out (they may be the object, touching it). A boundary prior, after Wei et al., "Geodesic
   Saliency Using Background Priors", ECCV 2012.
3. Five starts differ in the width of the ring, in the number of clusters, and in what is taken for the object at first: what is
   unlike the border and near the middle, above Otsu's threshold times 0.7, 0.85 or 1, its most unlike 30 % for certain; or an
   ellipse in the middle, a small one in it for certain. (Without certain pixels the smoothness term of so small a picture wipes
   every object out.) From each, three rounds of GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) with the ring as certain
   background, an opening by one pixel, the largest piece, its holes filled.
4. The foreground is where half of the starts say so, again its largest piece.

The numbers of `Foreground` say how far that can be trusted, without anybody having drawn the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.label.mixtures import cluster, gaussians, grabcut_model

ENLARGE, LEAST_SIDE, MOST_SIDE = 2.0, 64, 160
# A pixel whose distance to the border's colours is above this many standard deviations is not explained by them.
UNLIKE = 3.0

_ROUNDS = 3
_LEAST_CLUSTER = 0.08
_RING_NOISE = 20.0
_FAR = 12.0
_MIDDLE = 0.55
_LEAST_PIXELS = 40
_STRONG = 0.75
_CERTAIN_ELLIPSE, _CERTAIN_SHARE = 0.1, 0.3

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Start:
    """Where a GrabCut starts.

    Attributes:
        ring: width of the certain background along the border, as a share of the picture's shorter side.
        clusters: of the ring's colours.
        strictness: what to multiply Otsu's threshold with; None takes the ellipse.
        ellipse: half axes of the ellipse in the middle, as a share of width and height.
    """

    ring: float
    clusters: int
    strictness: float | None
    ellipse: float = 0.0


STARTS = (
    Start(3 / 64, 4, 0.7),
    Start(2 / 64, 5, 1.0),
    Start(5 / 64, 3, 0.85),
    Start(3 / 64, 4, None, 0.42),
    Start(4 / 64, 4, None, 0.32),
)


@dataclass(frozen=True, eq=False)
class Foreground:
    """The object of a picture, at the working size.

    Attributes:
        share: (h, w) float32, the share of the starts that take a pixel for the object; 0 outside the object's one piece.
        mask: (h, w) bool, the object.
        picture_to_work: affine from the picture's frame to the mask's.
        agreement: mean IoU between what each start found and the mask, 0 to 1; a start that found nothing counts as 0.
        explained: what share of all that is unlike the border lies in the mask, 0 to 1.
        edges: share of the mask's outline that lies on an edge of the picture: within a pixel the colours change more than at
            three quarters of the picture, 0 to 1.
        touching: the largest share of a side of the picture along which the mask reaches the certain background, 0 to 1.
        area: share of the picture.
    """

    share: NDArray[np.float32]
    mask: Mask
    picture_to_work: geometry.Affine
    agreement: float
    explained: float
    edges: float
    touching: float
    area: float

    @property
    def quality(self) -> float:
        """Agreement · explained · edges: 1 where all starts give one shape, with edges all around and nothing left out."""
        return self.agreement * self.explained * self.edges


def find_foreground(picture: NDArray[np.uint8]) -> Foreground | None:
    """Find the object of a classification picture.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        The object; None where fewer than half of the starts find any, or nothing is left of it after the vote.
    """
    import cv2

    work, picture_to_work = _working(picture)
    # OpenCV's 8-bit Lab is stretched to 0 to 255 in each channel; GrabCut takes bytes only.
    lab = np.asarray(cv2.cvtColor(work, cv2.COLOR_RGB2LAB), dtype=np.uint8)
    exact = cv2.cvtColor(work.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth = np.asarray(cv2.GaussianBlur(exact, (0, 0), 1.0), dtype=np.float32)
    found: list[Mask | None] = []
    distances: dict[tuple[float, int], NDArray[np.float32]] = {}
    for start in STARTS:
        ring = _ring(lab.shape[:2], start.ring)
        key = (start.ring, start.clusters)
        if start.strictness is not None and key not in distances:
            distances[key] = _distance_to_border(smooth, ring, start.clusters)
        found.append(_cut(lab, ring, *_first_guess(start, ring, distances.get(key))))
    masks = [mask for mask in found if mask is not None]
    if 2 * len(masks) < len(STARTS):
        return None
    share: NDArray[np.float32] = np.mean(np.stack(masks), axis=0, dtype=np.float32)
    mask = _largest_piece(np.asarray(share >= 0.5))
    if mask is None:
        return None
    mask = _filled(mask)
    ious = [0.0 if one is None else float((one & mask).sum() / (one | mask).sum()) for one in found]
    first = STARTS[0]
    unlike = distances[first.ring, first.clusters] > UNLIKE
    beside = unlike & ~_grown(mask, 2)
    return Foreground(
        np.where(_grown(mask, 1), np.maximum(share, mask * np.float32(0.5)), 0).astype(np.float32),
        mask,
        picture_to_work,
        float(np.mean(ious)),
        float(mask.sum() / (mask.sum() + beside.sum())),
        _on_edges(mask, smooth),
        _touching(mask, round(first.ring * min(mask.shape))),
        float(mask.mean()),
    )


def _working(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], geometry.Affine]:
    """Bring a picture to its working size; give it and the affine from the picture's frame to its own."""
    import cv2

    height, width = picture.shape[:2]
    factor = float(np.clip(ENLARGE * max(height, width), LEAST_SIDE, MOST_SIDE)) / max(height, width)
    size = max(round(width * factor), 16), max(round(height * factor), 16)
    work = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)
    return np.asarray(work, dtype=np.uint8), geometry.scale(size[0] / width, size[1] / height)


def _ring(size: tuple[int, ...], share: float) -> Mask:
    width = max(round(share * min(size)), 1)
    ring = np.ones(size, dtype=np.bool_)
    ring[width:-width, width:-width] = False
    return ring


def _radii(size: tuple[int, ...]) -> NDArray[np.float64]:
    """Give how far each pixel lies from the middle, where half of a side is 0.5."""
    down, across = ((np.arange(length) + 0.5) / length - 0.5 for length in size)
    return np.hypot(down[:, None], across[None])


def _distance_to_border(lab: NDArray[np.float32], ring: Mask, count: int) -> NDArray[np.float32]:
    """Give how many standard deviations each pixel lies from the nearest colour of the ring, (h, w)."""
    colours = lab[ring]
    shares, means, covariances = gaussians(colours, cluster(colours, count), count, noise=_RING_NOISE)
    nearest = np.full(ring.size, np.inf)
    for share, mean, covariance in zip(shares, means, covariances, strict=True):
        if share >= _LEAST_CLUSTER:
            away = lab.reshape(-1, 3) - mean
            nearest = np.minimum(nearest, ((away @ np.linalg.inv(covariance)) * away).sum(axis=1))
    distances: NDArray[np.float32] = np.sqrt(nearest).reshape(ring.shape).astype(np.float32)
    return distances


def _first_guess(start: Start, ring: Mask, distance: NDArray[np.float32] | None) -> tuple[Mask, Mask]:
    """Say which pixels a start takes for the object, and which of them for certain."""
    import cv2

    radii = _radii(ring.shape)
    if start.strictness is None or distance is None:
        return (radii < start.ellipse) & ~ring, radii < _CERTAIN_ELLIPSE
    standing_out = np.minimum(distance, _FAR) * np.exp(-((radii / _MIDDLE) ** 2))
    highest = max(float(standing_out[~ring].max()), 1e-6)
    levels = np.clip(standing_out[~ring] / highest * 255, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    guess: Mask = (standing_out > threshold / 255 * highest * start.strictness) & ~ring
    certain: Mask = guess & (standing_out >= np.quantile(standing_out[guess], 1 - _CERTAIN_SHARE)) if guess.any() else guess
    return guess, certain


def _cut(lab: NDArray[np.uint8], ring: Mask, guess: Mask, certain: Mask) -> Mask | None:
    """Run GrabCut from a guess; None where nothing is left of it."""
    import cv2

    if min(guess.sum(), (~guess).sum()) < _LEAST_PIXELS:
        return None
    states = np.where(ring, cv2.GC_BGD, np.where(guess, cv2.GC_PR_FGD, cv2.GC_PR_BGD)).astype(np.uint8)
    states[certain] = cv2.GC_FGD
    outside, inside = (grabcut_model(lab[chosen].astype(np.float32)) for chosen in (~guess, guess))
    # Of an evaluation from given mixtures OpenCV does not look at the rectangle.
    cv2.grabCut(lab, states, (0, 0, 1, 1), outside, inside, _ROUNDS, cv2.GC_EVAL)
    taken = ((states == cv2.GC_FGD) | (states == cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(taken, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    piece = _largest_piece(opened.astype(np.bool_))
    return None if piece is None else _filled(piece)


def _largest_piece(mask: Mask) -> Mask | None:
    import cv2

    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    piece: Mask = pieces == int(statistics[1:, cv2.CC_STAT_AREA].argmax()) + 1
    return piece


def _filled(mask: Mask) -> Mask:
    """Fill what the mask encloses."""
    import cv2

    _, pieces = cv2.connectedComponents((~np.pad(mask, 1)).astype(np.uint8), connectivity=4)
    filled: Mask = pieces[1:-1, 1:-1] != pieces[0, 0]
    return filled


def _grown(mask: Mask, pixels: int) -> Mask:
    import cv2

    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), dtype=np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), dtype=np.bool_)


def _on_edges(mask: Mask, lab: NDArray[np.float32]) -> float:
    """Give the share of the outline that lies on strong edges of a picture (h, w, 3)."""
    import cv2

    steps = [cv2.Sobel(lab, cv2.CV_32F, across, 1 - across) for across in (0, 1)]
    strength = np.sqrt(np.sum(np.stack(steps) ** 2, axis=(0, 3)))
    near = cv2.dilate(strength, np.ones((3, 3), dtype=np.uint8))
    outline = _grown(mask, 1) & _grown(~mask, 1)
    return float((near[outline] > np.quantile(strength, _STRONG)).mean())


def _touching(mask: Mask, ring: int) -> float:
    """Give the largest share of a side along which the mask comes within two pixels of the ring, or into it."""
    reach = ring + 2
    sides = (mask[:reach].any(axis=0), mask[-reach:].any(axis=0), mask[:, :reach].any(axis=1), mask[:, -reach:].any(axis=1))
    return max(float(side.mean()) for side in sides)

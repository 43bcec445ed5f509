"""Several answers for one object become one.

A network that looks at an image once may answer twice for a large object; one that looks at tiles and at several sizes answers
once for each view, and an object that a border of a view cuts is answered for in pieces. The rule, in this order:

1. Two answers of one class are of the same object if their boxes overlap with IoU >= 0.6 and their keypoints agree: the mean of
   exp(-d² / (2 · (0.1 · √area)²)) over the keypoints that both have is >= 0.5, a form of COCO's object keypoint similarity
   (cocodataset.org/#keypoints-eval) with one constant. IoU 0.4 is enough where they agree by 0.8, and from 0.85 on they are not
   asked; where no keypoint can be compared it is 0.6. Two objects that lie over each other with keypoints of their own both
   stay. Answers of different views know boxes to about two pixels and keypoints to about one of the coarser view's input; they
   are compared with that tolerance.
2. An answer is cut if its box comes near a border of its view that lies inside the image. Answers of which one is cut are
   compared in what both views show: boxes clipped to it, only the keypoints in it.
3. Whole answers come first, the best score first, then the finer view; of the same object the first stays.
4. A cut answer that is of the same object as a whole one goes, and the object takes the higher score of the two, so that where
   it lies is told by who saw all of it and that it is there by whoever is surest. A cut answer also goes if 0.8 of it lie
   inside a whole answer of at least half its score: a piece for which the network found another box.
5. Cut answers that are of the same object are joined. The box reaches to the furthest side among the answers that are not cut
   at that side, or among all where each one is. Each keypoint comes from the view with the highest keypoint score among those
   where it lies clear of the borders, else from where it lies furthest from them. The score is the highest.

This is repeated until nothing changes: an object over three tiles grows tile by tile. The order of the answers plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.instances import Index, Instances

LIKELY_BOX = 0.4
SAME_BOX = 0.6
CERTAIN_BOX = 0.85
SAME_KEYPOINTS = 0.5
CERTAIN_KEYPOINTS = 0.8
INSIDE = 0.8
ALL_PAIRS = 128
"""Answers up to which all pairs are compared at once; of more only the pairs that matter."""

_KEYPOINT_SHARE = 0.1  # of the root of the area: where the similarity of two keypoints has fallen to 0.61
_BOX_PIXELS = 2.0  # of the coarser input, for which a box of another view may be off
_NEAR_SHARE = 0.05  # of the box's longer side, by which a box may end short of the border that cuts its object

_ANYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf])  # a window that leaves nothing out

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Views:
    """What the view of each of N answers showed.

    Attributes:
        regions: (N, 4) x1 y1 x2 y2 px of the image that the network was shown; may reach beyond the image.
        pixels: (N,) px of the image that a pixel of the network's input covers.
        size: (H0, W0) px of the image.
    """

    regions: Numbers
    pixels: Numbers
    size: geometry.Size

    @classmethod
    def whole(cls, count: int) -> Views:
        """Give the views of N answers of one look at a whole image: nothing is cut."""
        return cls(np.tile(_ANYWHERE, (count, 1)), np.zeros(count), (0, 0))

    def __getitem__(self, index: Index) -> Views:
        """Select answers by slice, mask or index array."""
        return replace(self, regions=self.regions[index], pixels=self.pixels[index])

    @property
    def borders(self) -> Numbers:
        """(N, 4) px: the sides of the regions that lie inside the image; infinite where nothing is cut."""
        ends = np.array([0.0, 0.0, self.size[1], self.size[0]]) + np.array([0.5, 0.5, -0.5, -0.5])
        inner = np.concatenate([self.regions[:, :2] > ends[:2], self.regions[:, 2:] < ends[2:]], axis=1)
        return np.where(inner, self.regions, _ANYWHERE)

    def cut(self, boxes: Numbers) -> Flags:
        """Tell which sides (N, 4) of the answers' boxes (N, 4) a border cuts."""
        near = _BOX_PIXELS * self.pixels[:, None] + _NEAR_SHARE * geometry.box_sizes(boxes).max(1, keepdims=True)
        borders = self.borders
        return np.concatenate([boxes[:, :2] <= borders[:, :2] + near, boxes[:, 2:] >= borders[:, 2:] - near], axis=1)

    def room(self, keypoints: Numbers) -> Numbers:
        """Give the distance (N, K) px of keypoints (N, K, 2) to the next border; negative beyond, −∞ for NaN."""
        borders = self.borders[:, None]
        room = np.minimum(keypoints - borders[..., :2], borders[..., 2:] - keypoints).min(-1)
        return np.where(np.isnan(room), -np.inf, room)


def distinct(found: Instances, views: Views | None = None) -> Rows:
    """Choose one answer for each object, the best score first: points 1 and 3 of the rule above.

    Args:
        found: N answers with scores for one image, boxes finite.
        views: what each one's view showed; without them all are of one look at the whole image.

    Returns:
        (M,) indices of the answers that stay, in falling order of score.
    """
    views = Views.whole(len(found)) if views is None else views
    left = _ordered(found, views)
    if len(left) <= ALL_PAIRS:
        # A call of NumPy costs more than what it does for a few answers, so there is one for all pairs.
        before, after = np.nonzero(np.triu(_touching(found, views, left), 1))
        if not before.size:
            return left
        same = np.zeros((len(left), len(left)), dtype=np.bool_)
        same[before, after] = _same(found, views, _cut(found, views), left[before], left[after])
        gone = np.zeros(len(left), dtype=np.bool_)
        for place in range(len(left)):
            if not gone[place]:
                gone |= same[place]
        return left[~gone]
    cut = _cut(found, views)
    kept: list[int] = []
    while left.size:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        left = left[~_same(found, views, cut, np.full(len(left), first), left)]
    return np.array(kept, dtype=np.int64)


def merged(found: Instances, views: Views) -> tuple[Instances, Views]:
    """Make one answer of all those for one object, the whole rule above.

    Args:
        found: N answers with scores for one image, boxes finite.
        views: what each one's view showed.

    Returns:
        M ≤ N answers in falling order of score, and what was seen of each; a joined one has seen the hull of its views.
    """
    if not views.cut(found.boxes).any():
        kept = distinct(found, views)
        return found[kept], views[kept]
    while True:
        count = len(found)
        found, views = _merged_once(found, views)
        order = _ordered(found, views)
        found, views = found[order], views[order]
        if len(found) == count:
            return found, views


def _merged_once(found: Instances, views: Views) -> tuple[Instances, Views]:
    assert found.scores is not None
    cut = _cut(found, views)
    whole = np.flatnonzero(~cut)
    kept = whole[distinct(found[whole], views[whole])]
    scores = found.scores.copy()
    left: list[int] = []
    for piece in _ordered(found, views):
        if not cut[piece]:
            continue
        holders = kept[_same(found, views, cut, np.full(len(kept), piece), kept)]
        if holders.size:
            best = holders[0]
            scores[best] = max(scores[best], found.scores[piece])
        elif not _inside(found, views, int(piece), kept).any():
            left.append(int(piece))
    found = replace(found, scores=scores)
    answers, seen = [found[kept]], [views[kept]]
    pieces = np.array(left, dtype=np.int64)
    while pieces.size:
        same = _same(found, views, cut, np.full(len(pieces), pieces[0]), pieces)
        same[0] = True
        answer, shown = _joined(found[pieces[same]], views[pieces[same]])
        answers.append(answer)
        seen.append(shown)
        pieces = pieces[~same]
    regions, pixels = np.concatenate([each.regions for each in seen]), np.concatenate([each.pixels for each in seen])
    return Instances.concatenate(answers, found.keypoints.shape[1]), Views(regions, pixels, views.size)


def _cut(found: Instances, views: Views) -> Flags:
    """Tell which answers (N,) a border cuts at any side."""
    cut: Flags = np.logical_or.reduce(views.cut(found.boxes), axis=1)
    return cut


def _ordered(found: Instances, views: Views) -> Rows:
    """Give the answers in falling order of score; of equal ones the finer view first, and then by what they say."""
    assert found.scores is not None
    order = np.argsort(-found.scores)
    falling = found.scores[order]
    if (falling[1:] < falling[:-1]).all():
        return order
    keypoints = np.nan_to_num(found.keypoints.reshape(len(found), found.keypoints.shape[1] * 2))
    ranks = np.stack([found.labels.astype(np.float64), views.pixels, -found.scores])
    return np.lexsort([*keypoints.T, *found.boxes.T, *views.regions[:, :2].T, *ranks])


def _touching(found: Instances, views: Views, rows: Rows) -> Flags:
    """Tell of which pairs (M, M) of these rows, of one class, the boxes share anything; no others are of the same object."""
    boxes, labels = found.boxes[rows], found.labels[rows]
    margin = _BOX_PIXELS * views.pixels.max(initial=0.0)
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    share = (np.minimum(high[:, None], high) > np.maximum(low[:, None], low)).all(-1)
    touching: Flags = share & (labels[:, None] == labels)
    return touching


def _same(found: Instances, views: Views, cut: Flags, ones: Rows, others: Rows) -> Flags:
    """Tell of which pairs (M,) of answers, `ones` with `others`, both are of the same object."""
    same: Flags = found.labels[others] == found.labels[ones]
    ones, others = ones[same], others[same]
    pixel = np.maximum(views.pixels[others], views.pixels[ones])
    pixel = np.where((views.regions[others] == views.regions[ones]).all(1), 0.0, pixel)
    shared = _clipped(views.regions[others], views.regions[ones])
    shared = np.where((cut[others] | cut[ones])[:, None], shared, _ANYWHERE)
    grown = _BOX_PIXELS * pixel[:, None] * np.array([-1.0, -1.0, 1.0, 1.0])
    overlap = _overlaps(_clipped(found.boxes[ones] + grown, shared), _clipped(found.boxes[others] + grown, shared))
    agree: Flags = overlap >= CERTAIN_BOX
    asked = np.flatnonzero((overlap >= LIKELY_BOX) & ~agree)
    if asked.size:
        areas = np.maximum(geometry.box_sizes(found.boxes[others[asked]]), 0.0).prod(1)
        areas = np.maximum(areas, np.maximum(geometry.box_sizes(found.boxes[ones[asked]]), 0.0).prod(1))
        spread = np.maximum(_KEYPOINT_SHARE**2 * areas + pixel[asked] ** 2, 1e-12)
        similar = _agreement(found.keypoints[ones[asked]], found.keypoints[others[asked]], shared[asked], spread)
        agree[asked] = similar >= np.where(overlap[asked] >= SAME_BOX, SAME_KEYPOINTS, CERTAIN_KEYPOINTS)
    same[same] = agree
    return same


def _agreement(keypoints: Numbers, others: Numbers, shared: Numbers, spread: Numbers) -> Numbers:
    """Give the similarity (M,) of keypoints (M, K, 2) and (M, K, 2) in shared windows; 0.5 where none can be compared.

    Args:
        keypoints: of the ones, px.
        others: of the others, px.
        shared: (M, 4) windows px.
        spread: (M,) px², the variance of the similarity.
    """

    def shown(points: Numbers) -> Flags:
        inside = (points >= shared[:, None, :2]) & (points <= shared[:, None, 2:])
        return inside[..., 0] & inside[..., 1]

    common = shown(keypoints) & shown(others)
    distances = np.where(common, ((others - keypoints) ** 2).sum(-1), np.inf)
    similar: Numbers = np.exp(-distances / (2 * spread[:, None])).sum(1)
    count = common.sum(1)
    return np.where(count > 0, similar / np.maximum(count, 1), SAME_KEYPOINTS)


def _inside(found: Instances, views: Views, piece: int, others: Rows) -> Flags:
    """Tell which whole answers (M,) of the piece's class, not much weaker than it, hold the piece."""
    assert found.scores is not None
    box = _clipped(found.boxes[[piece]], views.regions[[piece]])
    near = _BOX_PIXELS * np.maximum(views.pixels[others], views.pixels[piece])
    near += _NEAR_SHARE * geometry.box_sizes(found.boxes[others]).max(1, initial=0.0)
    grown = found.boxes[others] + near[:, None] * np.array([-1.0, -1.0, 1.0, 1.0])
    held = geometry.box_sizes(_clipped(grown, box)).prod(1)
    inside: Flags = held >= INSIDE * np.maximum(geometry.box_sizes(box).prod(1), 1e-12)
    inside &= found.scores[others] >= 0.5 * found.scores[piece]
    inside &= found.labels[others] == found.labels[piece]
    return inside


def _joined(pieces: Instances, views: Views) -> tuple[Instances, Views]:
    """Make one answer of P pieces of an object, the best score first: point 5 of the rule."""
    if len(pieces) == 1:
        return pieces, views
    cut = views.cut(pieces.boxes)
    # A piece is uncertain of the side at which it is cut, whatever its network made of it.
    trusted = ~cut | cut.all(0)
    low = np.where(trusted[:, :2], pieces.boxes[:, :2], np.inf).min(0)
    high = np.where(trusted[:, 2:], pieces.boxes[:, 2:], -np.inf).max(0)
    room = views.room(pieces.keypoints)
    clear = room > _BOX_PIXELS * views.pixels[:, None]
    scores = np.zeros(room.shape) if pieces.keypoint_scores is None else pieces.keypoint_scores
    # Compared as pairs: clear of the borders by score, then by room; the others by room alone, behind all clear ones.
    best = np.lexsort((room, np.where(clear, scores, -np.inf)), axis=0)[-1]
    columns = np.arange(room.shape[1])
    answer = replace(
        pieces[:1],
        boxes=np.concatenate([low, high])[None],
        keypoints=pieces.keypoints[best, columns][None],
        visibility=pieces.visibility[best, columns][None],
        keypoint_scores=None if pieces.keypoint_scores is None else pieces.keypoint_scores[best, columns][None],
    )
    region = np.concatenate([views.regions[:, :2].min(0), views.regions[:, 2:].max(0)])
    return answer, Views(region[None], views.pixels.max(keepdims=True), views.size)


def _clipped(boxes: Numbers, windows: Numbers) -> Numbers:
    """Clip boxes (N, 4) to windows (N, 4); what is left of none has no area. Either may be a single row."""
    low = np.maximum(boxes[:, :2], windows[:, :2])
    high = np.maximum(np.minimum(boxes[:, 2:], windows[:, 2:]), low)
    return np.concatenate([low, high], axis=1)


def _overlaps(boxes: Numbers, others: Numbers) -> Numbers:
    """Give the intersection over union (N,) of boxes (N, 4) row by row."""
    shared = geometry.box_sizes(_clipped(boxes, others)).prod(1)
    union = geometry.box_sizes(boxes).prod(1) + geometry.box_sizes(others).prod(1) - shared
    overlaps: Numbers = shared / np.maximum(union, 1e-12)
    return overlaps

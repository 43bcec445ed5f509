"""Objects whose keypoints do not form the shape that the others do: exchanged sides and misplaced points.

No object is judged by a model that has seen it: the objects are dealt into folds, and each fold is measured against a
`ShapeModel` of the others. Sides are compared as hypotheses, the labels as they are against the labels with one pair, one
limb or all pairs exchanged, by their likelihoods; a point is compared with where the object's other points put it. Points that
stand out are taken away one after the other, the worst first, so that one bad point does not make its neighbours suspect.

Doubt is strength / (strength + threshold): 0.5 is barely reported, 1 is certain. It ranks findings of a kind; it is no
probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.schema import Schema
from dekey.data.shape import FREEDOM, Complex, Fit, Floats, ShapeModel, align, fit_shapes

FEWEST_OBJECTS = 15
# An exchange must be this many times likelier than the labels as they are, for each exchange that was tried.
_SWAP_ODDS = 300.0
# Findings that shapes of exactly this distribution would give by chance in the whole data set.
_FALSE_ALARMS = 0.5
# Above this share of objects that look like their own mirror image, they are taken to be seen from both sides.
BOTH_SIDES = 0.15
_MOST_POINTS = 0.34
# A model of more objects than this is estimated from an even choice of them.
_FIT_OBJECTS = 4000


@dataclass(frozen=True)
class Suspect:
    """An object with what is doubtful about it.

    Attributes:
        index: its position among the objects.
        kind: ``swapped-sides`` or ``unlikely-keypoint``.
        keypoints: indices of the keypoints concerned.
        expected: where they should lie, px, complex.
        doubt: above 0.5, at most 1.
    """

    index: int
    kind: str
    keypoints: tuple[int, ...]
    expected: tuple[complex, ...]
    doubt: float


@dataclass(frozen=True)
class Measured:
    """Objects laid over the models of the folds they are not in.

    Attributes:
        order: (N,) positions of the objects among those given, by rising size.
        points: (N, K) px, in this order.
        shapes: (N, K) aligned; turns and origins (N,) as `align` gives them.
        folds: (N,) the fold of each object.
        models: the model for each fold.
        fit: of the shapes.
    """

    order: NDArray[np.int64]
    points: Complex
    shapes: Complex
    turns: Complex
    origins: Complex
    folds: NDArray[np.int64]
    models: Sequence[ShapeModel]
    fit: Fit

    def error_px(self) -> Floats:
        """Give (N, K) px from each point to where the object's other points put it, NaN where unlabelled."""
        px: Floats = np.abs(self.shapes - self.fit.expected) * np.abs(self.turns)[:, None]
        return np.where(self.fit.freedoms[:, None] > 0, px, np.nan)


def measure(points: Complex, progress: Callable[[int, int], None] | None = None) -> Measured | None:
    """Lay objects (N, K) px over models that have not seen them; None where they are too few or too bare.

    Three labelled points make a shape; `FEWEST_OBJECTS` objects with that many make a model.
    """
    labelled = np.isfinite(points)
    usable = np.flatnonzero(labelled.sum(axis=1) >= 3)
    if len(usable) < FEWEST_OBJECTS:
        return None
    # Dealt by size, not by place in the file: neither the order of the objects nor a mirror changes anything.
    centred = np.where(labelled, points, 0)
    means = centred.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1)
    sizes = np.sqrt((np.abs(np.where(labelled, points - means[:, None], 0)) ** 2).sum(axis=1))
    order = usable[np.argsort(sizes[usable].round(6), kind="stable")]
    own = points[order]
    count = len(order)
    fold_count = count if count < 40 else 10 if count < 400 else 5
    folds = np.arange(count) % fold_count
    models, aligned, fits = [], [], []
    for fold in range(fold_count):
        rest = own[folds != fold]
        if len(rest) > _FIT_OBJECTS:
            rest = rest[np.linspace(0, len(rest) - 1, _FIT_OBJECTS).round().astype(int)]
        model = fit_shapes(rest)
        models.append(model)
        aligned.append(align(own[folds == fold], model.mean))
        fits.append(model.fit(aligned[-1][0]))
        if progress:
            progress(fold + 1, fold_count)
    if not any(np.isfinite(model.mean).any() for model in models):
        return None
    back = np.argsort(np.argsort(folds, kind="stable"), kind="stable")

    def joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(pieces)[back]

    fit = Fit(*(joined([getattr(each, name) for each in fits]) for name in Fit.__dataclass_fields__))
    shapes, turns, origins = (joined([each[place] for each in aligned]) for place in range(3))
    return Measured(order, own, shapes, turns, origins, folds, models, fit)


def exchanges(schema: Schema) -> list[NDArray[np.int64]]:
    """List the exchanges of sides that happen by mistake, as permutations (K,): all pairs, each limb, each pair.

    A limb is a group of pairs whose points are joined by edges on their own side.
    """
    mirror = schema.mirror
    if mirror is None:
        return []
    pairs = [(index, int(partner)) for index, partner in enumerate(mirror) if index < partner]
    limb = {index: index for index, _ in pairs}
    pair_of = {point: pair[0] for pair in pairs for point in pair}

    def root(index: int) -> int:
        while limb[index] != index:
            index = limb[index]
        return index

    for start, end in schema.edges.tolist():
        if start in pair_of and end in pair_of and pair_of[start] != pair_of[end]:
            limb[root(pair_of[start])] = root(pair_of[end])
    groups: dict[int, list[tuple[int, int]]] = {}
    for pair in pairs:
        groups.setdefault(root(pair[0]), []).append(pair)
    chosen = [pairs, *(group for group in groups.values() if 1 < len(group) < len(pairs)), *([pair] for pair in pairs)]
    found, seen = [], set()
    for group in chosen:
        permutation = np.arange(len(mirror))
        for left, right in group:
            permutation[[left, right]] = right, left
        if group and permutation.tobytes() not in seen:
            seen.add(permutation.tobytes())
            found.append(permutation)
    return found


def swapped(measured: Measured, schema: Schema) -> tuple[list[Suspect], float]:
    """Find objects that an exchange of sides makes far likelier.

    Returns:
        The suspects, and the share of objects that look like their own mirror image with all sides exchanged. Where it is
        above `BOTH_SIDES`, whole exchanges are not among the suspects.
    """
    tried = exchanges(schema)
    if not tried:
        return [], 0.0
    threshold = float(np.log(_SWAP_ODDS * len(tried)))
    start = measured.fit.log_likelihoods + turn_likelihood(measured.turns)
    best, choice = np.full(len(start), -np.inf), np.zeros(len(start), dtype=np.int64)
    whole = np.zeros(len(start))
    for number, permutation in enumerate(tried):
        gains = _likelihood(measured, permutation)[0] - start
        if number == 0:
            whole = gains
        better = gains > best
        best[better], choice[better] = gains[better], number
    share = float((whole > 0).mean())
    fits = surprise(measured.fit)
    usual = float(np.nanquantile(fits, 0.95)) if np.isfinite(fits).any() else np.inf
    suspects = []
    for row in np.flatnonzero(best > threshold):
        permutation = tried[choice[row]]
        known = np.isfinite(measured.points[row])
        moved = np.flatnonzero((permutation != np.arange(len(permutation))) & known & known[permutation])
        if choice[row] == 0 and share > BOTH_SIDES:
            continue
        # Where an exchange is right, the points then lie where they should. A single point far off is no exchange.
        aligned = align(measured.points[row : row + 1][:, permutation], measured.models[measured.folds[row]].mean)[0]
        after = surprise(measured.models[measured.folds[row]].fit(aligned))[0]
        placed = after[(permutation != np.arange(len(permutation))) & np.isfinite(after)]
        if len(placed) and np.quantile(placed, 0.75) > 2 * usual:
            continue
        suspects.append(
            Suspect(
                int(measured.order[row]),
                "swapped-sides",
                tuple(moved.tolist()),
                tuple(measured.points[row][permutation[moved]].tolist()),
                float(best[row] / (best[row] + threshold)),
            )
        )
    return suspects, share


def _likelihood(measured: Measured, permutation: NDArray[np.int64]) -> tuple[Floats, Complex]:
    """Give the log-likelihoods (N,) of the objects with their points in another order, and how they are turned then."""
    likelihoods, turns = np.full(len(measured.points), -np.inf), measured.turns.copy()
    moved = permutation != np.arange(len(permutation))
    concerned = np.isfinite(measured.points[:, moved]).any(axis=1)
    for fold, model in enumerate(measured.models):
        rows = np.flatnonzero(concerned & (measured.folds == fold))
        if len(rows) == 0:
            continue
        if moved.sum() > len(moved) / 4:  # few points leave the repeated medians where they are
            shapes, turns[rows], _ = align(measured.points[rows][:, permutation], model.mean)
        else:
            shapes = measured.shapes[rows][:, permutation]
        likelihoods[rows] = model.log_likelihoods(shapes) + turn_likelihood(turns[rows], measured.turns)
    return likelihoods, turns


def misplaced(measured: Measured, leave_out: Sequence[int] = ()) -> list[Suspect]:
    """Find points that lie far from where the object's other points put them.

    The probability of each distance under the model is brought to the tail that the data have: poses are no t distribution.

    Args:
        measured: the objects.
        leave_out: positions of objects not to look at, such as those with exchanged sides.
    """
    labelled = np.isfinite(measured.shapes) & np.isfinite(measured.fit.deviations)
    values_of = surprise(measured.fit)
    if not labelled.any():
        return []
    tail = max(float(np.quantile(values_of[labelled], 0.95)) / np.log(20), 1.0)
    threshold = tail * float(np.log(labelled.sum() / _FALSE_ALARMS))
    suspects = []
    skipped = set(leave_out)
    for row in np.flatnonzero(np.nan_to_num(values_of).max(axis=1) > threshold):
        if int(measured.order[row]) in skipped:
            continue
        model, points = measured.models[measured.folds[row]], measured.points[row : row + 1].copy()
        taken: list[tuple[int, float]] = []
        most = max(int(_MOST_POINTS * labelled[row].sum()), 1)
        while len(taken) < most:
            values = np.nan_to_num(surprise(model.fit(align(points, model.mean)[0]))[0])
            worst = int(np.argmax(values))
            if values[worst] <= threshold:
                break
            taken.append((worst, float(values[worst])))
            points[0, worst] = np.nan
        if not taken:
            continue
        shapes, turns, origins = align(points, model.mean)
        expected = origins[0] + turns[0] * model.fit(shapes).expected[0]
        keypoints = tuple(point for point, _ in taken)
        doubt = max(value for _, value in taken)
        suspects.append(
            Suspect(
                int(measured.order[row]),
                "unlikely-keypoint",
                keypoints,
                tuple(expected[list(keypoints)].tolist()),
                doubt / (doubt + threshold),
            )
        )
    return suspects


def surprise(fit: Fit) -> Floats:
    """Give −log of the probability of a deviation at least this large: an exponential distribution if the model holds."""
    degrees = FREEDOM + np.maximum(fit.freedoms - 2, 0)[:, None]
    found: Floats = degrees / 2 * np.log1p(fit.deviations**2 / degrees)
    return found


def turn_likelihood(turns: Complex, among: Complex | None = None) -> Floats:
    """Give the log density of each orientation among all: informative only where objects lie alike."""
    angles = np.angle(turns)
    everyone = np.angle(turns if among is None else among)
    everyone = everyone[np.isfinite(everyone)]
    middle = float(np.angle(np.exp(1j * everyone).mean()))
    spread = float(np.median(np.abs(np.angle(np.exp(1j * (everyone - middle)))))) / 0.6745
    spread = max(spread, 0.05)
    away = np.angle(np.exp(1j * (angles - middle)))
    # A tenth may lie anyhow.
    normal = np.exp(-0.5 * (away / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    density: Floats = np.log(0.9 * normal + 0.1 / (2 * np.pi))
    return np.nan_to_num(density)

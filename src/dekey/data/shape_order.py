"""Groups of objects whose keypoints stand in another order than those of the rest.

A file whose export lists the points in another order, or an annotator who went around the other way, gives good points under
wrong names. For objects that fit badly, the order that fits best is sought: the shape is laid over the mean by centre, size and
every rotation, and each rotation's points are assigned to the mean's (Hungarian method, Kuhn 1955, in the form of Jonker and
Volgenant 1987). An order counts when it makes several objects far likelier than their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dekey.data.schema import Schema
from dekey.data.shape import Complex, Floats, ShapeModel, align, fit_shapes
from dekey.data.shape_faults import Measured, exchanges, turn_likelihood

_ODDS = 300.0
_FEWEST = 3
_TRIED_OBJECTS = 40
_TURNS = 24
_CANDIDATES = 6


@dataclass(frozen=True)
class Reordered:
    """Objects that another order explains.

    Attributes:
        objects: their positions among the objects.
        order: (K,) for each keypoint of the schema, which labelled point lies where it should.
        doubt: above 0.5, at most 1.
    """

    objects: NDArray[np.int64]
    order: NDArray[np.int64]
    doubt: float


def reordered_within(measured: Measured, schema: Schema) -> list[Reordered]:
    """Find orders that explain groups of at least three of the measured objects; an exchange of sides is none."""
    ratio = measured.fit.distances / np.maximum(measured.fit.freedoms, 1)
    odd = -turn_likelihood(measured.turns)
    strange = (ratio > 4 * np.median(ratio)) | (odd > np.median(odd) + 4)
    rows = np.flatnonzero(strange & (measured.fit.freedoms > 0))
    if len(rows) < _FEWEST:
        return []
    model = fit_shapes(measured.points[~strange]) if (~strange).sum() >= 10 else measured.models[0]
    found = _explain(measured.points, model, measured.turns[~strange], schema, measured.points[rows])
    return [Reordered(measured.order[each.objects], each.order, each.doubt) for each in found]


def reordered_between(points: Complex, measured: Measured, schema: Schema) -> list[Reordered]:
    """Find orders that explain the objects (N, K) px of another file better than the order of the measured file."""
    rows = np.flatnonzero(np.isfinite(points).sum(axis=1) >= _FEWEST)
    found = _explain(points[rows], fit_shapes(measured.points), measured.turns, schema)
    return [Reordered(rows[each.objects], each.order, each.doubt) for each in found]


def _explain(
    points: Complex, model: ShapeModel, usual_turns: Complex, schema: Schema, strange: Complex | None = None
) -> list[Reordered]:
    if not np.isfinite(model.mean).all() or len(points) < _FEWEST:
        return []
    known = {permutation.tobytes() for permutation in [np.arange(len(model.mean)), *exchanges(schema)]}
    candidates = [each for each in _candidates(points if strange is None else strange, model) if each.tobytes() not in known]

    def likelihoods(rows: Complex) -> Floats:
        shapes, turns, _ = align(rows, model.mean)
        found: Floats = model.log_likelihoods(shapes) + turn_likelihood(turns, usual_turns)
        return found

    start = likelihoods(points)
    threshold = float(np.log(_ODDS * max(len(candidates), 1)))
    gains = np.full((len(candidates), len(points)), -np.inf)
    for number, each in enumerate(candidates):
        gains[number] = likelihoods(points[:, each]) - start
    # An exchange of sides is reported as such; another order must be far likelier than every exchange, too.
    rows = np.flatnonzero((gains > threshold).any(axis=0))
    if len(rows):
        rival = np.max([likelihoods(points[rows][:, each]) for each in exchanges(schema)], axis=0, initial=-np.inf)
        gains[:, rows] -= np.maximum(rival - start[rows], 0)
    found, free = [], np.ones(len(points), dtype=np.bool_)
    for _ in range(len(candidates)):
        won = (gains > threshold) & free
        best = int(np.argmax((np.where(won, gains, 0)).sum(axis=1)))
        rows = np.flatnonzero(won[best])
        if len(rows) < _FEWEST:
            break
        strength = float(np.median(gains[best][rows]))
        found.append(Reordered(rows, candidates[best], strength / (strength + threshold)))
        free[rows] = False
    return found


def _candidates(points: Complex, model: ShapeModel) -> list[NDArray[np.int64]]:
    count = len(model.mean)
    if count <= 4:
        return [np.array(each) for each in permutations(range(count))][1:]
    steps = np.arange(count)
    found = [steps[::-1].copy(), np.roll(steps, 1), np.roll(steps, -1)]
    whole = np.flatnonzero(np.isfinite(points).all(axis=1))
    chosen = whole[np.linspace(0, len(whole) - 1, min(len(whole), _TRIED_OBJECTS)).round().astype(int)] if len(whole) else whole
    votes: dict[bytes, int] = {}
    rows: list[Complex] = []
    for row in chosen:
        order, shape = _best_order(points[row], model.mean)
        votes[order.tobytes()] = votes.get(order.tobytes(), 0) + 1
        rows.append(shape)
    often = sorted(votes, key=lambda key: (-votes[key], key))[:_CANDIDATES]
    found += [np.frombuffer(key, dtype=np.int64).copy() for key in often]
    if rows:  # near points are confused in single objects, not in the mean of all
        cost = np.minimum(np.abs(model.mean[:, None, None] - np.stack(rows).T[None]), 1.0).mean(axis=2)
        found.append(assign(cost))
    unique = {each.tobytes(): each for each in found}
    return list(unique.values())


def _best_order(points: Complex, mean: Complex) -> tuple[NDArray[np.int64], Complex]:
    centred = points - points.mean()
    shape = centred / max(float(np.sqrt((np.abs(centred) ** 2).mean())), 1e-12)
    turned = shape * np.exp(2j * np.pi * np.arange(_TURNS) / _TURNS)[:, None]
    away = np.abs(mean[None, :, None] - turned[:, None, :])
    # The best rotations by nearest points alone; only these are assigned one to one.
    rough = away.min(axis=2).mean(axis=1) + away.min(axis=1).mean(axis=1)
    best, order, laid = np.inf, np.arange(len(mean)), shape
    for index in np.argsort(rough, kind="stable")[:3]:
        chosen = assign(away[index])
        product = (mean.conj() * turned[index][chosen]).sum()
        refined = turned[index] * np.conj(product) / max(abs(product), 1e-12)
        chosen = assign(np.abs(mean[:, None] - refined[None]))
        cost = float(np.abs(mean - refined[chosen]).mean())
        if cost < best:
            best, order, laid = cost, chosen, refined
    return order, laid


def assign(cost: Floats) -> NDArray[np.int64]:
    """Give for each row of a square matrix of costs (K, K) the column of the cheapest one-to-one assignment.

    >>> assign(np.array([[4.0, 1, 3], [2, 0, 5], [3, 2, 2]])).tolist()
    [1, 0, 2]
    """
    count = len(cost)
    row_price, column_price = np.zeros(count + 1), np.zeros(count + 1)
    row_of = np.full(count + 1, -1, dtype=np.int64)  # the last column is where a search begins
    for row in range(count):
        row_of[count] = row
        column = count
        shortest, before = np.full(count, np.inf), np.full(count, count, dtype=np.int64)
        done = np.zeros(count + 1, dtype=np.bool_)
        while row_of[column] >= 0:
            done[column] = True
            here = row_of[column]
            reduced = cost[here] - row_price[here] - column_price[:count]
            nearer = ~done[:count] & (reduced < shortest)
            shortest[nearer], before[nearer] = reduced[nearer], column
            open_columns = np.where(done[:count], np.inf, shortest)
            following = int(np.argmin(open_columns))
            step = open_columns[following]
            row_price[row_of[done]] += step
            column_price[done] -= step
            shortest[~done[:count]] -= step
            column = following
        while column != count:
            previous = int(before[column])
            row_of[column] = row_of[previous]
            column = previous
    columns = np.empty(count, dtype=np.int64)
    columns[row_of[:count]] = np.arange(count)
    return columns


def describe(order: Sequence[int] | NDArray[np.int64]) -> str:
    """Say an order of points in a few words.

    >>> describe([2, 1, 0]), describe([1, 2, 3, 0]), describe([3, 0, 1, 2])
    ('backwards', 'shifted by 1', 'shifted by 3')
    """
    values, steps = np.asarray(order), np.arange(len(order))
    if np.array_equal(values, steps[::-1]):
        return "backwards"
    shift = int(values[0])
    if np.array_equal(values, np.roll(steps, -shift)):
        return f"shifted by {shift}"
    return f"in another order ({int((values != steps).sum())} of {len(values)} points elsewhere)"

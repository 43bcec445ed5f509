"""A model of the shape that the labelled keypoints of an object form, whatever its place, size and orientation.

Objects are laid over each other by repeated medians (Siegel and Benson, "A robust comparison of biological shapes",
Biometrics 1982), which up to half of an object's points cannot mislead. What remains is described by a multivariate t
distribution, estimated from objects with missing points by EM (Liu and Rubin, "ML estimation of the t distribution using EM
and its extensions", Statistica Sinica 1995), so that faulty objects weigh little. Its scale matrix is shrunk towards one in
which near points move together (the prior of Lüthi et al., "Gaussian process morphable models", TPAMI 2018), so that fifteen
objects suffice. Place, size and orientation stay free: the matrix has a large variance along the four directions in which a
shape moves without changing.

Points are complex numbers x + iy; a missing one is NaN. Shapes have a mean radius of about 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.data.instances import Instances

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]

# Degrees of freedom of the t distribution: tails as heavy as poses and careless labels have.
FREEDOM = 4.0
# Variance along the directions of place, size and orientation, far above that of any shape of radius 1.
_FREE = 100.0
# The prior: as many objects' worth for each keypoint, how far points move together (radii), and the share each has alone.
_PRIOR_OBJECTS, _PRIOR_REACH, _PRIOR_ALONE = 0.5, 1.0, 0.1
_ITERATIONS = 25
_PARTNERS = 24
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class Fit:
    """How well N objects fit a `ShapeModel`.

    Attributes:
        distances: (N,) squared Mahalanobis distance of the labelled points, place, size and orientation being free.
        freedoms: (N,) degrees of freedom, twice the number of labelled points less four.
        log_likelihoods: (N,) of the t distribution, in the shape's frame.
        deviations: (N, K) how far each point lies from where the object's other points put it, in standard deviations of
            that prediction; NaN where unlabelled. Its square has an F distribution times 2 if the model holds.
        expected: (N, K) complex, where the other points put it, in the shape's frame; also where it is unlabelled.
    """

    distances: Floats
    freedoms: Floats
    log_likelihoods: Floats
    deviations: Floats
    expected: Complex


@dataclass(frozen=True)
class ShapeModel:
    """The distribution of shapes.

    Attributes:
        mean: (K,) complex; NaN for a keypoint that too few objects have.
        scale_matrix: (2K, 2K) of the t distribution, x and y of the first keypoint, of the second, …
        objects: how many objects it was estimated from.
    """

    mean: Complex
    scale_matrix: Floats
    objects: int

    def fit(self, shapes: Complex) -> Fit:
        """Measure how well aligned shapes (N, K) fit, see `Fit`; points the model does not know count as unlabelled."""
        count, keypoints = shapes.shape
        known = np.isfinite(self.mean)
        mean = np.where(known, self.mean, 0)
        distances, logarithms = np.zeros(count), np.zeros(count)
        deviations = np.full((count, keypoints), np.nan)
        expected = np.tile(mean, (count, 1))
        labelled = np.isfinite(shapes) & known
        freedoms = np.maximum(2.0 * labelled.sum(axis=1) - 4, 0)
        whole = self.scale_matrix + _free(mean)
        for mask, rows in _patterns(labelled):
            if mask.sum() < _FEWEST_POINTS:
                continue
            own = np.repeat(mask, 2)
            matrix = whole[np.ix_(own, own)]
            precision = np.linalg.inv(matrix)
            offsets = _real(shapes[rows][:, mask] - mean[mask])
            pulls = offsets @ precision
            distances[rows] = np.maximum((pulls * offsets).sum(axis=1), 0)
            logarithms[rows] = -0.5 * np.linalg.slogdet(matrix)[1]
            # Deleting a point lowers the squared distance by pull · cov · pull; its residual is cov · pull.
            pairs = pulls.reshape(len(rows), -1, 2)
            blocks = np.linalg.inv(_diagonal_blocks(precision))
            residuals = np.einsum("kij,nkj->nki", blocks, pairs)
            lowered = (residuals * pairs).sum(axis=2)
            rest = np.maximum(distances[rows][:, None] - lowered, 0)
            degrees = max(2.0 * mask.sum() - 6, 0)
            deviations[np.ix_(rows, mask)] = np.sqrt(np.maximum(lowered, 0) * (FREEDOM + degrees) / (FREEDOM + rest))
            predicted = mean + (pulls @ whole[own]).reshape(len(rows), -1, 2) @ np.array([1, 1j])
            predicted[:, mask] = shapes[rows][:, mask] - residuals @ np.array([1, 1j])
            expected[rows] = predicted
        logarithms -= 0.5 * (FREEDOM + freedoms) * np.log1p(distances / FREEDOM)
        expected[:, ~known] = np.nan
        return Fit(distances, freedoms, logarithms, deviations, expected)

    def log_likelihoods(self, shapes: Complex) -> Floats:
        """Give the log-likelihoods (N,) of `fit` alone, which take a tenth of its time."""
        known = np.isfinite(self.mean)
        mean = np.where(known, self.mean, 0)
        whole = self.scale_matrix + _free(mean)
        found = np.zeros(len(shapes))
        for mask, rows in _patterns(np.isfinite(shapes) & known):
            if mask.sum() < _FEWEST_POINTS:
                continue
            own = np.repeat(mask, 2)
            lower = np.linalg.cholesky(whole[np.ix_(own, own)])
            offsets = _real(shapes[rows][:, mask] - mean[mask])
            distances = (np.linalg.solve(lower, offsets.T) ** 2).sum(axis=0)
            freedom = 2 * mask.sum() - 4
            found[rows] = -np.log(np.diagonal(lower)).sum() - 0.5 * (FREEDOM + freedom) * np.log1p(distances / FREEDOM)
        return found


def points_of(instances: Instances) -> Complex:
    """Give the labelled keypoints (N, K) as complex numbers, NaN where unlabelled or not finite."""
    known = instances.labelled & np.isfinite(instances.keypoints).all(axis=-1)
    return np.where(known, np.ascontiguousarray(instances.keypoints).view(np.complex128)[..., 0], np.nan + 0j)


def align(points: Complex, mean: Complex) -> tuple[Complex, Complex, Complex]:
    """Lay objects over a mean shape by repeated medians.

    Args:
        points: (N, K) px, NaN where unlabelled.
        mean: (K,).

    Returns:
        The shapes (N, K); and the maps back, px = origin + turn · shape: turns (N,) complex, whose size is px a radius and
        whose angle is how far the object is turned, and origins (N,) px. NaN where fewer than two points can be compared.
    """
    chosen = np.flatnonzero(np.isfinite(mean))
    if len(chosen) > _PARTNERS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _PARTNERS).round().astype(int)]
    turns = np.full(len(points), np.nan + 0j)
    if len(chosen) < 2:  # two points are the least that says how an object is turned
        return np.full(points.shape, np.nan + 0j), turns, turns.copy()
    apart = mean[chosen][:, None] - mean[chosen][None]
    np.fill_diagonal(apart, np.nan)
    apart[np.abs(apart) < 1e-3] = np.nan
    for start in range(0, len(points), 512):
        own = points[start : start + 512][:, chosen]
        with np.errstate(invalid="ignore"):
            ratios = (own[:, :, None] - own[:, None, :]) / apart
        turns[start : start + 512] = _median(_median(ratios))
    turns[np.abs(turns) < 1e-12] = np.nan
    origins = _median(points - turns[:, None] * mean)
    with np.errstate(invalid="ignore"):  # an object on one spot is turned nowhere
        return (points - origins[:, None]) / turns[:, None], turns, origins


def fit_shapes(points: Complex, progress: Callable[[], None] | None = None) -> ShapeModel:
    """Estimate the model from objects (N, K) px; those with fewer than three labelled points are passed over.

    Args:
        points: px, NaN where unlabelled.
        progress: called after every iteration.
    """
    usable = points[np.isfinite(points).sum(axis=1) >= _FEWEST_POINTS]
    mean = _mean_shape(usable)
    shapes = align(usable, mean)[0]
    known = np.isfinite(mean)
    usable_rows = (np.isfinite(shapes) & known).sum(axis=1) >= _FEWEST_POINTS
    shapes = np.where(known, shapes[usable_rows], np.nan)
    matrix = _prior(np.where(known, mean, 0), 0.05)
    if len(shapes) == 0:
        return ShapeModel(np.full(points.shape[1], np.nan + 0j), matrix, 0)
    groups = list(_patterns(np.isfinite(shapes)))
    mean = np.where(known, mean, 0)
    for _ in range(_ITERATIONS):
        before = matrix
        mean, matrix = _step(shapes, groups, mean, matrix)
        if progress:
            progress()
        if np.abs(matrix - before).max() < 1e-3 * np.abs(before).max():
            break
    return ShapeModel(np.where(known, mean, np.nan), matrix, len(shapes))


def _step(
    shapes: Complex, groups: list[tuple[NDArray[np.bool_], NDArray[np.int64]]], mean: Complex, matrix: Floats
) -> tuple[Complex, Floats]:
    """Make one step of EM."""
    count, keypoints = shapes.shape
    whole = matrix + _free(mean)
    filled, weights = np.zeros((count, 2 * keypoints)), np.zeros(count)
    uncertain = np.zeros_like(matrix)
    for mask, rows in groups:
        own = np.repeat(mask, 2)
        precision = np.linalg.inv(whole[np.ix_(own, own)])
        offsets = _real(shapes[rows][:, mask] - mean[mask])
        pulls = offsets @ precision
        # Place, size and orientation are taken out of what is known as well: what is left of an offset is its shape.
        distances = np.maximum((pulls * offsets).sum(axis=1), 0)
        weights[rows] = (FREEDOM + 2 * mask.sum() - 4) / (FREEDOM + distances)
        filled[rows] = pulls @ matrix[own]
        uncertain += len(rows) * (matrix - matrix[:, own] @ precision @ matrix[own])
    total = weights.sum()
    moved = (weights[:, None] * filled).sum(axis=0) / total
    centred = filled - moved
    scatter = (weights[:, None] * centred).T @ centred + uncertain
    prior_objects = _PRIOR_OBJECTS * keypoints
    new_mean = mean + moved.reshape(-1, 2) @ np.array([1, 1j])
    variance = float(np.trace(scatter)) / (total * 2 * keypoints)
    # Divided by the weights, not by the number: the same fixed point, reached far sooner (PX-EM: Kent, Tyler and Vardi 1994).
    return new_mean, (scatter + prior_objects * _prior(new_mean, variance)) / (total + prior_objects)


def _mean_shape(points: Complex) -> Complex:
    """Find a shape in the middle of the objects, of radius 1: the one that most objects resemble, then medians."""
    count, keypoints = points.shape
    frequent = np.isfinite(points).sum(axis=0) >= max(2, 0.02 * count)
    if count == 0 or frequent.sum() < _FEWEST_POINTS:
        return np.full(keypoints, np.nan + 0j)
    labelled = (np.isfinite(points) & frequent).sum(axis=1)
    full = np.flatnonzero(labelled >= np.quantile(labelled, 0.75))
    candidates = full[np.linspace(0, len(full) - 1, min(len(full), 12)).round().astype(int)]
    compared = points[np.linspace(0, count - 1, min(count, 200)).round().astype(int)]
    best, mean = np.inf, np.full(keypoints, np.nan + 0j)
    for index in candidates:
        shape = _normalised(np.where(frequent, points[index], np.nan))
        aligned = align(compared, shape)[0]
        away = np.where(np.isfinite(aligned), np.abs(aligned - shape), np.nan)
        rows = away[np.isfinite(away).sum(axis=1) >= _FEWEST_POINTS]
        score = float(np.median(np.nanmean(np.minimum(rows, 1.0), axis=1))) if len(rows) else np.inf
        if score < best:
            best, mean = score, shape
    if np.isinf(best):
        return mean
    for _ in range(4):
        shapes = align(points, mean)[0]
        enough = frequent & (np.isfinite(shapes).sum(axis=0) >= 2)
        mean = _normalised(np.where(enough, _median(shapes.T), np.nan))
    return mean


def _normalised(shape: Complex) -> Complex:
    known = shape[np.isfinite(shape)]
    if not known.size:
        return shape
    centred = shape - known.mean()
    radius = float(np.sqrt((np.abs(known - known.mean()) ** 2).mean()))
    normalised: Complex = centred / max(radius, 1e-12)
    return normalised


def _median(values: Complex) -> Complex:
    """Give the median of the real and of the imaginary parts along the last axis, leaving NaN out."""
    known = np.isfinite(values)
    counts = known.sum(axis=-1)
    parts = []
    for part in (values.real, values.imag):
        ordered = np.sort(np.where(known, part, np.inf), axis=-1)
        low = np.take_along_axis(ordered, np.maximum((counts - 1) // 2, 0)[..., None], axis=-1)[..., 0]
        high = np.take_along_axis(ordered, np.minimum(counts // 2, values.shape[-1] - 1)[..., None], axis=-1)[..., 0]
        parts.append(np.where(counts > 0, (low + high) / 2, np.nan))
    return np.asarray(parts[0] + 1j * parts[1])


def _patterns(labelled: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Group objects by which of their points are labelled: (K,) mask and the rows that have it."""
    packed = np.packbits(labelled, axis=1)
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    bounds = np.searchsorted(inverse.reshape(-1)[order], np.arange(len(first) + 1))
    for group, index in enumerate(first):
        yield labelled[index], order[bounds[group] : bounds[group + 1]]


def _prior(mean: Complex, variance: float) -> Floats:
    near = np.exp(-np.abs(mean[:, None] - mean[None]) / _PRIOR_REACH)
    kernel = variance * ((1 - _PRIOR_ALONE) * near + _PRIOR_ALONE * np.eye(len(mean)))
    return np.asarray(np.kron(kernel, np.eye(2)), dtype=np.float64)


def _free(mean: Complex) -> Floats:
    """Give the matrix of a large variance along place, size and orientation."""
    ones = np.ones(len(mean), dtype=np.complex128)
    directions = np.stack([_real(each[None])[0] for each in (ones, 1j * ones, mean, 1j * mean)], axis=1)
    return np.asarray(_FREE * directions @ directions.T, dtype=np.float64)


def _real(values: Complex) -> Floats:
    """Give complex (N, K) as (N, 2K): x, y of each point in turn."""
    return np.ascontiguousarray(values).view(np.float64)


def _diagonal_blocks(matrix: NDArray[Any]) -> NDArray[Any]:
    """Give the 2x2 blocks (K, 2, 2) on the diagonal of a matrix (2K, 2K)."""
    count = len(matrix) // 2
    index = np.arange(count)
    blocks: Floats = matrix.astype(np.float64).reshape(count, 2, count, 2)[index, :, index, :]
    return blocks

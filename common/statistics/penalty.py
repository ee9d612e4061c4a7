"""common/statistics: elastic-net penalties for any model that is known by its gradient and Hessian.

Many problems are solved side by side: a path of penalties, for every fold of a cross-validation. Each minimises
f(b) + sum_j (lasso_j |b_j| + ridge_j b_j^2 / 2), where f is smooth and known by its sums at the current b (proximal
Newton: Lee, Sun & Saunders, SIAM J Optim 2014;24:1420). Nothing here knows what f is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray

BARRED = 1e300
"""A lasso weight that keeps a coefficient at zero."""

_CHUNK = 64
_MAX_PASSES = 500
_TOLERANCE = 1e-13
_JITTER = 1e-12


def penalties(largest: float, count: int, ratio: float) -> FloatArray:
    """(count,) penalties from the largest down to `ratio` times it, evenly on the log scale (as glmnet)."""
    return largest * np.exp(np.linspace(0.0, np.log(ratio), count))


def elastic_weights(penalty: FloatArray, alpha: float, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lasso and ridge weights of coefficients whose predictors are `scale` times the penalised ones.

    Parameters
    ----------
    penalty
        (problems,) lambda.
    alpha
        Share of the L1 norm: lambda (alpha |b|_1 + (1 - alpha) |b|_2^2 / 2), as glmnet (Friedman, Hastie & Tibshirani,
        J Stat Softw 2010;33(1), eq. 1).
    scale
        (problems, p) standard deviation of each predictor as given, in the data of each problem; times another
        penalty factor, if wanted. Zero bars the predictor.

    Returns
    -------
    lasso, ridge
        (problems, p) each.
    """
    lasso = np.where(scale > 0, penalty[:, np.newaxis] * alpha * scale, BARRED)
    return lasso, penalty[:, np.newaxis] * (1.0 - alpha) * np.square(scale)


def cross_validation_curve(loss: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean loss and its standard error over folds, as `cv.glmnet`: folds weighted by their patients.

    Parameters
    ----------
    loss
        (penalties, folds) mean loss of the patients held out.
    weight
        (folds,) patients, or what else counts.

    Returns
    -------
    mean, std_err
        (penalties,) each; the error divides by one fold less than there are.
    """
    share = weight / weight.sum()
    mean = loss @ share
    return mean, np.sqrt(np.square(loss - mean[:, np.newaxis]) @ share / (weight.size - 1))


def best_penalties(mean: FloatArray, std_err: FloatArray) -> tuple[int, int]:
    """Index of the penalty of least loss, and of the largest one within a standard error of it; penalties fall."""
    least = int(np.argmin(mean))
    return least, int(np.argmax(mean <= mean[least] + std_err[least]))


def penalty_value(beta: FloatArray, lasso: FloatArray, ridge: FloatArray) -> FloatArray:
    """(problems,) the penalty at coefficients of shape (problems, p)."""
    value: FloatArray = (lasso * np.abs(beta) + 0.5 * ridge * np.square(beta)).sum(axis=1)
    return value


def violations(gradient: FloatArray, beta: FloatArray, lasso: FloatArray, ridge: FloatArray) -> FloatArray:
    """(problems, p) by how much each coefficient misses its Karush-Kuhn-Tucker condition; all are (problems, p).

    |g_j + ridge_j b_j + lasso_j sign(b_j)| for a coefficient that is not zero, and max(|g_j| - lasso_j, 0) for one that
    is.
    """
    inside = np.maximum(np.abs(gradient) - lasso, 0.0)
    return np.where(beta == 0.0, inside, np.abs(gradient + ridge * beta + np.minimum(lasso, 1e30) * np.sign(beta)))


def working_sets(
    gradient: FloatArray, beta: FloatArray, lasso: FloatArray, ridge: FloatArray, room: NDArray[np.intp], near: float
) -> NDArray[np.bool_]:
    """(problems, p) the coefficients to move next: all that are not zero, and some that should leave it.

    Those are coefficients with |g_j| > near * lasso_j, at most `room` (problems,) of them, the largest |g_j| / lasso_j
    first.
    """
    active = (beta != 0.0) | (lasso == 0.0)
    pull = np.where(active, 0.0, np.abs(gradient + ridge * beta) / np.where(lasso > 0, lasso, 1.0))
    wanted = pull > near
    if bool(np.any(wanted.sum(axis=1) > room)):
        place = np.argsort(np.argsort(-pull, axis=1, kind="stable"), axis=1)
        wanted &= place < room[:, np.newaxis]
    chosen: NDArray[np.bool_] = active | wanted
    return chosen


def proximal_newton_step(
    gradient: FloatArray, hessian: FloatArray, beta: FloatArray, lasso: FloatArray, ridge: FloatArray
) -> FloatArray:
    """(problems, q) the minimum of each problem's quadratic model with its penalty.

    The model is g'(b - beta) + (b - beta)' H (b - beta) / 2 + sum_j (lasso_j |b_j| + ridge_j b_j^2 / 2). Solved by
    cyclic coordinate descent that settles which coefficients are zero, and a linear system for the others, to 1e-13
    of the gradient.

    Parameters
    ----------
    gradient, beta, lasso, ridge
        (problems, q); `beta` is the start. A lasso weight of zero leaves a coefficient (an intercept) free.
    hessian
        (problems, q, q), positive semidefinite.
    """
    diagonal = np.arange(beta.shape[1])
    curved = hessian.copy()
    linear = (hessian @ beta[:, :, np.newaxis])[:, :, 0] - gradient
    curved[:, diagonal, diagonal] += ridge
    result = beta.copy()
    live = np.arange(beta.shape[0])
    tolerance = _TOLERANCE * np.maximum(1.0, np.abs(gradient).max(axis=1, initial=0.0))
    quadratic = _Quadratics(curved, linear, lasso, result[live])
    for _ in range(_MAX_PASSES):
        quadratic.solve_faces()
        missed = quadratic.missed()
        open_ = missed > tolerance[live]
        result[live] = quadratic.b
        if not bool(open_.any()):
            break
        if np.count_nonzero(open_) <= 0.7 * live.size:
            live = live[open_]
            quadratic = _Quadratics(curved[live], linear[live], lasso[live], result[live])
        quadratic.sweep(3)
    return result


class _Quadratics:
    """min b'Hb/2 - c'b + sum_j lasso_j |b_j|, for many problems at once."""

    def __init__(self, H: FloatArray, c: FloatArray, lasso: FloatArray, b: FloatArray) -> None:
        self.H, self.c, self.lasso, self.b = H, c, lasso, b.copy()
        self._by_coordinate: FloatArray | None = None

    def missed(self) -> FloatArray:
        """(problems,) the largest violation."""
        gradient = (self.H @ self.b[:, :, np.newaxis])[:, :, 0] - self.c
        largest: FloatArray = violations(gradient, self.b, self.lasso, np.zeros_like(self.b)).max(axis=1, initial=0.0)
        return largest

    def sweep(self, times: int) -> None:
        """Cyclic coordinate descent; problems lie along the last axis, so that each update runs over all of them."""
        if self._by_coordinate is None:
            self._by_coordinate = np.ascontiguousarray(self.H.transpose(1, 2, 0))
        H, b, lasso = self._by_coordinate, np.ascontiguousarray(self.b.T), np.ascontiguousarray(self.lasso.T)
        gradient = np.ascontiguousarray(((self.H @ self.b[:, :, np.newaxis])[:, :, 0] - self.c).T)
        for _ in range(times):
            for j in range(b.shape[0]):
                curvature = np.maximum(H[j, j], np.finfo(np.float64).tiny)
                target = curvature * b[j] - gradient[j]
                new = np.sign(target) * np.maximum(np.abs(target) - lasso[j], 0.0) / curvature
                change = new - b[j]
                if bool(change.any()):
                    gradient += H[j] * change
                    b[j] = new
        self.b = np.ascontiguousarray(b.T)

    def solve_faces(self) -> None:
        """Go to the minimum over the coefficients that are not zero, or as far as all of them keep their signs."""
        active = (self.b != 0.0) | (self.lasso == 0.0)
        order = np.argsort(active.sum(axis=1), kind="stable")
        for start in range(0, order.size, _CHUNK):
            rows = order[start : start + _CHUNK]
            self.b[rows] = self._solve(rows, active[rows])

    def _solve(self, rows: NDArray[np.intp], active: NDArray[np.bool_]) -> FloatArray:
        count = active.sum(axis=1)
        b = self.b[rows]
        widest = int(count.max(initial=0))
        if not widest:
            return b
        place = np.argsort(~active, axis=1, kind="stable")[:, :widest]
        real = np.arange(widest) < count[:, np.newaxis]
        H = self.H[rows[:, np.newaxis, np.newaxis], place[:, :, np.newaxis], place[:, np.newaxis, :]]
        H = np.where(real[:, :, np.newaxis] & real[:, np.newaxis, :], H, 0.0)
        diagonal = np.arange(widest)
        now, lasso = np.take_along_axis(b, place, 1), np.take_along_axis(self.lasso[rows], place, 1)
        now = np.where(real, now, 0.0)
        pull = np.take_along_axis(self.c[rows], place, 1) - lasso * np.sign(now)
        right = np.where(real, pull - (H @ now[:, :, np.newaxis])[:, :, 0], 0.0)
        # Copies of one predictor make a face singular; a trace of ridge then shares the coefficient among them.
        # As the step is solved for, and not its end, the next pass corrects what the ridge did.
        ridged = H.copy()
        ridged[:, diagonal, diagonal] = np.where(real, H[:, diagonal, diagonal] * (1.0 + _JITTER) + 1e-300, 1.0)
        goal = now + np.linalg.solve(ridged, right[:, :, np.newaxis])[:, :, 0]
        crossing = real & (lasso > 0) & (goal * now <= 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(crossing, now / (now - goal), np.inf)
        step = np.minimum(reach.min(axis=1, keepdims=True), 1.0)
        moved = np.where(step == 1.0, goal, now + step * (goal - now))
        moved = np.where(crossing & (reach <= step), 0.0, moved)
        result = b.copy()
        np.put_along_axis(result, place, np.where(real, moved, 0.0), 1)
        return result

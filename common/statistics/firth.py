"""common/statistics: logistic regression by Firth's penalised likelihood, finite where the classes are separated.

log-likelihood + 0.5 log det(information) is maximised (Firth, Biometrika 1993;80:27; Heinze & Schemper, Stat Med
2002;21:2409) through the modified score sum((y - mu + h (0.5 - mu)) x). The leverages h need the inverse of the pooled
information, so that an iteration is two exchanges: the information is summed, and then its inverse is broadcast. (The
third moments would save the second one, and tell far more of the patients.) Tests and profile intervals are
refits with one coefficient held, in lock-step with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975, chi2_p
from common.statistics.logistic import own_scale
from common.statistics.logistic_stack import LogisticStack, lower_products
from common.statistics.moments import Moments, moments
from common.statistics.newton import COLLINEAR_EIGENVALUE, STEP_TOLERANCE, symmetric
from common.statistics.wald import wald_row
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray

MAX_ITERATIONS = 100
LARGEST_STEP = 5.0
BOUND_TOLERANCE = 1e-9
CHI2_95 = Z975**2
"""The 95 % quantile of chi-square with one degree of freedom."""


@dataclass(frozen=True)
class FirthSums(LogisticStack):
    """Firth's modified scores, and the informations with the weights 1 + h, at (sets, p) coefficients.

    `inverse` is (sets, p, p): of the pooled informations at the same coefficients.
    """

    name: ClassVar[str] = "query.firth"
    risk: ClassVar[Risk] = Risk.SUM

    inverse: FloatField = field(kw_only=True)

    def blocks(self) -> Mapping[str, Block]:
        """`score` (sets, p), `information` (sets, p(p+1)/2)."""
        return {name: block for name, block in super().blocks().items() if name in ("score", "information")}

    def words(self) -> str:
        """See `Query`."""
        return f"{super().words()}, with Firth's correction"

    def consistent(self) -> bool:
        """See `Query`."""
        return super().consistent() and self.inverse.shape == (*self.coefficients.shape, self.parameters)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums.

        Raises
        ------
        FedmviError
            501 leverages outside 0 to 1: what was broadcast is no inverse of a sum that this site is part of, and could
            give weight to single patients.
        """
        design, y = self.design(frame), frame.endpoints[self.endpoint]
        mu = logistic_function(self.coefficients @ design.T)
        weight, products = mu * (1.0 - mu), lower_products(design)
        rows, columns = np.tril_indices(self.parameters)
        form = self.inverse[:, rows, columns] + self.inverse[:, columns, rows] * (rows != columns)
        leverage = weight * (form @ products.T)
        if leverage.size and not -1e-9 <= float(leverage.min()) <= float(leverage.max()) <= 1.0 + 1e-9:
            raise FedmviError(501, "leverages outside 0 to 1")
        return {
            "score": (y - mu + leverage * (0.5 - mu)) @ design,
            "information": (weight * (1.0 + leverage)) @ products,
        }


@dataclass(frozen=True)
class FirthResult:
    """A logistic regression by Firth's penalised likelihood.

    Attributes
    ----------
    columns
        Names of the parameters, `intercept` first.
    coef_
        (p,) on the predictors' own scale.
    std_err_, covariance_
        From the information with the weights 1 + h, as of the data that Firth's penalty adds (the convention of the
        libraries firthmodels and logistf).
    plain_std_err_
        From the information without them (the convention of brglm2).
    log_likelihood_
        Penalised, at the fit, for predictors on their own scale.
    chi2_
        (p,) penalised likelihood-ratio statistics, 1 degree of freedom; NaN for the intercept.
    low_, high_
        (p,) 95 % profile intervals; NaN for the intercept, where not asked for, or where none was found.
    rounds_
        Exchanges, without those of the moments.
    """

    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    plain_std_err_: FloatArray
    covariance_: FloatArray
    log_likelihood_: float
    chi2_: FloatArray
    low_: FloatArray
    high_: FloatArray
    n_: int
    events_: int
    rounds_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a parameter: Wald z and interval, the likelihood-ratio p, and the profile interval."""
        return [
            {
                **wald_row(name, self.coef_[i], self.std_err_[i]),
                "likelihood_ratio_p": chi2_p(float(self.chi2_[i]), 1),
                "profile_low": float(self.low_[i]),
                "profile_high": float(self.high_[i]),
            }
            for i, name in enumerate(self.columns)
        ]


@dataclass(frozen=True)
class _Point:
    """What the two exchanges tell at (sets, p) coefficients; the modified scores are 0 where not asked for."""

    log_likelihood: FloatArray
    information: FloatArray
    score: FloatArray
    augmented: FloatArray
    n: int
    events: int


class _Ask:
    """The two exchanges, and how many there were."""

    def __init__(self, cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], model: str) -> None:
        self.cohort, self.recipe, self.endpoint, self.columns, self.model = cohort, recipe, endpoint, columns, model
        self.rounds = 0

    def at(self, coef: FloatArray, floor: FloatArray) -> Conclusion[_Point]:
        """Penalised log-likelihoods, and the rest for those sets where they are not below `floor` (sets,)."""
        where = (self.cohort, self.recipe, self.endpoint, self.columns)
        sums = yield total(LogisticStack(*where, coef))
        n, events, p = int(sums["n"]), int(sums["events"]), coef.shape[1]
        if events in (0, n):
            raise FedmviError(602, endpoint=self.endpoint, cohort=self.cohort)
        information = symmetric(sums["information"], p)
        if self.rounds == 0 and float(np.linalg.eigvalsh(information[0])[0]) / n < COLLINEAR_EIGENVALUE:
            raise FedmviError(603, model=self.model)
        self.rounds += 1
        value = sums["log_likelihood"] + 0.5 * np.linalg.slogdet(information)[1]
        score, augmented = np.zeros_like(coef), information.copy()
        go = value >= floor
        if go.any():
            reply = yield total(FirthSums(*where, coef[go], inverse=np.linalg.inv(information[go])))
            self.rounds += 1
            score[go], augmented[go] = reply["score"], symmetric(reply["information"], p)
        return _Point(value, information, score, augmented, n, events)


def firth(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    model: str = "",
    *,
    intervals: bool = False,
) -> Conclusion[FirthResult]:
    """Firth's logistic regression with intercept, and a penalised likelihood-ratio test of each predictor.

    The recipe must leave complete cases. The fit and its refits with one slope at zero (the penalty stays that of all
    predictors, Heinze & Schemper 2002) advance together, until the largest step per standard deviation is below 1e-10.

    Parameters
    ----------
    intervals
        Profile-likelihood intervals (Venzon & Moolgavkar, Appl Stat 1988;37:87) too; about as many exchanges again.

    Raises
    ------
    FedmviError
        602 one class only, 603 linearly dependent predictors, 604 no convergence; 601 no patients.
    """
    scale = yield from moments(cohort, recipe, columns)
    scale.require_spread(model)
    standard = recipe.then(scale.standardising)
    ask = _Ask(cohort, standard, endpoint, columns, model)
    p = len(columns) + 1
    held = np.zeros((p, p), dtype=bool)  # set 0 is free, set j has slope j at zero
    held[np.arange(1, p), np.arange(1, p)] = True
    coef, value, point = yield from _climb(ask, held)
    low, high = np.full(p, np.nan), np.full(p, np.nan)
    if intervals:
        low[1:], high[1:] = yield from _bounds(ask, coef[0], float(value[0]), point.augmented[0])
    return _result(columns, scale, coef[0], value, point, low, high, ask.rounds)


def _climb(ask: _Ask, held: NDArray[np.bool_]) -> Conclusion[tuple[FloatArray, FloatArray, _Point]]:
    """Maxima with the coefficients in `held` (sets, p) at zero: (sets, p) where, (sets,) values; and at set 0 all."""
    coef, step, best = np.zeros(held.shape), np.zeros(held.shape), np.full(len(held), -np.inf)
    active, first = np.ones(len(held), dtype=bool), None
    for _ in range(MAX_ITERATIONS):
        at = np.flatnonzero(active)
        floor = best[at] - 1e-9 * (1.0 + np.abs(best[at]))
        point = yield from ask.at(coef[at], floor)
        better = point.log_likelihood >= floor
        best[at[better]] = point.log_likelihood[better]
        if at[0] == 0 and better[0]:
            first = point
        worse = at[~better]
        step[worse] /= 2.0
        coef[worse] -= step[worse]
        for i, place in zip(at[better], np.flatnonzero(better), strict=True):
            free = ~held[i]
            curvature = point.augmented[place][np.ix_(free, free)]
            move = np.linalg.solve(curvature, point.score[place][free])
            step[i, free] = move * min(1.0, LARGEST_STEP / max(float(np.max(np.abs(move))), 1e-300))
            coef[i] += step[i]
            active[i] = float(np.max(np.abs(step[i]))) >= STEP_TOLERANCE
        if not active.any() and first is not None:
            return coef, best, first
    raise FedmviError(604, model=ask.model)


def _bounds(
    ask: _Ask, coef: FloatArray, value: float, information: FloatArray
) -> Conclusion[tuple[FloatArray, FloatArray]]:
    """(p - 1,) lower and upper bounds of the slopes, on the standardised scale; NaN where the search does not end."""
    p = coef.size
    slope, sign = np.tile(np.arange(1, p), 2), np.repeat([-1.0, 1.0], p - 1)
    target = value - 0.5 * CHI2_95
    inverse = np.linalg.inv(information)
    at = coef + (sign * np.sqrt(CHI2_95 / np.diag(inverse)[slope]))[:, np.newaxis] * inverse[slope]
    active = np.ones(slope.size, dtype=bool)
    for _ in range(MAX_ITERATIONS):
        on = np.flatnonzero(active)
        point = yield from ask.at(at[on], np.full(on.size, -np.inf))
        inverse, j, rows = np.linalg.inv(point.augmented), slope[on], np.arange(on.size)
        newton = np.einsum("sij,sj->si", inverse, point.score)
        rise = np.einsum("si,si->s", newton, point.score)
        square = (2.0 * (point.log_likelihood - target) + rise) / inverse[rows, j, j]
        step = newton + (sign[on] * np.sqrt(np.maximum(square, 0.0)))[:, np.newaxis] * inverse[rows, j]
        largest = np.max(np.abs(step), axis=1)
        at[on] += step * np.minimum(1.0, LARGEST_STEP / np.maximum(largest, 1e-300))[:, np.newaxis]
        active[on] = largest >= BOUND_TOLERANCE
        if not active.any():
            break
    found = np.where(active, np.nan, at[np.arange(slope.size), slope])
    return found[: p - 1], found[p - 1 :]


def _result(
    columns: tuple[str, ...],
    scale: Moments,
    coef: FloatArray,
    value: FloatArray,
    point: _Point,
    low: FloatArray,
    high: FloatArray,
    rounds: int,
) -> FirthResult:
    """The fit on the predictors' own scale, where log det(information) is larger by 2 sum(log s)."""
    back, spread = own_scale(scale), np.append(1.0, scale.std_)
    covariance = back @ np.linalg.inv(point.augmented[0]) @ back.T
    plain = back @ np.linalg.inv(point.information[0]) @ back.T
    chi2 = np.maximum(2.0 * (value[0] - value), 0.0)
    chi2[0] = np.nan
    return FirthResult(
        columns=("intercept", *columns),
        coef_=back @ coef,
        std_err_=np.sqrt(np.diag(covariance)),
        plain_std_err_=np.sqrt(np.diag(plain)),
        covariance_=covariance,
        log_likelihood_=float(value[0]) + float(np.sum(np.log(scale.std_))),
        chi2_=chi2,
        low_=low / spread,
        high_=high / spread,
        n_=point.n,
        events_=point.events,
        rounds_=rounds,
    )

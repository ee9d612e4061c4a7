"""common/statistics: Cox regression with one baseline hazard for all sites, from sums over the pooled risk sets.

At every grid point with pooled deaths each site sends the sums of its patients' relative hazards, and of those times
columns and their products (WebDISCO: Lu et al., J Am Med Inform Assoc 2015;22:1212); over those who die, too, where
deaths are tied and Efron's formula needs it. Sums of such sums are those of the pooled risk sets, so the fit is the
pooled one. Differences between neighbouring risk sets are rows of patients: only `cox` keeps them inside the sites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import OF_INTEREST, on_grid
from common.statistics.cox import CoxResult, conclude_fit, lower_triangle, standardised
from common.statistics.life_table import LifeTable, life_table
from common.statistics.moments import Moments
from common.statistics.newton import Ascent, ascend, symmetric
from common.statistics.partial_likelihood import (
    DeathSteps,
    HazardProfile,
    Hazards,
    RiskSets,
    Ties,
    lived,
    score_residuals,
    share_of_hazard,
)
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

LARGEST_LOG_HAZARD = 12.0
"""Log relative hazards are cut here, far beyond any finite fit, so that sums over risk sets stay in range."""

WIDEST = 1e3
"""Largest standardised value, mean and sum of increments, to the same end."""

R = TypeVar("R")


@dataclass(frozen=True)
class PooledRiskSets(Query):
    """What queries about pooled risk sets share.

    Attributes
    ----------
    points
        Ascending grid points with pooled deaths, at each of which a risk set is summed.
    """

    endpoint: str
    columns: tuple[str, ...]
    precision: float
    grid_points: int
    points: KeyField
    coefficients: FloatField

    @property
    def parameters(self) -> int:
        """Coefficients."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    @property
    def widest(self) -> float:
        """See `Query`."""
        return WIDEST

    def consistent(self) -> bool:
        """See `Query`."""
        grid = self.points.size > 0 and bool(np.all(self.points[1:] > self.points[:-1]))
        inside = grid and int(self.points[-1]) < self.grid_points
        return inside and len(self.columns) > 0 and self.coefficients.shape == (self.parameters,)

    def sets(self, frame: Frame) -> RiskSets:
        """Risk sets at the points; error 312 for a time beyond the grid, 655 for one that is missing."""
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        happened = (event == OF_INTEREST).astype(np.float64)
        return RiskSets.of(point.astype(np.float64), happened, self.points.astype(np.float64))

    def relative(self, frame: Frame) -> FloatArray:
        """(n,) relative hazards."""
        linear = frame.matrix(self.columns) @ self.coefficients
        return np.exp(np.clip(linear, -LARGEST_LOG_HAZARD, LARGEST_LOG_HAZARD))

    def influence(self, frame: Frame) -> FloatArray:
        """See `share_of_hazard`."""
        return share_of_hazard(self.relative(frame))


@dataclass(frozen=True)
class RiskSetSums(PooledRiskSets):
    """Sums over risk sets and over those who die; `tied` are the places in `points` where more than one dies."""

    name: ClassVar[str] = "query.cox_risk_sets"
    risk: ClassVar[Risk] = Risk.PROFILE

    tied: KeyField

    def blocks(self) -> Mapping[str, Block]:
        """`at_risk` (points, 1 + p + p(p+1)/2): relative hazards, times columns, times their products; `dying`
        (tied, ..) likewise over those who die; `event_sum` (p,) columns of those who die; `n`, `events` ()."""
        width = 1 + self.parameters + self.parameters * (self.parameters + 1) // 2
        return {
            "at_risk": Block((self.points.size, width), Kind.REAL),
            "dying": Block((self.tied.size, width), Kind.REAL),
            "event_sum": Block((self.parameters,), Kind.REAL),
            "n": Block((), Kind.COUNT),
            "events": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"risk sets of {self.endpoint} at {self.points.size} times, by {len(self.columns)} columns"

    def consistent(self) -> bool:
        """See `Query`."""
        places = bool(np.all(self.tied[1:] > self.tied[:-1]) & np.all(self.tied < self.points.size))
        return places and super().consistent()

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        X, relative, sets = frame.matrix(self.columns), self.relative(frame), self.sets(frame)
        products = lower_triangle(X[:, :, np.newaxis] * X[:, np.newaxis, :])
        values = relative[:, np.newaxis] * np.column_stack([np.ones(frame.n), X, products])
        return {
            "at_risk": sets.at_risk(values),
            "dying": sets.dying(values)[self.tied.astype(np.intp)],
            "event_sum": X[sets.death].sum(axis=0),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(np.count_nonzero(sets.death), dtype=np.int64),
        }


@dataclass(frozen=True)
class PooledResiduals(PooledRiskSets):
    """Sum of the squares and products of the patients' score residuals, given the pooled risk sets."""

    name: ClassVar[str] = "query.cox_pooled_residuals"
    risk: ClassVar[Risk] = Risk.SUM

    mean: FloatField
    increment: FloatField
    discount: FloatField
    drift: FloatField
    drift_discount: FloatField

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("points", "mean", "increment", "discount", "drift", "drift_discount")

    def blocks(self) -> Mapping[str, Block]:
        """`square` (p(p+1)/2,) lower triangle."""
        return {"square": Block((self.parameters * (self.parameters + 1) // 2,), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"squared score residuals of a Cox regression of {self.endpoint} on {len(self.columns)} columns"

    def consistent(self) -> bool:
        """See `Query`."""
        rows = (self.points.size,)
        scalars = self.increment.shape == self.discount.shape == rows
        vectors = {self.mean.shape, self.drift.shape, self.drift_discount.shape}
        positive = bool(np.all(self.increment > 0)) and float(np.sum(self.increment)) <= WIDEST
        positive = positive and all(
            float(np.max(np.abs(values), initial=0.0)) <= WIDEST
            for values in (self.mean, self.discount, self.drift, self.drift_discount)
        )
        return scalars and vectors == {(*rows, self.parameters)} and positive and super().consistent()

    def influence(self, frame: Frame) -> FloatArray:
        """The share of the hazard that each patient lived through, by the broadcast increments."""
        return share_of_hazard(self.relative(frame) * lived(self.sets(frame), self.increment, 0.0 * self.discount))

    def answer(self, frame: Frame) -> Summary:
        """The site's sums over its patients."""
        profile = HazardProfile(
            self.mean[:, np.newaxis],
            self.increment[:, np.newaxis],
            self.discount[:, np.newaxis],
            self.drift[:, np.newaxis],
            self.drift_discount[:, np.newaxis],
        )
        relative = self.relative(frame)[:, np.newaxis]
        residuals = score_residuals(self.sets(frame), frame.matrix(self.columns), relative, profile)[:, 0]
        return {"square": lower_triangle(residuals.T @ residuals)}


@dataclass(frozen=True)
class CommonCoxResult(CoxResult):
    """A fitted Cox regression with one baseline hazard.

    Attributes
    ----------
    time_, cumulative_hazard_
        (times,) of the deaths in the endpoint's unit, and the cumulative hazard up to each of a patient with the mean
        of every column (Breslow, Biometrics 1974;30:89; with Efron's ties as R's survfit). Empty where separated.
    """

    time_: FloatArray
    cumulative_hazard_: FloatArray


@dataclass(frozen=True)
class Variances:
    """Pooled risk sets at some coefficients: `hazards`, and (deaths, p, p) variances of the columns over them."""

    hazards: Hazards
    variance: FloatArray


@dataclass(frozen=True)
class CommonFit:
    """Where a fit ended, for what is built on it.

    Attributes
    ----------
    recipe, scale, ascent
        The standardising recipe, the moments, and the maximum.
    events, censored
        (grid_points,) the pooled life table.
    points, steps, last
        Grid points with deaths, the deaths, and the pooled risk sets of the last round.
    """

    recipe: Recipe
    scale: Moments
    ascent: Ascent
    events: NDArray[np.int64]
    censored: NDArray[np.int64]
    points: NDArray[np.uint64]
    steps: DeathSteps
    last: Variances


def fit_common(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    ties: Ties,
    model: str,
) -> Conclusion[CommonFit]:
    """The fit behind `cox_common_baseline`; the same rounds, so that both in lock-step are asked once."""
    standard, scale = yield from standardised(cohort, recipe, columns, model)
    tables = yield from life_table(LifeTable(cohort, standard, endpoint, 1, precision, grid_points))
    events, censored = tables[0][0], tables[1][0]
    points = np.flatnonzero(events)
    if not points.size:
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    steps, p = DeathSteps.of(events[points], ties), len(columns)
    tied = np.flatnonzero((events[points] > 1) & (ties is Ties.EFRON)).astype(np.uint64)
    grid = (precision, grid_points, points.astype(np.uint64))

    def question(beta: FloatArray) -> RiskSetSums:
        return RiskSetSums(cohort, standard, endpoint, columns, *grid, beta, tied)

    def derivatives(query: RiskSetSums, sums: Summary) -> Summary:
        pooled = _variances(query, sums, steps)
        log_likelihood = sums["event_sum"] @ query.coefficients - np.log(pooled.hazards.total).sum()
        return {
            **sums,
            "score": sums["event_sum"] - pooled.hazards.mean.sum(axis=0),
            "information": lower_triangle(pooled.variance.sum(axis=0)),
            "log_likelihood": np.array(log_likelihood),
        }

    maximum = ascend(question, np.zeros(p), lambda sums: int(sums["events"]), model=model)
    ascent = yield from _translated(maximum, derivatives)
    # The last sums belong to coefficients less than 1e-10 from the maximum.
    last = _variances(question(ascent.coef), ascent.sums, steps)
    return CommonFit(standard, scale, ascent, events, censored, grid[2], steps, last)


def _translated(conclusion: Conclusion[R], translate: Callable[[RiskSetSums, Summary], Summary]) -> Conclusion[R]:
    """The conclusion, given something made of each reply in its place."""
    try:
        ask = next(conclusion)
        while True:
            try:
                reply = yield ask
            except FedmviError as error:
                ask = conclusion.throw(error)
            else:
                ask = conclusion.send(translate(ask.question, reply))  # type: ignore[union-attr, arg-type]
    except StopIteration as stop:
        result: R = stop.value
        return result


def _variances(query: RiskSetSums, sums: Summary, steps: DeathSteps) -> Variances:
    p = query.parameters
    dying = np.zeros_like(sums["at_risk"])
    dying[query.tied.astype(np.intp)] = sums["dying"]
    left = steps.left(sums["at_risk"], dying)
    mean = left[:, 1 : p + 1] / left[:, :1]
    variance = symmetric(left[:, p + 1 :] / left[:, :1], p) - mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return Variances(Hazards(steps, left[:, 0], mean), variance)


def cox_common_baseline(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    *,
    ties: Ties = Ties.EFRON,
    model: str = "",
) -> Conclusion[CommonCoxResult]:
    """Cox regression of a survival endpoint on columns, with one baseline hazard for the patients of all sites.

    The recipe must leave complete cases. Two rounds of moments, one of the life table, Newton's rounds, and one for
    the robust errors. Equals R's coxph(.., robust = TRUE) on times on the grid; how patients are spread over sites
    does not matter.

    Parameters
    ----------
    precision, grid_points
        Unit of the time grid and its number of points, as in `LifeTable`.

    Raises
    ------
    FedmviError
        601 no patients, 602 no events, 603 linearly dependent predictors, 604 no convergence, 312 a time beyond the
        grid, 655 a time or event without meaning.
    """
    fit = yield from fit_common(cohort, recipe, endpoint, columns, precision, grid_points, ties, model)
    if fit.ascent.separated:
        nothing = conclude_fit(columns, fit.scale.std_, fit.ascent, None)
        return CommonCoxResult(**vars(nothing), time_=np.empty(0), cumulative_hazard_=np.empty(0))
    profile = fit.last.hazards.profile(fit.events[fit.points.astype(np.intp)])
    reply = yield total(
        PooledResiduals(
            cohort,
            fit.recipe,
            endpoint,
            columns,
            precision,
            grid_points,
            fit.points,
            fit.ascent.coef,
            **vars(profile),
        )
    )
    result = conclude_fit(columns, fit.scale.std_, fit.ascent, symmetric(reply["square"], len(columns)))
    time = fit.points.astype(np.float64) * precision
    return CommonCoxResult(**vars(result), time_=time, cumulative_hazard_=np.cumsum(profile.increment))

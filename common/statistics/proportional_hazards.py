"""common/statistics: do hazards stay proportional? Score tests of time-varying effects, by predictor and for all.

A coefficient b + c g(t) is tested for c = 0 (Grambsch & Therneau, Biometrika 1994;81:515, in its exact form: the score
test as in cox.zph of R's survival 3): the score of c is the sum of Schoenfeld residuals times g, its information the
sum of the risk sets' variances times g and g squared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import OF_INTEREST, on_grid
from common.statistics.cox import StratifiedCox, fit_stratified, followed_to, lower_triangle
from common.statistics.cox_common_baseline import fit_common
from common.statistics.distributions import chi2_p
from common.statistics.life_table import LifeTable, life_table, remaining
from common.statistics.newton import COLLINEAR_EIGENVALUE, Ascent, symmetric
from common.statistics.partial_likelihood import Ties, share_of_hazard
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

FEW_DEATHS = 10


class TimeTransform(StrEnum):
    """The g(t) along which effects may change: one less the Kaplan-Meier curve, time itself, or the rank of time."""

    KM = "km"
    IDENTITY = "identity"
    RANK = "rank"


def transformed(transform: TimeTransform, events: NDArray[np.int64], censored: NDArray[np.int64]) -> FloatArray:
    """(grid,) ascending values in [0, 1] of the grid points, from the pooled (grid,) life table."""
    leaving = events + censored
    if transform is TimeTransform.IDENTITY:
        return np.arange(events.size) / max(events.size - 1, 1)
    if transform is TimeTransform.RANK:
        return np.asarray((np.cumsum(leaving) - (leaving - 1) / 2.0) / leaving.sum(), dtype=np.float64)
    at_risk = np.maximum(remaining(leaving), 1)
    return np.asarray(1.0 - np.append(1.0, np.cumprod(1.0 - events / at_risk)[:-1]))


def _is_transform(weights: FloatArray, grid_points: int) -> bool:
    ascending = weights.shape == (grid_points,) and bool(np.all(np.diff(weights) >= 0))
    return ascending and bool(np.all((weights >= 0) & (weights <= 1)))


def _both_ends(weights: FloatArray, death: NDArray[np.bool_]) -> FloatArray:
    """(2, n) the share of each death in the weights, late and early: a step in time must leave several on each side.

    A site with few deaths has no more to tell of some of them than of all, and counts its patients alike.
    """
    if np.count_nonzero(death) < FEW_DEATHS:
        return np.ones((2, death.size))
    ends = np.where(death, np.stack([weights, 1.0 - weights]), 0.0)
    return share_of_hazard(ends.T).T


@dataclass(frozen=True)
class SchoenfeldSums(StratifiedCox):
    """Schoenfeld residuals inside the site times weights of time, and their information."""

    name: ClassVar[str] = "query.schoenfeld"
    risk: ClassVar[Risk] = Risk.SUM

    precision: float
    grid_points: int
    time_weights: FloatField

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("time_weights",)

    def blocks(self) -> Mapping[str, Block]:
        """`score` (p,); `cross`, `square` (p(p+1)/2,) sums of variances times the weights, and times their squares."""
        p = self.parameters
        triangle = Block((p * (p + 1) // 2,), Kind.REAL)
        return {"score": Block((p,), Kind.REAL), "cross": triangle, "square": triangle}

    def words(self) -> str:
        """See `Query`."""
        columns = f"{len(self.columns)} columns inside the site{followed_to(self.horizon)}"
        return f"a test of proportional hazards of {self.endpoint} for {columns}"

    def consistent(self) -> bool:
        """See `Query`."""
        return _is_transform(self.time_weights, self.grid_points) and super().consistent()

    def influence(self, frame: Frame) -> FloatArray:
        """(3, n) the share of the hazard, and that of each death, late and early."""
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points, self.horizon)
        ends = _both_ends(self.time_weights[point], event == OF_INTEREST)
        return np.vstack([super().influence(frame), ends])

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; error 312 for a time beyond the grid."""
        on_grid(frame, self.endpoint, self.precision, self.grid_points)
        p = self.parameters
        score, cross, square = np.zeros(p), np.zeros((p, p)), np.zeros((p, p))
        for part in self.parts(frame):
            weights = self.time_weights[np.rint(part.sets.at / self.precision).astype(np.intp)]
            score = score + part.score(weights)[0]
            cross = cross + part.information(weights)[0]
            square = square + part.information(np.square(weights))[0]
        return {"score": score, "cross": lower_triangle(cross), "square": lower_triangle(square)}


@dataclass(frozen=True)
class WeightedEvents(Query):
    """Sum of the columns of those who die, times weights of time."""

    name: ClassVar[str] = "query.weighted_events"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    precision: float
    grid_points: int
    time_weights: FloatField

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("time_weights",)

    def blocks(self) -> Mapping[str, Block]:
        """`event_sum` (p,)."""
        return {"event_sum": Block((len(self.columns),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"a test of proportional hazards of {self.endpoint} for {len(self.columns)} columns"

    @property
    def parameters(self) -> int:
        """Coefficients."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    def consistent(self) -> bool:
        """See `Query`."""
        return len(self.columns) > 0 and _is_transform(self.time_weights, self.grid_points)

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) the share of each death, late and early."""
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        return _both_ends(self.time_weights[point], event == OF_INTEREST)

    def answer(self, frame: Frame) -> Summary:
        """The site's sum; error 312 for a time beyond the grid."""
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        died = event == OF_INTEREST
        return {"event_sum": self.time_weights[point[died]] @ frame.matrix(self.columns)[died]}


@dataclass(frozen=True)
class ProportionalHazards:
    """A fitted test of proportional hazards.

    Attributes
    ----------
    columns, transform
        Names of the predictors, and g.
    chi2_, p_
        (p,) of each predictor, one degree of freedom each.
    global_chi2_, global_p_
        Of all together, p degrees of freedom. NaN, as all, where the likelihood is monotone or the deaths are at too
        few times to tell.
    """

    columns: tuple[str, ...]
    transform: TimeTransform
    chi2_: FloatArray
    p_: FloatArray
    global_chi2_: float
    global_p_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor, and one for all."""
        rows: list[dict[str, Any]] = [
            {"term": name, "chi2": float(chi2), "degrees": 1, "p": float(p)}
            for name, chi2, p in zip(self.columns, self.chi2_, self.p_, strict=True)
        ]
        every = {"term": "all", "chi2": self.global_chi2_, "degrees": len(self.columns), "p": self.global_p_}
        return [*rows, every]


def proportional_hazards(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    *,
    strata: tuple[str, ...] = (),
    ties: Ties = Ties.EFRON,
    transform: TimeTransform = TimeTransform.KM,
    model: str = "",
    horizon: float | None = None,
    time_weights: FloatArray | None = None,
) -> Conclusion[ProportionalHazards]:
    """Tests whether the effects of `cox` (a baseline hazard for each site) change with time; equals R's cox.zph.

    The rounds of `cox`, in lock-step with it asked once; the pooled life table; and one round more. `time_weights`
    (grid,) are g where it is known already, of these patients or of more (`transformed`): no life table is asked then.

    Raises
    ------
    FedmviError
        As `cox`, and 312 for a time beyond the grid.
    """
    fit = yield from fit_stratified(cohort, recipe, endpoint, columns, strata, ties, model, horizon)
    if fit.ascent.separated:
        return _nothing(columns, transform)
    weights = time_weights
    if weights is None:
        table = LifeTable(cohort, fit.recipe, endpoint, 1, precision, grid_points, horizon)
        events, censored = yield from life_table(table)
        weights = transformed(transform, events[0], censored[0])
    asked = (cohort, fit.recipe, endpoint, columns, strata, ties, fit.ascent.coef, precision, grid_points, weights)
    sums = yield total(SchoenfeldSums(*asked, horizon=horizon))
    p = len(columns)
    return _test(
        columns, transform, fit.ascent, sums["score"], symmetric(sums["cross"], p), symmetric(sums["square"], p)
    )


def proportional_hazards_common(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    *,
    ties: Ties = Ties.EFRON,
    transform: TimeTransform = TimeTransform.KM,
    model: str = "",
) -> Conclusion[ProportionalHazards]:
    """Tests whether the effects of `cox_common_baseline` change with time; equals R's cox.zph.

    The rounds of that fit, in lock-step with it asked once, and one more.

    Raises
    ------
    FedmviError
        As `cox_common_baseline`.
    """
    fit = yield from fit_common(cohort, recipe, endpoint, columns, precision, grid_points, ties, model)
    if fit.ascent.separated:
        return _nothing(columns, transform)
    weights = transformed(transform, fit.events, fit.censored)
    sums = yield total(WeightedEvents(cohort, fit.recipe, endpoint, columns, precision, grid_points, weights))
    at = weights[fit.points.astype(np.intp)][fit.steps.point]
    cross = np.tensordot(at, fit.last.variance, axes=(0, 0))
    square = np.tensordot(np.square(at), fit.last.variance, axes=(0, 0))
    score = sums["event_sum"] - at @ fit.last.hazards.mean
    return _test(columns, transform, fit.ascent, score, np.asarray(cross), np.asarray(square))


def _nothing(columns: tuple[str, ...], transform: TimeTransform) -> ProportionalHazards:
    missing = np.full(len(columns), np.nan)
    return ProportionalHazards(columns, transform, missing, missing, float("nan"), float("nan"))


def _test(
    columns: tuple[str, ...],
    transform: TimeTransform,
    ascent: Ascent,
    score: FloatArray,
    cross: FloatArray,
    square: FloatArray,
) -> ProportionalHazards:
    """Score tests of some of the changes at a time, given that all coefficients are at their maximum."""
    given = np.linalg.solve(ascent.information, cross)
    information = square - cross.T @ given
    if float(np.linalg.eigvalsh(information)[0]) < COLLINEAR_EIGENVALUE * int(ascent.sums["events"]):
        return _nothing(columns, transform)
    chi2 = np.square(score) / np.diag(information)
    every = float(score @ np.linalg.solve(information, score))
    p = np.array([chi2_p(float(value), 1) for value in chi2])
    return ProportionalHazards(columns, transform, chi2, p, every, chi2_p(every, len(columns)))

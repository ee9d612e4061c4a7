"""common/statistics: proportional-odds logistic regression of an ordinal endpoint.

P(y <= j) = 1 / (1 + exp(-(threshold_j - x'slope))) for the levels j = 0, 1, ... (McCullagh, J R Stat Soc B
1980;42:109). With a and b the upper and lower linear predictors of a patient's level, the likelihood is
F(a) (1 - F(b)) (1 - exp(b - a)), whose logarithm and derivatives are sums of terms that neither cancel nor overflow;
Newton's method uses the observed information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.distributions import chi2_p
from common.statistics.moments import Moments, moments
from common.statistics.newton import Ascent, ascend, symmetric
from common.statistics.wald import wald_row
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray

MAX_LEVELS = 20


@dataclass(frozen=True)
class _Ordinal(Query):
    """A question at thresholds and slopes; `coefficients` (levels - 1 + p,), thresholds first and ascending."""

    endpoint: str
    columns: tuple[str, ...]
    levels: int
    coefficients: FloatField

    @property
    def cuts(self) -> int:
        """Thresholds."""
        return self.levels - 1

    @property
    def parameters(self) -> int:
        """Thresholds and slopes."""
        return self.cuts + len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    @property
    def levels_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        sound = 2 <= self.levels <= MAX_LEVELS and self.coefficients.shape == (self.cuts + len(self.columns),)
        return sound and bool(np.all(np.diff(self.coefficients[: self.cuts]) > 0))

    def influence(self, frame: Frame) -> FloatArray:
        """(n,) twice the sum of F (1 - F) at both ends of the patient's level."""
        upper, lower = _ends(logistic_function(self.linear(frame)), self.level(frame))
        weight: FloatArray = 2.0 * (upper * (1.0 - upper) + lower * (1.0 - lower))
        return weight

    def linear(self, frame: Frame) -> FloatArray:
        """(n, cuts) thresholds less x'slope."""
        slope = frame.matrix(self.columns) @ self.coefficients[self.cuts :]
        return np.subtract.outer(-slope, -self.coefficients[: self.cuts])

    def level(self, frame: Frame) -> NDArray[np.int64]:
        """(n,) the patients' levels; error 501 for one that is not among them."""
        y = frame.endpoints[self.endpoint]
        if not bool(np.all(np.isin(y, np.arange(self.levels)))):
            raise FedmviError(501, f"a level of {self.endpoint}")
        return y.astype(np.int64)


def _ends(at_cuts: FloatArray, level: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """(n,) cumulative probabilities at the upper and lower end of each patient's level; 1 and 0 beyond the last."""
    n = level.size
    padded = np.column_stack([np.zeros(n), at_cuts, np.ones(n)])
    rows = np.arange(n)
    return padded[rows, level + 1], padded[rows, level]


@dataclass(frozen=True)
class OrdinalSums(_Ordinal):
    """Score, observed information and log-likelihood of a proportional-odds model."""

    name: ClassVar[str] = "query.ordinal"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`score` (q,), `information` (q(q+1)/2,) lower triangle, `log_likelihood` (), `counts` (levels,) patients."""
        q = self.parameters
        return {
            "score": Block((q,), Kind.REAL),
            "information": Block((q * (q + 1) // 2,), Kind.REAL),
            "log_likelihood": Block((), Kind.REAL),
            "counts": Block((self.levels,), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one Newton step of a proportional-odds regression of {self.endpoint} on {len(self.columns)} columns, "
            f"with patients by level, cohort {self.cohort}"
        )

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        level, x, rows = self.level(frame), frame.matrix(self.columns), np.arange(frame.n)
        linear, top = self.linear(frame), self.levels - 1
        upper, lower = _ends(logistic_function(linear), level)
        ended, begun = level < top, level > 0
        inner = ended & begun
        gap = np.diff(self.coefficients[: self.cuts])[np.where(inner, level - 1, 0)] if self.cuts > 1 else np.ones(1)
        gap = np.where(inner, gap, 1.0)
        hidden = np.where(inner, 1.0 / np.expm1(gap), 0.0)  # e^-gap / (1 - e^-gap)
        spread = hidden * (1.0 + hidden)
        high = np.where(ended, linear[rows, np.minimum(level, self.cuts - 1)], np.inf)
        low = np.where(begun, linear[rows, np.maximum(level - 1, 0)], -np.inf)
        loss = np.logaddexp(0.0, -high) + np.logaddexp(0.0, low) - np.where(inner, np.log(-np.expm1(-gap)), 0.0)
        # Derivatives by the two ends, then by the parameters: each end is one threshold less x'slope.
        by_upper = np.where(ended, 1.0 - upper + hidden, 0.0)
        by_lower = np.where(begun, -lower - hidden, 0.0)
        curve_upper = np.where(ended, upper * (1.0 - upper) + spread, 0.0)
        curve_lower = np.where(begun, lower * (1.0 - lower) + spread, 0.0)
        at_upper, at_lower = np.zeros((frame.n, self.parameters)), np.zeros((frame.n, self.parameters))
        at_upper[:, self.cuts :] = at_lower[:, self.cuts :] = -x
        at_upper[rows[ended], level[ended]] = 1.0
        at_lower[rows[begun], level[begun] - 1] = 1.0
        cross = at_upper.T @ (at_lower * spread[:, np.newaxis])
        information = (
            at_upper.T @ (at_upper * curve_upper[:, np.newaxis])
            + at_lower.T @ (at_lower * curve_lower[:, np.newaxis])
            - cross
            - cross.T
        )
        return {
            "score": at_upper.T @ by_upper + at_lower.T @ by_lower,
            "information": information[np.tril_indices(self.parameters)],
            "log_likelihood": np.array(-loss.sum()),
            "counts": np.bincount(level, minlength=self.levels).astype(np.int64),
        }


@dataclass(frozen=True)
class ParallelSums(_Ordinal):
    """Score and expected information of the model with slopes of its own at each cut, where these are all alike."""

    name: ClassVar[str] = "query.ordinal_parallel"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`score` (cuts, p + 1); `same` (cuts, t) and `next` (cuts - 1, t) lower triangles of the information at one
        cut, and between neighbours: all others are 0."""
        p = len(self.columns) + 1
        triangle = p * (p + 1) // 2
        return {
            "score": Block((self.cuts, p), Kind.REAL),
            "same": Block((self.cuts, triangle), Kind.REAL),
            "next": Block((self.cuts - 1, triangle), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"a test of proportional odds of {self.endpoint} on {len(self.columns)} columns, cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """Thresholds, and slopes at each of them."""
        return self.cuts * (1 + len(self.columns))

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        level, linear = self.level(frame), self.linear(frame)
        design = np.column_stack([np.ones(frame.n), -frame.matrix(self.columns)])
        rows, columns = np.tril_indices(design.shape[1])
        products = design[:, rows] * design[:, columns]
        below = logistic_function(linear)
        slope = below * logistic_function(-linear)
        # Differences of neighbouring F, without cancellation: F(a) (1 - F(b)) (1 - exp(b - a)).
        gap = np.diff(self.coefficients[: self.cuts])
        inner = below[:, 1:] * logistic_function(-linear[:, :-1]) * -np.expm1(-gap)
        chance = np.column_stack([below[:, :1], inner, logistic_function(-linear[:, -1:])])
        at = np.arange(self.cuts)
        here, after = level[:, np.newaxis] == at, level[:, np.newaxis] == at + 1
        score = slope * (here / chance[:, :-1] - after / chance[:, 1:])
        same = np.square(slope) * (1.0 / chance[:, :-1] + 1.0 / chance[:, 1:])
        between = -slope[:, :-1] * slope[:, 1:] / chance[:, 1:-1]
        return {"score": score.T @ design, "same": same.T @ products, "next": between.T @ products}


@dataclass(frozen=True)
class OrdinalResult:
    """A proportional-odds logistic regression.

    Attributes
    ----------
    columns
        The predictors; a positive slope goes with higher levels, and exp(slope) is the odds ratio of being above any
        cut.
    thresholds_, coef_
        (levels - 1,) and (p,) on the predictors' own scale; NaN where the data are separated.
    std_err_
        (levels - 1 + p,) thresholds first, from the observed information.
    covariance_
        Of the same.
    log_likelihood_, null_log_likelihood_
        At the fit, and of the thresholds alone.
    counts_
        (levels,) patients.
    parallel_chi2_, parallel_degrees_
        Score test of proportional odds (against slopes of their own at each cut), with the expected information;
        NaN with two levels. It rejects somewhat too often in small samples.
    """

    columns: tuple[str, ...]
    thresholds_: FloatArray
    coef_: FloatArray
    std_err_: FloatArray
    covariance_: FloatArray
    log_likelihood_: float
    null_log_likelihood_: float
    counts_: NDArray[np.int64]
    parallel_chi2_: float
    parallel_degrees_: int
    rounds_: int
    separated_: bool

    @property
    def parallel_p(self) -> float:
        """P of the test of proportional odds."""
        return chi2_p(self.parallel_chi2_, self.parallel_degrees_)

    @property
    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of the test that all slopes are zero."""
        chi2 = 2.0 * (self.log_likelihood_ - self.null_log_likelihood_)
        return chi2, len(self.columns), chi2_p(chi2, len(self.columns))

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * self.std_err_.size - 2.0 * self.log_likelihood_

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor: slope and odds ratio with 95 % intervals, Wald z and p."""
        slopes = self.std_err_[self.thresholds_.size :]
        return [wald_row(*row) for row in zip(self.columns, self.coef_, slopes, strict=True)]


def ordinal(
    cohort: str, recipe: Recipe, endpoint: str, levels: int, columns: tuple[str, ...], model: str = ""
) -> Conclusion[OrdinalResult]:
    """Proportional-odds logistic regression of an endpoint of the levels 0 to `levels` - 1.

    The recipe must leave complete cases. Two rounds of moments, Newton's method from the thresholds that the levels'
    counts give and slopes of zero, and one round for the test of proportional odds.

    Raises
    ------
    FedmviError
        603 linearly dependent predictors, 604 no convergence, 621 a level without patients; 601 no patients.
    """
    scale, counts = yield from together(moments(cohort, recipe, columns), _counts(cohort, recipe, endpoint, levels))
    if not bool(np.all(counts > 0)):
        raise FedmviError(621, endpoint=endpoint, cohort=cohort)
    scale.require_spread(model)
    standard = recipe.then(scale.standardising)
    below = np.cumsum(counts)[:-1] / counts.sum()
    start = np.append(np.log(below / (1.0 - below)), np.zeros(len(columns)))

    def question(at: FloatArray) -> Query:
        return OrdinalSums(cohort, standard, endpoint, columns, levels, at)

    fit = yield from ascend(question, start, lambda sums: int(sums["counts"].sum()), model=model)
    chi2, degrees = float("nan"), (levels - 2) * len(columns)
    if degrees and not fit.separated:
        sums = yield total(ParallelSums(cohort, standard, endpoint, columns, levels, fit.coef))
        chi2 = _score_test(sums, levels - 1, len(columns) + 1)
    return _result(columns, scale, fit, levels, chi2, degrees)


def _counts(cohort: str, recipe: Recipe, endpoint: str, levels: int) -> Conclusion[NDArray[np.int64]]:
    """(levels,) patients, as a model without predictors tells them."""
    even = np.arange(1, levels) / levels
    sums = yield total(OrdinalSums(cohort, recipe, endpoint, (), levels, np.log(even / (1.0 - even))))
    counts: NDArray[np.int64] = sums["counts"]
    return counts


def _score_test(sums: Summary, cuts: int, p: int) -> float:
    """Rao's statistic of all slopes at all cuts; that the sums have no score for common slopes makes it the test."""
    same, following = symmetric(sums["same"], p), symmetric(sums["next"], p)
    information = np.zeros((cuts, p, cuts, p))
    for j in range(cuts):
        information[j, :, j, :] = same[j]
        if j + 1 < cuts:
            information[j, :, j + 1, :] = information[j + 1, :, j, :] = following[j]
    score = sums["score"].ravel()
    return float(score @ np.linalg.solve(information.reshape(cuts * p, cuts * p), score))


def _result(
    columns: tuple[str, ...], scale: Moments, fit: Ascent, levels: int, chi2: float, degrees: int
) -> OrdinalResult:
    """The fit on the predictors' own scale: slope / s, and threshold + sum(slope * m / s)."""
    cuts, q = levels - 1, fit.coef.size
    back = np.diag(np.append(np.ones(cuts), 1.0 / scale.std_))
    back[:cuts, cuts:] = scale.mean_ / scale.std_
    counts = fit.sums["counts"]
    coef, covariance = np.full(q, np.nan), np.full((q, q), np.nan)
    if not fit.separated:
        coef, covariance = back @ fit.coef, back @ np.linalg.inv(fit.information) @ back.T
    return OrdinalResult(
        columns=columns,
        thresholds_=coef[:cuts],
        coef_=coef[cuts:],
        std_err_=np.sqrt(np.diag(covariance)),
        covariance_=covariance,
        log_likelihood_=fit.log_likelihood,
        null_log_likelihood_=float(np.sum(counts * np.log(counts / counts.sum()))),
        counts_=counts,
        parallel_chi2_=chi2,
        parallel_degrees_=degrees,
        rounds_=fit.rounds,
        separated_=fit.separated,
    )

"""common/statistics: many logistic regressions on one predictor each, all of them in every message.

With `within_site` each site has an intercept of its own, which it profiles out: at the broadcast slope it solves its
own intercept and sends the profile score, information and log-likelihood. Their sums are those of a regression with
one indicator a site (the Schur complement of its information), and no sum of a single site appears in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.distributions import chi2_p
from common.statistics.moments import Moments, moments
from common.statistics.newton import (
    COLLINEAR_EIGENVALUE,
    MAX_ROUNDS,
    PERFECT_FIT,
    SEPARATION_EIGENVALUE,
    SEPARATION_ROUND,
    SEPARATION_STEP,
    STEP_TOLERANCE,
    VANISHING_WEIGHT,
)
from common.statistics.wald import wald_row
from common.study.recipe import Frame, Recipe, Standardise, logistic_function
from common.study.table import FloatArray

_INNER_ITERATIONS = 60
_INNER_TOLERANCE = 1e-13
_PARTS = 8


def site_intercepts(linear: FloatArray, known: FloatArray, events: FloatArray) -> FloatArray:
    """(p,) intercepts at which each column's expected events equal the observed ones; 0 where there is none.

    Newton's method in lock-step, kept inside the bracket that the logit of the prevalence less the largest and the
    smallest linear predictor give.

    Parameters
    ----------
    linear, known
        (n, p) linear predictors without intercept, 0 where unknown; and 1.0 where known.
    events
        (p,) events among the known.
    """
    n = known.sum(axis=0)
    both = np.flatnonzero((events > 0) & (events < n))
    intercept = np.zeros(events.size)
    x, k, target = linear[:, both], known[:, both], events[both]
    logit = np.log(target / (n[both] - target))
    # Predictors of unknown values are 0 and only widen the bracket.
    low, high = logit - x.max(axis=0, initial=0.0), logit - x.min(axis=0, initial=0.0)
    a = np.clip(logit - (x * k).sum(axis=0) / n[both], low, high)
    for _ in range(_INNER_ITERATIONS):
        # 2 mu - 1 = tanh(linear / 2), whose sums are all that is needed here.
        tilt = np.tanh(0.5 * (a + x))
        tilt *= k
        excess = 0.5 * (n[both] + tilt.sum(axis=0)) - target
        slope = 0.25 * (n[both] - np.einsum("ij,ij->j", tilt, tilt))
        low, high = np.where(excess < 0, a, low), np.where(excess > 0, a, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = a - excess / slope
        inside = (newton >= low) & (newton <= high)
        following = np.where(inside, newton, 0.5 * (low + high))
        done = np.abs(following - a) <= _INNER_TOLERANCE * (1.0 + np.abs(a))
        a = following
        if bool(np.all(done)):
            break
    intercept[both] = a
    return intercept


@dataclass(frozen=True)
class MarginalSums(Query):
    """Scores, informations and log-likelihoods of a logistic regression on each column alone.

    `coefficients` is (columns, 2): intercept and slope; `within_site` takes no notice of the intercept.
    """

    name: ClassVar[str] = "query.marginal_logistic"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    coefficients: FloatField
    within_site: bool

    def blocks(self) -> Mapping[str, Block]:
        """(columns,) each: `n`, `events`, `log_likelihood`; and `score` (columns, q) with `information`
        (columns, q(q+1)/2), where q is 1 within sites and 2 otherwise."""
        p, q = len(self.columns), 1 if self.within_site else 2
        return {
            "n": Block((p,), Kind.COUNT),
            "events": Block((p,), Kind.COUNT),
            "log_likelihood": Block((p,), Kind.REAL),
            "score": Block((p, q), Kind.REAL),
            "information": Block((p, q * (q + 1) // 2), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one Newton step of {len(self.columns)} logistic regressions of {self.endpoint}, each on one column, "
            f"cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """Of each of the regressions."""
        return 2

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        return self.coefficients.shape == (len(self.columns), 2)

    def influence(self, frame: Frame) -> FloatArray:
        """(columns, n) 4 mu (1 - mu), 0 where unknown; 1 where the site has nothing to say of a column."""
        x, known, y = self._values(frame)
        mu, silent = self._fitted(x, known, y)
        return np.where(silent, 1.0, 4.0 * mu * (1.0 - mu) * known).T

    def answer(self, frame: Frame) -> Summary:
        """Missing values are left out, column by column."""
        x, known, y = self._values(frame)
        mu, silent = self._fitted(x, known, y)
        residual, weight = (y[:, np.newaxis] - mu) * known, mu * (1.0 - mu) * known
        right = np.where(y[:, np.newaxis] == 1.0, mu, 1.0 - mu)
        w, wx, wxx = weight.sum(axis=0), (weight * x).sum(axis=0), (weight * x * x).sum(axis=0)
        if self.within_site:
            with np.errstate(divide="ignore", invalid="ignore"):
                profiled = wxx - wx * wx / w
            information = np.where(silent, 0.0, profiled)[:, np.newaxis]
            score = np.where(silent, 0.0, (residual * x).sum(axis=0))[:, np.newaxis]
        else:
            information = np.stack([w, wx, wxx], axis=1)
            score = np.stack([residual.sum(axis=0), (residual * x).sum(axis=0)], axis=1)
        with np.errstate(divide="ignore"):
            # Far out the fitted probability rounds to 0: the log-likelihood is then that of the largest finite loss.
            loss = np.maximum(np.log(right), -745.0) * known
        return {
            "n": known.sum(axis=0).astype(np.int64),
            "events": (known * y[:, np.newaxis]).sum(axis=0).astype(np.int64),
            "log_likelihood": np.where(silent, 0.0, loss.sum(axis=0)),
            "score": score,
            "information": information,
        }

    def _values(self, frame: Frame) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n, p) values with 0 for unknown, (n, p) 1.0 where known, and (n,) outcomes."""
        x, y = frame.matrix(self.columns), frame.endpoints[self.endpoint]
        known = ~(np.isnan(x) | np.isnan(y)[:, np.newaxis])
        return np.where(known, x, 0.0), known.astype(np.float64), np.where(np.isnan(y), 0.0, y)

    def _fitted(self, x: FloatArray, known: FloatArray, y: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """(n, p) probabilities; (p,) True where a site with its own intercept has one class only."""
        linear = x * self.coefficients[:, 1]
        if not self.within_site:
            return logistic_function(self.coefficients[:, 0] + linear), np.zeros(x.shape[1], dtype=bool)
        n, events = known.sum(axis=0), known.T @ y
        return logistic_function(site_intercepts(linear, known, events) + linear), (events == 0) | (events == n)


@dataclass(frozen=True)
class UnivariableResult:
    """Logistic regressions on one predictor each.

    Attributes
    ----------
    coef_, std_err_
        (p,) slopes on the predictors' own scale; NaN where not estimable.
    log_likelihood_, null_log_likelihood_
        (p,) at the fit and with slope zero; with `within_site` of the profile, which has every site's intercept.
    n_, events_
        (p,) patients with a known value, and those of them with the endpoint.
    separated_
        (p,) the predictor tells the classes apart, completely or quasi-completely.
    constant_
        (p,) the predictor, or the outcome where it is known, does not vary (with `within_site`: inside any site).
    refused_
        (p,) a site refused the coefficients, because they leave weight to a few of its patients only: separation, or
        nearly so, at that site.
    within_site
        Whether each site has an intercept of its own.
    rounds_
        Newton steps of the slowest column, without the moments.
    """

    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    log_likelihood_: FloatArray
    null_log_likelihood_: FloatArray
    n_: FloatArray
    events_: FloatArray
    separated_: NDArray[np.bool_]
    constant_: NDArray[np.bool_]
    refused_: NDArray[np.bool_]
    within_site: bool
    rounds_: int

    @property
    def likelihood_ratio(self) -> FloatArray:
        """(p,) chi-square with one degree of freedom."""
        chi2: FloatArray = np.maximum(2.0 * (self.log_likelihood_ - self.null_log_likelihood_), 0.0)
        return np.where(np.isnan(self.coef_), np.nan, chi2)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor: coefficient and odds ratio with 95 % intervals, Wald p and likelihood-ratio p."""
        return [
            {
                **wald_row(name, self.coef_[i], self.std_err_[i]),
                "n": int(self.n_[i]),
                "events": int(self.events_[i]),
                "likelihood_ratio_p": chi2_p(float(self.likelihood_ratio[i]), 1),
                "separated": bool(self.separated_[i]),
            }
            for i, name in enumerate(self.columns)
        ]


class _Fits:
    """All fits on their way: (p, q) coefficients, and which are still on it."""

    def __init__(self, p: int, q: int) -> None:
        self.coef, self.step = np.zeros((p, q)), np.zeros((p, q))
        self.best, self.first, self.variance = np.full(p, -np.inf), np.zeros(p), np.full(p, np.nan)
        self.n, self.events = np.zeros(p, dtype=np.int64), np.zeros(p, dtype=np.int64)
        self.active, self.separated, self.constant = np.ones(p, bool), np.zeros(p, bool), np.zeros(p, bool)
        self.refused = np.zeros(p, bool)
        self.rounds = 0

    def give_up(self, at: NDArray[np.intp]) -> None:
        """Of columns under whose coefficients a site says that hardly one of its patients has weight."""
        perfect = -self.best[at] < PERFECT_FIT * self.n[at]
        self.separated[at[perfect]], self.refused[at[~perfect]] = True, True
        self.active[at] = False

    def advance(self, at: NDArray[np.intp], sums: Summary) -> None:
        """One Newton step of the columns `at`, whose sums these are."""
        self.rounds += 1
        n, events, ll = sums["n"], sums["events"], sums["log_likelihood"]
        self.n[at], self.events[at] = n, events
        information = _matrices(sums["information"], self.coef.shape[1])
        smallest = np.linalg.eigvalsh(information)[:, 0] / np.maximum(n, 1)
        if self.rounds == 1:
            self.first[at] = ll
            self.constant[at] |= (smallest < COLLINEAR_EIGENVALUE) | (events == 0) | (events == n)
        worse = ll < self.best[at] - 1e-9 * (1.0 + np.abs(self.best[at]))
        self.step[at[worse]] /= 2.0
        self.coef[at[worse]] -= self.step[at[worse]]
        good = ~worse & ~self.constant[at]
        flat = good & (smallest < SEPARATION_EIGENVALUE)
        self.best[at[good]] = ll[good]
        move = good & ~flat
        inverse = np.linalg.inv(information[move])
        step = np.einsum("pij,pj->pi", inverse, sums["score"][move])
        where, largest = at[move], np.abs(step).max(axis=1, initial=0.0)
        self.step[where] = step
        self.coef[where] += step
        self.variance[where] = inverse[:, -1, -1]
        drifting = (self.rounds >= SEPARATION_ROUND) & (largest > SEPARATION_STEP)
        self.separated[at[flat]], self.separated[where[drifting]] = True, True
        self.active[where[largest < STEP_TOLERANCE]] = False
        self.active &= ~self.separated & ~self.constant


def _ask(whole: MarginalSums, at: NDArray[np.intp]) -> Conclusion[tuple[NDArray[np.intp], Summary]]:
    """The sums of those of the columns `at` that no site refuses; the others are found by parts, eight at a time."""
    names = tuple(whole.columns[i] for i in at)
    try:
        sums = yield total(replace(whole, columns=names, coefficients=whole.coefficients[at]))
        return at, sums
    except FedmviError as error:
        if error.number != VANISHING_WEIGHT:
            raise
    if at.size == 1:
        return at[:0], {}
    parts = yield from together(*(_ask(whole, part) for part in np.array_split(at, min(_PARTS, at.size))))
    told = [(kept, sums) for kept, sums in parts if kept.size]
    if not told:
        return at[:0], {}
    kept = np.concatenate([part for part, _ in told])
    return kept, {name: np.concatenate([sums[name] for _, sums in told]) for name in whole.blocks()}


def _matrices(lower: FloatArray, q: int) -> FloatArray:
    """(p, q, q) of (p, q(q+1)/2)."""
    return lower.reshape(-1, 1, 1) if q == 1 else lower[:, [0, 1, 1, 2]].reshape(-1, 2, 2)


def univariable(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], *, within_site: bool = True
) -> Conclusion[UnivariableResult]:
    """Logistic regression of a binary endpoint on each column alone, all in lock-step.

    Missing values are left out column by column; columns that have converged are not asked for again. Two rounds of
    moments, and as many as the slowest column needs. A column that separates the classes has NaN; one that a site
    refuses is found by asking for parts, and the others go on.

    Parameters
    ----------
    within_site
        An intercept for each site, as a regression with one indicator a site has it: the usual adjustment for centre.
        Then sites with one class, or one value, of a column say nothing of it, and splitting a site in two changes
        the result. False gives one intercept for all.

    Raises
    ------
    FedmviError
        601 a column without any value, 602 one class only in all, 604 no convergence.
    """
    scale = yield from moments(cohort, recipe, columns)
    fits = _Fits(len(columns), 1 if within_site else 2)
    varies = scale.std_ > 0
    fits.constant |= ~varies
    fits.active &= varies
    standard = recipe.then(
        Standardise(columns, tuple(scale.mean_.tolist()), tuple(np.where(varies, scale.std_, 1.0).tolist()))
    )
    while fits.active.any():
        at = np.flatnonzero(fits.active)
        names = tuple(columns[i] for i in at)
        coef = np.column_stack([np.zeros(at.size), fits.coef[at]])[:, -2:]
        whole = MarginalSums(cohort, standard, endpoint, names, coef, within_site)
        told, sums = yield from _ask(whole, np.arange(at.size))
        if told.size < at.size:
            fits.give_up(np.delete(at, told))
            at = at[told]
        if at.size == 0:
            break
        if fits.rounds == 0 and (sums["events"].sum() == 0 or bool(np.all(sums["events"] == sums["n"]))):
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        fits.advance(at, sums)
        if fits.rounds >= MAX_ROUNDS and fits.active.any():
            raise FedmviError(604, model=names[0])
    return _result(columns, scale, fits, within_site)


def _result(columns: tuple[str, ...], scale: Moments, fits: _Fits, within_site: bool) -> UnivariableResult:
    """Slopes and errors back on the predictors' own scale; the null of a common intercept in closed form."""
    estimable = ~(fits.separated | fits.constant | fits.refused)
    null = fits.first
    if not within_site:
        n, events = fits.n.astype(np.float64), fits.events.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            null = events * np.log(events / n) + (n - events) * np.log1p(-events / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        coef, std_err = fits.coef[:, -1] / scale.std_, np.sqrt(fits.variance) / scale.std_
    return UnivariableResult(
        columns=columns,
        coef_=np.where(estimable, coef, np.nan),
        std_err_=np.where(estimable, std_err, np.nan),
        log_likelihood_=np.where(estimable, fits.best, np.nan),
        null_log_likelihood_=np.where(estimable, null, np.nan),
        n_=scale.n_,
        events_=fits.events.astype(np.float64),
        separated_=fits.separated,
        constant_=fits.constant,
        refused_=fits.refused,
        within_site=within_site,
        rounds_=fits.rounds,
    )

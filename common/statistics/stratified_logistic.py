"""common/statistics: logistic regression whose slopes are common to all sites and whose intercepts are not.

`fixed`: an intercept a site, profiled out inside it; the sums of the profile scores and informations are those of a
regression with one indicator a site. `conditional`: the likelihood given each site's number of events, in which no
intercept is left (Breslow & Day, Statistical Methods in Cancer Research 1, 1980, chapter 7), by a recursion over
the patients inside the site (Gail, Lubin & Rubinstein, Biometrika 1981;68:703). A site with one class says nothing of
slopes either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import chi2_p
from common.statistics.logistic import LogisticResult, logistic, logistic_weight
from common.statistics.moments import moments
from common.statistics.newton import MAX_ROUNDS, STEP_TOLERANCE, Ascent, ascend
from common.statistics.univariable import site_intercepts
from common.statistics.wald import wald_row
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray


class SiteHandling(StrEnum):
    """What a regression does about differences between sites."""

    COMMON = "common"
    """One intercept for all."""
    FIXED = "fixed"
    """An intercept a site."""
    CONDITIONAL = "conditional"
    """Given each site's number of events; without the bias that many intercepts of small sites bring."""


@dataclass(frozen=True)
class StratifiedSums(Query):
    """Score, information and log-likelihood of common slopes, each site's intercept taken out by itself.

    `coefficients` (p + 1,): the intercept that all patients together would have, and the slopes.
    """

    name: ClassVar[str] = "query.stratified_logistic"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    coefficients: FloatField
    conditional: bool

    def blocks(self) -> Mapping[str, Block]:
        """`score` (p,), `information` (p(p+1)/2,) lower triangle, `log_likelihood` () of the slopes; `expected` () and
        `weight` (p + 1,): expected events at the common intercept and their derivatives; `n`, `events`, `sites` and
        `informative` () sites with both classes."""
        p = len(self.columns)
        return {
            "score": Block((p,), Kind.REAL),
            "information": Block((p * (p + 1) // 2,), Kind.REAL),
            "log_likelihood": Block((), Kind.REAL),
            "expected": Block((), Kind.REAL),
            "weight": Block((p + 1,), Kind.REAL),
            "n": Block((), Kind.COUNT),
            "events": Block((), Kind.COUNT),
            "sites": Block((), Kind.COUNT),
            "informative": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one Newton step of a logistic regression of {self.endpoint} on {len(self.columns)} columns within sites, "
            f"cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """Slopes and an intercept."""
        return len(self.columns) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        return self.coefficients.shape == (self.parameters,)

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) 4 mu (1 - mu) at the site's own and at the common intercept; 1 where it has one class."""
        x, y = frame.matrix(self.columns), frame.endpoints[self.endpoint]
        linear = x @ self.coefficients[1:]
        one_class = float(y.sum()) in (0.0, float(frame.n))
        own = np.ones(frame.n) if one_class else logistic_weight(_own_intercept(linear, y) + linear)
        return np.stack([own, logistic_weight(self.coefficients[0] + linear)])

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        x, y = frame.matrix(self.columns), frame.endpoints[self.endpoint]
        linear, p = x @ self.coefficients[1:], len(self.columns)
        events = int(y.sum())
        score, information, log_likelihood = np.zeros(p), np.zeros((p, p)), 0.0
        if 0 < events < frame.n:
            part = conditional_part if self.conditional else profile_part
            score, information, log_likelihood = part(x, y, linear)
        mu = logistic_function(self.coefficients[0] + linear)
        return {
            "score": score,
            "information": information[np.tril_indices(p)],
            "log_likelihood": np.array(log_likelihood),
            "expected": np.array(mu.sum()),
            "weight": (mu * (1.0 - mu)) @ np.column_stack([np.ones(frame.n), x]),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(events, dtype=np.int64),
            "sites": np.array(1, dtype=np.int64),
            "informative": np.array(int(0 < events < frame.n), dtype=np.int64),
        }


Part = tuple[FloatArray, FloatArray, float]
"""(p,) score, (p, p) information and log-likelihood of one site."""


def _own_intercept(linear: FloatArray, y: FloatArray) -> float:
    known = np.ones((y.size, 1))
    return float(site_intercepts(linear[:, np.newaxis], known, np.array([y.sum()]))[0])


def profile_part(x: FloatArray, y: FloatArray, linear: FloatArray) -> Part:
    """One site's part with its intercept at its maximum for these slopes; (n, p), (n,), (n,) without intercept."""
    linear = _own_intercept(linear, y) + linear
    mu = logistic_function(linear)
    weight = mu * (1.0 - mu)
    centred = x - (weight @ x) / weight.sum()
    information = centred.T @ (centred * weight[:, np.newaxis])
    log_likelihood = -float(np.sum(np.logaddexp(0.0, np.where(y == 1.0, -linear, linear))))
    return x.T @ (y - mu), information, log_likelihood


def conditional_part(x: FloatArray, y: FloatArray, linear: FloatArray) -> Part:
    """One site's part given its number of events m; (n, p), (n,), (n,) linear predictors.

    The recursion carries, for k = 0 to m events among the patients so far, the logarithm of the sum over all ways to
    have k events, and mean and covariance of the sum of their predictors over those ways. A patient more makes each
    of these a mixture of two, so that nothing overflows and nothing cancels. Of the two classes the rarer is counted,
    which leaves likelihood and information as they are.
    """
    n, p = x.shape
    # Centring changes neither score nor information, and keeps the sums small.
    x = x - x.mean(axis=0)
    sign = 1.0 if 2.0 * y.sum() <= n else -1.0
    cases = y == (1.0 if sign > 0 else 0.0)
    linear, m = sign * linear, int(cases.sum())
    log_ways = np.full(m + 1, -np.inf)
    log_ways[0] = 0.0
    mean, covariance = np.zeros((m + 1, p)), np.zeros((m + 1, p, p))
    for t in range(n):
        # Only numbers of events that can still become m are carried.
        k = np.arange(max(1, m - (n - t - 1)), min(t + 1, m) + 1)
        with_event = linear[t] + log_ways[k - 1]
        together = np.logaddexp(log_ways[k], with_event)
        share = np.exp(with_event - together)[:, np.newaxis]
        apart = mean[k - 1] + x[t] - mean[k]
        both = share * (1.0 - share)
        covariance[k] = (
            (1.0 - share)[:, :, np.newaxis] * covariance[k]
            + share[:, :, np.newaxis] * covariance[k - 1]
            + (both * apart)[:, :, np.newaxis] * apart[:, np.newaxis, :]
        )
        mean[k] += share * apart
        log_ways[k] = together
    score = sign * (x[cases].sum(axis=0) - mean[m])
    return score, covariance[m], float(linear[cases].sum() - log_ways[m])


@dataclass(frozen=True)
class StratifiedLogisticResult:
    """A logistic regression with a stated handling of sites.

    Attributes
    ----------
    sites
        How sites were handled.
    columns
        The predictors.
    coef_, std_err_, covariance_
        (p,), (p,), (p, p) slopes on the predictors' own scale; NaN where the data are separated.
    log_likelihood_, null_log_likelihood_
        At the fit, and with all slopes zero and intercepts as in the fit; of the conditional likelihood where that
        was maximised, so that they compare with fits of the same handling only.
    new_site_intercept_
        What a site gets that was not in the fit: the one intercept at which, given the slopes, predicted events equal
        observed ones over all patients. The fitted intercept where it is common.
    n_, events_
        Patients and events, of all sites.
    sites_, informative_sites_
        Sites, and those that have both classes; the others say nothing of the slopes unless the intercept is common.
        None where the intercept is common: nothing then depends on sites.
    separated_
        Some combination of predictors tells the classes apart inside every site.
    """

    sites: SiteHandling
    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    covariance_: FloatArray
    log_likelihood_: float
    null_log_likelihood_: float
    new_site_intercept_: float
    n_: int
    events_: int
    sites_: int | None
    informative_sites_: int | None
    rounds_: int
    separated_: bool

    @property
    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of the test that all slopes are zero."""
        chi2 = 2.0 * (self.log_likelihood_ - self.null_log_likelihood_)
        return chi2, len(self.columns), chi2_p(chi2, len(self.columns))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor: coefficient and odds ratio with 95 % intervals, Wald z and p."""
        return [wald_row(*row) for row in zip(self.columns, self.coef_, self.std_err_, strict=True)]


class _Intercept:
    """The intercept of all patients together, which takes a Newton step of its own with each step of the slopes."""

    def __init__(self, p: int) -> None:
        self.value, self.step, self._slopes, self._sums = 0.0, np.inf, np.zeros(p), Summary()

    def follow(self, slopes: FloatArray) -> FloatArray:
        """(p + 1,) coefficients to ask for next."""
        if self._sums:
            excess = float(self._sums["expected"]) - float(self._sums["events"])
            moved = float(self._sums["weight"][1:] @ (slopes - self._slopes))
            self.step = -(excess + moved) / float(self._sums["weight"][0])
            self.value += self.step
            self._sums = Summary()
        self._slopes = slopes
        return np.append(self.value, slopes)

    def heard(self, sums: Summary) -> None:
        """The sums at the last coefficients."""
        self._sums = sums


def stratified_logistic(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], sites: SiteHandling, model: str = ""
) -> Conclusion[StratifiedLogisticResult]:
    """Logistic regression of a binary endpoint with a stated handling of sites.

    The recipe must leave complete cases. As `logistic`: two rounds of moments, then Newton's method. With `fixed` and
    `conditional`, splitting a site in two changes the result.

    Raises
    ------
    FedmviError
        602 one class only, or in every site, 603 linearly dependent predictors or none that varies inside sites, 604
        no convergence; 601 no patients.
    """
    if sites is SiteHandling.COMMON:
        return _common((yield from logistic(cohort, recipe, endpoint, columns, model)))
    scale = yield from moments(cohort, recipe, columns)
    scale.require_spread(model)
    standard = recipe.then(scale.standardising)
    intercept = _Intercept(len(columns))

    def question(slopes: FloatArray) -> Query:
        at = intercept.follow(slopes)
        return StratifiedSums(cohort, standard, endpoint, columns, at, sites is SiteHandling.CONDITIONAL)

    def heard(sums: Summary) -> int:
        if int(sums["informative"]) == 0:
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        intercept.heard(sums)
        return int(sums["n"])

    fit = yield from ascend(question, np.zeros(len(columns)), heard, model=model)
    rounds = fit.rounds
    while not fit.separated and not _settled(intercept, fit):
        heard((yield total(question(fit.coef))))
        rounds += 1
        if rounds >= 2 * MAX_ROUNDS:
            raise FedmviError(604, model=model)
    p = len(columns)
    covariance, at = np.full((p, p), np.nan), np.full(p, np.nan)
    new = float("nan")
    if not fit.separated:
        covariance = np.linalg.inv(fit.information) / np.outer(scale.std_, scale.std_)
        at = fit.coef / scale.std_
        new = intercept.value - float(at @ scale.mean_)
    return StratifiedLogisticResult(
        sites=sites,
        columns=columns,
        coef_=at,
        std_err_=np.sqrt(np.diag(covariance)),
        covariance_=covariance,
        log_likelihood_=fit.log_likelihood,
        null_log_likelihood_=fit.first_log_likelihood,
        new_site_intercept_=new,
        n_=int(fit.sums["n"]),
        events_=int(fit.sums["events"]),
        sites_=int(fit.sums["sites"]),
        informative_sites_=int(fit.sums["informative"]),
        rounds_=rounds,
        separated_=fit.separated,
    )


def _settled(intercept: _Intercept, fit: Ascent) -> bool:
    """Let the intercept follow the last step of the slopes; whether its own step was small enough."""
    intercept.follow(fit.coef)
    return abs(intercept.step) < STEP_TOLERANCE


def _common(fit: LogisticResult) -> StratifiedLogisticResult:
    """The slopes of a regression with one intercept."""
    return StratifiedLogisticResult(
        sites=SiteHandling.COMMON,
        columns=fit.columns[1:],
        coef_=fit.coef_[1:],
        std_err_=fit.std_err_[1:],
        covariance_=fit.covariance_[1:, 1:],
        log_likelihood_=fit.log_likelihood_,
        null_log_likelihood_=fit.null_log_likelihood_,
        new_site_intercept_=float(fit.coef_[0]),
        n_=fit.n_,
        events_=fit.events_,
        sites_=None,
        informative_sites_=None,
        rounds_=fit.rounds_,
        separated_=fit.separated_,
    )

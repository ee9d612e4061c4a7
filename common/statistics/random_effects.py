"""common/statistics: random-effects summary of logistic regressions that sites fitted alone and may show.

Each site releases its own coefficients and their covariance; they are combined coefficient by coefficient, by
inverse variances with one true value (fixed), and with values that vary between sites by tau2, estimated by
DerSimonian & Laird (Control Clin Trials 1986;7:177) and by restricted maximum likelihood (Viechtbauer, J Educ Behav
Stat 2005;30:261). This is no pooled analysis: results of small sites are biased away from null, and pooled slopes
need none of it (see `stratified_logistic`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Risk, SiteView, Summary, each
from common.federation.runner import Conclusion, attempt
from common.statistics.counts import hide_in_row
from common.statistics.distributions import Z975, chi2_p, chi2_quantile, two_sided_p
from common.statistics.logistic import logistic
from common.statistics.newton import symmetric
from common.study.recipe import Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class LogisticAlone(Alone):
    """One site's own logistic regression: it runs the same conclusion over itself and releases the guarded result."""

    name: ClassVar[str] = "query.logistic_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    columns: tuple[str, ...]
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`, `estimable` (), `coef` (p,) intercept first, `covariance` (p(p+1)/2,)."""
        p = self.parameters
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "coef": Block((p,), Kind.REAL),
            "covariance": Block((p * (p + 1) // 2,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own logistic regression of {self.endpoint} on {len(self.columns)} columns"

    @property
    def parameters(self) -> int:
        """Coefficients, with the intercept."""
        return len(self.columns) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    def respond(self, site: SiteView) -> Summary:
        """Not estimable with fewer than `min_class` patients in a class, where the fit fails, or where it is separated;
        then only counts are told."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        p = self.parameters
        summary: Summary = {
            "classes": hide_in_row(np.array([frame.n - events, events, 0], dtype=np.int64), self.min_cell),
            "estimable": np.array(0, dtype=np.int64),
            "coef": np.zeros(p),
            "covariance": np.zeros(p * (p + 1) // 2),
        }
        if min(events, frame.n - events) >= max(self.min_class, 2):
            fit = self.conclude(site, attempt(logistic(self.cohort, self.recipe, self.endpoint, self.columns)))
            if not isinstance(fit, FedmviError) and not fit.separated_:
                summary["estimable"] = np.array(1, dtype=np.int64)
                summary["coef"] = fit.coef_
                summary["covariance"] = fit.covariance_[np.tril_indices(p)]
        return summary


class Method(StrEnum):
    """How the variance between sites is estimated."""

    FIXED = "fixed"
    """It is none: one true value for all sites."""
    DERSIMONIAN_LAIRD = "dersimonian-laird"
    REML = "reml"


@dataclass(frozen=True)
class MetaAnalysis:
    """Estimates of k sites combined by one method.

    Attributes
    ----------
    estimate_, std_err_
        Mean of the sites' values, weights 1 / (variance + tau2).
    tau2_
        Variance between sites.
    i2_
        Share of the variation that is between sites, in per cent: tau2 / (tau2 + typical variance within), Higgins &
        Thompson, Stat Med 2002;21:1539, equation 9; with `dersimonian-laird` it is 100 (Q - df) / Q.
    tau2_limits_, i2_limits_
        95 % limits of both, whatever the method (see `q_profile`); NaN of a single site.
    q_, degrees_
        Cochran's statistic, weights 1 / variance, whatever the method.
    hartung_knapp_
        Lower and upper 95 % limits with t of k - 1 degrees (Hartung & Knapp, Stat Med 2001;20:3875), not widened where
        they are narrower than the normal ones; NaN of a single site.
    prediction_
        95 % limits for the true value of a new site, t of k - 2 degrees (Higgins, Thompson & Spiegelhalter, J R Stat
        Soc A 2009;172:137, section 3.3); NaN below three sites.
    """

    method: Method
    estimate_: float
    std_err_: float
    tau2_: float
    tau2_limits_: tuple[float, float]
    i2_: float
    i2_limits_: tuple[float, float]
    q_: float
    degrees_: int
    hartung_knapp_: tuple[float, float]
    prediction_: tuple[float, float]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % limits by the normal distribution."""
        return self.estimate_ - Z975 * self.std_err_, self.estimate_ + Z975 * self.std_err_

    @property
    def p(self) -> float:
        """Two-sided, by the normal distribution."""
        return two_sided_p(self.estimate_ / self.std_err_)

    @property
    def heterogeneity_p(self) -> float:
        """Of Cochran's Q; NaN of a single site."""
        return chi2_p(self.q_, self.degrees_) if self.degrees_ else float("nan")


def meta_analysis(estimates: FloatArray, variances: FloatArray, method: Method) -> MetaAnalysis:
    """Combine (k,) estimates with (k,) variances, k at least 1.

    Raises
    ------
    FedmviError
        601 no estimate at all.
    """
    k = estimates.size
    if k == 0:
        raise FedmviError(601)
    weight = 1.0 / variances
    mean = float(weight @ estimates / weight.sum())
    q = float(weight @ np.square(estimates - mean))
    typical = (k - 1) * weight.sum() / (weight.sum() ** 2 - np.square(weight).sum()) if k > 1 else float("nan")
    if method is Method.FIXED or k == 1:
        tau2 = 0.0
    elif method is Method.DERSIMONIAN_LAIRD:
        tau2 = max(0.0, (q - (k - 1)) / float(weight.sum() - np.square(weight).sum() / weight.sum()))
    else:
        tau2 = reml(estimates, variances)
    weight = 1.0 / (variances + tau2)
    mean = float(weight @ estimates / weight.sum())
    std_err = float(1.0 / np.sqrt(weight.sum()))
    knapp = predicted = limits = (float("nan"), float("nan"))
    if k > 1:
        limits = q_profile(estimates, variances)
        scaled = float(np.sqrt(weight @ np.square(estimates - mean) / ((k - 1) * weight.sum())))
        knapp = _around(mean, scaled, k - 1)
    if k > 2:
        predicted = _around(mean, float(np.sqrt(std_err**2 + tau2)), k - 2)
    i2 = 100.0 * tau2 / (tau2 + float(typical))
    if method is Method.FIXED and k > 1:
        i2 = max(0.0, 100.0 * (q - (k - 1)) / q) if q > 0 else 0.0
    low, high = (100.0 * limit / (limit + float(typical)) for limit in limits)
    return MetaAnalysis(method, mean, std_err, tau2, limits, i2, (low, high), q, k - 1, knapp, predicted)


def _around(mean: float, spread: float, degrees: int) -> tuple[float, float]:
    from scipy import special

    half = float(special.stdtrit(degrees, 0.975)) * spread
    return mean - half, mean + half


def reml(estimates: FloatArray, variances: FloatArray) -> float:
    """Restricted maximum-likelihood variance between (k,) estimates of k > 1 sites, 0 if its score is negative there.

    The root of the restricted score sum(w^2 (y - mean)^2) - sum(w) + sum(w^2) / sum(w), w = 1 / (variance + tau2)
    (Viechtbauer 2005, equation 16).
    """
    from scipy import optimize

    def score(tau2: float) -> float:
        weight = 1.0 / (variances + tau2)
        residual = estimates - weight @ estimates / weight.sum()
        square = np.square(weight)
        return float(square @ np.square(residual) - weight.sum() + square.sum() / weight.sum())

    if score(0.0) <= 0:
        return 0.0
    high = float(np.var(estimates, ddof=1) + variances.max())
    while score(high) > 0:
        high *= 2.0
    return float(optimize.brentq(score, 0.0, high, xtol=1e-300, rtol=4 * np.finfo(np.float64).eps, maxiter=500))


def q_profile(estimates: FloatArray, variances: FloatArray) -> tuple[float, float]:
    """95 % limits of the variance between (k,) estimates of k > 1 sites; a limit is 0 where none above it is refused.

    Those variances for which Q, weighted by 1 / (variance + tau2), is a quantile of the chi-square distribution with
    k - 1 degrees (Viechtbauer, Stat Med 2007;26:37, section 2.6): exact where the sites' variances are.
    """
    from scipy import optimize

    def excess(tau2: float, quantile: float) -> float:
        weight = 1.0 / (variances + tau2)
        return float(weight @ np.square(estimates - weight @ estimates / weight.sum())) - quantile

    limits = []
    for tail in (0.975, 0.025):
        quantile = chi2_quantile(tail, estimates.size - 1)
        if excess(0.0, quantile) <= 0:
            limits.append(0.0)
            continue
        high = float(np.var(estimates, ddof=1) + variances.max())
        while excess(high, quantile) > 0:
            high *= 2.0
        limits.append(float(optimize.brentq(excess, 0.0, high, (quantile,), rtol=1e-14, maxiter=500)))
    return limits[0], limits[1]


@dataclass(frozen=True)
class RandomEffectsResult:
    """Sites' own logistic regressions, combined.

    Attributes
    ----------
    columns
        Names of the parameters, `intercept` first.
    sites_
        Names of the sites whose results are combined.
    left_out_
        Names of those that released none, or could not fit.
    estimates_, variances_
        (sites, p) as released.
    by_method_
        For each `Method`, in its order: one combination a parameter.
    """

    columns: tuple[str, ...]
    sites_: tuple[str, ...]
    left_out_: tuple[str, ...]
    estimates_: FloatArray
    variances_: FloatArray
    by_method_: tuple[tuple[MetaAnalysis, ...], ...]

    def of(self, method: Method) -> tuple[MetaAnalysis, ...]:
        """(p,) combinations by one method."""
        return self.by_method_[list(Method).index(method)]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a method and parameter."""
        return [
            {
                "method": fit.method.value,
                "term": name,
                "sites": len(self.sites_),
                "coef": fit.estimate_,
                "std_err": fit.std_err_,
                "coef_low": fit.interval[0],
                "coef_high": fit.interval[1],
                "p": fit.p,
                "tau2": fit.tau2_,
                "tau2_low": fit.tau2_limits_[0],
                "tau2_high": fit.tau2_limits_[1],
                "i2": fit.i2_,
                "i2_low": fit.i2_limits_[0],
                "i2_high": fit.i2_limits_[1],
                "q": fit.q_,
                "heterogeneity_p": fit.heterogeneity_p,
                "hartung_knapp_low": fit.hartung_knapp_[0],
                "hartung_knapp_high": fit.hartung_knapp_[1],
                "prediction_low": fit.prediction_[0],
                "prediction_high": fit.prediction_[1],
            }
            for fits in self.by_method_
            for name, fit in zip(self.columns, fits, strict=True)
        ]


def random_effects(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], min_class: int, min_cell: int
) -> Conclusion[RandomEffectsResult]:
    """Ask each site for its own logistic regression, and combine those that there are; one round.

    Parameters
    ----------
    min_class
        Patients a site needs in either class to fit.
    min_cell
        Counts below it are hidden.

    Raises
    ------
    FedmviError
        601 no site released a result.
    """
    parts = yield each(LogisticAlone(cohort, recipe, endpoint, columns, min_class, min_cell=min_cell))
    told = {
        site: part
        for site, part in sorted(parts.items())
        if not isinstance(part, FedmviError) and int(part["estimable"]) == 1
    }
    if not told:
        raise FedmviError(601, cohort=cohort)
    p = len(columns) + 1
    estimates = np.stack([part["coef"] for part in told.values()])
    variances = np.stack([np.diag(symmetric(part["covariance"], p)) for part in told.values()])
    by_method = tuple(
        tuple(meta_analysis(estimates[:, j], variances[:, j], method) for j in range(p)) for method in Method
    )
    left_out = tuple(sorted(set(parts) - set(told)))
    return RandomEffectsResult(("intercept", *columns), tuple(told), left_out, estimates, variances, by_method)

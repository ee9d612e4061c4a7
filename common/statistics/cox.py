"""common/statistics: Cox regression, stratified by site, by Newton's method on summed partial likelihoods.

Each site compares its own patients only and sends score, information and log-likelihood of its own partial likelihood
at the broadcast coefficients: no event time and no risk set leaves. The sums are those of the pooled model with one
baseline hazard a site, so the fit is the pooled stratified fit (Cox, J R Stat Soc B 1972;34:187; Kalbfleisch &
Prentice, The Statistical Analysis of Failure Time Data, 2002, section 4.4). Columns are standardised for the iteration
only; results are on their own scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import survival_outcome
from common.statistics.distributions import Z975, chi2_p, two_sided_p
from common.statistics.moments import Moments, moments
from common.statistics.newton import Ascent, ascend, symmetric
from common.statistics.partial_likelihood import PartialLikelihood, Ties, share_of_hazard
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


def lower_triangle(matrix: FloatArray) -> FloatArray:
    """(..., p(p+1)/2) of the (..., p, p) symmetric matrices."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def followed_to(horizon: float | None) -> str:
    """How a horizon is told at the end of a question's words."""
    return "" if horizon is None else f", followed to {horizon:g}"


@dataclass(frozen=True)
class StratifiedCox(Query):
    """What queries about partial likelihoods inside sites share.

    `strata` are columns that divide a site further. Whoever is followed beyond the `horizon` is censored at it; `None`
    for all the time there is.
    """

    endpoint: str
    columns: tuple[str, ...]
    strata: tuple[str, ...]
    ties: Ties
    coefficients: FloatField
    horizon: float | None = field(default=None, kw_only=True)

    @property
    def parameters(self) -> int:
        """Coefficients."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """Predictors and strata."""
        return (*self.columns, *self.strata)

    def consistent(self) -> bool:
        """See `Query`."""
        timed = self.horizon is None or self.horizon > 0
        return timed and len(self.columns) > 0 and self.coefficients.shape == (self.parameters,)

    def influence(self, frame: Frame) -> FloatArray:
        """See `share_of_hazard`: coefficients can let one patient stand for every risk set."""
        linear = frame.matrix(self.columns) @ self.coefficients
        return share_of_hazard(np.exp(linear - np.max(linear, initial=-np.inf)))

    def parts(self, frame: Frame) -> Iterator[PartialLikelihood]:
        """The partial likelihood of each stratum of the site."""
        X, strata = frame.matrix(self.columns), frame.matrix(self.strata)
        time, event = survival_outcome(frame, self.endpoint, self.horizon)
        for stratum in np.unique(strata, axis=0):
            rows = np.all(strata == stratum, axis=1)
            yield PartialLikelihood.of(time[rows], event[rows], X[rows], self.coefficients[np.newaxis], self.ties)


@dataclass(frozen=True)
class CoxSums(StratifiedCox):
    """Score, information and log-likelihood of a Cox model inside each site at given coefficients."""

    name: ClassVar[str] = "query.cox"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`score` (p,), `information` (p(p+1)/2,) lower triangle, `log_likelihood`, `n` and `events` ()."""
        p = self.parameters
        return {
            "score": Block((p,), Kind.REAL),
            "information": Block((p * (p + 1) // 2,), Kind.REAL),
            "log_likelihood": Block((), Kind.REAL),
            "n": Block((), Kind.COUNT),
            "events": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        until = followed_to(self.horizon)
        step = f"one Newton step of a Cox regression of {self.endpoint} on {len(self.columns)} columns inside the site"
        return step + until

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; one without events has none. The frame has complete cases only."""
        p = self.parameters
        score, information, log_likelihood, events = np.zeros(p), np.zeros((p, p)), 0.0, 0
        for part in self.parts(frame):
            events += int(np.count_nonzero(part.sets.death))
            score = score + part.score()[0]
            information = information + part.information()[0]
            log_likelihood += float(part.log_likelihood[0])
        return {
            "score": score,
            "information": lower_triangle(information),
            "log_likelihood": np.array(log_likelihood),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(events, dtype=np.int64),
        }


@dataclass(frozen=True)
class CoxResiduals(StratifiedCox):
    """Sum of the squares and products of the patients' score residuals: the middle of the sandwich."""

    name: ClassVar[str] = "query.cox_residuals"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`square` (p(p+1)/2,) lower triangle."""
        return {"square": Block((self.parameters * (self.parameters + 1) // 2,), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        columns = f"{len(self.columns)} columns{followed_to(self.horizon)}"
        return f"squared score residuals of a Cox regression of {self.endpoint} on {columns}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums over its patients."""
        square = np.zeros((self.parameters, self.parameters))
        for part in self.parts(frame):
            residuals = part.score_residuals()[:, 0]
            square = square + residuals.T @ residuals
        return {"square": lower_triangle(square)}


@dataclass(frozen=True)
class CoxResult:
    """A fitted Cox regression.

    Attributes
    ----------
    columns
        Names of the predictors.
    coef_, std_err_, robust_std_err_
        (p,) log hazard ratios on the predictors' own scale, with errors from the information and from the sandwich
        (Lin & Wei, J Am Stat Assoc 1989;84:1074; each patient a cluster); NaN where the likelihood is monotone.
    covariance_, robust_covariance_
        (p, p)
    log_likelihood_, null_log_likelihood_
        Log partial likelihood at the fit and at zero.
    n_, events_, rounds_
        Patients, patients with the event, and Newton rounds.
    separated_
        Some combination of predictors puts the deaths in order, so that no maximum-likelihood estimate exists.
    """

    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    robust_std_err_: FloatArray
    covariance_: FloatArray
    robust_covariance_: FloatArray
    log_likelihood_: float
    null_log_likelihood_: float
    n_: int
    events_: int
    rounds_: int
    separated_: bool

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor: log hazard ratio, errors, Wald z and p, hazard ratio, each with its 95 % interval.

        z, p and intervals are of the error from the information; `robust_p` is of the robust one.
        """
        rows = []
        for name, coef, se, robust in zip(self.columns, self.coef_, self.std_err_, self.robust_std_err_, strict=True):
            low, high = coef - Z975 * se, coef + Z975 * se
            rows.append(
                {
                    "term": name,
                    "coef": float(coef),
                    "std_err": float(se),
                    "robust_std_err": float(robust),
                    "coef_low": float(low),
                    "coef_high": float(high),
                    "z": float(coef / se),
                    "p": two_sided_p(float(coef / se)),
                    "robust_p": two_sided_p(float(coef / robust)),
                    "hazard_ratio": float(np.exp(coef)),
                    "hazard_ratio_low": float(np.exp(low)),
                    "hazard_ratio_high": float(np.exp(high)),
                }
            )
        return rows

    @property
    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of the test that no predictor matters."""
        chi2 = 2.0 * (self.log_likelihood_ - self.null_log_likelihood_)
        return chi2, len(self.columns), chi2_p(chi2, len(self.columns))

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * len(self.columns) - 2.0 * self.log_likelihood_


def standardised(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], model: str
) -> Conclusion[tuple[Recipe, Moments]]:
    """The recipe with the columns standardised, and their moments; error 603 for a constant one."""
    scale = yield from moments(cohort, recipe, columns)
    scale.require_spread(model)
    return recipe.then(scale.standardising), scale


@dataclass(frozen=True)
class StratifiedFit:
    """Where a stratified fit ended, for what is built on it: the standardising recipe, the moments, the maximum."""

    recipe: Recipe
    scale: Moments
    ascent: Ascent


def fit_stratified(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    strata: tuple[str, ...],
    ties: Ties,
    model: str,
    horizon: float | None = None,
) -> Conclusion[StratifiedFit]:
    """The fit behind `cox`; the same rounds, so that both in lock-step are asked once."""
    standard, scale = yield from standardised(cohort, recipe, columns, model)

    def question(beta: FloatArray) -> CoxSums:
        return CoxSums(cohort, standard, endpoint, columns, strata, ties, beta, horizon=horizon)

    def events(sums: Summary) -> int:
        if int(sums["events"]) == 0:
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        return int(sums["events"])

    ascent = yield from ascend(question, np.zeros(len(columns)), events, model=model)
    return StratifiedFit(standard, scale, ascent)


def cox(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    *,
    strata: tuple[str, ...] = (),
    ties: Ties = Ties.EFRON,
    model: str = "",
    horizon: float | None = None,
) -> Conclusion[CoxResult]:
    """Cox regression of a survival endpoint on columns, with a baseline hazard for each site (and stratum in it).

    The recipe must leave complete cases. Two rounds of moments, Newton's rounds, and one for the robust errors.
    A site without events adds nothing. With a `horizon` whoever is followed longer is censored at it. Equals R's
    coxph(.. + strata(site), robust = TRUE). It is not invariant to how patients are spread over sites: sites are part
    of the model.

    Raises
    ------
    FedmviError
        601 no patients, 602 no events, 603 linearly dependent predictors (one that is constant inside every site,
        too), 604 no convergence, 655 a time or event without meaning.
    """
    fit = yield from fit_stratified(cohort, recipe, endpoint, columns, strata, ties, model, horizon)
    square = None
    if not fit.ascent.separated:
        asked = (cohort, fit.recipe, endpoint, columns, strata, ties, fit.ascent.coef)
        reply = yield total(CoxResiduals(*asked, horizon=horizon))
        square = symmetric(reply["square"], len(columns))
    return conclude_fit(columns, fit.scale.std_, fit.ascent, square)


def conclude_fit(columns: tuple[str, ...], scale: FloatArray, ascent: Ascent, square: FloatArray | None) -> CoxResult:
    """The result on the columns' own scale; `square` (p, p) is of the score residuals, None where separated."""
    p = len(columns)
    if square is None:
        coef, covariance, robust = np.full(p, np.nan), np.full((p, p), np.nan), np.full((p, p), np.nan)
    else:
        inverse = np.linalg.inv(ascent.information) / scale[:, np.newaxis]
        coef, covariance = ascent.coef / scale, inverse / scale
        robust = inverse @ square @ inverse.T
    return CoxResult(
        columns=columns,
        coef_=coef,
        std_err_=np.sqrt(np.diag(covariance)),
        robust_std_err_=np.sqrt(np.diag(robust)),
        covariance_=covariance,
        robust_covariance_=robust,
        log_likelihood_=ascent.log_likelihood,
        null_log_likelihood_=ascent.first_log_likelihood,
        n_=int(ascent.sums["n"]),
        events_=int(ascent.sums["events"]),
        rounds_=ascent.rounds,
        separated_=ascent.separated,
    )

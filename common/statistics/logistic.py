"""common/statistics: logistic regression by Newton's method on summed scores and information.

Each site sends X'(y - mu), X'WX and its log-likelihood at the broadcast coefficients (GLORE: Wu et al., J Am Med
Inform Assoc 2012;19:758); their sums are those of the pooled data, so the fit is the pooled maximum-likelihood
fit. Predictors are standardised for the iteration only; results are on the predictors' own scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975, chi2_p, two_sided_p
from common.statistics.moments import moments
from common.study.recipe import Frame, Recipe, Standardise, logistic_function
from common.study.table import FloatArray

MAX_ROUNDS = 25
STEP_TOLERANCE = 1e-10
# Separation, on the standardised scale: a finite fit takes full Newton steps below 1e-6
# well before this round; a separated one drifts on by about one unit a round.
SEPARATION_ROUND = 15
SEPARATION_STEP = 1e-6
SEPARATION_EIGENVALUE = 1e-9
COLLINEAR_EIGENVALUE = 1e-11
VANISHING_WEIGHT = 416
PERFECT_FIT = 0.02
"""Loss per patient below which the classes are told apart almost without error."""


def logistic_weight(linear: FloatArray) -> FloatArray:
    """4 mu (1 - mu) of a linear predictor of any shape, at most 1."""
    weight: FloatArray = 1.0 / np.square(np.cosh(np.clip(linear / 2.0, -300.0, 300.0)))
    return weight


@dataclass(frozen=True)
class LogisticSums(Query):
    """Score, information and log-likelihood of a logistic model at given coefficients, intercept first."""

    name: ClassVar[str] = "query.logistic"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`score` (p,), `information` (p(p+1)/2,) lower triangle, `log_likelihood` (), `n` and `events` ()."""
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
        return (
            f"one Newton step of a logistic regression of {self.endpoint} on {len(self.columns)} columns, "
            f"cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """Coefficients, with the intercept."""
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
        """4 mu (1 - mu): a patient whose outcome the model is sure of has none."""
        linear = self.coefficients[0] + frame.matrix(self.columns) @ self.coefficients[1:]
        return logistic_weight(linear)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        design = np.column_stack([np.ones(frame.n), frame.matrix(self.columns)])
        y = frame.endpoints[self.endpoint]
        linear = design @ self.coefficients
        mu = logistic_function(linear)
        information = design.T @ (design * (mu * (1.0 - mu))[:, np.newaxis])
        log_likelihood = -np.sum(np.logaddexp(0.0, np.where(y == 1.0, -linear, linear)))
        return {
            "score": design.T @ (y - mu),
            "information": information[np.tril_indices(self.parameters)],
            "log_likelihood": np.array(log_likelihood),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(int(y.sum()), dtype=np.int64),
        }


@dataclass(frozen=True)
class LogisticResult:
    """A fitted logistic regression.

    Attributes
    ----------
    columns
        Names of the parameters, `intercept` first.
    coef_, std_err_
        (p,) on the predictors' own scale; NaN where the data are separated.
    covariance_
        (p, p) inverse of the observed information.
    log_likelihood_, null_log_likelihood_
        At the fit, and of the intercept alone.
    n_, events_, rounds_
        Patients, patients with the endpoint, and Newton rounds.
    separated_
        Some combination of predictors tells the classes apart (completely or quasi-completely), so that no
        maximum-likelihood estimate exists.
    """

    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    covariance_: FloatArray
    log_likelihood_: float
    null_log_likelihood_: float
    n_: int
    events_: int
    rounds_: int
    separated_: bool

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a parameter: coefficient, standard error, Wald z and p, odds ratio, each with its 95 % interval."""
        rows = []
        for name, coef, se in zip(self.columns, self.coef_, self.std_err_, strict=True):
            low, high = coef - Z975 * se, coef + Z975 * se
            rows.append(
                {
                    "term": name,
                    "coef": float(coef),
                    "std_err": float(se),
                    "coef_low": float(low),
                    "coef_high": float(high),
                    "z": float(coef / se),
                    "p": two_sided_p(float(coef / se)),
                    "odds_ratio": float(np.exp(coef)),
                    "odds_ratio_low": float(np.exp(low)),
                    "odds_ratio_high": float(np.exp(high)),
                }
            )
        return rows

    @property
    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of the test against the intercept alone."""
        chi2 = 2.0 * (self.log_likelihood_ - self.null_log_likelihood_)
        degrees = len(self.columns) - 1
        return chi2, degrees, chi2_p(chi2, degrees)

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2.0 * len(self.columns) - 2.0 * self.log_likelihood_


def logistic(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], model: str = ""
) -> Conclusion[LogisticResult]:
    """Maximum-likelihood logistic regression of a binary endpoint on columns, with intercept.

    The recipe must leave complete cases. Newton's method from zero with step halving, two rounds of moments
    before it; stops where the largest step on the standardised scale is below 1e-10.

    Raises
    ------
    FedmviError
        602 one class only, 603 linearly dependent predictors, 604 no convergence; 601 no patients.
    """
    scale = yield from moments(cohort, recipe, columns)
    if not bool(np.all(scale.std_ > 0)):
        raise FedmviError(
            603, f"constant: {[c for c, s in zip(columns, scale.std_, strict=True) if not s > 0]}", model=model
        )
    standard = recipe.then(Standardise(columns, tuple(scale.mean_.tolist()), tuple(scale.std_.tolist())))
    beta = np.zeros(len(columns) + 1)
    best, step, rounds, separated = -np.inf, np.zeros_like(beta), 0, False
    information, n, events = np.zeros((beta.size, beta.size)), 0, 0
    while True:
        try:
            sums = yield total(LogisticSums(cohort, standard, endpoint, columns, beta))
        except FedmviError as error:
            # A site refuses coefficients under which hardly one of its patients has weight. Separation leads there
            # for the pooled patients too; otherwise it is the refusal of a site whose patients are extreme.
            separated = error.number == VANISHING_WEIGHT and n > 0 and -best / n < PERFECT_FIT
            if not separated:
                raise
            break
        rounds += 1
        n, events = int(sums["n"]), int(sums["events"])
        if events in (0, n):
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        information = _full(sums["information"], beta.size)
        log_likelihood = float(sums["log_likelihood"])
        smallest = float(np.linalg.eigvalsh(information)[0]) / n
        if rounds == 1 and smallest < COLLINEAR_EIGENVALUE:
            raise FedmviError(603, model=model)
        if log_likelihood < best - 1e-9 * (1.0 + abs(best)):
            step = step / 2.0
            beta = beta - step
            if rounds >= MAX_ROUNDS:
                raise FedmviError(604, model=model)
            continue
        best = log_likelihood
        if smallest < SEPARATION_EIGENVALUE:
            separated = True
            break
        step = np.linalg.solve(information, sums["score"])
        largest = float(np.max(np.abs(step)))
        if largest < STEP_TOLERANCE:
            beta = beta + step
            break
        if rounds >= SEPARATION_ROUND and largest > SEPARATION_STEP:
            separated = True
            break
        if rounds >= MAX_ROUNDS:
            raise FedmviError(604, model=model)
        beta = beta + step
    return _result(columns, scale.mean_, scale.std_, beta, information, best, n, events, rounds, separated)


def _full(lower: FloatArray, p: int) -> FloatArray:
    """(p, p) symmetric matrix of its lower triangle."""
    full = np.zeros((p, p))
    full[np.tril_indices(p)] = lower
    return full + np.tril(full, -1).T


def _result(
    columns: tuple[str, ...],
    mean: FloatArray,
    scale: FloatArray,
    beta: FloatArray,
    information: FloatArray,
    log_likelihood: float,
    n: int,
    events: int,
    rounds: int,
    separated: bool,
) -> LogisticResult:
    """Back to the predictors' own scale: slope/s, and intercept - sum(slope * m / s)."""
    p = beta.size
    back = np.zeros((p, p))
    back[0, 0] = 1.0
    back[0, 1:] = -mean / scale
    back[np.arange(1, p), np.arange(1, p)] = 1.0 / scale
    prevalence = events / n
    null = events * np.log(prevalence) + (n - events) * np.log1p(-prevalence)
    if separated:
        coef, covariance = np.full(p, np.nan), np.full((p, p), np.nan)
    else:
        coef, covariance = back @ beta, back @ np.linalg.inv(information) @ back.T
    return LogisticResult(
        columns=("intercept", *columns),
        coef_=coef,
        std_err_=np.sqrt(np.diag(covariance)),
        covariance_=covariance,
        log_likelihood_=log_likelihood,
        null_log_likelihood_=float(null),
        n_=n,
        events_=events,
        rounds_=rounds,
        separated_=separated,
    )

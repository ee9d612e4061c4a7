"""common/statistics: logistic regression by Newton's method on summed scores and information.

Each site sends X'(y - mu), X'WX and its log-likelihood at the broadcast coefficients (GLORE: Wu et al., J Am Med
Inform Assoc 2012;19:758); their sums are those of the pooled data, so the fit is the pooled maximum-likelihood
fit. Predictors are standardised for the iteration only; results are on the predictors' own scale.

A quadratic penalty (ridge: le Cessie & van Houwelingen, Appl Stat 1992;41:191), an offset and weights of the two
classes are options of the same loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.distributions import chi2_p
from common.statistics.moments import Moments, moments
from common.statistics.newton import Ascent, ascend
from common.statistics.wald import wald_row
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray

ClassWeights = tuple[float, float]
"""Weights of the patients without and with the endpoint."""

LARGEST_WEIGHT = 1e3


def logistic_weight(linear: FloatArray) -> FloatArray:
    """4 mu (1 - mu) of a linear predictor of any shape, at most 1."""
    weight: FloatArray = 1.0 / np.square(np.cosh(np.clip(linear / 2.0, -300.0, 300.0)))
    return weight


@dataclass(frozen=True)
class LogisticSums(Query):
    """Score, information and log-likelihood of a logistic model at given coefficients, intercept first.

    `offset` names a column that enters the linear predictor as it is; `class_weights` weigh each patient's terms.
    """

    name: ClassVar[str] = "query.logistic"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    coefficients: FloatField
    offset: str = ""
    class_weights: ClassWeights = (1.0, 1.0)

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
        """The predictors and the offset."""
        return (*self.columns, self.offset) if self.offset else self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        sound = all(1.0 / LARGEST_WEIGHT <= weight <= LARGEST_WEIGHT for weight in self.class_weights)
        return sound and self.coefficients.shape == (self.parameters,) and self.offset not in self.columns

    def influence(self, frame: Frame) -> FloatArray:
        """4 mu (1 - mu) times the relative weight: a patient whose outcome the model is sure of has none."""
        linear = self.coefficients[0] + frame.matrix(self.columns) @ self.coefficients[1:] + self._offset(frame)
        return logistic_weight(linear) * self._weights(frame) / max(self.class_weights)

    def _offset(self, frame: Frame) -> FloatArray:
        return frame.columns[self.offset] if self.offset else np.zeros(frame.n)

    def _weights(self, frame: Frame) -> FloatArray:
        return np.where(frame.endpoints[self.endpoint] == 1.0, self.class_weights[1], self.class_weights[0])

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        design = np.column_stack([np.ones(frame.n), frame.matrix(self.columns)])
        y = frame.endpoints[self.endpoint]
        linear, weight = design @ self.coefficients + self._offset(frame), self._weights(frame)
        mu = logistic_function(linear)
        information = design.T @ (design * (weight * mu * (1.0 - mu))[:, np.newaxis])
        log_likelihood = -np.sum(weight * np.logaddexp(0.0, np.where(y == 1.0, -linear, linear)))
        return {
            "score": design.T @ (weight * (y - mu)),
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
        (p, p) inverse of the observed information; of a penalised fit (I + P)^-1 I (I + P)^-1 with the
        penalty P (le Cessie & van Houwelingen 1992, section 3): spread only, the coefficients stay biased.
    log_likelihood_, null_log_likelihood_
        At the fit, and of the intercept (and offset) alone; weighted, and without the penalty.
    n_, events_, rounds_
        Patients, patients with the endpoint, and Newton rounds.
    separated_
        Some combination of predictors tells the classes apart (completely or quasi-completely), so that no
        maximum-likelihood estimate exists.
    offset, ridge, class_weights_
        The options of the fit; weights without and with the endpoint.
    effective_parameters_
        trace of I (I + P)^-1; the number of parameters without a penalty.
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
    offset: str = ""
    ridge: float = 0.0
    class_weights_: ClassWeights = (1.0, 1.0)
    effective_parameters_: float = float("nan")

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a parameter: coefficient, standard error, Wald z and p, odds ratio, each with its 95 % interval."""
        return [wald_row(*row) for row in zip(self.columns, self.coef_, self.std_err_, strict=True)]

    @property
    def likelihood_ratio(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p against the intercept alone; p is NaN of a penalised fit."""
        chi2 = 2.0 * (self.log_likelihood_ - self.null_log_likelihood_)
        degrees = len(self.columns) - 1
        return chi2, degrees, chi2_p(chi2, degrees) if self.ridge == 0 else float("nan")

    def against(self, nested: LogisticResult) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of the likelihood-ratio test against a fit on fewer predictors.

        Raises
        ------
        FedmviError
            620 unless the predictors of `nested` are among these, both fits have the same patients and options, and
            neither is penalised or separated.
        """
        alike = (self.n_, self.events_, self.offset, self.class_weights_)
        others = (nested.n_, nested.events_, nested.offset, nested.class_weights_)
        plain = self.ridge == nested.ridge == 0 and not (self.separated_ or nested.separated_)
        if alike != others or not plain or not set(nested.columns) < set(self.columns):
            raise FedmviError(620)
        chi2 = 2.0 * (self.log_likelihood_ - nested.log_likelihood_)
        degrees = len(self.columns) - len(nested.columns)
        return chi2, degrees, chi2_p(chi2, degrees)

    @property
    def aic(self) -> float:
        """Akaike's information criterion, with the effective number of parameters of a penalised fit."""
        count = float(len(self.columns)) if self.ridge == 0 else self.effective_parameters_
        return 2.0 * count - 2.0 * self.log_likelihood_


def logistic(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    model: str = "",
    *,
    ridge: float = 0.0,
    offset: str = "",
    class_weights: ClassWeights | Literal["balanced"] = (1.0, 1.0),
) -> Conclusion[LogisticResult]:
    """Maximum-likelihood logistic regression of a binary endpoint on columns, with intercept.

    The recipe must leave complete cases. Newton's method from zero with step halving, two rounds of moments
    before it; stops where the largest step on the standardised scale is below 1e-10.

    Parameters
    ----------
    ridge
        lambda of the penalty 0.5 lambda sum(slope^2), slopes per standard deviation (n - 1 in its denominator),
        intercept free: scikit-learn's C is 1 / lambda on columns so standardised.
    offset
        A column that enters the linear predictor with coefficient one.
    class_weights
        Of patients without and with the endpoint; "balanced" gives either class half of the patients' number.

    Raises
    ------
    FedmviError
        602 one class only, 603 linearly dependent predictors, 604 no convergence; 601 no patients.
    """
    balanced = class_weights == "balanced"
    weights = (1.0, 1.0) if isinstance(class_weights, str) else class_weights
    if offset or balanced:
        scale, (weights, null) = yield from together(
            _scale(cohort, recipe, columns, model), _null(cohort, recipe, endpoint, offset, weights, balanced)
        )
    else:
        scale, null = (yield from _scale(cohort, recipe, columns, model)), None
    standard = recipe.then(scale.standardising)

    def question(beta: FloatArray) -> Query:
        return LogisticSums(cohort, standard, endpoint, columns, beta, offset, weights)

    penalty = np.append(0.0, np.full(len(columns), ridge))
    fit = yield from ascend(
        question,
        np.zeros(len(columns) + 1),
        lambda sums: _patients(sums, endpoint, cohort),
        penalty=penalty if ridge > 0 else None,
        model=model,
    )
    return _result(columns, scale, fit, null, penalty, offset, weights)


def _scale(cohort: str, recipe: Recipe, columns: tuple[str, ...], model: str) -> Conclusion[Moments]:
    """Moments of the predictors, none of which may be constant."""
    scale = yield from moments(cohort, recipe, columns)
    scale.require_spread(model)
    return scale


def _null(
    cohort: str, recipe: Recipe, endpoint: str, offset: str, weights: ClassWeights, balanced: bool
) -> Conclusion[tuple[ClassWeights, float | None]]:
    """The class weights, and the log-likelihood of the intercept and the offset alone (None without an offset)."""
    if balanced:
        sums = yield total(LogisticSums(cohort, recipe, endpoint, (), np.zeros(1)))
        n = _patients(sums, endpoint, cohort)
        events = int(sums["events"])
        weights = (n / (2.0 * (n - events)), n / (2.0 * events))
    if not offset:
        return weights, None
    fit = yield from ascend(
        lambda beta: LogisticSums(cohort, recipe, endpoint, (), beta, offset, weights),
        np.zeros(1),
        lambda sums: _patients(sums, endpoint, cohort),
    )
    return weights, fit.log_likelihood


def _patients(sums: Summary, endpoint: str, cohort: str) -> int:
    n, events = int(sums["n"]), int(sums["events"])
    if events in (0, n):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    return n


def own_scale(scale: Moments) -> FloatArray:
    """(p, p) from coefficients of standardised predictors, intercept first, to those of the predictors themselves.

    Slope / s, and intercept - sum(slope * m / s).
    """
    back = np.diag(np.append(1.0, 1.0 / scale.std_))
    back[0, 1:] = -scale.mean_ / scale.std_
    return back


def _result(
    columns: tuple[str, ...],
    scale: Moments,
    fit: Ascent,
    null: float | None,
    penalty: FloatArray,
    offset: str,
    weights: ClassWeights,
) -> LogisticResult:
    """The fit on the predictors' own scale."""
    p, back = fit.coef.size, own_scale(scale)
    n, events = int(fit.sums["n"]), int(fit.sums["events"])
    if null is None:
        with_, without = weights[1] * events, weights[0] * (n - events)
        null = float(with_ * np.log(with_ / (with_ + without)) + without * np.log(without / (with_ + without)))
    if fit.separated:
        coef, covariance, effective = np.full(p, np.nan), np.full((p, p), np.nan), float("nan")
    else:
        bread = np.linalg.inv(fit.information + np.diag(penalty))
        ridge = bool(np.any(penalty > 0))
        spread = bread @ fit.information @ bread if ridge else bread
        coef, covariance = back @ fit.coef, back @ spread @ back.T
        effective = float(np.trace(bread @ fit.information)) if ridge else float(p)
    return LogisticResult(
        columns=("intercept", *columns),
        coef_=coef,
        std_err_=np.sqrt(np.diag(covariance)),
        covariance_=covariance,
        log_likelihood_=fit.log_likelihood,
        null_log_likelihood_=null,
        n_=n,
        events_=events,
        rounds_=fit.rounds,
        separated_=fit.separated,
        offset=offset,
        ridge=float(penalty[-1]) if p > 1 else 0.0,
        class_weights_=weights,
        effective_parameters_=effective,
    )

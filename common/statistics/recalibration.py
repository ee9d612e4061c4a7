"""common/statistics: recalibration of a frozen risk in new patients: the least correction that tests allow.

The candidates are the model as it is, another intercept, intercept and slope of its log odds, and a refit of all its
coefficients. Each is held against the largest that the patients allow by a likelihood-ratio test at 5 % with its own
degrees of freedom, the least first; the first that is not rejected is taken (closed testing: Vergouwe et al., Stat Med
2017;36:4529). A slope is shrunk towards 1 by (chi2 - df) / chi2 of the test of the slope against the intercept alone
(van Houwelingen & le Cessie, Stat Med 1990;9:1303; of updating: Steyerberg et al., Stat Med 2004;23:2567). All fits are
made on sums, so they are those of the pooled patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary, total
from common.federation.runner import Conclusion, attempt, together
from common.statistics.calibration import RecalibrationSums, logit
from common.statistics.distributions import chi2_p
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.newton import MAX_ROUNDS, STEP_TOLERANCE, Ascent, ascend
from common.study.recipe import Recipe, logistic_function
from common.study.table import FloatArray

LEVEL = 0.05
"""Of each test; the closed procedure keeps it for all of them together."""

SLOPE_PATIENTS = 100
SLOPE_CLASS = 30
"""Fewest patients, and of either class, in whom a slope is fitted."""

MOSTPARAMETERS = 0.33
"""Most coefficients of a refit, as a share of the patients."""

REFIT_CLASS = 10
"""Fewest patients of the smaller class for each coefficient of a refit (Peduzzi et al., J Clin Epidemiol 1996;49:1373):
with fewer its predictions are too extreme, and it is nevertheless what the tests prefer."""

_NO_FIT = frozenset({603, 604, 642, 416})
"""Why a slope has no maximum: then it is no candidate."""

NO_SLOPE = 638

_OVERSHOOT = 2.0


class Rule(StrEnum):
    """How the correction is chosen."""

    CLOSED_TESTING = "closed-testing"
    INTERCEPT = "intercept"
    SLOPE = "slope"


class Method(StrEnum):
    """What is corrected, the least first."""

    NONE = "none"
    INTERCEPT = "intercept"
    SLOPE = "slope"
    REFIT = "refit"


PARAMETERS: Mapping[Method, int] = MappingProxyType({Method.NONE: 0, Method.INTERCEPT: 1, Method.SLOPE: 2})
"""Fitted numbers of a correction; of a refit it depends on the model."""


@dataclass(frozen=True)
class LikelihoodRatio:
    """The test of a correction against the largest candidate."""

    method: Method
    against: Method
    chi2: float
    degrees: int
    p: float


@dataclass(frozen=True)
class Refit:
    """(p + 1,) coefficients of the model's own columns, intercept first, and their standard errors."""

    coef_: FloatArray
    std_err_: FloatArray


@dataclass(frozen=True)
class RecalibrationResult:
    """A correction of predicted risks.

    Attributes
    ----------
    column
        The predicted risk.
    method_
        What is corrected.
    intercept_, slope_
        Of the correction: log odds = intercept + slope * logit(risk); the slope is shrunk. NaN of a refit.
    covariance_
        (k, k) of the maximum-likelihood intercept, and slope where there is one, before it is shrunk; (0, 0) where
        nothing is corrected, and of a refit, which has its own.
    unshrunk_slope_, shrinkage_
        The maximum-likelihood slope, and the factor by which its distance from 1 was taken; NaN without a slope.
    refit_
        The regression on the model's own columns; None of any other correction.
    tests_
        In the order in which they were made; none where the correction is not chosen by tests.
    gains_
        Log-likelihood of each candidate less that of the model as it is.
    unfit_
        Candidates that could not be fitted, and why.
    n_, events_
        Patients, and those with the endpoint.
    """

    column: str
    method_: Method
    intercept_: float
    slope_: float
    covariance_: FloatArray
    unshrunk_slope_: float
    shrinkage_: float
    refit_: Refit | None
    tests_: tuple[LikelihoodRatio, ...]
    gains_: Mapping[Method, float]
    unfit_: Mapping[Method, str]
    n_: int
    events_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a test: `correction`, `against`, `chi2`, `degrees`, `p`, and whether it was taken."""
        return [
            {
                "correction": test.method.value,
                "against": test.against.value,
                "chi2": test.chi2,
                "degrees": test.degrees,
                "p": test.p,
                "taken": test.method is self.method_,
            }
            for test in self.tests_
        ]

    def apply(self, risk: FloatArray) -> FloatArray:
        """(n,) corrected risks of predicted ones; ValueError for a refit, which needs the model's columns."""
        if self.method_ is Method.REFIT:
            raise ValueError("a refit is computed from the model's columns")
        return logistic_function(self.intercept_ + self.slope_ * logit(risk))


def shrinkage(chi2: float, degrees: int = 1) -> float:
    """The uniform factor (chi2 - df) / chi2 by which an estimated effect is kept; 0 where chance explains all of it."""
    return max(0.0, (chi2 - degrees) / chi2) if chi2 > 0 else 0.0


def closed_tests(
    gains: Mapping[Method, float], parameters: Mapping[Method, int]
) -> tuple[Method, tuple[LikelihoodRatio, ...]]:
    """The least correction that is not rejected against the largest, and the tests up to it.

    Parameters
    ----------
    gains
        Log-likelihood of each candidate less that of the model as it is.
    parameters
        Fitted numbers of each.
    """
    candidates = [method for method in Method if method in gains]
    largest, tests = candidates[-1], []
    for method in candidates[:-1]:
        chi2 = max(0.0, 2.0 * (gains[largest] - gains[method]))
        degrees = parameters[largest] - parameters[method]
        tests.append(LikelihoodRatio(method, largest, chi2, degrees, chi2_p(chi2, degrees)))
        if tests[-1].p > LEVEL:
            return method, tuple(tests)
    return largest, tuple(tests)


@dataclass(frozen=True)
class _Asked:
    """Whom and what a recalibration is about."""

    cohort: str
    recipe: Recipe
    endpoint: str
    column: str

    def sums(self, coefficients: FloatArray) -> RecalibrationSums:
        return RecalibrationSums(self.cohort, self.recipe, self.column, self.endpoint, np.empty(0), coefficients)

    def ascend(self, parameters: int) -> Conclusion[Ascent]:
        """The intercept beside the log odds, or intercept and slope; from zero, see `calibration`."""
        ascent = yield from ascend(self.sums, np.zeros(parameters), self._patients, model=self.column)
        if ascent.separated:
            raise FedmviError(642, column=self.column, cohort=self.cohort)
        return ascent

    def _patients(self, sums: Summary) -> int:
        if int(sums["n"].min()) == 0:
            raise FedmviError(602, endpoint=self.endpoint, cohort=self.cohort)
        return int(sums["n"].sum())

    def intercept_beside(self, slope: float, start: float) -> Conclusion[float]:
        """The maximum-likelihood intercept at a given slope, by Newton's method; error 604."""
        intercept = start
        for _ in range(MAX_ROUNDS):
            sums = yield total(self.sums(np.array([intercept, slope])))
            step = float(sums["score"][0] / sums["information"][0])
            # The score falls with the intercept: a step that is cut short still goes the right way.
            intercept += float(np.clip(step, -_OVERSHOOT, _OVERSHOOT))
            if abs(step) < STEP_TOLERANCE:
                return intercept
        raise FedmviError(604, model=self.column)


def recalibrate(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    column: str,
    columns: tuple[str, ...] = (),
    rule: Rule = Rule.CLOSED_TESTING,
) -> Conclusion[RecalibrationResult]:
    """Correct the predicted risks in `column`; about fifteen rounds.

    With fewer than 100 patients, or 30 of either class, only the intercept is corrected.

    Parameters
    ----------
    columns
        The model's own, all known, if a refit may be a candidate; it is one where its coefficients are at most a third
        of the patients, and a tenth of the smaller class.
    rule
        Closed testing, or what is corrected in any case.

    Raises
    ------
    FedmviError
        602 one class only, 604 no convergence, 638 too few patients for a slope that the rule demands, or one that is
        not positive, 640 patients who lack some column.
    """
    asked = _Asked(cohort, recipe, endpoint, column)
    large = yield from asked.ascend(1)
    absent, events = (int(count) for count in large.sums["n"])
    fits = _Fits(large)
    wanted = _candidates(rule, absent, events, len(columns) + 1 if columns else 0)
    if rule is Rule.SLOPE and Method.SLOPE not in wanted:
        raise _no_slope(column, cohort)
    if Method.SLOPE in wanted:
        refit = logistic(cohort, recipe, endpoint, columns, column) if Method.REFIT in wanted else _nothing()
        line, whole = yield from together(attempt(asked.ascend(2)), attempt(refit))
        fits = _fits_of(large, line, whole, rule, cohort)
    method, tests = _decided(rule, fits, len(columns) + 1)
    return (yield from _corrected(asked, method, tests, fits))


def _no_slope(column: str, cohort: str) -> FedmviError:
    return FedmviError(NO_SLOPE, column=column, cohort=cohort, patients=SLOPE_PATIENTS, limit=SLOPE_CLASS)


def _nothing() -> Conclusion[None]:
    yield from ()


def _candidates(rule: Rule, absent: int, events: int, refitted: int) -> set[Method]:
    n = absent + events
    enough = n >= SLOPE_PATIENTS and min(absent, events) >= SLOPE_CLASS and rule is not Rule.INTERCEPT
    found = {Method.NONE, Method.INTERCEPT} | ({Method.SLOPE} if enough else set())
    few = refitted > MOSTPARAMETERS * n or min(absent, events) < REFIT_CLASS * refitted
    refits = enough and rule is Rule.CLOSED_TESTING and refitted > 0 and not few
    return found | ({Method.REFIT} if refits else set())


@dataclass(frozen=True)
class _Fits:
    """The fits of all candidates, and why some have none."""

    large: Ascent
    line: Ascent | None = None
    refit: LogisticResult | None = None
    unfit: Mapping[Method, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def gains(self) -> dict[Method, float]:
        original = self.large.first_log_likelihood
        found = {Method.NONE: 0.0, Method.INTERCEPT: self.large.log_likelihood - original}
        if self.line is not None:
            found[Method.SLOPE] = self.line.log_likelihood - original
        if self.refit is not None:
            found[Method.REFIT] = self.refit.log_likelihood_ - original
        return found


def _fits_of(
    large: Ascent, line: Ascent | FedmviError, refit: LogisticResult | FedmviError | None, rule: Rule, cohort: str
) -> _Fits:
    unfit: dict[Method, str] = {}
    if isinstance(line, FedmviError):
        if rule is Rule.SLOPE or line.number not in _NO_FIT:
            raise line
        unfit[Method.SLOPE] = line.code
    if isinstance(refit, FedmviError):
        unfit[Method.REFIT] = refit.code
    elif refit is not None and refit.separated_:
        unfit[Method.REFIT] = "its predictors separate the classes"
    usable = refit if isinstance(refit, LogisticResult) and not refit.separated_ else None
    if usable is not None and usable.n_ != int(large.sums["n"].sum()):
        raise FedmviError(640, cohort=cohort)
    return _Fits(large, None if isinstance(line, FedmviError) else line, usable, unfit)


def _decided(rule: Rule, fits: _Fits, refitted: int) -> tuple[Method, tuple[LikelihoodRatio, ...]]:
    if rule is not Rule.CLOSED_TESTING:
        return (Method.SLOPE if rule is Rule.SLOPE else Method.INTERCEPT), ()
    return closed_tests(fits.gains, {**PARAMETERS, Method.REFIT: refitted})


def _corrected(
    asked: _Asked, method: Method, tests: tuple[LikelihoodRatio, ...], fits: _Fits
) -> Conclusion[RecalibrationResult]:
    """The numbers of the chosen correction; one more search for the intercept beside a slope that was shrunk."""
    absent, events = (int(count) for count in fits.large.sums["n"])
    intercept, slope, unshrunk, kept = 0.0, 1.0, math.nan, math.nan
    covariance: FloatArray = np.zeros((0, 0))
    refit = None
    if method is Method.INTERCEPT:
        intercept, covariance = float(fits.large.coef[0]), _inverse(fits.large.information)
    elif method is Method.SLOPE and fits.line is not None:
        line, gains = fits.line, fits.gains
        unshrunk, kept = float(line.coef[1]), shrinkage(2.0 * (gains[method] - gains[Method.INTERCEPT]))
        slope, covariance = 1.0 + kept * (unshrunk - 1.0), _inverse(line.information)
        if slope <= 0:
            raise _no_slope(asked.column, asked.cohort)
        intercept = yield from asked.intercept_beside(slope, float(line.coef[0]))
    elif method is Method.REFIT and fits.refit is not None:
        intercept = slope = math.nan
        refit = Refit(fits.refit.coef_, fits.refit.std_err_)
    return RecalibrationResult(
        column=asked.column,
        method_=method,
        intercept_=intercept,
        slope_=slope,
        covariance_=covariance,
        unshrunk_slope_=unshrunk,
        shrinkage_=kept,
        refit_=refit,
        tests_=tests,
        gains_=fits.gains,
        unfit_=fits.unfit,
        n_=absent + events,
        events_=events,
    )


def _inverse(information: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(information), dtype=np.float64)

"""common/statistics: calibration of predicted risks: in the large, slope, observed to expected, Brier score.

Calibration in the large and slope are logistic regressions on the logit of the predicted risk (Cox, Biometrika
1958;45:562; Steyerberg et al., Epidemiology 2010;21:128), fitted by Newton's method on sums, so they are the fits of
the pooled patients. The smooth curve is in `calibration_curve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, attempt, together
from common.statistics.distributions import Z975
from common.statistics.logistic import logistic_weight
from common.statistics.newton import ascend
from common.statistics.refinement import Counts, Keys, key_values, order_keys, public_thresholds
from common.study.recipe import SCORE_DECIMALS, Frame, Recipe, logistic_function
from common.study.table import FloatArray

RISK_LIMIT = 0.5 * 10.0**-SCORE_DECIMALS
"""Predicted risks are kept this far from 0 and 1, where the logit is infinite: half a unit of a score's last decimal.

A score of 0.0000 says that the risk is below this, and nothing of how far. Taken for much less, its patients would lie
so far out that they alone were the calibration slope.
"""

BINS = 10
MAX_BINS = 50


def logit(risk: FloatArray) -> FloatArray:
    """log(risk / (1 - risk)), with risks kept off 0 and 1."""
    kept = np.clip(risk, RISK_LIMIT, 1.0 - RISK_LIMIT)
    return np.log(kept) - np.log1p(-kept)


def whole_patients(total: float) -> float:
    """A sum of risks, or of their squared errors, as one site tells it of itself: to the nearest whole patient.

    Each patient adds between 0 and 1. The digits of the sum are those of whoever is neither, and where a score is so
    steep that all others are, these are one patient's. No site's interval is so narrow that it misses them.
    """
    return float(np.round(total))


def spline(x: FloatArray, knots: FloatArray) -> FloatArray:
    """(n, knots - 1) restricted cubic spline basis without intercept, x itself first (Harrell, eq. 2.25, norm 2)."""
    last, before, scale = knots[-1], knots[-2], (knots[-1] - knots[0]) ** 2

    def cube(knot: float) -> FloatArray:
        return np.asarray(np.maximum(x - knot, 0.0) ** 3)

    bends = [
        cube(knot) - cube(before) * (last - knot) / (last - before) + cube(last) * (before - knot) / (last - before)
        for knot in knots[:-2].tolist()
    ]
    return np.column_stack([x, *(bend / scale for bend in bends)])


@dataclass(frozen=True)
class RecalibrationSums(Query):
    """Score, information and log-likelihood of a logistic model of an endpoint on the logit of a predicted risk.

    Attributes
    ----------
    knots
        Of the spline, as logits; none for a straight line.
    coefficients
        (1,) the intercept beside the logit as it is; (2,) with its slope; (knots,) intercept and spline.
    """

    name: ClassVar[str] = "query.recalibration"
    risk: ClassVar[Risk] = Risk.SUM

    column: str
    endpoint: str
    knots: FloatField
    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`score` (p,), `information` (p(p+1)/2,) lower triangle, `log_likelihood` (), `n` (2,) by class."""
        p = self.parameters
        return {
            "score": Block((p,), Kind.REAL),
            "information": Block((p * (p + 1) // 2,), Kind.REAL),
            "log_likelihood": Block((), Kind.REAL),
            "n": Block((2,), Kind.COUNT),
        }

    def consistent(self) -> bool:
        """See `Query`."""
        if self.knots.ndim != 1 or self.coefficients.ndim != 1:
            return False
        if self.knots.size == 0:
            return self.coefficients.size in (1, 2)
        ascending = bool(np.all(np.diff(self.knots) > 0))
        return 3 <= self.knots.size <= 7 and self.coefficients.size == self.knots.size and ascending

    def words(self) -> str:
        """See `Query`."""
        return f"one Newton step of the calibration of {self.column} for {self.endpoint}, cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """Coefficients."""
        return int(self.coefficients.size)

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def influence(self, frame: Frame) -> FloatArray:
        """4 mu (1 - mu): a patient whose outcome the model is sure of has none."""
        known = ~np.isnan(frame.columns[self.column])
        design, offset = self._design(frame.columns[self.column][known])
        return logistic_weight(offset + design @ self.coefficients)

    def _design(self, risk: FloatArray) -> tuple[FloatArray, FloatArray]:
        linear = logit(risk)
        if self.parameters == 1:
            return np.ones((linear.size, 1)), linear
        basis = spline(linear, self.knots) if self.knots.size else linear[:, np.newaxis]
        return np.column_stack([np.ones(linear.size), basis]), np.zeros(linear.size)

    def answer(self, frame: Frame) -> Summary:
        """Patients without a risk are left out."""
        known = ~np.isnan(frame.columns[self.column])
        y = frame.endpoints[self.endpoint][known]
        design, offset = self._design(frame.columns[self.column][known])
        linear = offset + design @ self.coefficients
        mu = logistic_function(linear)
        information = design.T @ (design * (mu * (1.0 - mu))[:, np.newaxis])
        return {
            "score": design.T @ (y - mu),
            "information": information[np.tril_indices(self.parameters)],
            "log_likelihood": np.array(-np.sum(np.logaddexp(0.0, np.where(y == 1.0, -linear, linear)))),
            "n": np.array([np.sum(y == 0.0), np.sum(y == 1.0)], dtype=np.int64),
        }


@dataclass(frozen=True)
class BinnedRisks(Query):
    """Patients, events and predicted risks in bins of a predicted risk, and its squared error."""

    name: ClassVar[str] = "query.binned_risks"
    risk: ClassVar[Risk] = Risk.CELLS

    column: str
    endpoint: str
    edges: KeyField

    def blocks(self) -> Mapping[str, Block]:
        """(bins,) each: `n`, `events`, and `expected`, the sum of risks; `square` (), the sum of squared errors."""
        shape = (self.edges.size + 1,)
        return {
            "n": Block(shape, Kind.COUNT),
            "events": Block(shape, Kind.COUNT),
            "expected": Block(shape, Kind.REAL),
            "square": Block((), Kind.REAL),
        }

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(key_values(self.edges))

    def consistent(self) -> bool:
        """See `Query`."""
        return self.edges.size < MAX_BINS and bool(np.all(self.edges[1:] > self.edges[:-1]))

    def words(self) -> str:
        """See `Query`."""
        return f"observed and predicted {self.endpoint} in {self.edges.size + 1} bins of {self.column}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """A risk equal to an edge belongs to the bin below; patients without a risk are left out."""
        known = ~np.isnan(frame.columns[self.column])
        risk, y = frame.columns[self.column][known], frame.endpoints[self.endpoint][known]
        bins = np.searchsorted(self.edges, order_keys(risk), side="left")
        size = self.edges.size + 1
        return {
            "n": np.bincount(bins, minlength=size).astype(np.int64),
            "events": np.bincount(bins[y == 1.0], minlength=size).astype(np.int64),
            "expected": np.bincount(bins, weights=risk, minlength=size),
            "square": np.array(np.sum(np.square(risk - y))),
        }


@dataclass(frozen=True)
class RiskTable:
    """Predicted risks and what was observed, in bins; no regression is needed for it.

    Attributes
    ----------
    n_, events_
        Patients, and those with the endpoint.
    expected_
        Sum of the predicted risks.
    brier_, scaled_brier_
        Mean squared error, and 1 - it over that of predicting the prevalence for everybody.
    bin_n_, bin_events_, bin_expected_
        (10,) in the bins [0, 0.1], (0.1, 0.2], ..., (0.9, 1].
    """

    column: str
    n_: int
    events_: int
    expected_: float
    brier_: float
    scaled_brier_: float
    bin_n_: Counts
    bin_events_: Counts
    bin_expected_: FloatArray

    @property
    def observed_to_expected(self) -> tuple[float, float, float]:
        """O/E with its 95 % interval, on the logarithmic scale (Debray et al., BMJ 2017;356:i6460, appendix)."""
        ratio = self.events_ / self.expected_
        half = Z975 * float(np.sqrt((1.0 - self.events_ / self.n_) / self.events_))
        return ratio, ratio * float(np.exp(-half)), ratio * float(np.exp(half))

    @property
    def expected_error(self) -> float:
        """Expected calibration error over the ten bins (Naeini et al., AAAI 2015, eq. 2): depends on the bins."""
        return float(np.sum(np.abs(self.bin_events_ - self.bin_expected_))) / self.n_

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a measure, with its 95 % interval where it has one."""
        ratio = dict(zip(_COLUMNS, ("observed/expected", *self.observed_to_expected), strict=True))
        rest = {"brier": self.brier_, "scaled brier": self.scaled_brier_, "expected error": self.expected_error}
        return [ratio, *(dict(zip(_COLUMNS, (name, value, None, None), strict=True)) for name, value in rest.items())]


@dataclass(frozen=True)
class Calibration(RiskTable):
    """How predicted risks agree with what was observed: the table, and regressions on the logit of the risk.

    Attributes
    ----------
    in_the_large_, in_the_large_std_err_
        Intercept beside the logit of the risk as offset; 0 where risks are right on average.
    intercept_, slope_, covariance_
        Logistic regression on the logit of the risk, and its (2, 2) covariance; slope 1 and intercept 0 are ideal.
    """

    in_the_large_: float
    in_the_large_std_err_: float
    intercept_: float
    slope_: float
    covariance_: FloatArray

    def in_whole_patients(self) -> Calibration:
        """As one site tells it: at least one patient is expected, so that there is a ratio."""
        return replace(self, expected_=max(whole_patients(self.expected_), 1.0))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a measure, with its 95 % interval where it has one."""
        errors = np.sqrt(np.diag(self.covariance_))
        return [
            _row("in the large", self.in_the_large_, self.in_the_large_std_err_),
            _row("intercept", self.intercept_, float(errors[0])),
            _row("slope", self.slope_, float(errors[1])),
            *super().summary,
        ]


_NO_LINE = frozenset({416, 603, 604, 642})
"""Why there is no regression where there is a table; any other error, as of a hospital out of reach, is one of both."""

REGRESSIONS = ("in the large", "intercept", "slope")
"""Measures that need a regression."""

_COLUMNS = ("measure", "value", "low", "high")


def _row(name: str, value: float, std_err: float) -> dict[str, Any]:
    return {"measure": name, "value": value, "low": value - Z975 * std_err, "high": value + Z975 * std_err}


def calibration(cohort: str, recipe: Recipe, endpoint: str, column: str) -> Conclusion[Calibration]:
    """Calibration of the predicted risks in `column`; about seven rounds, patients without a risk are left out.

    Raises
    ------
    FedmviError
        602 one class only, 603 risks that are all equal, 604 no convergence, 642 risks that separate the classes.
    """
    found = yield from calibration_as_far(cohort, recipe, endpoint, column)
    if isinstance(found, tuple):
        raise found[1]
    return found


def calibration_as_far(
    cohort: str, recipe: Recipe, endpoint: str, column: str
) -> Conclusion[Calibration | tuple[RiskTable, FedmviError]]:
    """The same; where a regression cannot be made, the table of risks alone, and why.

    Risks that lie far off leave a regression on their logits the weight of few patients at some hospital, which it
    refuses (416). The table is a sum of counts whatever the risks are.

    Raises
    ------
    FedmviError
        602 one class only; and what the table meets.
    """
    edges = order_keys(np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    large, line, bins = yield from together(
        attempt(logit_line(cohort, recipe, endpoint, column, np.empty(0), np.zeros(1))),
        attempt(logit_line(cohort, recipe, endpoint, column, np.empty(0), np.zeros(2))),
        binned_risks(cohort, recipe, endpoint, column, edges),
    )
    n, events = int(bins["n"].sum()), int(bins["events"].sum())
    if events in (0, n):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    prevalence, brier = events / n, float(bins["square"]) / n
    table = RiskTable(
        column=column,
        n_=n,
        events_=events,
        expected_=float(bins["expected"].sum()),
        brier_=brier,
        scaled_brier_=1.0 - brier / (prevalence * (1.0 - prevalence)),
        bin_n_=bins["n"],
        bin_events_=bins["events"],
        bin_expected_=bins["expected"],
    )
    for fit in (large, line):
        if isinstance(fit, FedmviError):
            if fit.number not in _NO_LINE:
                raise fit
            return table, fit
    return Calibration(
        **vars(table),
        in_the_large_=float(large.coef_[0]),
        in_the_large_std_err_=float(np.sqrt(large.covariance_[0, 0])),
        intercept_=float(line.coef_[0]),
        slope_=float(line.coef_[1]),
        covariance_=line.covariance_,
    )


def binned_risks(cohort: str, recipe: Recipe, endpoint: str, column: str, edges: Keys) -> Conclusion[Summary]:
    """The sums of `BinnedRisks`, as a conclusion."""
    sums: Summary = yield total(BinnedRisks(cohort, recipe, column, endpoint, edges))
    return sums


@dataclass(frozen=True)
class LogitLine:
    """Coefficients and covariance of a regression on the logit of a risk, or on its spline."""

    coef_: FloatArray
    covariance_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a coefficient, the intercept first."""
        errors = np.sqrt(np.diag(self.covariance_)).tolist()
        return [{"coef": c, "std_err": e} for c, e in zip(self.coef_.tolist(), errors, strict=True)]


def logit_line(
    cohort: str, recipe: Recipe, endpoint: str, column: str, knots: FloatArray, start: FloatArray
) -> Conclusion[LogitLine]:
    """A regression of the endpoint on the logit of the risk, or on its spline, by Newton's method.

    Raises
    ------
    FedmviError
        602 one class only, 603 risks that are all equal, 604 no convergence, 642 risks that separate the classes.
    """

    # From zero: under the risks themselves an overconfident model would leave hardly any patient weight.
    def patients(sums: Summary) -> int:
        if int(sums["n"].min()) == 0:
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        return int(sums["n"].sum())

    def question(coef: FloatArray) -> RecalibrationSums:
        return RecalibrationSums(cohort, recipe, column, endpoint, knots, coef)

    ascent = yield from ascend(question, start, patients, model=column)
    if ascent.separated:
        raise FedmviError(642, column=column, cohort=cohort)
    return LogitLine(ascent.coef, np.asarray(np.linalg.inv(ascent.information), dtype=np.float64))

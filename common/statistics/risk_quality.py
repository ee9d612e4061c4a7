"""common/statistics: how good predicted risks are in one cohort: area, calibration, Brier score and net benefit.

Over all sites, or of one site that tells its own. Net benefit is at one threshold (Vickers & Elkin, Med Decis Making
2006;26:565), a whole hundredth, so that two scores are compared at the same counts of public bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import HIDDEN, Block, Kind, Risk, SiteView, Summary
from common.federation.runner import Conclusion, attempt, together
from common.statistics.alone_errors import alone_error, counted_alone
from common.statistics.calibration import Calibration, binned_risks, calibration, whole_patients
from common.statistics.confusion import confusion
from common.statistics.counts import Counts
from common.statistics.distributions import Z975
from common.statistics.refinement import public_thresholds
from common.statistics.roc import roc
from common.study.ranges import LARGEST
from common.study.recipe import Recipe

MEASURES = ("auc", "calibration_intercept", "calibration_slope", "observed_expected", "brier", "net_benefit")
"""In the order in which they are told; the intercept is that of calibration in the large."""


@dataclass(frozen=True)
class Measured:
    """One measure with its 95 % interval, each None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RiskQuality:
    """How good the risks of one column are.

    Attributes
    ----------
    n_, events_
        Patients, and those with the endpoint; None where hidden.
    measures_
        By the names of `MEASURES`.
    threshold
        Of the net benefit, which is None where a cell of its table is small.
    unfit_
        Why the risks have no calibration line, and no intercept and slope; None where they have.
    """

    column: str
    n_: int | None
    events_: int | None
    measures_: Mapping[str, Measured]
    threshold: float
    unfit_: FedmviError | None = None

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a measure: `measure`, `value`, `low`, `high`."""
        return [
            {"measure": name, "value": found.value, "low": found.low, "high": found.high}
            for name, found in self.measures_.items()
        ]


def risk_quality(
    cohort: str, recipe: Recipe, endpoint: str, column: str, threshold: float, min_cell: int, *, whole: bool = False
) -> Conclusion[RiskQuality]:
    """All measures of one column; the rounds of an area, and about seven of the calibration, in lock-step.

    Parameters
    ----------
    whole
        Whether sums of risks and of squared errors are in whole patients, as a site tells them of itself.

    Raises
    ------
    FedmviError
        602 one class only.
    """
    area, sums, fit, table = yield from together(
        roc(cohort, recipe, endpoint, column),
        binned_risks(cohort, recipe, endpoint, column, np.empty(0, dtype=np.uint64)),
        attempt(calibration(cohort, recipe, endpoint, column)),
        confusion(cohort, recipe, endpoint, (column,), np.array([threshold])),
    )
    low, high = area.interval
    n, events, expected = int(sums["n"][0]), int(sums["events"][0]), float(sums["expected"][0])
    square = float(sums["square"])
    if whole:
        expected, square = max(whole_patients(expected), 1.0), whole_patients(square)
    measures = {
        "auc": Measured(area.auc_, low, high),
        **_calibrated(fit),
        "observed_expected": Measured(*observed_expected(n, events, expected)),
        "brier": Measured(square / n),
        "net_benefit": Measured(_net_benefit(table.counts_[0], threshold, min_cell)),
    }
    unfit = fit if isinstance(fit, FedmviError) else None
    return RiskQuality(column, n, events, {name: measures[name] for name in MEASURES}, threshold, unfit)


def _calibrated(fit: Calibration | FedmviError) -> dict[str, Measured]:
    """In the large and slope; none where the risks have no finite line, or are so sure that no site tells one."""
    if isinstance(fit, FedmviError):
        return {"calibration_intercept": Measured(None), "calibration_slope": Measured(None)}

    def around(value: float, std_err: float) -> Measured:
        return Measured(value, value - Z975 * std_err, value + Z975 * std_err)

    return {
        "calibration_intercept": around(fit.in_the_large_, fit.in_the_large_std_err_),
        "calibration_slope": around(fit.slope_, float(np.sqrt(fit.covariance_[1, 1]))),
    }


def observed_expected(n: int, events: int, expected: float) -> tuple[float, float, float]:
    """O/E with its 95 % interval, on the logarithmic scale (Debray et al., BMJ 2017;356:i6460, appendix)."""
    ratio, half = events / expected, Z975 * float(np.sqrt((1.0 - events / n) / events))
    return ratio, ratio * float(np.exp(-half)), ratio * float(np.exp(half))


def _net_benefit(table: Counts, threshold: float, min_cell: int) -> float | None:
    """Of a (2, 2) table by class and test; None where it, and so a small cell of it, should not be told."""
    if bool(np.any((table > 0) & (table < min_cell))):
        return None
    false, true = table[:, 1].tolist()
    return float((true - false * threshold / (1.0 - threshold)) / int(table.sum()))


@dataclass(frozen=True)
class RiskQualityAlone(Alone):
    """One site's own measures of a frozen or corrected score."""

    name: ClassVar[str] = "query.risk_quality_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    threshold: float
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`; `error`, `unfit` () the numbers of what was met, by all and by the calibration
        line, or 0; `told` (6, 3) whether there is a number; `measures` (6, 3) value and limits, in the order of
        `MEASURES`, those of sums of risks in whole patients."""
        shape = (len(MEASURES), 3)
        return {
            "classes": Block((3,), Kind.COUNT),
            "error": Block((), Kind.COUNT),
            "unfit": Block((), Kind.COUNT),
            "told": Block(shape, Kind.COUNT),
            "measures": Block(shape, Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own area, calibration, Brier score and net benefit of {self.column} for {self.endpoint}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: an area and a Brier score are none beyond 1."""
        told, measures = summary["told"], summary["measures"]
        shares = measures[[MEASURES.index("auc"), MEASURES.index("brier")], 0]
        sound = super().plausible(summary, sites) and bool(np.all((told == 0) | (told == 1)))
        return sound and bool(np.all(np.abs(measures) <= LARGEST)) and bool(np.all((shares >= 0.0) & (shares <= 1.0)))

    @property
    def parameters(self) -> int:
        """Of the calibration line."""
        return 2

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(np.array([self.threshold]))

    @property
    def once(self) -> tuple[str, ...]:
        """Two thresholds would tell who is between them."""
        return ("threshold",)

    def consistent(self) -> bool:
        """See `Query`."""
        return 0.0 < self.threshold < 1.0 and self.coarse

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class, or where nothing could be fitted, only counts are told."""
        summary = counted_alone(self, site.frame(self), self.endpoint, self.min_class)
        if int(summary["error"]):
            return summary
        asked = risk_quality(
            self.cohort, self.recipe, self.endpoint, self.column, self.threshold, self.min_cell, whole=True
        )
        found = self.conclude(site, attempt(asked))
        if isinstance(found, FedmviError):
            return {**summary, "error": np.array(found.number, dtype=np.int64)}
        summary["unfit"] = np.array(found.unfit_.number if found.unfit_ is not None else 0, dtype=np.int64)
        rows = [(m.value, m.low, m.high) for m in found.measures_.values()]
        summary["told"] = np.array([[number is not None for number in row] for row in rows], dtype=np.int64)
        summary["measures"] = np.array([[0.0 if number is None else number for number in row] for row in rows])
        return summary


def read_quality(query: RiskQualityAlone, summary: Summary) -> RiskQuality | FedmviError:
    """The measures that a site told, or the error that it met."""
    met = [_met(query, int(summary[name])) for name in ("error", "unfit")]
    if met[0] is not None:
        return met[0]
    numbers = np.where(summary["told"] == 1, summary["measures"], np.nan)
    rows = [[None if np.isnan(number) else float(number) for number in row] for row in numbers]
    absent, present = (int(count) for count in summary["classes"][:2])
    return RiskQuality(
        query.column,
        None if HIDDEN in (absent, present) else absent + present,
        None if present == HIDDEN else present,
        {name: Measured(*row) for name, row in zip(MEASURES, rows, strict=True)},
        query.threshold,
        met[1],
    )


def _met(query: RiskQualityAlone, number: int) -> FedmviError | None:
    names = {"column": query.column, "cohort": query.cohort, "endpoint": query.endpoint}
    return alone_error(number, **names, min_class=query.min_class) if number else None

"""common/statistics: Kaplan-Meier curves and the log-rank test, from counts on the grid on which times are recorded.

Each site counts events and censorings per group and grid point; the sums are the pooled life table, so curve,
Greenwood error, log-log band (Kalbfleisch & Prentice), median and log-rank test are exactly the pooled ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary, total
from common.federation.runner import Conclusion
from common.statistics.counts import hide_in_row
from common.statistics.distributions import Z975, chi2_p
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

Counts = NDArray[np.int64]
MAX_CELLS = 2_000_000
HALF = 0.5 + 1e-12
"""A product of fractions that is exactly one half may miss it by its last digits."""


@dataclass(frozen=True)
class LifeTable(Query):
    """Events and censorings per group and grid point of a survival endpoint; groups are the column `group`."""

    name: ClassVar[str] = "query.life_table"
    risk: ClassVar[Risk] = Risk.PROFILE

    endpoint: str
    groups: int
    precision: float
    grid_points: int

    def blocks(self) -> Mapping[str, Block]:
        """`events`, `censored`: (groups, grid_points) each."""
        shape = (self.groups, self.grid_points)
        return {"events": Block(shape, Kind.COUNT), "censored": Block(shape, Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"events and censorings of {self.endpoint} by time in {self.groups} groups, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; error 312 for a time beyond the grid."""
        if self.groups * self.grid_points > MAX_CELLS or self.grid_points < 1 or self.groups < 1:
            raise FedmviError(501, "size of the life table")
        point = np.rint(frame.endpoints[f"{self.endpoint}.time"] / self.precision).astype(np.int64)
        if point.size and int(point.max()) >= self.grid_points:
            maximum = self.precision * (self.grid_points - 1)
            raise FedmviError(312, endpoint=self.endpoint, maximum=maximum, unit="units")
        event = frame.endpoints[f"{self.endpoint}.event"] == 1.0
        group = frame.columns["group"].astype(np.int64)
        tables = {}
        for block, chosen in (("events", event), ("censored", ~event)):
            tables[block] = np.zeros((self.groups, self.grid_points), dtype=np.int64)
            np.add.at(tables[block], (group[chosen], point[chosen]), 1)
        return tables


@dataclass(frozen=True)
class KaplanMeier:
    """A Kaplan-Meier curve.

    Attributes
    ----------
    time_, at_risk_, events_, survival_, std_err_, low_, high_
        (times,) at each time with an event or censoring: time in the endpoint's unit, patients at risk just
        before, events, survival just after, Greenwood's error, and the 95 % log-log band.
    """

    time_: FloatArray
    at_risk_: Counts
    events_: Counts
    survival_: FloatArray
    std_err_: FloatArray
    low_: FloatArray
    high_: FloatArray

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.at_risk_[0]) if self.at_risk_.size else 0

    @property
    def n_events_(self) -> int:
        """Patients with the event."""
        return int(self.events_.sum())

    @property
    def median(self) -> tuple[float, float, float]:
        """Median and its 95 % interval: first times at which curve, lower and upper band reach one half.

        Infinite where not reached.
        """
        return _first(self.time_, self.survival_), _first(self.time_, self.low_), _first(self.time_, self.high_)

    def at(self, times: FloatArray) -> FloatArray:
        """(4, times): survival, lower band, upper band, and patients at risk just before each time."""
        last = np.searchsorted(self.time_, times, side="right") - 1
        begun = last >= 0
        safe = np.maximum(last, 0)
        curve = [np.where(begun, values[safe], 1.0) for values in (self.survival_, self.low_, self.high_)]
        return np.stack([*curve, self.at_risk(times)])

    def at_risk(self, times: FloatArray) -> FloatArray:
        """(times,) patients at risk just before each time."""
        following = np.searchsorted(self.time_, times, side="left")
        return np.append(self.at_risk_, 0)[following].astype(np.float64)


def _first(time: FloatArray, curve: FloatArray) -> float:
    reached = np.flatnonzero(curve <= HALF)
    return float(time[reached[0]]) if reached.size else float("inf")


def kaplan_meier(events: Counts, censored: Counts, precision: float) -> KaplanMeier:
    """The curve of one group from its (grid,) counts; a censoring at a time counts as at risk at that time."""
    leaving = events + censored
    at_risk = leaving.sum() - np.cumsum(leaving) + leaving
    used = np.flatnonzero(leaving)
    d, r = events[used].astype(np.float64), at_risk[used].astype(np.float64)
    survival = np.cumprod(1.0 - d / r)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(d / (r * (r - d)))
        std_err = np.where(survival > 0, survival * np.sqrt(greenwood), 0.0)
        log_survival = np.log(survival)
        spread = Z975 * np.sqrt(greenwood) / log_survival
        low, high = survival ** np.exp(-spread), survival ** np.exp(spread)
    flat, zero = survival == 1.0, survival == 0.0
    low = np.where(flat, 1.0, np.where(zero, 0.0, low))
    high = np.where(flat, 1.0, np.where(zero, 0.0, high))
    time = np.asarray(used * precision, dtype=np.float64)
    return KaplanMeier(time, at_risk[used], events[used], survival, std_err, low, high)


def _medians_among(times: FloatArray, curve: KaplanMeier) -> list[float]:
    """Median and limits to the next of some times, -1 where not reached: the exact one is one patient's time."""
    at = curve.at(times)
    reached = [np.flatnonzero(at[row] <= HALF) for row in range(3)]
    return [float(times[places[0]]) if places.size else -1.0 for places in reached]


@dataclass(frozen=True)
class SurvivalResult:
    """Kaplan-Meier curves by group and the log-rank test between them.

    Attributes
    ----------
    curves_
        One curve a group, in the order of the groups.
    observed_, expected_
        (groups,) events, and those expected if all groups had the same hazard.
    chi2_, degrees_, p_
        Log-rank statistic, its degrees of freedom and p; NaN with fewer than two groups that have patients.
    """

    curves_: tuple[KaplanMeier, ...]
    observed_: FloatArray
    expected_: FloatArray
    chi2_: float
    degrees_: int
    p_: float


def log_rank(events: Counts, censored: Counts) -> tuple[FloatArray, FloatArray, float, int, float]:
    """Observed and expected events, chi-square, degrees of freedom and p of the k-sample log-rank test.

    (Mantel, Cancer Chemother Rep 1966;50:163; variance of the hypergeometric distribution.)
    """
    leaving = events + censored
    at_risk = (leaving.sum(axis=1, keepdims=True) - np.cumsum(leaving, axis=1) + leaving).astype(np.float64)
    times = np.flatnonzero(events.sum(axis=0))
    d_group, r_group = events[:, times].astype(np.float64), at_risk[:, times]
    d, r = d_group.sum(axis=0), r_group.sum(axis=0)
    share = r_group / r
    observed, expected = d_group.sum(axis=1), (share * d).sum(axis=1)
    factor = np.where(r > 1, d * (r - d) / np.maximum(r - 1, 1.0), 0.0)
    covariance = np.diag((share * factor).sum(axis=1)) - (share * factor) @ share.T
    present = np.flatnonzero(leaving.sum(axis=1) > 0)[:-1]
    degrees = int(present.size)
    if degrees < 1 or times.size == 0:
        return observed, expected, float("nan"), degrees, float("nan")
    difference = (observed - expected)[present]
    chi2 = float(difference @ np.linalg.solve(covariance[np.ix_(present, present)], difference))
    return observed, expected, chi2, degrees, chi2_p(chi2, degrees)


def survival(
    cohort: str, recipe: Recipe, endpoint: str, groups: int, precision: float, grid_points: int
) -> Conclusion[SurvivalResult]:
    """Kaplan-Meier curves by `group` and their log-rank test; one round.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    table = yield total(LifeTable(cohort, recipe, endpoint, groups, precision, grid_points))
    events, censored = table["events"], table["censored"]
    if int(events.sum() + censored.sum()) == 0:
        raise FedmviError(601, cohort=cohort)
    curves = tuple(kaplan_meier(e, c, precision) for e, c in zip(events, censored, strict=True))
    return SurvivalResult(curves, *log_rank(events, censored))


@dataclass(frozen=True)
class SurvivalAlone(Alone):
    """One site's own curves at given times and its log-rank test, guarded."""

    name: ClassVar[str] = "query.survival_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    groups: int
    precision: float
    grid_points: int
    times: tuple[float, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`patients`, `events` (groups,); `curve` (groups, 4, times) as `KaplanMeier.at`; `median` (groups, 3)
        to the next of `times`, -1 where not reached; `test` (2,): chi-square and degrees; `estimable` ()."""
        return {
            "patients": Block((self.groups,), Kind.COUNT),
            "events": Block((self.groups,), Kind.COUNT),
            "curve": Block((self.groups, 4, len(self.times)), Kind.REAL),
            "median": Block((self.groups, 3), Kind.REAL),
            "test": Block((2,), Kind.REAL),
            "estimable": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own survival curves of {self.endpoint} in {self.groups} groups, with log-rank test"

    def respond(self, site: SiteView) -> Summary:
        """Not estimable unless every group has `min_cell` events; numbers at risk are rounded down to `min_cell`s."""
        grid = (self.groups, self.precision, self.grid_points)
        result = self.conclude(site, survival(self.cohort, self.recipe, self.endpoint, *grid))
        patients = np.array([c.n_ for c in result.curves_], dtype=np.int64)
        events = np.array([c.n_events_ for c in result.curves_], dtype=np.int64)
        summary: Summary = {
            "patients": hide_in_row(patients, self.min_cell),
            "events": hide_in_row(events, self.min_cell),
            "curve": np.zeros((self.groups, 4, len(self.times))),
            "median": np.full((self.groups, 3), -1.0),
            "test": np.zeros(2),
            "estimable": np.array(0, dtype=np.int64),
        }
        if int(events.min()) >= self.min_cell and np.isfinite(result.chi2_):
            times = np.array(self.times)
            for i, curve in enumerate(result.curves_):
                at = curve.at(times)
                told = at[3] >= self.min_cell
                # Exact numbers at risk month by month would tell the few who left between them.
                at[3] = np.where(times > 0, at[3] // self.min_cell * self.min_cell, at[3])
                summary["curve"][i] = np.where(told, at, 0.0)
                summary["median"][i] = _medians_among(np.sort(times), curve)
            summary["test"] = np.array([result.chi2_, float(result.degrees_)])
            summary["estimable"] = np.array(1, dtype=np.int64)
        return summary

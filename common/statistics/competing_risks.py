"""common/statistics: competing risks: cumulative incidence by group, Gray's test, and cause-specific life tables.

An endpoint such as time to recurrence has events 1, recurrence, and 2, death before it. Each site counts both, and
censorings, by group and grid point; the sums are the pooled table, so all results are exactly the pooled ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import Block, Kind, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import CENSORED, COMPETING, OF_INTEREST
from common.statistics.distributions import Z975
from common.statistics.gray import gray_test
from common.statistics.life_table import (
    Counts,
    GroupedTimes,
    KaplanMeier,
    kaplan_meier,
    remaining,
    risk_set,
    steps,
    tally,
)
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

CAUSES = (OF_INTEREST, COMPETING)


@dataclass(frozen=True)
class CompetingTable(GroupedTimes):
    """Events of either cause and censorings per group and grid point."""

    name: ClassVar[str] = "query.competing_table"
    risk: ClassVar[Risk] = Risk.PROFILE

    def blocks(self) -> Mapping[str, Block]:
        """`events` (2, groups, grid_points) by cause, `censored` (groups, grid_points)."""
        shape = (self.groups, self.grid_points)
        return {"events": Block((len(CAUSES), *shape), Kind.COUNT), "censored": Block(shape, Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return (
            f"events of {self.endpoint} by cause, and censorings, by time in {self.groups} groups, cohort {self.cohort}"
        )

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        group, point, event = self.located(frame)
        shape = (self.groups, self.grid_points)

        def of(code: int) -> Counts:
            return tally(shape, group[event == code], point[event == code])

        return {"events": np.stack([of(cause) for cause in CAUSES]), "censored": of(CENSORED)}


@dataclass(frozen=True)
class CumulativeIncidence:
    """Cumulative incidences of the event of interest and of the competing one, in one group.

    Attributes
    ----------
    time_, at_risk_
        (times,) at each time with an event or censoring: time in the endpoint's unit, patients at risk just before.
    events_
        (2, times) events by cause.
    incidence_, std_err_, low_, high_
        (2, times) by cause: the share with that event up to the time, its error, and the 95 % log-log band.
    cause_specific_
        (2,) life tables in which the other cause is a censoring, for cause-specific hazards. Their curves are not
        shares of patients.
    """

    time_: FloatArray
    at_risk_: Counts
    events_: Counts
    incidence_: FloatArray
    std_err_: FloatArray
    low_: FloatArray
    high_: FloatArray
    cause_specific_: tuple[KaplanMeier, ...]

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.at_risk_[0]) if self.at_risk_.size else 0

    @property
    def n_events_(self) -> tuple[int, int]:
        """Patients with the event of interest, and with the competing one."""
        interest, competing = self.events_.sum(axis=1).tolist()
        return interest, competing

    def at(self, times: FloatArray) -> FloatArray:
        """(2, 4, times) by cause: incidence, lower and upper band, and patients at risk just before each time."""
        curves = np.stack([self.incidence_, self.low_, self.high_], axis=1)
        at_risk = risk_set(self.time_, self.at_risk_, times)
        return np.stack([np.vstack([steps(self.time_, curve, times, 0.0), at_risk]) for curve in curves])

    def std_err_at(self, times: FloatArray) -> FloatArray:
        """(2, times) the errors at given times."""
        return steps(self.time_, self.std_err_, times, 0.0)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a cause and time with an event or censoring."""
        names = ("events", "incidence", "std_err", "low", "high")
        return [
            {"cause": code, "time": time, "at_risk": at_risk, **dict(zip(names, row, strict=True))}
            for cause, code in enumerate(CAUSES)
            for time, at_risk, *row in zip(
                self.time_.tolist(),
                self.at_risk_.tolist(),
                *(getattr(self, f"{name}_")[cause].tolist() for name in names),
                strict=True,
            )
        ]


def cumulative_incidence(events: Counts, censored: Counts, precision: float) -> CumulativeIncidence:
    """The incidences of one group from its (2, grid) events by cause and (grid,) censorings.

    The estimator of Aalen & Johansen (Scand J Stat 1978;5:141). Its variance is Aalen's, with the correction for
    tied events of Gray's `cmprsk`: the sum over times and causes of the variance of that time's jump times the
    square of what it does to the incidence. The band is that of log(-log), as in `survfit`'s for one cause.
    """
    leaving = events.sum(axis=0) + censored
    used = np.flatnonzero(leaving)
    d = events[:, used].astype(np.float64)
    counted = remaining(leaving)[used]
    r = counted.astype(np.float64)
    survival = np.cumprod(1.0 - d.sum(axis=0) / r)
    before = np.append(1.0, survival)[:-1]
    incidence = np.cumsum(before * d / r, axis=1)
    variance = np.stack([_variance(d[[i, 1 - i]], r, before, survival, incidence[i]) for i in range(len(CAUSES))])
    std_err = np.sqrt(np.maximum(variance, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = Z975 * std_err / (incidence * np.log(incidence))
        low, high = incidence ** np.exp(-spread), incidence ** np.exp(spread)
    sure = (incidence <= 0.0) | (incidence >= 1.0)
    time = np.asarray(used * precision, dtype=np.float64)
    specific = [kaplan_meier(events[i], events[1 - i] + censored, precision) for i in range(len(CAUSES))]
    return CumulativeIncidence(
        time_=time,
        at_risk_=counted,
        events_=events[:, used],
        incidence_=incidence,
        std_err_=std_err,
        low_=np.where(sure, incidence, low),
        high_=np.where(sure, incidence, high),
        cause_specific_=tuple(specific),
    )


def _variance(
    d: FloatArray, r: FloatArray, before: FloatArray, survival: FloatArray, incidence: FloatArray
) -> FloatArray:
    """(times,) of the incidence of the first of the two causes whose (2, times) events are `d`."""
    jump = np.square(before / r) * d * np.where(d > 1, 1.0 - (d - 1.0) / np.maximum(r - 1.0, 1.0), 1.0)
    left = np.where(survival > 0, 1.0 / np.where(survival > 0, survival, 1.0), 0.0)
    # A death of the other cause that leaves nobody changes no incidence any more.
    jump[1] *= survival > 0
    own = np.stack([1.0 + left * incidence, left * incidence])
    first, second, third = (
        np.cumsum((weight * jump).sum(axis=0)) for weight in (np.square(own), left * own, np.square(left))
    )
    return np.asarray(first + np.square(incidence) * third - 2.0 * incidence * second)


@dataclass(frozen=True)
class CompetingRisks:
    """Cumulative incidences by group and Gray's test between them, for either cause.

    Attributes
    ----------
    curves_
        (groups,) in the order of the groups.
    chi2_, p_
        (2,) Gray's statistic and p for the event of interest and for the competing one; NaN with fewer than two
        groups that have patients.
    degrees_
        Its degrees of freedom.
    """

    curves_: tuple[CumulativeIncidence, ...]
    chi2_: FloatArray
    degrees_: int
    p_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a group and cause: patients, events, and Gray's test between all groups."""
        return [
            {
                "group": group,
                "cause": code,
                "n": curve.n_,
                "events": curve.n_events_[cause],
                "chi2": float(self.chi2_[cause]),
                "degrees": self.degrees_,
                "p": float(self.p_[cause]),
            }
            for group, curve in enumerate(self.curves_)
            for cause, code in enumerate(CAUSES)
        ]

    def at(self, times: FloatArray) -> list[dict[str, Any]]:
        """One row a group, cause and time: the form to publish."""
        rows: list[dict[str, Any]] = []
        for group, curve in enumerate(self.curves_):
            for cause, table in zip(CAUSES, curve.at(times), strict=True):
                for time, (share, low, high, at_risk) in zip(times.tolist(), table.T.tolist(), strict=True):
                    row = {"group": group, "cause": cause, "time": time, "incidence": share, "low": low, "high": high}
                    rows.append(row | {"at_risk": at_risk})
        return rows


def competing_risks(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    groups: int,
    precision: float,
    grid_points: int,
    horizon: float | None = None,
) -> Conclusion[CompetingRisks]:
    """Cumulative incidences by `group` with their errors, and Gray's test; one round.

    With a `horizon` whoever is followed longer is censored at it.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    table = yield total(CompetingTable(cohort, recipe, endpoint, groups, precision, grid_points, horizon))
    events, censored = table["events"], table["censored"]
    if int(events.sum() + censored.sum()) == 0:
        raise FedmviError(601, cohort=cohort)
    curves = tuple(cumulative_incidence(events[:, i], censored[i], precision) for i in range(groups))
    tests = [gray_test(events[i], events[1 - i], censored) for i in range(len(CAUSES))]
    return CompetingRisks(
        curves, np.array([test[0] for test in tests]), tests[0][1], np.array([test[2] for test in tests])
    )

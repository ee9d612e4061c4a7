"""common/statistics: the life table: events and censorings by group and time, and the Kaplan-Meier curves in it.

Each site counts on the grid on which times are recorded; the sums are the pooled life table, so a curve, Greenwood's
error, the log-log band (Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data, 1980, section 1.3) and
the median are exactly the pooled ones.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import OF_INTEREST, group_of, on_grid
from common.statistics.distributions import Z975
from common.study.recipe import Frame
from common.study.table import FloatArray

Counts = NDArray[np.int64]
MAX_CELLS = 2_000_000
HALF = 0.5 + 1e-12
"""A product of fractions that is exactly one half may miss it by its last digits."""


@dataclass(frozen=True)
class GroupedTimes(Query, ABC):
    """A question about a survival endpoint by groups, which are the column `group`; one group needs no column.

    Attributes
    ----------
    precision, grid_points
        The grid on which times are recorded: its step, in the endpoint's unit, and its points from 0.
    horizon
        Whoever is followed longer is censored at it; `None` for all the time there is.
    """

    endpoint: str
    groups: int
    precision: float
    grid_points: int
    horizon: float | None = None

    @property
    def times(self) -> tuple[float, ...]:
        """The times that the server chose: horizons day by day would tell what happens on each day."""
        return () if self.horizon is None else (self.horizon,)

    def consistent(self) -> bool:
        """Whether the table has a size that a site counts, and the horizon is a time."""
        sized = self.groups >= 1 and self.grid_points >= 1 and self.groups * self.grid_points <= MAX_CELLS
        return sized and self.precision > 0 and (self.horizon is None or self.horizon > 0)

    def located(self, frame: Frame) -> tuple[Counts, Counts, Counts]:
        """(n,) group, grid point and event code of each patient.

        Raises
        ------
        FedmviError
            312 a time beyond the grid, 501 a table without size, 655 a time, event or group that is missing.
        """
        if not self.consistent():
            raise FedmviError(501, "size of the life table")
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points, self.horizon)
        return group_of(frame, self.groups), point, event


@dataclass(frozen=True)
class LifeTable(GroupedTimes):
    """Events and censorings per group and grid point of a survival endpoint. Another cause's event is a censoring."""

    name: ClassVar[str] = "query.life_table"
    risk: ClassVar[Risk] = Risk.PROFILE

    def blocks(self) -> Mapping[str, Block]:
        """`events`, `censored`: (groups, grid_points) each."""
        shape = (self.groups, self.grid_points)
        return {"events": Block(shape, Kind.COUNT), "censored": Block(shape, Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        until = "" if self.horizon is None else f", followed to {self.horizon:g}"
        return f"events and censorings of {self.endpoint} by time in {self.groups} groups, cohort {self.cohort}{until}"

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        group, point, event = self.located(frame)
        happened = event == OF_INTEREST
        shape = (self.groups, self.grid_points)
        return {
            "events": tally(shape, group[happened], point[happened]),
            "censored": tally(shape, group[~happened], point[~happened]),
        }


def tally(shape: tuple[int, ...], *indices: NDArray[np.int64]) -> Counts:
    """How often each cell of an array of this shape is named."""
    table: Counts = np.zeros(shape, dtype=np.int64)
    np.add.at(table, indices, 1)
    return table


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

        Infinite where not reached (Brookmeyer & Crowley, Biometrics 1982;38:29).
        """
        return _first(self.time_, self.survival_), _first(self.time_, self.low_), _first(self.time_, self.high_)

    def at(self, times: FloatArray) -> FloatArray:
        """(4, times): survival, lower band, upper band, and patients at risk just before each time."""
        curves = np.stack([self.survival_, self.low_, self.high_])
        return np.vstack([steps(self.time_, curves, times, 1.0), self.at_risk(times)])

    def at_risk(self, times: FloatArray) -> FloatArray:
        """(times,) patients at risk just before each time."""
        return risk_set(self.time_, self.at_risk_, times)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a time with an event or censoring."""
        names = ("time", "at_risk", "events", "survival", "std_err", "low", "high")
        rows = zip(*(getattr(self, f"{name}_").tolist() for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


def steps(time: FloatArray, curves: FloatArray, at: FloatArray, before: float) -> FloatArray:
    """(curves, at) right-continuous step functions at given times, `before` until their first step."""
    last = np.searchsorted(time, at, side="right") - 1
    padded = np.concatenate([np.full((curves.shape[0], 1), before), curves], axis=1)
    return np.asarray(padded[:, last + 1])


def risk_set(time: FloatArray, at_risk: Counts, at: FloatArray) -> FloatArray:
    """(at,) patients at risk just before given times."""
    return np.append(at_risk, 0)[np.searchsorted(time, at, side="left")].astype(np.float64)


def _first(time: FloatArray, curve: FloatArray) -> float:
    reached = np.flatnonzero(curve <= HALF)
    return float(time[reached[0]]) if reached.size else float("inf")


def remaining(leaving: Counts) -> Counts:
    """(..., times) at risk just before each time, from how many leave at each; all leave in the end."""
    return np.asarray(leaving.sum(axis=-1, keepdims=True) - np.cumsum(leaving, axis=-1) + leaving)


def kaplan_meier(events: Counts, censored: Counts, precision: float) -> KaplanMeier:
    """The curve of one group from its (grid,) counts; a censoring at a time counts as at risk at that time."""
    leaving = events + censored
    at_risk = remaining(leaving)
    used = np.flatnonzero(leaving)
    d, r = events[used].astype(np.float64), at_risk[used].astype(np.float64)
    survival = np.asarray(np.cumprod(1.0 - d / r), dtype=np.float64)
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


def life_table(query: LifeTable) -> Conclusion[tuple[Counts, Counts]]:
    """The pooled (groups, grid) events and censorings; one round.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    table = yield total(query)
    if int(table["events"].sum() + table["censored"].sum()) == 0:
        raise FedmviError(601, cohort=query.cohort)
    return table["events"], table["censored"]


def curves_of(events: Counts, censored: Counts, precision: float) -> tuple[KaplanMeier, ...]:
    """One curve a group."""
    return tuple(kaplan_meier(e, c, precision) for e, c in zip(events, censored, strict=True))

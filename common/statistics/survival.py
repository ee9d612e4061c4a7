"""common/statistics: Kaplan-Meier curves by group and the log-rank test between them, pooled or stratified by site.

From the pooled life table (see `life_table`), so curves and test are exactly those of the pooled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.federation.alone import Alone
from common.federation.query import Block, Kind, Risk, SiteView, Summary
from common.federation.runner import Conclusion
from common.statistics.counts import hide_in_row
from common.statistics.life_table import HALF, KaplanMeier, LifeTable, curves_of, kaplan_meier, life_table
from common.statistics.log_rank import log_rank
from common.study.recipe import Recipe
from common.study.table import FloatArray

__all__ = ["KaplanMeier", "LifeTable", "SurvivalAlone", "SurvivalResult", "kaplan_meier", "log_rank", "survival"]


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

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a group: patients, events, median with its limits, and the test between all groups."""
        test = {"chi2": self.chi2_, "degrees": self.degrees_, "p": self.p_}
        rows = []
        for group, curve in enumerate(self.curves_):
            median, low, high = curve.median
            counts = {"n": curve.n_, "observed": float(self.observed_[group]), "expected": float(self.expected_[group])}
            rows.append({"group": group, **counts, "median": median, "median_low": low, "median_high": high, **test})
        return rows


def survival(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    groups: int,
    precision: float,
    grid_points: int,
    horizon: float | None = None,
    rho: float = 0.0,
) -> Conclusion[SurvivalResult]:
    """Kaplan-Meier curves by `group` and their log-rank test; one round.

    With a `horizon` whoever is followed longer is censored at it; `rho` weights the test, see `log_rank`.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    events, censored = yield from life_table(
        LifeTable(cohort, recipe, endpoint, groups, precision, grid_points, horizon)
    )
    return SurvivalResult(curves_of(events, censored, precision), *log_rank(events, censored, rho))


def _medians_among(times: FloatArray, curve: KaplanMeier) -> list[float]:
    """Median and limits to the next of some times, -1 where not reached: the exact one is one patient's time."""
    at = curve.at(times)
    reached = [np.flatnonzero(at[row] <= HALF) for row in range(3)]
    return [float(times[places[0]]) if places.size else -1.0 for places in reached]


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

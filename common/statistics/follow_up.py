"""common/statistics: how long patients were followed: reverse Kaplan-Meier, and how many completely to a horizon.

From the pooled life table, so exactly that of the pooled rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975
from common.statistics.life_table import Counts, KaplanMeier, LifeTable, curves_of, life_table
from common.study.recipe import Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class FollowUp:
    """Follow-up by group.

    Attributes
    ----------
    horizon_
        The time to which follow-up is complete or not, in the endpoint's unit.
    curves_
        (groups,) reverse Kaplan-Meier curves: the share still followed if nobody had the event. Their `median` is
        the median follow-up with its 95 % interval, their `at` the form to publish.
    patients_, complete_
        (groups,) patients, and those with the event up to the horizon or followed at least so long.
    """

    horizon_: float
    curves_: tuple[KaplanMeier, ...]
    patients_: Counts
    complete_: Counts

    @property
    def share_(self) -> FloatArray:
        """(groups,) share with complete follow-up; NaN without patients."""
        patients = self.patients_.astype(np.float64)
        return np.where(patients > 0, self.complete_ / np.where(patients > 0, patients, 1.0), np.nan)

    @property
    def interval(self) -> FloatArray:
        """(2, groups) 95 % interval of the share (Wilson, J Am Stat Assoc 1927;22:209)."""
        n = np.where(self.patients_ > 0, self.patients_, 1).astype(np.float64)
        middle = (self.share_ + Z975**2 / (2 * n)) / (1 + Z975**2 / n)
        half = Z975 / (1 + Z975**2 / n) * np.sqrt(self.share_ * (1 - self.share_) / n + Z975**2 / (4 * n**2))
        return np.stack([middle - half, middle + half])

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a group."""
        rows: list[dict[str, Any]] = []
        for i, curve in enumerate(self.curves_):
            median, low, high = curve.median
            row = {"group": i, "patients": int(self.patients_[i]), "median": median, "low": low, "high": high}
            ends = {"share_low": float(self.interval[0, i]), "share_high": float(self.interval[1, i])}
            rows.append(row | {"complete": int(self.complete_[i]), "share": float(self.share_[i])} | ends)
        return rows


def follow_up(
    cohort: str, recipe: Recipe, endpoint: str, groups: int, precision: float, grid_points: int, horizon: float
) -> Conclusion[FollowUp]:
    """Median follow-up by the reverse Kaplan-Meier method, and complete follow-up to a horizon; one round.

    (Schemper & Smith, Control Clin Trials 1996;17:343.) In the reverse curve a censoring is the event, and who has
    the event at a time still counts as followed at it.

    Raises
    ------
    FedmviError
        601 no patients, 656 a horizon that is not a time.
    """
    if not horizon > 0:
        raise FedmviError(656, endpoint=endpoint, time=horizon)
    table = LifeTable(cohort, recipe, endpoint, groups, precision, grid_points)
    events, censored = yield from life_table(table)
    patients = (events + censored).sum(axis=1)
    early = np.arange(grid_points) < horizon / precision - 1e-9
    lost = censored[:, early].sum(axis=1)
    return FollowUp(horizon, curves_of(censored, events, precision), patients, patients - lost)

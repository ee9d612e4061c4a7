"""common/statistics: the log-rank test of k groups, weighted or not, from a pooled life table or stratified by site.

Stratified by site, each site computes observed minus expected and their covariance among its own patients, and only
their sums are known; hospitals may then differ in survival without a bias. That form is not the one on pooled rows,
and it changes when a site is split in two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import chi2_p
from common.statistics.life_table import Counts, GroupedTimes, LifeTable, remaining
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


def log_rank_sums(events: Counts, censored: Counts, rho: float = 0.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(groups,) observed and expected events and the (groups, groups) covariance of their difference.

    From (groups, grid) counts; each time has the weight S(t-)^rho of the curve of all groups together (Harrington &
    Fleming, Biometrika 1982;69:553): 0 is the log-rank test, 1 the Peto & Peto modification of Wilcoxon's.
    """
    at_risk = remaining(events + censored).astype(np.float64)
    times = np.flatnonzero(events.sum(axis=0))
    d_group, r_group = events[:, times].astype(np.float64), at_risk[:, times]
    d, r = d_group.sum(axis=0), r_group.sum(axis=0)
    weight = np.cumprod(np.append(1.0, 1.0 - d / r))[:-1] ** rho
    share = r_group / r
    observed, expected = (weight * d_group).sum(axis=1), (share * weight * d).sum(axis=1)
    factor = np.where(r > 1, np.square(weight) * d * (r - d) / np.maximum(r - 1, 1.0), 0.0)
    covariance = np.diag((share * factor).sum(axis=1)) - (share * factor) @ share.T
    return observed, expected, covariance


def log_rank_test(observed: FloatArray, expected: FloatArray, covariance: FloatArray) -> tuple[float, int, float]:
    """Chi-square, degrees of freedom and p; NaN where fewer than two groups were ever at risk of an event."""
    present = np.flatnonzero(expected > 0)[:-1]
    degrees = int(present.size)
    if degrees < 1:
        return float("nan"), max(degrees, 0), float("nan")
    difference = (observed - expected)[present]
    among = covariance[np.ix_(present, present)]
    if np.linalg.matrix_rank(among) < degrees:
        return float("nan"), degrees, float("nan")
    chi2 = float(difference @ np.linalg.solve(among, difference))
    return chi2, degrees, chi2_p(chi2, degrees)


def log_rank(events: Counts, censored: Counts, rho: float = 0.0) -> tuple[FloatArray, FloatArray, float, int, float]:
    """Observed and expected events, chi-square, degrees of freedom and p of the k-sample log-rank test.

    (Mantel, Cancer Chemother Rep 1966;50:163; variance of the hypergeometric distribution.)
    """
    observed, expected, covariance = log_rank_sums(events, censored, rho)
    return observed, expected, *log_rank_test(observed, expected, covariance)


@dataclass(frozen=True)
class LogRankSums(GroupedTimes):
    """Observed and expected events by group within a site, and the covariance of their difference."""

    name: ClassVar[str] = "query.log_rank_sums"
    risk: ClassVar[Risk] = Risk.SUM

    rho: float = 0.0

    def blocks(self) -> Mapping[str, Block]:
        """`patients` (groups,), `observed`, `expected` (groups,), `covariance` (groups, groups)."""
        return {
            "patients": Block((self.groups,), Kind.COUNT),
            "observed": Block((self.groups,), Kind.REAL),
            "expected": Block((self.groups,), Kind.REAL),
            "covariance": Block((self.groups, self.groups), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"observed and expected events of {self.endpoint} in {self.groups} groups within this site"

    def consistent(self) -> bool:
        """See `GroupedTimes`; the weight is one that tests use."""
        return super().consistent() and 0.0 <= self.rho <= 1.0

    def answer(self, frame: Frame) -> Summary:
        """The site's sums, of its own life table, which does not leave it."""
        if not self.consistent():
            raise FedmviError(501, "size or weight of the log-rank test")
        grid = (self.groups, self.precision, self.grid_points)
        table = LifeTable(self.cohort, self.recipe, self.endpoint, *grid, self.horizon).answer(frame)
        observed, expected, covariance = log_rank_sums(table["events"], table["censored"], self.rho)
        patients: NDArray[np.int64] = (table["events"] + table["censored"]).sum(axis=1)
        return {"patients": patients, "observed": observed, "expected": expected, "covariance": covariance}


@dataclass(frozen=True)
class StratifiedLogRank:
    """The log-rank test of `group`, stratified by site.

    Attributes
    ----------
    patients_
        (groups,) patients.
    observed_, expected_
        (groups,) events, weighted, and those expected if within each site all groups had the same hazard.
    covariance_
        (groups, groups) of their difference.
    chi2_, degrees_, p_
        The test.
    """

    patients_: Counts
    observed_: FloatArray
    expected_: FloatArray
    covariance_: FloatArray
    chi2_: float
    degrees_: int
    p_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a group."""
        rows = zip(self.patients_.tolist(), self.observed_.tolist(), self.expected_.tolist(), strict=True)
        return [{"group": i, "patients": n, "observed": o, "expected": e} for i, (n, o, e) in enumerate(rows)]


def stratified_log_rank(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    groups: int,
    precision: float,
    grid_points: int,
    horizon: float | None = None,
    rho: float = 0.0,
) -> Conclusion[StratifiedLogRank]:
    """The log-rank test stratified by site; one round (Kalbfleisch & Prentice 1980, section 1.4).

    With a `horizon` whoever is followed longer is censored at it; `rho` weights the test, see `log_rank_sums`.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    sums = yield total(LogRankSums(cohort, recipe, endpoint, groups, precision, grid_points, horizon, rho))
    if int(sums["patients"].sum()) == 0:
        raise FedmviError(601, cohort=cohort)
    test = log_rank_test(sums["observed"], sums["expected"], sums["covariance"])
    return StratifiedLogRank(sums["patients"], sums["observed"], sums["expected"], sums["covariance"], *test)

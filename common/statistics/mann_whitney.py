"""common/statistics: the Mann-Whitney U test of many columns at once, within sites or over all patients together.

Within sites no value leaves a site: each ranks its own patients, and the sums are those of van Elteren's stratified
test (Bull Inst Int Stat 1960;37:351), each site weighted by one over its patients plus one, which is the most
powerful weighting against a common shift. The pooled test finds the ranks over all sites by counts (`refinement`)
and equals the test on the pooled rows, differences between sites included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import two_sided_p
from common.statistics.refinement import Counts, Leaves, refine
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

EXACT = 8
"""Largest size of the smaller class for which the exact distribution is worked out."""


@dataclass(frozen=True)
class WithinSiteRanks(Query):
    """Sums over sites of U between the classes of an endpoint, of its weighted deviation, and of its variance."""

    name: ClassVar[str] = "query.within_site_ranks"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    endpoint: str

    def blocks(self) -> Mapping[str, Block]:
        """(columns,) each: `twice_u` and `pairs`, `deviation` and `variance` weighted; `n` (columns, 2)."""
        k = len(self.columns)
        return {
            "n": Block((k, 2), Kind.COUNT),
            "twice_u": Block((k,), Kind.COUNT),
            "pairs": Block((k,), Kind.COUNT),
            "deviation": Block((k,), Kind.REAL),
            "variance": Block((k,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"rank sums within the site of {len(self.columns)} columns by {self.endpoint}, cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """Missing values are left out, column by column; a site with one class adds nothing to the test."""
        y = frame.endpoints[self.endpoint]
        k = len(self.columns)
        summary: Summary = {
            "n": np.zeros((k, 2), dtype=np.int64),
            "twice_u": np.zeros(k, dtype=np.int64),
            "pairs": np.zeros(k, dtype=np.int64),
            "deviation": np.zeros(k),
            "variance": np.zeros(k),
        }
        for i, name in enumerate(self.columns):
            known = ~np.isnan(frame.columns[name]) & ~np.isnan(y)
            values, place = np.unique(frame.columns[name][known], return_inverse=True)
            counts = np.zeros((values.size, 2), dtype=np.int64)
            np.add.at(counts, (place, y[known].astype(np.int64)), 1)
            n0, n1 = counts.sum(axis=0).tolist()
            weight = 1.0 / (n0 + n1 + 1.0)
            twice_u = _twice_u(counts)
            summary["n"][i] = n0, n1
            summary["twice_u"][i], summary["pairs"][i] = twice_u, n0 * n1
            summary["deviation"][i] = weight * 0.5 * (twice_u - n0 * n1)
            summary["variance"][i] = weight**2 * _variance(counts)
        return summary


def _twice_u(counts: Counts) -> int:
    """2 U of the patients with the endpoint, from (values, 2) counts by ascending value."""
    negatives, positives = counts[:, 0], counts[:, 1]
    return int(np.sum(positives * (2 * np.cumsum(negatives) - negatives)))


def _variance(counts: Counts) -> float:
    """Variance of U under no difference, given the ties (Lehmann, Nonparametrics, 1975, eq. 1.35)."""
    n0, n1 = counts.sum(axis=0).astype(np.float64).tolist()
    n = n0 + n1
    if min(n0, n1) == 0:
        return 0.0
    tied = counts.sum(axis=1).astype(np.float64)
    return float(n0 * n1 / 12.0 * ((n + 1.0) - np.sum(tied**3 - tied) / (n * (n - 1.0))))


@dataclass(frozen=True)
class MannWhitneyResult:
    """Mann-Whitney tests of several columns between the classes of an endpoint.

    Attributes
    ----------
    within_site
        Whether ranks are those within sites (van Elteren's test), or those of all patients together.
    n_
        (columns, 2) patients without and with the endpoint.
    u_
        (columns,) U of the patients with the endpoint: pairs in which they are above, ties counting one half;
        within sites, of pairs of the same site.
    auc_
        (columns,) U over the pairs: the chance that a patient with the endpoint is above one without.
    z_, p_, p_corrected_
        (columns,) normal statistic, two-sided p, and p with continuity correction (NaN within sites); all corrected
        for ties, NaN where all values are equal.
    p_exact_
        (columns,) p of the exact distribution; NaN with ties, within sites, and where the smaller class has more than
        eight patients.
    """

    columns: tuple[str, ...]
    within_site: bool
    n_: Counts
    u_: FloatArray
    auc_: FloatArray
    z_: FloatArray
    p_: FloatArray
    p_corrected_: FloatArray
    p_exact_: FloatArray

    @property
    def rank_biserial_(self) -> FloatArray:
        """(columns,) 2 AUC - 1 (Kerby, Compr Psychol 2014;3:1)."""
        return 2.0 * self.auc_ - 1.0

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        return [
            {
                "column": name,
                "n": int(self.n_[i].sum()),
                "events": int(self.n_[i, 1]),
                "u": float(self.u_[i]),
                "auc": float(self.auc_[i]),
                "rank_biserial": float(self.rank_biserial_[i]),
                "z": float(self.z_[i]),
                "p": float(self.p_[i]),
            }
            for i, name in enumerate(self.columns)
        ]


def mann_whitney(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], *, within_site: bool = True
) -> Conclusion[MannWhitneyResult]:
    """Mann-Whitney tests of columns between the classes of a binary endpoint; missing values are left out.

    Parameters
    ----------
    within_site
        True: van Elteren's test over sites, one round. False: the test over all patients together, at most eight.

    Raises
    ------
    FedmviError
        602 a column without patients of both classes (within sites: at any one site).
    """
    if within_site:
        sums = yield total(WithinSiteRanks(cohort, recipe, columns, endpoint))
        if not bool(np.all(sums["pairs"] > 0)):
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        u = sums["twice_u"] / 2.0
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.where(sums["variance"] > 0, sums["deviation"] / np.sqrt(sums["variance"]), np.nan)
        unknown = np.full(len(columns), np.nan)
        p = np.array([two_sided_p(value) for value in z.tolist()])
        return MannWhitneyResult(columns, True, sums["n"], u, u / sums["pairs"], z, p, unknown, unknown)
    leaves = yield from refine(cohort, recipe, columns, endpoint, pure=False)
    return _pooled(cohort, endpoint, columns, leaves)


def _pooled(cohort: str, endpoint: str, columns: tuple[str, ...], leaves: tuple[Leaves, ...]) -> MannWhitneyResult:
    n = np.array([leaf.counts.sum(axis=0) for leaf in leaves])
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    pairs = n.prod(axis=1).astype(np.float64)
    u = np.array([_twice_u(leaf.counts) for leaf in leaves]) / 2.0
    variance = np.array([_variance(leaf.counts) for leaf in leaves])
    deviation = u - pairs / 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(variance > 0, deviation / np.sqrt(variance), np.nan)
        # As SciPy: the distance from the mean is shortened by one half, below zero too.
        corrected = np.where(variance > 0, (np.abs(deviation) - 0.5) / np.sqrt(variance), np.nan)
    return MannWhitneyResult(
        columns=columns,
        within_site=False,
        n_=n,
        u_=u,
        auc_=u / pairs,
        z_=z,
        p_=np.array([two_sided_p(value) for value in z.tolist()]),
        p_corrected_=np.array([two_sided_p(max(value, 0.0)) for value in corrected.tolist()]),
        p_exact_=np.array([_exact_p(leaf.counts) for leaf in leaves]),
    )


def _exact_p(counts: Counts) -> float:
    """Two-sided p of the distribution of U over all orders (Mann & Whitney, Ann Math Stat 1947;18:50)."""
    n0, n1 = counts.sum(axis=0).tolist()
    if min(n0, n1) > EXACT or int(counts.sum(axis=1).max()) > 1:
        return float("nan")
    larger = max(_twice_u(counts), 2 * n0 * n1 - _twice_u(counts)) // 2
    orders = _orders(max(n0, n1), min(n0, n1))
    return min(1.0, 2 * sum(orders[larger:]) / sum(orders))


def _orders(larger: int, smaller: int) -> list[int]:
    """How many orders of two groups have U = 0, 1, ..., larger * smaller: the Gaussian binomial coefficient."""
    ways = [1] + [0] * (larger * smaller)
    for i in range(1, smaller + 1):
        for u in range(len(ways) - 1, larger + i - 1, -1):
            ways[u] -= ways[u - larger - i]
        for u in range(i, len(ways)):
            ways[u] += ways[u - i]
    return ways

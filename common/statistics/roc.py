"""common/statistics: ROC: exact areas with DeLong's intervals, and the paired comparison of correlated areas.

Scores are never sent. Counts of the patients of each class in the leaves of `refinement` determine the area, ties
included, and DeLong's variance (DeLong et al., Biometrics 1988;44:837, by the placements of Hanley &
Hajian-Tilaki, Acad Radiol 1997;4:49). For the covariance of several areas each site works out the placements of its
own patients from the broadcast leaves, and sends their sums and cross-products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.codec import KeyField
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary, total
from common.federation.runner import Conclusion
from common.statistics.counts import hide_in_row
from common.statistics.distributions import Z975, two_sided_p
from common.statistics.newton import symmetric
from common.statistics.refinement import Leaves, order_keys, refine
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

CURVE_POINTS = 51


@dataclass(frozen=True)
class RocResult:
    """An exact ROC curve.

    Attributes
    ----------
    negatives_, positives_
        (bins,) patients without and with the endpoint, by ascending score; a bin of both is one tied score.
    auc_, std_err_
        Area and DeLong's standard error.
    """

    negatives_: NDArray[np.int64]
    positives_: NDArray[np.int64]
    auc_: float
    std_err_: float
    rounds_: int

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.negatives_.sum() + self.positives_.sum())

    @property
    def events_(self) -> int:
        """Patients with the endpoint."""
        return int(self.positives_.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, auc -+ z * se, cut to [0, 1]."""
        half = Z975 * self.std_err_
        return max(0.0, self.auc_ - half), min(1.0, self.auc_ + half)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row: the area with its error and limits."""
        low, high = self.interval
        facts = {"n": self.n_, "events": self.events_}
        return [{**facts, "auc": self.auc_, "std_err": self.std_err_, "auc_low": low, "auc_high": high}]

    def curve(self, min_cell: int) -> FloatArray:
        """(2, points) false and true positive rates, coarse enough to publish.

        Neighbouring bins are joined until each step holds `min_cell` patients of either class, because the full
        curve tells each patient's class in the order of the scores (Matthews & Harel, Acad Radiol 2013;20:889).
        """
        return _coarse_curve(self.negatives_[::-1], self.positives_[::-1], min_cell)


def _coarse_curve(negatives: NDArray[np.int64], positives: NDArray[np.int64], min_cell: int) -> FloatArray:
    target = max(min_cell, int(np.ceil(min(negatives.sum(), positives.sum()) / (CURVE_POINTS - 2))))
    points, left, right = [(0, 0)], 0, 0
    done_n = done_p = 0
    for negative, positive in zip(negatives.tolist(), positives.tolist(), strict=True):
        left, right = left + negative, right + positive
        if left - done_n >= target and right - done_p >= target:
            points.append((left, right))
            done_n, done_p = left, right
    total_n, total_p = int(negatives.sum()), int(positives.sum())
    if points[-1] != (total_n, total_p):
        if len(points) > 1:
            points.pop()  # what was left over joins the last step, so that it stays large enough
        points.append((total_n, total_p))
    return np.array(points, dtype=np.float64).T / np.array([[total_n], [total_p]], dtype=np.float64)


def roc(cohort: str, recipe: Recipe, endpoint: str, column: str) -> Conclusion[RocResult]:
    """Exact AUC and DeLong standard error of a score for a binary endpoint; at most eight rounds.

    Patients without a score are left out.

    Raises
    ------
    FedmviError
        602 one class only.
    """
    (result,) = yield from rocs(cohort, recipe, endpoint, (column,))
    return result


def rocs(cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]) -> Conclusion[tuple[RocResult, ...]]:
    """As `roc`, for several scores at once, in the rounds of one."""
    leaves = yield from class_leaves(cohort, recipe, endpoint, columns)
    return tuple(_result(leaf) for leaf in leaves)


def class_leaves(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]
) -> Conclusion[tuple[Leaves, ...]]:
    """The leaves of each column, pure in the classes of an endpoint; error 602 where a column has one class only."""
    leaves = yield from refine(cohort, recipe, columns, endpoint)
    if any(not bool(np.all(leaf.counts.sum(axis=0) > 0)) for leaf in leaves):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    return leaves


def _result(leaves: Leaves) -> RocResult:
    negatives, positives = leaves.counts[:, 0], leaves.counts[:, 1]
    return RocResult(negatives, positives, *delong(negatives, positives), leaves.rounds)


def delong(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> tuple[float, float]:
    """Area and standard error from counts by ascending score; NaN for the error with one patient in a class."""
    n0, n1 = int(negatives.sum()), int(positives.sum())
    below, above = _placements(negatives.astype(np.float64), positives.astype(np.float64))
    auc = float(np.sum(positives * below)) / n1
    if n0 < 2 or n1 < 2:
        return auc, float("nan")
    variance_positive = float(np.sum(positives * np.square(below - auc))) / (n1 - 1)
    variance_negative = float(np.sum(negatives * np.square(above - auc))) / (n0 - 1)
    return auc, float(np.sqrt(variance_positive / n1 + variance_negative / n0))


def _placements(negatives: FloatArray, positives: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(leaves,) share of the negatives below a positive of the leaf, and of the positives above a negative."""
    below = (np.cumsum(negatives) - 0.5 * negatives) / negatives.sum()
    above = (positives.sum() - np.cumsum(positives) + 0.5 * positives) / positives.sum()
    return below, above


@dataclass(frozen=True)
class Placements(Query):
    """Sums and cross-products of the placements of patients among those of the other class, by several scores.

    Attributes
    ----------
    leaves
        (columns,) leaves of each score.
    low, counts
        (leaves,) and (leaves * 2,) of `Leaves`, score by score.
    """

    name: ClassVar[str] = "query.placements"
    risk: ClassVar[Risk] = Risk.RANK

    columns: tuple[str, ...]
    endpoint: str
    leaves: KeyField
    low: KeyField
    counts: KeyField

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("leaves", "low", "counts")

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2,); `sum` (2, columns) and `cross` (2, columns (columns + 1) / 2) of deviations from the area."""
        k = len(self.columns)
        return {
            "n": Block((2,), Kind.COUNT),
            "sum": Block((2, k), Kind.REAL),
            "cross": Block((2, k * (k + 1) // 2), Kind.REAL),
        }

    def consistent(self) -> bool:
        """See `Query`."""
        if self.leaves.size != len(self.columns) or bool(np.any(self.leaves > self.low.size)):
            return False
        fits = int(self.leaves.sum()) == self.low.size and self.counts.size == 2 * self.low.size
        parts = np.split(self.counts.reshape(-1, 2), self._ends[:-1]) if fits else []
        return fits and all(bool(np.all(part.max(axis=0, initial=0) > 0)) for part in parts)

    @property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.leaves.astype(np.int64))

    def words(self) -> str:
        """See `Query`."""
        return f"covariance of the areas of {len(self.columns)} scores for {self.endpoint}, cohort {self.cohort}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """Patients who lack a score are left out."""
        y = frame.endpoints[self.endpoint]
        known = ~np.isnan(frame.matrix(self.columns)).any(axis=1) & ~np.isnan(y)
        deviation = np.empty((int(np.count_nonzero(known)), len(self.columns)))
        low = np.split(self.low, self._ends[:-1])
        counts = np.split(self.counts.reshape(-1, 2).astype(np.float64), self._ends[:-1])
        positive = y[known] == 1.0
        for i, name in enumerate(self.columns):
            below, above = _placements(counts[i][:, 0], counts[i][:, 1])
            leaf = np.searchsorted(low[i], order_keys(frame.columns[name][known]), side="right") - 1
            area = float(np.sum(counts[i][:, 1] * below)) / counts[i][:, 1].sum()
            deviation[:, i] = np.where(positive, below[leaf], above[leaf]) - area
        classes = [deviation[~positive], deviation[positive]]
        pairs = np.tril_indices(len(self.columns))
        return {
            "n": np.array([len(d) for d in classes], dtype=np.int64),
            "sum": np.array([d.sum(axis=0) for d in classes]),
            "cross": np.array([(d.T @ d)[pairs] for d in classes]),
        }


@dataclass(frozen=True)
class AreaDifference:
    """The difference of two correlated areas, first minus second, with its 95 % interval and two-sided p."""

    columns: tuple[str, str]
    difference_: float
    std_err_: float
    z_: float
    p_: float

    @property
    def interval(self) -> tuple[float, float]:
        """Difference -+ z * se."""
        return self.difference_ - Z975 * self.std_err_, self.difference_ + Z975 * self.std_err_


@dataclass(frozen=True)
class RocComparison:
    """Areas of several scores of the same patients.

    Attributes
    ----------
    rocs_
        One curve a score.
    covariance_
        (scores, scores) DeLong's covariance of the areas.
    """

    columns: tuple[str, ...]
    rocs_: tuple[RocResult, ...]
    covariance_: FloatArray

    def difference(self, first: str, second: str) -> AreaDifference:
        """DeLong's paired test; z and p are NaN where the two scores order the patients alike."""
        i, j = self.columns.index(first), self.columns.index(second)
        cov = self.covariance_
        difference = self.rocs_[i].auc_ - self.rocs_[j].auc_
        std_err = float(np.sqrt(max(cov[i, i] + cov[j, j] - 2.0 * cov[i, j], 0.0)))
        # Scores that order the patients alike differ in nothing but rounding.
        z = difference / std_err if std_err > 1e-12 else float("nan")
        return AreaDifference((first, second), difference, std_err, z, two_sided_p(z))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row for every two scores."""
        rows = []
        for i, first in enumerate(self.columns):
            for second in self.columns[i + 1 :]:
                test = self.difference(first, second)
                low, high = test.interval
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "difference": test.difference_,
                        "difference_low": low,
                        "difference_high": high,
                        "std_err": test.std_err_,
                        "z": test.z_,
                        "p": test.p_,
                    }
                )
        return rows


def compare_areas(cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]) -> Conclusion[RocComparison]:
    """Areas of several scores of the same patients and their covariance (DeLong et al. 1988, eq. 5 to 8).

    One round more than the areas alone. The recipe must leave patients who have every score.

    Raises
    ------
    FedmviError
        602 one class only, or one patient in a class; 640 a patient lacks a score.
    """
    leaves = yield from class_leaves(cohort, recipe, endpoint, columns)
    sums = yield total(placements(cohort, recipe, endpoint, columns, leaves))
    n = sums["n"].astype(np.float64)
    if any(not np.array_equal(leaf.counts.sum(axis=0), sums["n"]) for leaf in leaves):
        raise FedmviError(640, cohort=cohort)
    if float(n.min()) < 2:
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    k = len(columns)
    covariance = np.zeros((k, k))
    for i in range(2):
        cross = symmetric(sums["cross"][i], k) - np.outer(sums["sum"][i], sums["sum"][i]) / n[i]
        covariance += cross / (n[i] - 1.0) / n[i]
    return RocComparison(columns, tuple(_result(leaf) for leaf in leaves), covariance)


def placements(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], leaves: tuple[Leaves, ...]
) -> Placements:
    """The question for the covariance, from the leaves of each score."""
    sizes = np.array([leaf.low.size for leaf in leaves], dtype=np.uint64)
    low = np.concatenate([leaf.low for leaf in leaves])
    counts = np.concatenate([leaf.counts.reshape(-1) for leaf in leaves]).astype(np.uint64)
    return Placements(cohort, recipe, columns, endpoint, sizes, low, counts)


@dataclass(frozen=True)
class RocAlone(Alone):
    """One site's own AUC: it runs the same conclusion over itself and releases the guarded result."""

    name: ClassVar[str] = "query.roc_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`, `estimable` (), `auc` (2,) area and error, `curve` (2, 51), `points` ()."""
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "auc": Block((2,), Kind.REAL),
            "curve": Block((2, CURVE_POINTS), Kind.REAL),
            "points": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own AUC of {self.column} for {self.endpoint}, with a coarse curve"

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class the area is not estimable, and only counts are told."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        classes = np.array([frame.n - events, events, 0], dtype=np.int64)
        summary: Summary = {
            "classes": hide_in_row(classes, self.min_cell),
            "estimable": np.array(0, dtype=np.int64),
            "auc": np.zeros(2),
            "curve": np.ones((2, CURVE_POINTS)),
            "points": np.array(0, dtype=np.int64),
        }
        if min(events, frame.n - events) >= max(self.min_class, 2):
            result = self.conclude(site, roc(self.cohort, self.recipe, self.endpoint, self.column))
            curve = result.curve(self.min_cell)
            summary["estimable"] = np.array(1, dtype=np.int64)
            summary["auc"] = np.array([result.auc_, result.std_err_])
            summary["curve"][:, : curve.shape[1]] = curve
            summary["points"] = np.array(curve.shape[1], dtype=np.int64)
        return summary

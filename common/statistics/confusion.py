"""common/statistics: confusion tables at frozen cut-offs, with Wilson intervals.

A score at or above the cut-off is a positive test. Intervals are those of Wilson (J Am Stat Assoc 1927;22:209),
which stay inside [0, 1] and hold their level where few patients are in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975
from common.statistics.refinement import Counts, public_thresholds
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

HUNDREDTHS: FloatArray = np.arange(1, 100) / 100.0
"""Thresholds that are the same in every study: counts between them are those of public bins."""

MAX_THRESHOLDS = 200


@dataclass(frozen=True)
class ThresholdCounts(Query):
    """Patients of each class whose score is at or above each of some thresholds."""

    name: ClassVar[str] = "query.threshold_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    endpoint: str
    thresholds: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`positive` (columns, thresholds, 2) without and with the endpoint; `n` (columns, 2)."""
        k = len(self.columns)
        m = self.thresholds.shape[-1] if self.thresholds.ndim else 0
        return {"positive": Block((k, m, 2), Kind.COUNT), "n": Block((k, 2), Kind.COUNT)}

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(self.thresholds)

    def consistent(self) -> bool:
        """See `Query`."""
        fits = self.thresholds.ndim == 2 and len(self.thresholds) == len(self.columns)
        return fits and self.thresholds.shape[1] <= MAX_THRESHOLDS

    def words(self) -> str:
        """See `Query`."""
        return (
            f"patients by class of {self.endpoint} above {self.thresholds.shape[-1]} thresholds of "
            f"{len(self.columns)} scores, cohort {self.cohort}"
        )

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """Patients without a score are left out, score by score."""
        y = frame.endpoints[self.endpoint]
        shape = self.thresholds.shape
        positive, n = np.zeros((*shape, 2), dtype=np.int64), np.zeros((shape[0], 2), dtype=np.int64)
        for i, name in enumerate(self.columns):
            score = frame.columns[name]
            for label in (0, 1):
                own = np.sort(score[(y == label) & ~np.isnan(score)])
                positive[i, :, label] = own.size - np.searchsorted(own, self.thresholds[i], side="left")
                n[i, label] = own.size
        return {"positive": positive, "n": n}


def wilson(count: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray]:
    """95 % Wilson score interval of count / n, element by element; NaN where n is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share, z2 = count / n, Z975**2
        centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n)
        half = Z975 / (1.0 + z2 / n) * np.sqrt(share * (1.0 - share) / n + z2 / (4.0 * n**2))
    # At the ends the interval closes; the formula misses that by rounding.
    low = np.where((count == 0) & (n > 0), 0.0, centre - half)
    return low, np.where((count == n) & (n > 0), 1.0, centre + half)


@dataclass(frozen=True)
class ConfusionResult:
    """Confusion tables of several scores, each at its cut-off.

    Attributes
    ----------
    cutoffs
        (scores,).
    counts_
        (scores, 2, 2) by class (without, with the endpoint) and test (negative, positive).
    """

    columns: tuple[str, ...]
    cutoffs: FloatArray
    counts_: Counts

    @property
    def shares(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Numerator and denominator, (scores,) each, of the shares that have Wilson intervals."""
        (tn, fp), (fn, tp) = np.moveaxis(self.counts_.astype(np.float64), 0, -1)
        return {
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "ppv": (tp, tp + fp),
            "npv": (tn, tn + fn),
            "accuracy": (tp + tn, tp + tn + fp + fn),
        }

    @property
    def f1_(self) -> FloatArray:
        """(scores,) harmonic mean of sensitivity and positive predictive value; 0 without a true positive."""
        (_, fp), (fn, tp) = np.moveaxis(self.counts_.astype(np.float64), 0, -1)
        f1: FloatArray = 2.0 * tp / (2.0 * tp + fp + fn)
        return f1

    @property
    def balanced_accuracy_(self) -> FloatArray:
        """(scores,) mean of sensitivity and specificity."""
        sensitivity, specificity = (count / n for count, n in (self.shares["sensitivity"], self.shares["specificity"]))
        return (sensitivity + specificity) / 2.0

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a score; NaN where a share has no patients."""
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(self.columns):
            row: dict[str, Any] = {"column": name, "cutoff": float(self.cutoffs[i])}
            for share, (count, n) in self.shares.items():
                low, high = wilson(count, n)
                with np.errstate(invalid="ignore"):
                    row[share] = float((count / n)[i])
                row[f"{share}_low"], row[f"{share}_high"] = float(low[i]), float(high[i])
            row["f1"], row["balanced_accuracy"] = float(self.f1_[i]), float(self.balanced_accuracy_[i])
            rows.append(row)
        return rows


def confusion(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], cutoffs: FloatArray
) -> Conclusion[ConfusionResult]:
    """Confusion tables of several scores at their (scores,) cut-offs; one round, missing scores left out.

    Raises
    ------
    FedmviError
        602 one class only.
    """
    sums = yield total(ThresholdCounts(cohort, recipe, columns, endpoint, cutoffs[:, np.newaxis]))
    n, positive = sums["n"], sums["positive"][:, 0]
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    return ConfusionResult(columns, cutoffs, np.stack([n - positive, positive], axis=2))

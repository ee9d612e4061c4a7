"""common/statistics: columns that hardly vary: by their variance, or, where they have declared levels, by frequencies.

A variance is judged relative to the column's mean square, so that its unit does not matter. The frequency rule is
that of caret (Kuhn, J Stat Softw 2008;28(5):1, nearZeroVar): one level is far more frequent than the next, and few
values are distinct.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

RELATIVE_VARIANCE = 1e-12
"""Variance over mean square below which nothing but rounding is left."""
FREQUENCY_RATIO = 95.0 / 5.0
PERCENT_UNIQUE = 10.0
MAX_LEVELS = 1000


@dataclass(frozen=True)
class VarianceFilter:
    """Which columns vary.

    Attributes
    ----------
    variance_
        (columns,) with n in the denominator, in squared units; NaN is never kept.
    relative_
        (columns,) variance over mean square; 0 where all values are 0.
    kept_
        Names of the columns whose relative variance is above the threshold, in order.
    """

    columns: tuple[str, ...]
    variance_: FloatArray
    relative_: FloatArray
    kept_: tuple[str, ...]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        rows = zip(self.columns, self.variance_.tolist(), self.relative_.tolist(), strict=True)
        return [
            {"column": name, "variance": variance, "relative": relative, "kept": name in self.kept_}
            for name, variance, relative in rows
        ]


def variance_filter(
    cohort: str,
    recipe: Recipe,
    columns: tuple[str, ...],
    threshold: float = RELATIVE_VARIANCE,
    narrowest: tuple[float, ...] = (),
) -> Conclusion[VarianceFilter]:
    """Keep the columns with variance / (mean^2 + variance) above `threshold`, missing values left out; two rounds.

    With a threshold near 0 these are those of scikit-learn's VarianceThreshold(0), rounding aside. `narrowest` is the
    standard deviation that each column must have at least; none: any.

    Raises
    ------
    FedmviError
        601 a column without values.
    """
    fit = yield from moments(cohort, recipe, columns)
    variance = np.where(fit.n_ > 1, np.square(fit.std_) * (fit.n_ - 1) / fit.n_, 0.0)
    mean_square = np.square(fit.mean_) + variance
    relative = variance / np.where(mean_square > 0, mean_square, 1.0)
    wide = np.sqrt(variance) >= (narrowest or np.zeros(len(columns)))
    kept = tuple(name for name, varies in zip(columns, (relative > threshold) & wide, strict=True) if varies)
    return VarianceFilter(columns, variance, relative, kept)


@dataclass(frozen=True)
class LevelCounts(Query):
    """How many patients have each level of some columns, whose values are 0, 1, ... up to their declared levels."""

    name: ClassVar[str] = "query.level_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    levels: tuple[int, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (columns, most levels); 0 beyond a column's own."""
        return {"counts": Block((len(self.columns), max(self.levels, default=0)), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients by level of {len(self.columns)} columns, cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def consistent(self) -> bool:
        """A number of levels a column."""
        return len(self.levels) == len(self.columns) and all(1 <= count <= MAX_LEVELS for count in self.levels)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; missing values are left out."""
        width = max(self.levels)
        counts = np.zeros((len(self.columns), width), dtype=np.int64)
        for i, (name, levels) in enumerate(zip(self.columns, self.levels, strict=True)):
            counts[i] = np.bincount(level_index(frame.columns[name], levels), minlength=width)
        return {"counts": counts}


def level_index(values: FloatArray, levels: int) -> NDArray[np.int64]:
    """(known,) the levels of the known values; error 501 for a value that is none of 0 to `levels` - 1."""
    known = values[~np.isnan(values)]
    index = known.astype(np.int64)
    if not bool(np.all((index == known) & (index >= 0) & (index < levels))):
        raise FedmviError(501, "a value that is no level")
    return index


@dataclass(frozen=True)
class FrequencyFilter:
    """Which columns with levels vary.

    Attributes
    ----------
    frequency_ratio_
        (columns,) patients of the most frequent level over those of the next; infinite with one level only.
    percent_unique_
        (columns,) levels that occur, in percent of the known values.
    rare_
        (columns,) whether some level has fewer than the least patients, but not none. Nothing else is told of such a
        column, and it is not kept: its levels have to be merged.
    kept_
        Names of the columns that vary, in order.
    """

    columns: tuple[str, ...]
    frequency_ratio_: FloatArray
    percent_unique_: FloatArray
    rare_: NDArray[np.bool_]
    kept_: tuple[str, ...]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        numbers = (self.frequency_ratio_, self.percent_unique_, self.rare_)
        return [
            {
                "column": name,
                "frequency_ratio": ratio,
                "percent_unique": unique,
                "rare": rare,
                "kept": name in self.kept_,
            }
            for name, ratio, unique, rare in zip(self.columns, *(part.tolist() for part in numbers), strict=True)
        ]


def frequency_filter(
    cohort: str,
    recipe: Recipe,
    columns: tuple[str, ...],
    levels: tuple[int, ...],
    min_cell: int,
    frequency_ratio: float = FREQUENCY_RATIO,
    percent_unique: float = PERCENT_UNIQUE,
) -> Conclusion[FrequencyFilter]:
    """Leave out columns as caret's nearZeroVar does: one level only, or a frequency ratio above `frequency_ratio` with
    at most `percent_unique` percent distinct values; one round.

    Raises
    ------
    FedmviError
        601 a column without values.
    """
    counts = (yield total(LevelCounts(cohort, recipe, columns, levels)))["counts"]
    n = counts.sum(axis=1)
    if not bool(np.all(n > 0)):
        raise FedmviError(601, cohort=cohort)
    rare = np.any((counts > 0) & (counts < min_cell), axis=1)
    ordered = np.sort(np.pad(counts, ((0, 0), (1, 0))), axis=1)[:, ::-1]
    ratio = np.where(ordered[:, 1] > 0, ordered[:, 0] / np.maximum(ordered[:, 1], 1), np.inf)
    unique = 100.0 * (counts > 0).sum(axis=1) / n
    poor = ((ratio > frequency_ratio) & (unique <= percent_unique)) | np.isinf(ratio)
    kept = tuple(name for name, bad in zip(columns, poor | rare, strict=True) if not bad)
    return FrequencyFilter(columns, np.where(rare, np.nan, ratio), np.where(rare, np.nan, unique), rare, kept)

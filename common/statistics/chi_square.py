"""common/statistics: tables of two categorical columns, or of one and a binary endpoint, and their tests.

The sites' tables are added, so the pooled table and the tests of it are exact: Pearson's chi-square, with Yates's
correction for a two by two table, and Fisher's exact test of such a table in whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.counts import Counts
from common.statistics.distributions import chi2_p
from common.statistics.variance import MAX_LEVELS, level_index
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class CrossTable(Query):
    """How many patients have each pair of levels of two columns, whose values are 0, 1, ... up to their levels."""

    name: ClassVar[str] = "query.cross_table"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    levels: tuple[int, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (levels of the first, levels of the second)."""
        return {"counts": Block(self.levels, Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients by {' and '.join(self.columns)}, cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def consistent(self) -> bool:
        """Two different columns with levels."""
        return len(set(self.columns)) == 2 == len(self.levels) and all(1 <= n <= MAX_LEVELS for n in self.levels)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; patients with a missing value are left out."""
        first, second = (frame.columns[name] for name in self.columns)
        return {"counts": cross_counts(first, second, (self.levels[0], self.levels[1]))}


@dataclass(frozen=True)
class ClassTable(Query):
    """How many patients of each class of a binary endpoint have each level of a column."""

    name: ClassVar[str] = "query.class_table"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    levels: int

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (levels, 2), patients without and with the endpoint."""
        return {"counts": Block((self.levels, 2), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients by {self.column} and {self.endpoint}, cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """A column with levels."""
        return 1 <= self.levels <= MAX_LEVELS

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; patients with a missing value are left out."""
        return {"counts": cross_counts(frame.columns[self.column], frame.endpoints[self.endpoint], (self.levels, 2))}


def cross_counts(first: FloatArray, second: FloatArray, levels: tuple[int, int]) -> Counts:
    """`levels` counts of rows by the levels of two columns; those with a missing value are left out."""
    known = ~np.isnan(first) & ~np.isnan(second)
    rows, columns = (level_index(part[known], n) for part, n in zip((first, second), levels, strict=True))
    return np.bincount(rows * levels[1] + columns, minlength=levels[0] * levels[1]).reshape(levels).astype(np.int64)


@dataclass(frozen=True)
class ChiSquare:
    """A table and its tests, of which empty rows and columns are no part.

    Attributes
    ----------
    table_
        (rows, columns) patients.
    small_
        (rows, columns) cells of fewer than the least patients, but not none: whoever publishes the table hides them
        and enough others.
    expected_
        (rows, columns) patients expected of independent rows and columns.
    chi2_, degrees_, p_
        Pearson's statistic without correction, its degrees of freedom and p; NaN with one row or column only.
    chi2_yates_, p_yates_
        With Yates's continuity correction; NaN unless two rows and two columns are left.
    odds_ratio_, p_fisher_
        Sample odds ratio and two-sided p of Fisher's exact test; NaN unless two rows and two columns are left.
    """

    table_: Counts
    small_: NDArray[np.bool_]
    expected_: FloatArray
    chi2_: float
    degrees_: int
    p_: float
    chi2_yates_: float
    p_yates_: float
    odds_ratio_: float
    p_fisher_: float

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.table_.sum())

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a test."""
        rows: list[dict[str, Any]] = [
            {"test": "Pearson chi-square", "statistic": self.chi2_, "degrees": self.degrees_, "p": self.p_}
        ]
        if np.isfinite(self.chi2_yates_):
            rows += [
                {"test": "Yates chi-square", "statistic": self.chi2_yates_, "degrees": 1, "p": self.p_yates_},
                {"test": "Fisher exact (odds ratio)", "statistic": self.odds_ratio_, "degrees": 0, "p": self.p_fisher_},
            ]
        return rows


def chi_square(
    cohort: str, recipe: Recipe, columns: tuple[str, str], levels: tuple[int, int], min_cell: int
) -> Conclusion[ChiSquare]:
    """Table and tests of two columns with declared levels; one round.

    Raises
    ------
    FedmviError
        601 no patient with both values.
    """
    counts = (yield total(CrossTable(cohort, recipe, columns, levels)))["counts"]
    return _tested(counts, min_cell, cohort)


def class_chi_square(
    cohort: str, recipe: Recipe, endpoint: str, column: str, levels: int, min_cell: int
) -> Conclusion[ChiSquare]:
    """Table and tests of a column with declared levels and a binary endpoint; one round.

    Raises
    ------
    FedmviError
        601 no patient with both values.
    """
    counts = (yield total(ClassTable(cohort, recipe, endpoint, column, levels)))["counts"]
    return _tested(counts, min_cell, cohort)


def _tested(table: Counts, min_cell: int, cohort: str) -> ChiSquare:
    if int(table.sum()) == 0:
        raise FedmviError(601, cohort=cohort)
    chi2, degrees, expected = pearson(table, yates=False)
    left = table[np.ix_(table.any(axis=1), table.any(axis=0))]
    yates = p_yates = odds_ratio = p_fisher = float("nan")
    if left.shape == (2, 2):
        yates = pearson(table, yates=True)[0]
        p_yates = chi2_p(yates, 1)
        odds_ratio, p_fisher = fisher_exact(left)
    return ChiSquare(
        table_=table,
        small_=(table > 0) & (table < min_cell),
        expected_=expected,
        chi2_=chi2,
        degrees_=degrees,
        p_=chi2_p(chi2, degrees) if degrees else float("nan"),
        chi2_yates_=yates,
        p_yates_=p_yates,
        odds_ratio_=odds_ratio,
        p_fisher_=p_fisher,
    )


def pearson(table: Counts, *, yates: bool) -> tuple[float, int, FloatArray]:
    """Chi-square, degrees of freedom and expected counts of a table (Pearson, Philos Mag 1900;50:157).

    With `yates` each difference from the expected count is made smaller by 1/2, or to 0 (Yates, J R Stat Soc Suppl
    1934;1:217). Empty rows and columns add nothing; NaN without degrees of freedom.
    """
    rows, columns, n = table.sum(axis=1), table.sum(axis=0), int(table.sum())
    expected: FloatArray = np.outer(rows, columns).astype(np.float64) / n
    degrees = (int(np.count_nonzero(rows)) - 1) * (int(np.count_nonzero(columns)) - 1)
    difference = np.abs(table - expected)
    if yates:
        difference = np.maximum(difference - 0.5, 0.0)
    used = expected > 0
    chi2 = float(np.sum(np.square(difference[used]) / expected[used])) if degrees else float("nan")
    return chi2, degrees, expected


def fisher_exact(table: Counts) -> tuple[float, float]:
    """Sample odds ratio and two-sided p of Fisher's exact test of a (2, 2) table.

    The p is the probability, all margins given, of the tables that are no more probable than the observed one
    (Fisher, J R Stat Soc 1935;98:39), added in whole numbers, so that equally probable tables are found equal.
    """
    (a, b), (c, d) = ((int(cell) for cell in row) for row in table)
    first, second, column = a + b, c + d, a + c
    ways = comb(first, max(0, column - second)) * comb(second, column - max(0, column - second))
    low, high = max(0, column - second), min(first, column)
    weights = [ways]
    for k in range(low, high):
        ways = ways * (first - k) * (column - k) // ((k + 1) * (second - column + k + 1))
        weights.append(ways)
    observed = weights[a - low]
    p = float(Fraction(sum(w for w in weights if w <= observed), sum(weights)))
    odds_ratio = a * d / (b * c) if b * c else (float("inf") if a * d else float("nan"))
    return odds_ratio, p

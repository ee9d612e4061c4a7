"""common/statistics: true against predicted grades: cross tables at frozen cut-offs, accuracy, precision, recall, F1.

A grade is predicted by how many of some ascending cut-offs a column reaches: one frozen cut-off of a score makes two
grades, half-integers on the index of the likeliest class make as many as there are classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, each, total
from common.federation.runner import Conclusion
from common.statistics.confusion import wilson
from common.statistics.counts import hide_in_row
from common.statistics.refinement import Counts, public_thresholds
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

MAX_LEVELS = 10


@dataclass(frozen=True)
class GradeCounts(Query):
    """Patients of each level of an endpoint: the weights of classes in a loss are made of them."""

    name: ClassVar[str] = "query.grade_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    levels: int

    def blocks(self) -> Mapping[str, Block]:
        """`levels`: (levels,)."""
        return {"levels": Block((self.levels,), Kind.COUNT)}

    def consistent(self) -> bool:
        """See `Query`."""
        return 2 <= self.levels <= MAX_LEVELS

    def words(self) -> str:
        """See `Query`."""
        return f"patients of cohort {self.cohort} by level of {self.endpoint}"

    def answer(self, frame: Frame) -> Summary:
        """Patients of unknown level are left out."""
        y = frame.endpoints[self.endpoint]
        return {"levels": np.bincount(y[~np.isnan(y)].astype(np.int64), minlength=self.levels).astype(np.int64)}


@dataclass(frozen=True)
class GradeTable(Query):
    """Patients by true level of an endpoint and by level that each column predicts.

    Attributes
    ----------
    cutoffs
        (columns, levels - 1) ascending: reaching j of them predicts level j.
    guarded
        For one site's own table: counts below `min_cell` are hidden in every row.
    """

    name: ClassVar[str] = "query.grade_table"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    endpoint: str
    levels: int
    cutoffs: FloatField
    min_cell: int
    guarded: bool

    def blocks(self) -> Mapping[str, Block]:
        """`table`: (columns, true levels, predicted levels)."""
        return {"table": Block((len(self.columns), self.levels, self.levels), Kind.COUNT)}

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`: tables of one site at two cut-offs would tell the levels of the few patients between them."""
        return ("cutoffs",) if self.guarded else ()

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(self.cutoffs)

    def consistent(self) -> bool:
        """See `Query`."""
        fits = 2 <= self.levels <= MAX_LEVELS and self.cutoffs.shape == (len(self.columns), self.levels - 1)
        return fits and bool(np.all(np.diff(self.cutoffs, axis=1) > 0))

    def words(self) -> str:
        """See `Query`."""
        return f"patients of cohort {self.cohort} by level of {self.endpoint} and as {len(self.columns)} columns grade"

    @property
    def classes_of(self) -> str:
        """The endpoint, where it has two levels."""
        return self.endpoint if self.levels == 2 else ""

    @property
    def pooled(self) -> bool:
        """See `Query`."""
        return not self.guarded

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell if self.guarded else 0

    def answer(self, frame: Frame) -> Summary:
        """Patients without a score or of unknown level are left out, column by column."""
        y, m = frame.endpoints[self.endpoint], self.levels
        table = np.zeros((len(self.columns), m, m), dtype=np.int64)
        for i, name in enumerate(self.columns):
            known = ~np.isnan(frame.columns[name]) & ~np.isnan(y)
            graded = np.searchsorted(self.cutoffs[i], frame.columns[name][known], side="right")
            np.add.at(table[i], (y[known].astype(np.int64), graded), 1)
        if self.guarded:
            table = np.array([[hide_in_row(row, self.min_cell) for row in one] for one in table], dtype=np.int64)
        return {"table": table}


Interval = tuple[float, float, float]
"""A share with the lower and upper end of its 95 % interval; NaN where it has no patients."""


def share(count: int, n: int) -> Interval:
    """A share of patients with Wilson's interval."""
    low, high = wilson(np.array(float(count)), np.array(float(n)))
    return (count / n if n else float("nan")), float(low), float(high)


def f1_share(hits: int, either: int) -> Interval:
    """F1 of a level from the patients who have it and are predicted to, and those who have or are predicted to.

    F1 = 2 s / (1 + s) with s = hits / either (Hand, Christen & Kirielle, Mach Learn 2021;110:451). Given `either` s is
    a binomial share: the interval is Wilson's of s, carried over by that function, which is increasing.
    """
    value, low, high = (2.0 * s / (1.0 + s) for s in share(hits, either))
    return value, low, high


def commonest_share(levels: Sequence[int]) -> Interval:
    """The accuracy of saying the commonest level to everybody, from the patients of each level."""
    return share(max(levels), sum(levels))


def mean_share(shares: Sequence[Interval]) -> Interval:
    """The mean of shares of different patients, such as the balanced accuracy of the recalls of all levels.

    Its limits are made of theirs (square-and-add; Newcombe, Stat Med 1998;17:873).
    """
    k = len(shares)
    value = sum(v for v, _, _ in shares) / k
    below = math.hypot(*(v - low for v, low, _ in shares)) / k
    return value, value - below, value + math.hypot(*(high - v for v, _, high in shares)) / k


@dataclass(frozen=True)
class Grades:
    """One cross table.

    Attributes
    ----------
    column
        What predicts.
    table_
        (levels, levels) patients by true and predicted level.
    """

    column: str
    table_: Counts

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.table_.sum())

    @property
    def accuracy_(self) -> Interval:
        """Share of patients whose level is predicted."""
        return share(int(np.trace(self.table_)), self.n_)

    def recall_(self, level: int) -> Interval:
        """Share of the patients of a level who are predicted to have it: of presence, the sensitivity."""
        return share(int(self.table_[level, level]), int(self.table_[level].sum()))

    def precision_(self, level: int) -> Interval:
        """Share of those predicted to have a level who have it."""
        return share(int(self.table_[level, level]), int(self.table_[:, level].sum()))

    def f1_(self, level: int) -> Interval:
        """Harmonic mean of precision and recall of a level; see `f1_share`."""
        hits = int(self.table_[level, level])
        return f1_share(hits, int(self.table_[level].sum() + self.table_[:, level].sum()) - hits)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a measure: name, level (-1 for all), value and limits."""
        rows = [("accuracy", -1, self.accuracy_)]
        for level in range(len(self.table_)):
            rows += [(name, level, getattr(self, f"{name}_")(level)) for name in ("precision", "recall", "f1")]
        return [{"measure": m, "level": level, "value": v[0], "low": v[1], "high": v[2]} for m, level, v in rows]


def grades(
    cohort: str, recipe: Recipe, endpoint: str, levels: int, columns: tuple[str, ...], cutoffs: FloatArray
) -> Conclusion[tuple[Grades, ...]]:
    """Cross tables of several columns over all sites of a cohort; one round.

    Parameters
    ----------
    cutoffs
        (columns, levels - 1), see `GradeTable`.
    """
    query = GradeTable(cohort, recipe, columns, endpoint, levels, cutoffs, 0, guarded=False)
    sums: Summary = yield total(query)
    return tuple(Grades(name, table) for name, table in zip(columns, sums["table"], strict=True))


def grades_alone(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    levels: int,
    columns: tuple[str, ...],
    cutoffs: FloatArray,
    min_cell: int,
) -> Conclusion[dict[str, Counts | FedmviError]]:
    """Each site's own tables (columns, levels, levels), hidden cells `HIDDEN`, or its refusal; one round."""
    replies: Mapping[str, Summary | FedmviError] = yield each(
        GradeTable(cohort, recipe, columns, endpoint, levels, cutoffs, min_cell, guarded=True)
    )
    return {site: part if isinstance(part, FedmviError) else part["table"] for site, part in replies.items()}

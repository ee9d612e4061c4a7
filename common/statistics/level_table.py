"""common/statistics: patients by level of some columns, those without a value too: of all sites, or of one alone.

Every column is a table of its own; levels of two columns are never crossed. Unlike `variance.LevelCounts` it counts
those without a value, so that a site where nobody has one can still add its zeros to the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Query, Risk, Summary, each, total
from common.federation.runner import Conclusion, attempt
from common.statistics.counts import Counts, hide_in_row
from common.statistics.variance import MAX_LEVELS, level_index
from common.study.recipe import Frame, Recipe


@dataclass(frozen=True)
class LevelTable(Query):
    """How many patients have each level of some columns, whose values are 0, 1, ..., and how many have none.

    `uses` is empty on purpose: what the gate refuses of columns that few patients have a value of would refuse the
    sum wherever one hospital's images tell nothing.
    """

    name: ClassVar[str] = "query.level_table"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    levels: tuple[int, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (columns, 1 + most levels): without a value, then by level; 0 beyond a column's own."""
        return _blocks(self.levels)

    def words(self) -> str:
        """See `Query`."""
        return f"patients by level of {len(self.columns)} columns, and without one, cohort {self.cohort}"

    def consistent(self) -> bool:
        """A number of levels a column."""
        return _consistent(self.columns, self.levels)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        return {"counts": _counts(frame, self.columns, self.levels)}


@dataclass(frozen=True)
class OwnLevelTable(Alone):
    """As `LevelTable`, of one site, which hides small counts and others with them."""

    name: ClassVar[str] = "query.own_level_table"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    levels: tuple[int, ...]

    def blocks(self) -> Mapping[str, Block]:
        """As of `LevelTable`; a hidden count is -1."""
        return _blocks(self.levels)

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own patients by level of {len(self.columns)} columns, small hidden, cohort {self.cohort}"

    def consistent(self) -> bool:
        """A number of levels a column."""
        return _consistent(self.columns, self.levels)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts, in each column hidden so that none follows from the others and the number of patients."""
        counts = _counts(frame, self.columns, self.levels)
        for row, levels in zip(counts, self.levels, strict=True):
            row[: levels + 1] = hide_in_row(row[: levels + 1], self.min_cell)
        return {"counts": counts}


@dataclass(frozen=True)
class LevelTables:
    """The tables of a cohort.

    Attributes
    ----------
    by_site
        For every site (columns, 1 + most levels), -1 where it hides a count, or why it tells nothing of its own.
    pooled
        (columns, 1 + most levels), over all sites; None where it is not asked for.
    """

    by_site: Mapping[str, Counts | FedmviError]
    pooled: Counts | FedmviError | None


def level_tables(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], levels: tuple[int, ...], *, min_cell: int, min_sites: int
) -> Conclusion[LevelTables]:
    """Ask every site for its own tables, and then for their sum, unless it would be the sum of too few; two rounds.

    The sum less the tables of sites that tell their own is that of the others. So it is asked for only if those who
    do not tell their own are nobody, or as many as a sum needs.
    """
    answers = yield each(OwnLevelTable(cohort, recipe, columns, levels, min_cell=min_cell))
    by_site = {site: _own(answers[site]) for site in sorted(answers)}
    silent = sum(isinstance(answer, FedmviError) for answer in by_site.values())
    if len(by_site) < min_sites or 0 < silent < min_sites:
        return LevelTables(by_site, None)
    pooled = yield from attempt(_pooled(LevelTable(cohort, recipe, columns, levels)))
    return LevelTables(by_site, pooled)


def _own(answer: Summary | FedmviError) -> Counts | FedmviError:
    return answer if isinstance(answer, FedmviError) else answer["counts"]


def _pooled(query: LevelTable) -> Conclusion[Counts]:
    sums: Summary = yield total(query)
    counts: Counts = sums["counts"]
    return counts


def _blocks(levels: tuple[int, ...]) -> Mapping[str, Block]:
    return {"counts": Block((len(levels), 1 + max(levels, default=0)), Kind.COUNT)}


def _consistent(columns: tuple[str, ...], levels: tuple[int, ...]) -> bool:
    return len(columns) == len(levels) and all(1 <= count <= MAX_LEVELS for count in levels)


def _counts(frame: Frame, columns: tuple[str, ...], levels: tuple[int, ...]) -> Counts:
    counts = np.zeros((len(columns), 1 + max(levels, default=0)), dtype=np.int64)
    for row, name, count in zip(counts, columns, levels, strict=True):
        values = frame.columns[name]
        row[0] = np.count_nonzero(np.isnan(values))
        row[1 : count + 1] = np.bincount(level_index(values, count), minlength=count)
    return counts

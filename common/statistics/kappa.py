"""common/statistics: Cohen's kappa: how well two readers agree on a trait that has levels.

The hospitals' tables of first by second reading are added, so kappa, its standard error and the raw agreement are
those of one table of all patients whom both have read. Disagreements are rare where readers are good: a table that has
few of them is not told, because kappa, agreement and number of patients together are the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.chi_square import cross_counts
from common.statistics.counts import Counts
from common.statistics.distributions import Z975
from common.statistics.variance import MAX_LEVELS, level_index
from common.study.drafting import MIN_READ_TWICE
from common.study.features import second_reading
from common.study.recipe import Frame


@dataclass(frozen=True)
class ReaderTable(Query):
    """Patients by the levels in which two readers have seen a trait.

    A site adds its table if both have read `MIN_READ_TWICE` of its patients, and each reader has found every level in
    none of them or in `min_cell` at least; else zeros. `uses` is empty on purpose: what the gate refuses of columns
    that few patients have a value of would refuse the sum wherever one hospital has one reader.
    """

    name: ClassVar[str] = "query.reader_table"
    risk: ClassVar[Risk] = Risk.CELLS

    column: str
    levels: int
    min_cell: int

    def blocks(self) -> Mapping[str, Block]:
        """`counts` (levels, levels): first by second reading; `first` (levels,): of all whom the first reader read,
        whoever adds a table; `sites`, `left_out` (): that add theirs, and that have second readings and do not."""
        k = self.levels
        numbers = {name: Block((), Kind.COUNT) for name in ("sites", "left_out")}
        return {"counts": Block((k, k), Kind.COUNT), "first": Block((k,), Kind.COUNT), **numbers}

    def words(self) -> str:
        """See `Query`."""
        return f"patients by first and second reading of {self.column}, cohort {self.cohort}"

    def consistent(self) -> bool:
        """A trait with two levels or more, and a cell of some patients."""
        return 2 <= self.levels <= MAX_LEVELS and self.min_cell >= 1

    def stricter(self, min_cell: int) -> ReaderTable:
        """The question as a site with this limit answers it."""
        return replace(self, min_cell=max(self.min_cell, min_cell))

    def answer(self, frame: Frame) -> Summary:
        """The site's table, or zeros."""
        first, second = frame.columns[self.column], frame.columns[second_reading(self.column)]
        table = cross_counts(first, second, (self.levels, self.levels))
        enough = enough_read(table, self.min_cell)
        seen = level_index(first[~np.isnan(first)], self.levels)
        return {
            "counts": table if enough else np.zeros_like(table),
            "first": np.bincount(seen, minlength=self.levels).astype(np.int64),
            "sites": np.array(enough, dtype=np.int64),
            "left_out": np.array(bool(table.any()) and not enough, dtype=np.int64),
        }


def enough_read(table: Counts, min_cell: int) -> bool:
    """Whether a site's (levels, levels) table of first by second reading counts: of `MIN_READ_TWICE` patients, and of
    each level as each reader found it none or `min_cell` at least."""
    enough = int(table.sum()) >= MIN_READ_TWICE
    return enough and not small_cells([table.sum(axis=1), table.sum(axis=0)], min_cell)


def small_cells(tables: list[Counts], min_cell: int) -> bool:
    """Whether any cell has few patients, but not none."""
    return any(bool(np.any((cells > 0) & (cells < min_cell))) for cells in tables)


@dataclass(frozen=True)
class Kappa:
    """Agreement of two readers on one trait.

    Attributes
    ----------
    table_
        (levels, levels) patients, first by second reading.
    agreement_
        Share of patients in whom both saw the same level.
    kappa_, std_err_
        Cohen's kappa and its large-sample standard error; NaN where both saw one level in everybody.
    sites_, left_out_
        Sites whose readings count, and sites with second readings that do not: too few, or of a level too few.
    """

    column: str
    table_: Counts
    agreement_: float
    kappa_: float
    std_err_: float
    sites_: int
    left_out_: int

    @classmethod
    def of(cls, column: str, table: Counts, sites: int, left_out: int) -> Kappa:
        """Kappa (Cohen, Educ Psychol Meas 1960;20:37) with the variance of Fleiss, Cohen & Everitt (Psychol Bull
        1969;72:323, equation 13; unweighted) of a table that has patients."""
        n = int(table.sum())
        share = table / n
        rows, columns = share.sum(axis=1), share.sum(axis=0)
        observed, expected = float(np.trace(share)), float(rows @ columns)
        if expected >= 1.0:
            return cls(column, table, observed, math.nan, math.nan, sites, left_out)
        kappa = (observed - expected) / (1.0 - expected)
        same = np.diag(share) * np.square((1.0 - expected) - (rows + columns) * (1.0 - observed))
        other = share * np.square(columns[:, np.newaxis] + rows[np.newaxis, :])
        unlike = float(other.sum() - np.trace(other)) * (1.0 - observed) ** 2
        about = (observed * expected - 2.0 * expected + observed) ** 2
        variance = (float(same.sum()) + unlike - about) / (n * (1.0 - expected) ** 4)
        # Where all agree the terms cancel, but for the last digit.
        return cls(column, table, observed, kappa, math.sqrt(max(variance, 0.0)), sites, left_out)

    @property
    def n_(self) -> int:
        """Patients whom both have read."""
        return int(self.table_.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, cut at -1 and 1; NaN where all agree, or hardly any do: then the standard error is no measure."""
        if not (math.isfinite(self.kappa_) and self.std_err_ > 0 and 0 < self.agreement_ < 1):
            return math.nan, math.nan
        half = Z975 * self.std_err_
        return max(self.kappa_ - half, -1.0), min(self.kappa_ + half, 1.0)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row: `column`, `kappa` with `kappa_low` and `kappa_high`, `std_err`, `agreement`, `patients`, `sites`,
        `sites_left_out`."""
        low, high = self.interval
        return [
            {
                "column": self.column,
                "kappa": self.kappa_,
                "kappa_low": low,
                "kappa_high": high,
                "std_err": self.std_err_,
                "agreement": self.agreement_,
                "patients": self.n_,
                "sites": self.sites_,
                "sites_left_out": self.left_out_,
            }
        ]


def reader_kappa(query: ReaderTable, *, min_sites: int) -> Conclusion[Kappa]:
    """Agreement on the trait of a question, over the sites whose readings count; one round.

    Raises
    ------
    FedmviError
        652 fewer than `min_sites` sites add a table; 653 a cell of the table, or of those whom only the first reader
        has read, has fewer than `min_cell` patients: it would follow from what is told.
    """
    sums = yield total(query)
    sites, table = int(sums["sites"]), sums["counts"]
    if sites < min_sites:
        raise FedmviError(652, cohort=query.cohort, limit=min_sites, patients=MIN_READ_TWICE, cell=query.min_cell)
    if small_cells([table, sums["first"] - table.sum(axis=1)], query.min_cell):
        raise FedmviError(653, cohort=query.cohort, limit=query.min_cell)
    return Kappa.of(query.column, table, sites, int(sums["left_out"]))

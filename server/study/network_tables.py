"""server/study: cross tables of a network as they may be published, and the shares that the shown counts allow.

The tables of one cohort hang together: rows add up to the patients of a level, columns to those who are predicted to
have it, and the table of the grades, with its upper levels joined, is one of presence. Small counts are hidden with
whatever would give them away (`suppression`); a share is shown where all counts that enter it are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.federation.query import HIDDEN
from common.statistics.grades import Interval, commonest_share, f1_share, mean_share, share
from common.statistics.refinement import Counts
from server.study.suppression import CountSystem, Key

JOINED = "present"
"""Suffix of the table of presence by the likeliest grade, as in `mean.grade.present`."""


@dataclass(frozen=True)
class ShownTable:
    """A cross table with its margins; None for what is hidden.

    Attributes
    ----------
    cells
        (levels, levels) by true and predicted level.
    rows, columns
        (levels,) sums.
    """

    cells: tuple[tuple[int | None, ...], ...]
    rows: tuple[int | None, ...]
    columns: tuple[int | None, ...]

    @property
    def accuracy(self) -> Interval | None:
        """Share of patients whose level is predicted."""
        hits = [self.cells[i][i] for i in range(len(self.cells))]
        known, n = [h for h in hits if h is not None], [r for r in self.rows if r is not None]
        return share(sum(known), sum(n)) if len(known) == len(n) == len(self.cells) else None

    @property
    def commonest(self) -> Interval | None:
        """The accuracy of saying the commonest level to all of these patients."""
        n = [r for r in self.rows if r is not None]
        return commonest_share(n) if len(n) == len(self.rows) else None

    @property
    def balanced_accuracy(self) -> Interval | None:
        """Mean of the recalls of all levels."""
        recalls = [r for level in range(len(self.rows)) if (r := self.recall(level)) is not None]
        return mean_share(recalls) if len(recalls) == len(self.rows) else None

    def recall(self, level: int) -> Interval | None:
        """Share of the patients of a level who are predicted to have it."""
        hits, n = self.cells[level][level], self.rows[level]
        return None if hits is None or n is None else share(hits, n)

    def precision(self, level: int) -> Interval | None:
        """Share of those predicted to have a level who have it."""
        hits, n = self.cells[level][level], self.columns[level]
        return None if hits is None or n is None else share(hits, n)

    def f1(self, level: int) -> Interval | None:
        """Harmonic mean of precision and recall of a level."""
        hits, true, called = self.cells[level][level], self.rows[level], self.columns[level]
        return None if hits is None or true is None or called is None else f1_share(hits, true + called - hits)


def joined(table: Counts) -> Counts:
    """(2, 2) patients without and with any level above the lowest."""
    lowest = np.array([0, 1])
    rows = np.add.reduceat(table, lowest, axis=0)
    both: Counts = np.add.reduceat(rows, lowest, axis=1)
    return both


def with_joined(tables: Mapping[str, Counts]) -> dict[str, Counts]:
    """The tables, and beside those of more than two levels the joined ones; hidden cells stay hidden."""
    both = dict(tables)
    for name, table in tables.items():
        if len(table) > 2:
            both[f"{name}.{JOINED}"] = np.where(joined((table == HIDDEN).astype(np.int64)) > 0, HIDDEN, joined(table))
    return both


def shown(tables: Mapping[str, Counts], min_cell: int) -> dict[str, ShownTable]:
    """The tables of one cohort over all sites, and of those of more than two levels the joined ones beside them."""
    both = with_joined(tables)
    system = CountSystem()
    for name, table in both.items():
        _enter(system, name, table, min_cell)
    for name, table in tables.items():
        if len(table) > 2:
            _joins(system, name, len(table))
    system.protect(min_cell)
    return {name: _shown(system, name, table) for name, table in both.items()}


def _enter(system: CountSystem, name: str, table: Counts, min_cell: int) -> None:
    """A table's cells and margins; tables of the same patients have their rows in common."""
    m = len(table)
    counts = {_cell(name, i, j): int(table[i, j]) for i in range(m) for j in range(m)}
    counts |= {_column(name, j): int(table[:, j].sum()) for j in range(m)}
    counts |= {_row(table, i): int(table[i].sum()) for i in range(m)}
    system.values.update(counts)
    system.small |= {key for key, value in counts.items() if 0 < value < min_cell}
    if m == 2:  # how many patients have the endpoint is told with every area
        system.fixed |= {_row(table, i) for i in range(m)} - system.small
    for i in range(m):
        system.sums(_row(table, i), [_cell(name, i, j) for j in range(m)])
        system.sums(_column(name, i), [_cell(name, j, i) for j in range(m)])


def _cell(name: str, i: int, j: int) -> Key:
    return "cell", name, str(i), str(j)


def _column(name: str, j: int) -> Key:
    return "column", name, str(j)


def _row(table: Counts, i: int) -> Key:
    """The key of a row: the same for tables whose rows have the same sums, as all of the same endpoint have."""
    return "row", str(len(table)), str(i), *(str(n) for n in table.sum(axis=1).tolist())


def _joins(system: CountSystem, name: str, m: int) -> None:
    """The joined table adds up from the one that it was made of."""
    parts = (range(1), range(1, m))
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts):
            system.sums(_cell(f"{name}.{JOINED}", i, j), [_cell(name, a, b) for a in rows for b in columns])


def _shown(system: CountSystem, name: str, table: Counts) -> ShownTable:
    m = len(table)
    return ShownTable(
        tuple(tuple(system.values[_cell(name, i, j)] for j in range(m)) for i in range(m)),
        tuple(system.values[_row(table, i)] for i in range(m)),
        tuple(system.values[_column(name, j)] for j in range(m)),
    )


def shown_alone(table: Counts) -> ShownTable:
    """One site's own table, of which it has hidden what it hides; a sum with a hidden part is not known."""
    cells = tuple(tuple(None if v == HIDDEN else int(v) for v in row) for row in table)
    return ShownTable(
        cells,
        tuple(None if (row == HIDDEN).any() else int(row.sum()) for row in table),
        tuple(None if (column == HIDDEN).any() else int(column.sum()) for column in table.T),
    )

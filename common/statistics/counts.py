"""common/statistics: counts: patient flow, patients per endpoint class, missing values, and how small ones are hidden.

A site's own counts of 1 to 4 do not leave it: they are replaced by -1 together with a complementary count, so
that the hidden one is not the difference of those shown (`hide_in_flow`). Pooled counts are totals; what is
published of them is hidden by `hide_in_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary, each, total
from common.federation.runner import Conclusion
from common.study.recipe import Frame

HIDDEN = -1
"""Stands for a count that is not shown."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Flow(Query):
    """How many patients left at which step on the way into a cohort; per site small counts are hidden."""

    name: ClassVar[str] = "query.flow"
    risk: ClassVar[Risk] = Risk.CELLS

    steps: tuple[str, ...]
    min_cell: int
    guarded: bool

    def blocks(self) -> Mapping[str, Block]:
        """`flow`: (2 + steps,): in the table, left at each step, in the cohort."""
        return {"flow": Block((len(self.steps) + 2,), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients of cohort {self.cohort} by step: {', '.join(self.steps)}"

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell if self.guarded else 0

    def respond(self, site: SiteView) -> Summary:
        """The site's steps must be the declared ones (error 505)."""
        counted = site.flow(self.cohort)
        if tuple(step for step, _ in counted[1:-1]) != self.steps:
            raise FedmviError(505, f"steps {[step for step, _ in counted]}")
        flow = np.array([count for _, count in counted], dtype=np.int64)
        return {"flow": hide_in_flow(flow, self.min_cell) if self.guarded else flow}


@dataclass(frozen=True)
class Classes(Query):
    """Patients of a cohort by endpoint: without, with, unknown (for survival: censored, with event, unknown)."""

    name: ClassVar[str] = "query.classes"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    min_cell: int
    guarded: bool

    def blocks(self) -> Mapping[str, Block]:
        """`classes`: (3,)."""
        return {"classes": Block((3,), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients of cohort {self.cohort} by class of {self.endpoint}"

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell if self.guarded else 0

    def respond(self, site: SiteView) -> Summary:
        """The three counts; per site one of 1-4 hides a second one."""
        classes = np.array(site.classes(self.cohort, self.endpoint), dtype=np.int64)
        return {"classes": hide_in_row(classes, self.min_cell) if self.guarded else classes}


@dataclass(frozen=True)
class Missing(Query):
    """Missing values of each column in a cohort."""

    name: ClassVar[str] = "query.missing"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    min_cell: int
    guarded: bool

    def blocks(self) -> Mapping[str, Block]:
        """`missing`: (columns,); `n`: (): patients."""
        return {"missing": Block((len(self.columns),), Kind.COUNT), "n": Block((), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"missing values of {len(self.columns)} columns in cohort {self.cohort}"

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell if self.guarded else 0

    def answer(self, frame: Frame) -> Summary:
        """Per site, 1-4 missing (or present) values are hidden."""
        missing = np.array([np.count_nonzero(np.isnan(frame.columns[c])) for c in self.columns], dtype=np.int64)
        if self.guarded:
            small = _small(missing, self.min_cell) | _small(frame.n - missing, self.min_cell)
            missing = np.where(small, HIDDEN, missing)
        return {"missing": missing, "n": np.array(frame.n, dtype=np.int64)}


def _small(counts: Counts, min_cell: int) -> NDArray[np.bool_]:
    return (counts > 0) & (counts < min_cell)


def hide_in_row(counts: Counts, min_cell: int) -> Counts:
    """Hide small counts of a row whose sum is known elsewhere, and then never only one or too few patients.

    More cells are hidden, the smallest first, until at least two are and together they hold `min_cell` patients.
    """
    hidden = _small(counts, min_cell)
    while bool(hidden.any()) and not bool(hidden.all()):
        if np.count_nonzero(hidden) >= 2 and int(counts[hidden].sum()) >= min_cell:
            break
        rest = np.where(hidden, np.iinfo(np.int64).max, np.where(counts == 0, np.iinfo(np.int64).max - 1, counts))
        hidden[int(np.argmin(rest))] = True
    return np.where(hidden, HIDDEN, counts)


def hide_in_flow(flow: Counts, min_cell: int) -> Counts:
    """Hide small counts of a flow (start, left at each step, end), where start - left = end.

    The end is shown with every result, so a second count is hidden among the steps, or else the start.
    """
    start, left, end = flow[:1], flow[1:-1], flow[-1:]
    if not bool(_small(left, min_cell).any()) and not bool(_small(flow[[0, -1]], min_cell).any()):
        return flow
    shown_end = np.where(_small(end, min_cell), HIDDEN, end)
    steps = hide_in_row(left, min_cell)
    hidden = steps == HIDDEN
    enough = np.count_nonzero(hidden) >= 2 and int(left[hidden].sum()) >= min_cell
    shown_start = start if enough and not bool(_small(start, min_cell)[0]) else np.array([HIDDEN])
    return np.concatenate([shown_start, steps, shown_end]).astype(np.int64)


def hide_in_table(table: Counts, min_cell: int) -> Counts:
    """Hide small counts of a (rows, sites) table whose row sums are published beside it.

    Counts that a site hid are negative. A row with exactly one hidden cell would give it away through the row
    sum, so a second cell of the row is hidden too: the smallest that is not zero.
    """
    shown = np.where(_small(table, min_cell), HIDDEN, table)
    for row in shown:
        if np.count_nonzero(row == HIDDEN) == 1 and row.size > 1:
            candidates = np.where(row == HIDDEN, np.iinfo(np.int64).max, row)
            positive = np.where(candidates > 0, candidates, np.iinfo(np.int64).max - 1)
            row[int(np.argmin(positive))] = HIDDEN
    return shown


@dataclass(frozen=True)
class SiteCounts:
    """A count query's answers: (sites, ...) with hidden cells, and the pooled total where sites may be summed."""

    sites: tuple[str, ...]
    by_site: Counts
    pooled: Counts | None


def counted(pooled: Query | None, per_site: Query, block: str) -> Conclusion[SiteCounts]:
    """Ask for the total and for what each site shows of it, in one round; `None` where there is no total."""
    asks = (each(per_site),) if pooled is None else (each(per_site), total(pooled))
    replies = yield asks
    parts = replies[0]
    sites: Sequence[str] = sorted(parts)
    by_site = np.stack([parts[site][block] for site in sites])
    return SiteCounts(tuple(sites), by_site, None if pooled is None else replies[1][block])

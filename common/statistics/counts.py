"""common/statistics: counts: patient flow, patients per endpoint class, missing values, and how small ones are hidden.

A site's own counts of 1 to 4 do not leave it: they are replaced by -1 together with a complementary count, so
that the hidden one is not the difference of those shown (`hide_in_row`, `hide_in_flow`). What is published of
all sites together is decided by the server, which hides more where tables would give a count away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import HIDDEN, Block, Kind, Query, Risk, SiteView, Summary, each, total
from common.federation.runner import Conclusion
from common.study.recipe import Frame

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


def _alike(hidden: Counts, min_cell: int) -> bool:
    """Whether all are 1, or all are the largest small count: then their sum, which readers know, gives them away."""
    return bool(np.all(hidden == 1) or np.all(hidden == min_cell - 1))


def _uncertain(counts: Counts, hidden: NDArray[np.bool_], min_cell: int) -> bool:
    """Whether hidden counts stay unknown to a reader who knows their sum and how they were chosen."""
    chosen = counts[hidden]
    return chosen.size >= 2 and int(chosen.sum()) >= min_cell and not _alike(chosen, min_cell)


def hide_in_row(counts: Counts, min_cell: int) -> Counts:
    """Hide small counts of a row whose sum is known elsewhere, and then never only one or too few patients.

    More cells are hidden until `_uncertain`: those that follow in the row, whatever they hold, because a choice by
    size would tell the sizes to a reader who knows it.
    """
    hidden = _small(counts, min_cell)
    while bool(hidden.any()) and not bool(hidden.all()) and not _uncertain(counts, hidden, min_cell):
        after = np.roll(np.arange(counts.size), -int(np.flatnonzero(hidden)[-1]) - 1)
        hidden[next(i for i in after if not hidden[i])] = True
    return np.where(hidden, HIDDEN, counts)


def hide_in_flow(flow: Counts, min_cell: int) -> Counts:
    """Hide small counts of a flow: start, eligibility steps, the two steps of a cohort, end.

    The eligibility steps are the same in every cohort of a site, so they are hidden by themselves, alike in every
    cohort. The end is shown with every result; where the hidden steps alone are not uncertain, the start is hidden.
    """
    start, steps, cohort, end = flow[:1], flow[1:-3], flow[-3:-1], flow[-1:]
    shown = [hide_in_row(steps, min_cell), hide_in_row(cohort, min_cell)]
    sure = [
        bool((part == HIDDEN).any()) and not _uncertain(true, part == HIDDEN, min_cell)
        for true, part in zip((steps, cohort), shown, strict=True)
    ]
    few = bool(_small(start, min_cell)[0]) or bool(_small(end, min_cell)[0])
    first = np.array([HIDDEN]) if any(sure) or few else start
    last = np.where(_small(end, min_cell), HIDDEN, end)
    return np.concatenate([first, *shown, last]).astype(np.int64)


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

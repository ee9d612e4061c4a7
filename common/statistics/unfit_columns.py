"""common/statistics: columns that some site may not be asked about: constant there, or parting few of its patients.

A site refuses a question about such a column (see the gate), and with it the question about all others. So it is asked
first at how many sites a column is unfit; of hundreds of features a few are at some site, and are left out everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.study.recipe import Frame, Recipe

FEWEST_VALUES = 3
"""A column with fewer distinct values is judged by the patients of the rarer one."""


@dataclass(frozen=True)
class UnfitColumns(Query):
    """At how many sites each column has too few known values, one value only, or two of which one is rare.

    `min_cell` is the study's; a site with a stricter limit of its own judges by that when it is asked further.
    """

    name: ClassVar[str] = "query.unfit_columns"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    min_cell: int

    def blocks(self) -> Mapping[str, Block]:
        """`sites` (columns,)."""
        return {"sites": Block((len(self.columns),), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"whether {len(self.columns)} columns vary here, cohort {self.cohort}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """No more sites than were asked."""
        return bool(np.all((summary["sites"] >= 0) & (summary["sites"] <= sites)))

    def answer(self, frame: Frame) -> Summary:
        """1 for a column that is unfit here, 0 for others."""
        return {"sites": np.array([self._unfit(frame, name) for name in self.columns], dtype=np.int64)}

    def _unfit(self, frame: Frame, name: str) -> bool:
        known = frame.columns[name]
        if frame.keys.size:
            known = known[np.unique(frame.keys, return_index=True)[1]]  # a bootstrap set has patients twice
        values, counts = np.unique(known[~np.isnan(known)], return_counts=True)
        if int(counts.sum()) < self.min_cell or values.size < 2:
            return True
        return values.size < FEWEST_VALUES and int(counts.min()) < self.min_cell


def fit_columns(cohort: str, recipe: Recipe, columns: tuple[str, ...], min_cell: int) -> Conclusion[tuple[str, ...]]:
    """The columns that no site of the cohort would refuse, in order; one round."""
    unfit = (yield total(UnfitColumns(cohort, recipe, columns, min_cell)))["sites"]
    return tuple(name for name, sites in zip(columns, unfit, strict=True) if not sites)

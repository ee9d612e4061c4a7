"""common/statistics: how high genes are at one site, over all its patients and by group, which it shows alone.

For a picture of the hospitals' own levels, and of groups within them. Means of many genes would let whoever has one
patient's expression tell whether that patient is among them (Homer et al., PLoS Genet 2008;4:e1000167): so a site tells
few genes, once a run, in hundredths of a doubling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.federation.alone import Alone
from common.federation.query import HIDDEN, Block, Kind, Risk, Summary
from common.federation.totals import zeros
from common.statistics.counts import hide_in_row
from common.statistics.voom_sums import Scale, log_expression
from common.study.recipe import Frame
from common.study.table import FloatArray

MOST_LEVELS = 500
"""Most genes of which a site tells its level: as many as usual for principal components of samples."""
MOST_GROUPED = 50
"""Of so many, the first, it tells the level by group."""
DECIMALS = 2


@dataclass(frozen=True)
class ExpressionLevels(Alone):
    """One site's own mean log2 expression.

    Attributes
    ----------
    columns
        Genes, those first of which the level by group is told.
    library, scale
        As of `Expressed`.
    group
        The column of groups, 0 and 1.
    """

    name: ClassVar[str] = "query.expression_levels"
    risk: ClassVar[Risk] = Risk.PROFILE

    columns: tuple[str, ...]
    library: str
    scale: Scale
    group: str

    def blocks(self) -> Mapping[str, Block]:
        """`patients` (2,) by group; `level` (genes,) mean log2 per million over all patients; `groups` (2, genes) by
        group, of the first `MOST_GROUPED` genes; zeros where a group has fewer than `min_cell` patients."""
        genes = len(self.columns)
        return {
            "patients": Block((2,), Kind.COUNT),
            "level": Block((genes,), Kind.REAL),
            "groups": Block((2, min(genes, MOST_GROUPED)), Kind.REAL),
        }

    def consistent(self) -> bool:
        """See `Query`."""
        named = (*self.columns, self.library, self.group)
        return 0 < len(self.columns) <= MOST_LEVELS and len(set(named)) == len(named)

    def words(self) -> str:
        """See `Query`."""
        grouped = min(len(self.columns), MOST_GROUPED)
        return f"this site's own mean expression of {len(self.columns)} genes, of {grouped} of them by group"

    def answer(self, frame: Frame) -> Summary:
        """The site's means."""
        y = log_expression(frame.matrix(self.columns), frame.columns[self.library], self.scale)
        group = frame.columns[self.group]
        patients = np.array([np.count_nonzero(group == one) for one in (0.0, 1.0)], dtype=np.int64)
        told = {**zeros(self), "patients": hide_in_row(patients, self.min_cell)}
        if frame.n < self.min_cell:
            return told
        told["level"] = _rounded(y.mean(axis=0))
        if HIDDEN not in told["patients"] and int(patients.min()) > 0:
            few = y[:, :MOST_GROUPED]
            told["groups"] = np.array([_rounded(few[group == one].mean(axis=0)) for one in (0.0, 1.0)])
        return told


def _rounded(values: FloatArray) -> FloatArray:
    return np.asarray(np.round(values, DECIMALS) + 0.0)

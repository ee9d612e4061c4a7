"""server/study: genes as they are published: changes with their errors, in columns, and how many differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.published.results import Estimate, GeneRows
from common.statistics.distributions import Z975
from common.study.genomics import GENE
from common.study.table import FloatArray
from server.study.subject import number

DIFFERING = 0.05
"""False discovery rate below which a gene is said to differ."""
STEP = 0.1
"""A change by a score is that of so much of the score."""


@dataclass(frozen=True)
class ComparedGenes:
    """Numbers of genes, (genes,) each; changes are those of one group from the other, or of a step of the score.

    Attributes
    ----------
    degrees
        Of t, 0 or infinite where it is normal.
    """

    genes: tuple[str, ...]
    change: FloatArray
    std_err: FloatArray
    t: FloatArray
    p: FloatArray
    adjusted_p: FloatArray
    mean: FloatArray
    degrees: FloatArray

    @property
    def differing(self) -> list[str]:
        """Genes that differ, in order."""
        return [gene for gene, p in zip(self.genes, self.adjusted_p.tolist(), strict=True) if p < DIFFERING]

    @property
    def rows(self) -> GeneRows:
        """As they are published."""
        from scipy import special

        student = np.isfinite(self.degrees) & (self.degrees > 0)
        half = np.where(student, special.stdtrit(np.where(student, self.degrees, 1.0), 0.975), Z975)
        columns = {
            "log2_fold_change": self.change,
            "low": self.change - half * self.std_err,
            "high": self.change + half * self.std_err,
            "std_err": self.std_err,
            "t": self.t,
            "p": self.p,
            "adjusted_p": self.adjusted_p,
            "mean": self.mean,
            "degrees": np.where(student, self.degrees, np.inf),
        }
        return gene_rows(self.genes, columns)

    @property
    def counted(self) -> list[Estimate]:
        """How many were compared, and how many differ."""
        found = self.adjusted_p < DIFFERING
        parts = {"differing": found, "higher": found & (self.change > 0), "lower": found & (self.change < 0)}
        counts = {"genes": len(self.genes), **{name: int(part.sum()) for name, part in parts.items()}}
        return [Estimate(name=name, value=float(value)) for name, value in counts.items()]


def symbols_of(columns: Sequence[str]) -> tuple[str, ...]:
    """What columns of genes are of."""
    return tuple(column.removeprefix(GENE) for column in columns)


def gene_rows(genes: Sequence[str], columns: Mapping[str, FloatArray]) -> GeneRows:
    """Columns of genes; what is not finite is none."""
    told = {name: [number(value) for value in values.tolist()] for name, values in columns.items()}
    return GeneRows(genes=list(genes), columns=told)

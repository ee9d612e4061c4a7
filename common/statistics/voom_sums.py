"""common/statistics: what limma-voom asks of hospitals: which genes are found, and sums of their products.

Genes are taken a block at a time, so that a hospital needs memory for a block of weights and not for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary
from common.study.recipe import Frame
from common.study.table import FloatArray

Scale = Literal["counts", "tpm"]
"""What a hospital has: counts of reads, or transcripts per million."""

MILLION = 1e6
AT_ONCE = 1000
"""Genes of a block."""


def blocks_of(genes: int) -> Iterator[slice]:
    """The genes, in order, so many at once."""
    return (slice(first, first + AT_ONCE) for first in range(0, genes, AT_ONCE))


def log_expression(values: FloatArray, library: FloatArray, scale: Scale) -> FloatArray:
    """(n, genes) log2 counts per million as voom has them, of (n,) libraries; or log2 of TPM + 1."""
    if scale == "tpm":
        return np.log2(values + 1.0)
    return np.log2((values + 0.5) / (library + 1.0)[:, np.newaxis] * MILLION)


def centred(values: FloatArray) -> FloatArray:
    """Values less the means of their columns."""
    return values - values.mean(axis=0) if len(values) else values


def reaching(values: FloatArray, library: FloatArray, scale: Scale, least: float) -> NDArray[np.bool_]:
    """(n, genes) whether a gene has so many per million; of counts, per million of the library."""
    part, whole = (values, np.ones_like(library)) if scale == "tpm" else (values * MILLION, library)
    reached: NDArray[np.bool_] = part >= least * whole[:, np.newaxis]
    return reached


@dataclass(frozen=True)
class Expressed(Query):
    """What the questions of a fit share.

    Attributes
    ----------
    columns, design
        Genes, and the columns that explain them; the first is the one of interest.
    library
        The column of (effective) library sizes.
    scale
        What the genes' columns are.
    """

    columns: tuple[str, ...]
    design: tuple[str, ...]
    library: str
    scale: Scale = field(kw_only=True, default="counts")

    @property
    def parameters(self) -> int:
        """Coefficients of a gene, with the hospital's own level."""
        return len(self.design) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """What explains; genes are numbers of everybody."""
        return self.design

    @property
    def widest(self) -> float:
        """See `Query`: weighted squares of what explains stay in range."""
        return 1e7

    def consistent(self) -> bool:
        """See `Query`."""
        named = (*self.columns, *self.design, self.library)
        return bool(self.design) and len(set(named)) == len(named)

    def logs(self, frame: Frame, genes: slice) -> FloatArray:
        """(n, genes) log2 expression of a block of genes."""
        return log_expression(frame.matrix(self.columns[genes]), frame.columns[self.library], self.scale)


@dataclass(frozen=True)
class ExpressionCounts(Expressed):
    """Which genes are found, and where.

    Attributes
    ----------
    least
        Per million; how many patients reach it.
    found
        Patients with a gene, below whom a hospital counts as one that has not found it; a site takes the smallest
        count that it tells for more.
    """

    name: ClassVar[str] = "query.expression_counts"
    risk: ClassVar[Risk] = Risk.SUM

    least: float
    found: int

    @property
    def parameters(self) -> int:
        """Nothing is fitted."""
        return 0

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sites`, `high` (): patients whose first column of the design is 1, `graded` (): sites where it is
        something else than 0 or 1; (genes,) each: `absent`, sites at which fewer than `found` patients have the gene,
        `had`, patients with it, and `reached`, patients with `least` per million."""
        shape = (len(self.columns),)
        counts = {name: Block((), Kind.COUNT) for name in ("n", "sites", "high", "graded")}
        return counts | {name: Block(shape, Kind.COUNT) for name in ("absent", "had", "reached")}

    def consistent(self) -> bool:
        """See `Query`."""
        return super().consistent() and self.least >= 0 and self.found >= 1

    def words(self) -> str:
        """See `Query`."""
        return f"in how many patients each of {len(self.columns)} genes is found, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        library, first = frame.columns[self.library], frame.columns[self.design[0]]
        graded = not bool(np.isin(first, (0.0, 1.0)).all())
        absent, had, reached = np.zeros((3, len(self.columns)), dtype=np.int64)
        for genes in blocks_of(len(self.columns)):
            values = frame.matrix(self.columns[genes])
            had[genes] = np.count_nonzero(values > 0, axis=0)
            absent[genes] = had[genes] < self.found if frame.n else 0
            had[genes] = np.where(absent[genes], 0, had[genes])  # how few have it is nobody's to know
            reached[genes] = np.count_nonzero(reaching(values, library, self.scale, self.least), axis=0)
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "sites": np.array(int(frame.n > 0), dtype=np.int64),
            "high": np.array(0 if graded else int(first.sum()), dtype=np.int64),
            "graded": np.array(int(graded), dtype=np.int64),
            "absent": absent,
            "had": had,
            "reached": reached,
        }


@dataclass(frozen=True)
class ExpressionProducts(Expressed):
    """Sums for the first regressions, all weights alike: products centred by the hospital's means, and levels."""

    name: ClassVar[str] = "query.expression_products"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`depth` (): sum of log2(library + 1); `design` (k(k+1)/2,); `cross` (k, genes); `level` (genes,) sums of
        log2 expression."""
        k, genes = len(self.design), len(self.columns)
        return {
            "depth": Block((), Kind.REAL),
            "design": Block((k * (k + 1) // 2,), Kind.REAL),
            "cross": Block((k, genes), Kind.REAL),
            "level": Block((genes,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"sums of products of {len(self.columns)} genes with {len(self.design)} columns, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        x, k = centred(frame.matrix(self.design)), len(self.design)
        cross, level = np.zeros((k, len(self.columns))), np.zeros(len(self.columns))
        for genes in blocks_of(len(self.columns)):
            y = self.logs(frame, genes)
            cross[:, genes], level[genes] = x.T @ centred(y), y.sum(axis=0)
        depth = 0.0 if self.scale == "tpm" else np.log2(frame.columns[self.library] + 1.0).sum()
        design = (x.T @ x)[np.tril_indices(k)]
        return {"depth": np.array(depth), "design": design, "cross": cross, "level": level}


@dataclass(frozen=True)
class ExpressionResiduals(Expressed):
    """Sums of squared residuals of the first regressions."""

    name: ClassVar[str] = "query.expression_residuals"
    risk: ClassVar[Risk] = Risk.SUM

    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`square` (genes,)."""
        return {"square": Block((len(self.columns),), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`; coefficients are (k, genes)."""
        return super().consistent() and self.coefficients.shape == (len(self.design), len(self.columns))

    def words(self) -> str:
        """See `Query`."""
        return f"sums of squared residuals of {len(self.columns)} genes, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        x, square = centred(frame.matrix(self.design)), np.zeros(len(self.columns))
        for genes in blocks_of(len(self.columns)):
            residual = centred(self.logs(frame, genes)) - x @ self.coefficients[:, genes]
            square[genes] = np.square(residual).sum(axis=0)
        return {"square": square}

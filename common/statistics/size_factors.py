"""common/statistics: size factors of RNA-seq libraries by the median of ratios, with one sum of logarithms.

A library's size factor is the median, over genes, of its counts divided by the genes' geometric means over all
libraries; genes with a zero anywhere have none (Anders & Huber, Genome Biol 2010;11:R106, eq. 5). Only the geometric
means need other hospitals; each library's factor is worked out where it is, and stays there. The trimmed mean of
M-values would need one patient's counts as its reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


def median_of_ratios(counts: FloatArray, log_means: FloatArray) -> FloatArray:
    """(n,) logarithms of the size factors of (n, genes) counts; `log_means` (genes,) is -inf where there is none.

    A library with a zero in a gene passes that gene over, as DESeq2 does.
    """
    used = np.isfinite(log_means)
    counted = counts[:, used]
    with np.errstate(divide="ignore"):
        ratios = np.where(counted > 0, np.log(counted) - log_means[used], np.nan)
    return np.asarray(np.nanmedian(ratios, axis=1), dtype=np.float64)


@dataclass(frozen=True)
class LogCounts(Query):
    """Sum of the logarithms of each gene's counts, and at how many patients the gene was not found at all."""

    name: ClassVar[str] = "query.log_counts"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`n` (); `log` (genes,) over counts above 0; `zeros` (genes,)."""
        shape = (len(self.columns),)
        return {"n": Block((), Kind.COUNT), "log": Block(shape, Kind.REAL), "zeros": Block(shape, Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of the logarithms of the counts of {len(self.columns)} genes, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        counts = frame.matrix(self.columns)
        found = counts > 0
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "log": np.log(np.where(found, counts, 1.0)).sum(axis=0),
            "zeros": np.count_nonzero(~found, axis=0).astype(np.int64),
        }


@dataclass(frozen=True)
class LibraryLogs(Query):
    """Sums over patients of the logarithms of size factor and library size, which put factors on one scale.

    Attributes
    ----------
    known, log_means
        The genes that have a geometric mean, and its logarithm.
    """

    name: ClassVar[str] = "query.library_logs"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    known: tuple[str, ...]
    log_means: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `factor`, `library`: () each."""
        return {"n": Block((), Kind.COUNT), "factor": Block((), Kind.REAL), "library": Block((), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`."""
        return self.log_means.shape == (len(self.known),) and set(self.known) <= set(self.columns)

    def words(self) -> str:
        """See `Query`."""
        return f"sums of the logarithms of library sizes, cohort {self.cohort}"

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`: other means would weigh single genes."""
        return ("known", "log_means")

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        counts = frame.matrix(self.columns)
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "factor": np.array(median_of_ratios(frame.matrix(self.known), self.log_means).sum()),
            "library": np.array(np.log(counts.sum(axis=1)).sum()),
        }


@dataclass(frozen=True)
class SizeFactors:
    """What makes size factors anywhere.

    Attributes
    ----------
    log_means_
        (genes,) logarithm of the geometric mean over all libraries; -inf of a gene with a zero.
    log_scale_
        Logarithm of what a factor is multiplied with to be an effective library size, whose geometric mean is that of
        the library sizes (the scale of edgeR's normalisation factors).
    n_
        Libraries.
    """

    genes: tuple[str, ...]
    log_means_: FloatArray
    log_scale_: float
    n_: int

    def factors(self, counts: FloatArray) -> FloatArray:
        """(n,) size factors of (n, genes) counts."""
        return np.exp(median_of_ratios(counts, self.log_means_))

    def effective_library(self, counts: FloatArray) -> FloatArray:
        """(n,) effective library sizes of (n, genes) counts."""
        return np.exp(median_of_ratios(counts, self.log_means_) + self.log_scale_)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a gene: `gene`, `log_mean`."""
        return [{"gene": name, "log_mean": float(mean)} for name, mean in zip(self.genes, self.log_means_, strict=True)]


def size_factors(cohort: str, recipe: Recipe, genes: tuple[str, ...]) -> Conclusion[SizeFactors]:
    """Geometric means of all libraries, and the scale of their factors; two rounds.

    Raises
    ------
    FedmviError
        601 no patients, or no gene that was found in all of them.
    """
    first = yield total(LogCounts(cohort, recipe, genes))
    n = int(first["n"])
    everywhere = first["zeros"] == 0
    if n == 0 or not bool(everywhere.any()):
        raise FedmviError(601, "no gene was found in every patient", cohort=cohort)
    log_means = np.where(everywhere, first["log"] / n, -np.inf)
    known = tuple(name for name, found in zip(genes, everywhere, strict=True) if found)
    second = yield total(LibraryLogs(cohort, recipe, genes, known, log_means[everywhere]))
    return SizeFactors(genes, log_means, float(second["library"] - second["factor"]) / n, n)

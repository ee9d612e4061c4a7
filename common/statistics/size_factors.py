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

    A library with a zero in a gene passes that gene over, as DESeq2 does; one with zeros in all has no factor, NaN.
    """
    used = np.isfinite(log_means)
    counted = counts[:, used]
    with np.errstate(divide="ignore"):
        ratios = np.where(counted > 0, np.log(counted) - log_means[used], np.nan)
    finite = np.isfinite(ratios)
    if used.any() and bool(finite.all()):  # as a rule, and many times as fast
        return np.asarray(np.median(ratios, axis=1))
    factors, known = np.full(len(counts), np.nan), finite.any(axis=1)
    factors[known] = np.nanmedian(ratios[known], axis=1)
    return factors


@dataclass(frozen=True)
class ZeroCounts(Query):
    """At how many patients each gene was not found at all."""

    name: ClassVar[str] = "query.zero_counts"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`n` (); `zeros` (genes,)."""
        return {"n": Block((), Kind.COUNT), "zeros": Block((len(self.columns),), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"in how many patients each of {len(self.columns)} genes is not found, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        zeros = np.count_nonzero(frame.matrix(self.columns) == 0, axis=0).astype(np.int64)
        return {"n": np.array(frame.n, dtype=np.int64), "zeros": zeros}


@dataclass(frozen=True)
class LogCounts(Query):
    """Sum of the logarithms of the counts of genes that every patient has; a site refuses others, of which the sum
    would be over a few."""

    name: ClassVar[str] = "query.log_counts"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`log` (genes,)."""
        return {"log": Block((len(self.columns),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of the logarithms of the counts of {len(self.columns)} genes, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        counts = frame.matrix(self.columns)
        return {"log": np.log(np.where(counts > 0, counts, 1.0)).sum(axis=0)}


@dataclass(frozen=True)
class LibraryLogs(Query):
    """Sums over patients of the logarithms of size factor and library size, which put factors on one scale.

    Attributes
    ----------
    known, log_means
        The genes that have a geometric mean, and its logarithm.
    total
        The column of library sizes; "" for the sum of the counts of `columns`.
    """

    name: ClassVar[str] = "query.library_logs"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    known: tuple[str, ...]
    log_means: FloatField
    total: str

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `factor`, `library`: () each."""
        return {"n": Block((), Kind.COUNT), "factor": Block((), Kind.REAL), "library": Block((), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`."""
        named = set(self.known)
        own = named <= set(self.columns) and len(named) == len(self.known) > 0
        return own and self.log_means.shape == (len(self.known),)

    def words(self) -> str:
        """See `Query`."""
        return f"sums of the logarithms of library sizes, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        library = frame.columns[self.total] if self.total else frame.matrix(self.columns).sum(axis=1)
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "factor": np.array(median_of_ratios(frame.matrix(self.known), self.log_means).sum()),
            "library": np.array(np.log(library).sum()),
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


def size_factors(cohort: str, recipe: Recipe, genes: tuple[str, ...], library: str = "") -> Conclusion[SizeFactors]:
    """Geometric means of all libraries, and the scale of their factors; three rounds.

    Parameters
    ----------
    library
        The column of library sizes; "" for the sum of the genes' counts.

    Raises
    ------
    FedmviError
        601 no patients; 649 no gene that was found in all of them.
    """
    first = yield total(ZeroCounts(cohort, recipe, genes))
    n, everywhere = int(first["n"]), first["zeros"] == 0
    if n == 0:
        raise FedmviError(601, "no patient has RNA", cohort=cohort)
    if not bool(everywhere.any()):
        raise FedmviError(649, "no gene was found in every patient", cohort=cohort)
    known = tuple(name for name, found in zip(genes, everywhere, strict=True) if found)
    second = yield total(LogCounts(cohort, recipe, known))
    log_means = np.full(len(genes), -np.inf)
    log_means[everywhere] = second["log"] / n
    third = yield total(LibraryLogs(cohort, recipe, genes, known, log_means[everywhere], library))
    return SizeFactors(genes, log_means, float(third["library"] - third["factor"]) / n, n)

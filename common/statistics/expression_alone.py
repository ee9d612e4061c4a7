"""common/statistics: differential expression that one site makes over its own patients, and whose result it tells.

For a genomics cohort of too few sites to be summed: what leaves are the finished statistics of each gene, not the sums
that they were fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import CATALOGUE, Fact, FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Risk, SiteView, Summary
from common.federation.runner import attempt
from common.federation.totals import zeros
from common.statistics.alone_errors import TOO_FEW
from common.statistics.counts import hide_in_row
from common.statistics.expression import Expression, Libraries, expression
from common.statistics.voom_sums import Scale
from common.study.genomics import LIBRARY
from common.study.recipe import Frame
from common.study.table import FloatArray

DECIMALS = 6
"""Of what is told; the exact sum of logarithms of few small counts would tell the counts."""

_NOT_KNOWN = 501


@dataclass(frozen=True)
class GenesAlone(Alone):
    """What one site tells of genes between groups, made of its own patients.

    Attributes
    ----------
    columns, design
        Genes, and what explains them, as of `Expressed`.
    scale, least
        As of `expression`.
    min_class
        Fewest patients of a group.
    """

    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    design: tuple[str, ...]
    scale: Scale
    least: float
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (2,) patients by group, or all of them and 0 where the first column of the design is not 0 or 1;
        `error` () the number of what was met, or 0; `kept` (genes,) 1 of a gene that was compared; (genes,) each, and
        0 of others: `change`, `std_err`, `p`."""
        shape = (len(self.columns),)
        counts = {"classes": Block((2,), Kind.COUNT), "error": Block((), Kind.COUNT)}
        reals = {name: Block(shape, Kind.REAL) for name in self.told}
        return counts | {"kept": Block(shape, Kind.COUNT)} | reals

    @property
    def told(self) -> tuple[str, ...]:
        """What is told of each gene."""
        return ("change", "std_err", "p")

    @property
    def parameters(self) -> int:
        """Coefficients of a gene."""
        return len(self.design) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """What explains; genes are numbers of everybody."""
        return self.design

    def consistent(self) -> bool:
        """See `Query`."""
        named = (*self.columns, *self.design, LIBRARY)
        return bool(self.design) and len(set(named)) == len(named) and self.least >= 0

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: a site may send anything."""
        kept, p, spread = summary["kept"], summary["p"], summary["std_err"]
        flags = bool(np.isin(kept, (0, 1)).all()) and int(summary["error"]) >= 0
        return super().plausible(summary, sites) and flags and bool(np.all((p >= 0) & (p <= 1) & (spread >= 0)))

    def counted(self, frame: Frame) -> Summary:
        """Zeros, the patients by group with small counts hidden, and `TOO_FEW` where a group is too small."""
        first = frame.columns[self.design[0]]
        graded = not bool(np.isin(first, (0.0, 1.0)).all())
        high = int(np.count_nonzero(first == 1.0))
        classes = np.array([frame.n, 0] if graded else [frame.n - high, high], dtype=np.int64)
        few = (frame.n if graded else int(classes.min())) < self.min_class
        error = np.array(TOO_FEW if few else 0, dtype=np.int64)
        return {**zeros(self), "classes": hide_in_row(classes, self.min_cell), "error": error}


@dataclass(frozen=True)
class ExpressionAlone(GenesAlone):
    """One site's own moderated t statistics; `libraries` as of `expression`."""

    name: ClassVar[str] = "query.expression_alone"

    libraries: Libraries

    @property
    def adds_up(self) -> bool:
        """See `Query`: the means of genes are told."""
        return True

    @property
    def told(self) -> tuple[str, ...]:
        """As `GenesAlone`, and `t`, `mean`, and `degrees` of t, 0 for infinitely many."""
        return ("change", "std_err", "t", "p", "mean", "degrees")

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own differential expression of {len(self.columns)} genes by {self.design[0]}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`."""
        return super().plausible(summary, sites) and bool(np.all(summary["degrees"] >= 0))

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a group, or where nothing could be fitted, only counts are told."""
        summary = self.counted(site.frame(self))
        if int(summary["error"]):
            return summary
        asked = expression(
            self.cohort,
            self.recipe,
            self.columns,
            self.design,
            scale=self.scale,
            libraries=self.libraries,
            least=self.least,
            found=self.min_cell,
        )
        answer: Expression | FedmviError = self.conclude(site, attempt(asked))
        if isinstance(answer, FedmviError):
            return {**summary, "error": np.array(answer.number, dtype=np.int64)}
        fit = answer.fit
        degrees = np.where(np.isfinite(fit.degrees_), fit.degrees_, 0.0)
        own = (fit.log2_fold_change_, fit.std_err_, fit.t_, fit.p_, fit.mean_, degrees)
        return summary | placed(self, fit.genes, own)


def placed(query: GenesAlone, genes: tuple[str, ...], values: tuple[FloatArray, ...]) -> Summary:
    """`kept`, and what is told of these genes in the places of the query's columns, rounded; p to as many digits."""
    place = {name: i for i, name in enumerate(query.columns)}
    at: NDArray[np.int64] = np.array([place[gene] for gene in genes], dtype=np.int64)
    kept = np.zeros(len(query.columns), dtype=np.int64)
    kept[at] = 1
    summary: Summary = {"kept": kept}
    for name, own in zip(query.told, values, strict=True):
        block = np.zeros(len(query.columns))
        block[at] = _digits(own) if name == "p" else np.round(own, DECIMALS) + 0.0
        summary[name] = block
    return summary


def _digits(p: FloatArray) -> FloatArray:
    """To so many significant digits."""
    return np.array([float(f"{value:.{DECIMALS - 1}e}") for value in p.tolist()])


def genes_error(query: GenesAlone, number: int) -> FedmviError:
    """The error of that number with the names of the question."""
    facts: dict[str, Fact] = {
        "cohort": query.cohort,
        "endpoint": query.design[0],
        "limit": query.min_class,
        "model": query.name,
        "query": query.name,
    }
    return FedmviError.reported(number if number in CATALOGUE else _NOT_KNOWN, "", facts)


@dataclass(frozen=True)
class GenesTold:
    """What one site told of its genes: those that it compared, and (genes,) arrays by name."""

    genes: tuple[str, ...]
    classes: tuple[int, int]
    values: Mapping[str, FloatArray]


def read_genes(query: GenesAlone, summary: Summary) -> GenesTold | FedmviError:
    """What a site told, or the error that it met."""
    number = int(summary["error"])
    if number:
        return genes_error(query, number)
    kept = summary["kept"] == 1
    low, high = (int(count) for count in summary["classes"])
    names = tuple(name for name, known in zip(query.columns, kept.tolist(), strict=True) if known)
    return GenesTold(names, (low, high), {name: summary[name][kept] for name in query.told})

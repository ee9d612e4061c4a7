"""common/statistics: differential expression across sites: limma-voom with every hospital's own level absorbed.

Counts become log2 counts per million; the trend of their variance over their mean gives each count a weight (voom: Law
et al., Genome Biol 2014;15:R29), and every gene has a weighted regression, whose variance is shrunk towards the other
genes' (`moderated`). A dummy variable a hospital would put that hospital's own sums into the total; centring within
hospitals gives the same coefficients (Frisch & Waugh, Econometrica 1933;1:387), and with weights that differ between
genes and patients it is centring by each gene's weighted means. Six rounds: counts come first, so that no sums are
asked of genes that few patients have, and no weighted ones of genes whose weights single patients out. Of transcripts
per million it is limma on log2(TPM + 1), without weights, in three. Counts, library sizes and weights stay.

The trend is one of genes that are there. Those that many patients lack altogether have two humps, a variance that no
count explains, and pull the trend up for all genes of their level: they may be left out of it (`zeros`). They, and
those whose weights single patients out, have an ordinary regression of log counts, with their own variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975
from common.statistics.moderated import Prior, posterior, prior_of, two_sided
from common.statistics.multiplicity import benjamini_hochberg
from common.statistics.newton import symmetric
from common.statistics.voom_sums import MILLION, ExpressionCounts, ExpressionProducts, ExpressionResiduals, Scale
from common.statistics.voom_weights import WeightCounts, WeightedProducts, WeightedResiduals, smooth
from common.study.recipe import Recipe
from common.study.table import FloatArray

SPAN = 0.5
"""Share of the genes that the trend looks at in each place."""
_DEPENDENT = 1e-10

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class DifferentialExpression:
    """How much each gene changes with one unit of the first column of the design, all else alike.

    Attributes
    ----------
    genes
        Those that were compared, in order.
    log2_fold_change_, std_err_, t_, p_, adjusted_p_
        (genes,) each; the standard error has the moderated variance in it, and p is adjusted by Benjamini & Hochberg.
    mean_
        (genes,) mean log2 counts per million, or log2(TPM + 1).
    variance_
        (genes,) residual variances of the weighted regressions, before they were shrunk.
    prior_
        What they were shrunk towards.
    degrees_
        (genes,) of t: the residual ones and the prior's, never more than all genes have together; of genes without
        weights the residual ones.
    weighted_
        (genes,) whether a gene has weights, as all of TPM have, which are 1; the variance of others is their own.
    n_, high_
        Patients, and those of them whose first column of the design is 1, if it is 0 or 1 everywhere; else 0.
    absent_, rare_
        How many genes were left out because some hospital has not found them, and because too few patients reach so
        many per million.
    sparse_, apart_
        How many have no weights because too many patients lack them, and because weights would single patients out
        (`voom_weights.singled_out`).
    """

    genes: tuple[str, ...]
    log2_fold_change_: FloatArray
    std_err_: FloatArray
    t_: FloatArray
    p_: FloatArray
    adjusted_p_: FloatArray
    mean_: FloatArray
    variance_: FloatArray
    prior_: Prior
    degrees_: FloatArray
    weighted_: Flags
    n_: int
    high_: int
    absent_: int
    rare_: int
    sparse_: int
    apart_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a gene."""
        parts = (self.log2_fold_change_, self.std_err_, self.mean_, self.t_, self.p_, self.adjusted_p_)
        return [
            {
                "gene": gene,
                "log2_fold_change": change,
                "low": change - Z975 * error,
                "high": change + Z975 * error,
                "std_err": error,
                "mean_log2_cpm": mean,
                "t": t,
                "p": p,
                "adjusted_p": adjusted,
            }
            for gene, change, error, mean, t, p, adjusted in zip(
                self.genes, *(part.tolist() for part in parts), strict=True
            )
        ]


@dataclass(frozen=True)
class Found:
    """Which genes are compared, and over whom: as `DifferentialExpression`; `sites` have patients, and `found` is of
    whom they tell at least."""

    genes: tuple[str, ...]
    sparse: Flags
    n: int
    sites: int
    high: int
    absent: int
    rare: int
    found: int


def found_genes(
    cohort: str,
    recipe: Recipe,
    genes: tuple[str, ...],
    design: tuple[str, ...],
    library: str,
    *,
    scale: Scale = "counts",
    least: float = 0.0,
    fewest: int = 0,
    found: int = 1,
    zeros: float = 1.0,
) -> Conclusion[Found]:
    """The genes that every hospital has in `found` patients, and that enough patients have `least` per million of: as
    many as the smaller group, `fewest` at least; of a first column that is not 0 or 1, half of all. Those of counts
    that more than a share of `zeros` of the patients lack are sparse. One round."""
    first = yield total(ExpressionCounts(cohort, recipe, genes, design, library, least, found, scale=scale))
    n, high, graded = int(first["n"]), int(first["high"]), int(first["graded"]) > 0
    enough = max(fewest, -(-n // 2) if graded else min(high, n - high))
    absent = first["absent"] > 0
    rare = ~absent & (first["reached"] < enough)
    kept = np.flatnonzero(~(absent | rare))
    sparse = (n - first["had"] > zeros * n) & (scale == "counts")
    return Found(
        genes=tuple(genes[i] for i in kept),
        sparse=sparse[kept],
        n=n,
        sites=int(first["sites"]),
        high=0 if graded else high,
        absent=int(absent.sum()),
        rare=int(rare.sum()),
        found=found,
    )


def differential_expression(
    cohort: str,
    recipe: Recipe,
    genes: tuple[str, ...],
    design: tuple[str, ...],
    library: str,
    *,
    scale: Scale = "counts",
    least: float = 0.0,
    fewest: int = 0,
    found: int = 1,
    zeros: float = 1.0,
) -> Conclusion[DifferentialExpression]:
    """Moderated t statistics of the first column of the design, gene by gene; six rounds, or three of TPM.

    Parameters
    ----------
    genes
        Columns of counts, or of TPM. Those that some hospital has in fewer than `found` patients are left out: their
        level there is not known. See `found_genes`.
    design
        Columns that explain, the one of interest first; the level of each hospital is absorbed.
    library
        The column of library sizes, or of effective ones (`size_factors`).
    zeros
        The largest share of patients without a gene that has weights; with 1, limma-voom of all.

    Raises
    ------
    FedmviError
        Those of `moderated_tests`.
    """
    known = yield from found_genes(
        cohort, recipe, genes, design, library, scale=scale, least=least, fewest=fewest, found=found, zeros=zeros
    )
    return (yield from moderated_tests(cohort, recipe, known, design, library, scale))


def moderated_tests(
    cohort: str, recipe: Recipe, known: Found, design: tuple[str, ...], library: str, scale: Scale
) -> Conclusion[DifferentialExpression]:
    """As `differential_expression`, of genes that are found; five rounds, or two of TPM.

    Raises
    ------
    FedmviError
        601 too few patients; 649 fewer than two genes; 603 columns that are dependent or the same within hospitals;
        645 variances without a trend.
    """
    k, genes = len(design), known.genes
    degrees = known.n - known.sites - k
    if known.n == 0 or degrees < 1:
        raise FedmviError(601, f"{known.n} patients", cohort=cohort)
    if len(genes) < 2:
        raise FedmviError(649, f"{len(genes)} genes", cohort=cohort)
    first = yield total(ExpressionProducts(cohort, recipe, genes, design, library, scale=scale))
    products = symmetric(first["design"], k)
    _require_full_rank(products, known.n)
    start = np.linalg.solve(products, first["cross"])
    squares = yield total(ExpressionResiduals(cohort, recipe, genes, design, library, start, scale=scale))
    mean, variance = first["level"] / known.n, np.maximum(squares["square"], 0.0) / degrees
    tests = _Tests(mean, start[0].copy(), np.full(len(genes), np.linalg.inv(products)[0, 0]), variance)
    if scale == "tpm":
        return _moderated(known, tests, degrees, np.ones(len(genes), dtype=np.bool_))
    dense = np.flatnonzero(~known.sparse)
    genes = tuple(known.genes[i] for i in dense)
    if dense.size < 2:
        raise FedmviError(649, f"{dense.size} genes that most patients have", cohort=cohort)
    curve = trend(mean[dense] + float(first["depth"]) / known.n - np.log2(MILLION), variance[dense])
    if not smooth(curve):
        raise FedmviError(645, count=len(genes), cohort=cohort)
    check = yield total(WeightCounts(cohort, recipe, genes, design, library, start[:, dense], curve, known.found))
    dense = dense[check["apart"] == 0]
    if dense.size < 2:
        raise FedmviError(649, f"{dense.size} genes whose weights are many patients'", cohort=cohort)
    genes, begun = tuple(known.genes[i] for i in dense), start[:, dense]
    sums = yield total(WeightedProducts(cohort, recipe, genes, design, library, begun, curve))
    inverse = np.asarray(np.linalg.inv(symmetric(sums["design"], k)), dtype=np.float64)
    fitted = np.einsum("gij,gj->ig", inverse, sums["cross"])
    last = yield total(WeightedResiduals(cohort, recipe, genes, design, library, begun, curve, fitted))
    tests.change[dense], tests.unscaled[dense] = fitted[0], inverse[:, 0, 0]
    tests.variance[dense] = np.maximum(last["square"], 0.0) / degrees
    weighted = np.zeros(len(known.genes), dtype=np.bool_)
    weighted[dense] = True
    return _moderated(known, tests, degrees, weighted)


@dataclass(frozen=True)
class _Tests:
    """(genes,) each: mean level, change, its unscaled variance, and the residual variance."""

    mean: FloatArray
    change: FloatArray
    unscaled: FloatArray
    variance: FloatArray


def _require_full_rank(products: FloatArray, n: int) -> None:
    scale = np.sqrt(np.diag(products))
    if not bool(np.all(scale > _DEPENDENT * n)):
        raise FedmviError(603, "the same within every hospital", model="voom")
    if float(np.linalg.eigvalsh(products / np.outer(scale, scale))[0]) < _DEPENDENT:
        raise FedmviError(603, "dependent columns", model="voom")


def trend(level: FloatArray, variance: FloatArray) -> FloatArray:
    """(2, points) the lowess curve of the fourth root of (genes,) variances over mean log2 counts, one point a level.

    Cleveland's robust locally weighted regression (J Am Stat Assoc 1979;74:829), three iterations, with the settings of
    R's `lowess`; of genes with one level their curve is averaged, as `approxfun` does.
    """
    from statsmodels.nonparametric.smoothers_lowess import lowess

    root = np.sqrt(np.sqrt(variance))
    smooth = lowess(root, level, frac=SPAN, it=3, delta=0.01 * float(np.ptp(level)), return_sorted=True)
    x, place = np.unique(smooth[:, 0], return_inverse=True)
    y = np.bincount(place, weights=smooth[:, 1]) / np.bincount(place)
    return np.array([x, y])


def _moderated(known: Found, tests: _Tests, degrees: int, weighted: Flags) -> DifferentialExpression:
    """Variances shrunk towards each other, but those of genes without weights."""
    own = tests.variance
    prior = prior_of(own[weighted], degrees)
    std_err = np.sqrt(tests.unscaled * np.where(weighted, posterior(own, degrees, prior), own))
    t = tests.change / std_err
    together = min(prior.degrees + degrees, float(degrees * int(weighted.sum())))
    freedom = np.where(weighted, together, float(degrees))
    p = two_sided(t, freedom)
    return DifferentialExpression(
        genes=known.genes,
        log2_fold_change_=tests.change,
        std_err_=std_err,
        t_=t,
        p_=p,
        adjusted_p_=benjamini_hochberg(p),
        mean_=tests.mean,
        variance_=own,
        prior_=prior,
        degrees_=freedom,
        weighted_=weighted,
        n_=known.n,
        high_=known.high,
        absent_=known.absent,
        rare_=known.rare,
        sparse_=int(known.sparse.sum()),
        apart_=int((~weighted & ~known.sparse).sum()),
    )

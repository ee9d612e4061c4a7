"""common/statistics: differential expression across sites: limma-voom with every hospital's own level absorbed.

Counts become log2 counts per million; the trend of their variance over their mean gives each count a weight (voom: Law
et al., Genome Biol 2014;15:R29), and every gene has a weighted regression, whose variance is shrunk towards the other
genes' (`moderated`). A dummy variable a hospital would put that hospital's own sums into the total; centring within
hospitals gives the same coefficients (Frisch & Waugh, Econometrica 1933;1:387), and with weights that differ between
genes and patients it is centring by each gene's weighted means. Four rounds; counts, library sizes and weights stay.
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
from common.statistics.distributions import Z975
from common.statistics.moderated import Prior, posterior, prior_of, two_sided
from common.statistics.multiplicity import benjamini_hochberg
from common.statistics.newton import symmetric
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

SPAN = 0.5
"""Share of the genes that the trend looks at in each place."""
_MILLION = 1e6
_DEPENDENT = 1e-10


@dataclass(frozen=True)
class Expressed(Query):
    """What the questions of a fit share.

    Attributes
    ----------
    columns, design
        Genes, and the columns that explain them; the first is the one of interest.
    library
        The column of (effective) library sizes.
    """

    columns: tuple[str, ...]
    design: tuple[str, ...]
    library: str

    @property
    def parameters(self) -> int:
        """Coefficients of a gene, with the hospital's own level."""
        return len(self.design) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """What explains; genes are numbers of everybody."""
        return self.design

    def consistent(self) -> bool:
        """See `Query`."""
        named = (*self.columns, *self.design, self.library)
        return bool(self.design) and len(set(named)) == len(named)

    def logs(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """(n, genes) log2 counts per million, and (n,) library sizes."""
        library = frame.columns[self.library]
        return np.log2((frame.matrix(self.columns) + 0.5) / (library + 1.0)[:, np.newaxis] * _MILLION), library


def _centred(values: FloatArray) -> FloatArray:
    return values - values.mean(axis=0) if len(values) else values


@dataclass(frozen=True)
class ExpressionProducts(Expressed):
    """Sums for the first regressions, all weights alike: products centred by the hospital's means, and levels."""

    name: ClassVar[str] = "query.expression_products"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sites`, `depth` (): sum of log2(library + 1); `design` (k(k+1)/2,); `cross` (k, genes); (genes,) each:
        `level`, sums of log2 counts per million, and `absent`, hospitals at which the gene was never found."""
        k, genes = len(self.design), len(self.columns)
        return {
            "n": Block((), Kind.COUNT),
            "sites": Block((), Kind.COUNT),
            "depth": Block((), Kind.REAL),
            "design": Block((k * (k + 1) // 2,), Kind.REAL),
            "cross": Block((k, genes), Kind.REAL),
            "level": Block((genes,), Kind.REAL),
            "absent": Block((genes,), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"sums of products of {len(self.columns)} genes with {len(self.design)} columns, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        y, library = self.logs(frame)
        x = _centred(frame.matrix(self.design))
        products = x.T @ x
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "sites": np.array(int(frame.n > 0), dtype=np.int64),
            "depth": np.array(np.log2(library + 1.0).sum()),
            "design": products[np.tril_indices(len(self.design))],
            "cross": x.T @ _centred(y),
            "level": y.sum(axis=0),
            "absent": np.all(frame.matrix(self.columns) == 0, axis=0).astype(np.int64),
        }


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

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("coefficients",)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        residual = _centred(self.logs(frame)[0]) - _centred(frame.matrix(self.design)) @ self.coefficients
        return {"square": np.square(residual).sum(axis=0)}


@dataclass(frozen=True)
class Weighted(Expressed):
    """What the questions of the weighted regressions share.

    Attributes
    ----------
    coefficients
        (k, genes) of the first regressions, whose fitted counts give the weights.
    trend
        (2, points) of the square root of the residual standard deviation over the mean log2 count, rising in the first
        row; constant beyond its ends.
    """

    coefficients: FloatField
    trend: FloatField

    def consistent(self) -> bool:
        """See `Query`."""
        shapes = self.coefficients.shape == (len(self.design), len(self.columns)) and len(self.trend) == 2
        if not (super().consistent() and shapes and self.trend.ndim == 2 and self.trend.shape[1] > 1):
            return False
        return bool(np.all(np.diff(self.trend[0]) > 0) and np.all(self.trend[1] > 0))

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("coefficients", "trend")

    def parts(self, frame: Frame) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n, genes) weights and responses, (k, n, genes) columns, both centred by the weighted means of each gene."""
        y, library = self.logs(frame)
        x = frame.matrix(self.design)
        fitted = y.mean(axis=0) + _centred(x) @ self.coefficients if frame.n else y
        count = fitted + np.log2((library + 1.0) / _MILLION)[:, np.newaxis]
        weight = np.interp(count, *self.trend) ** -4.0
        share = weight / weight.sum(axis=0)
        columns = np.repeat(x.T[:, :, np.newaxis], y.shape[1], axis=2)
        return weight, y - (share * y).sum(axis=0), columns - np.einsum("ng,kng->kg", share, columns)[:, np.newaxis]


@dataclass(frozen=True)
class WeightedProducts(Weighted):
    """Sums for the weighted regressions: products centred by the hospital's weighted means."""

    name: ClassVar[str] = "query.weighted_products"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`design` (genes, k(k+1)/2); `cross` (genes, k)."""
        k, genes = len(self.design), len(self.columns)
        return {"design": Block((genes, k * (k + 1) // 2), Kind.REAL), "cross": Block((genes, k), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"weighted sums of products of {len(self.columns)} genes, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        weight, y, x = self.parts(frame)
        rows, columns = np.tril_indices(len(self.design))
        return {
            "design": np.einsum("ng,png,png->gp", weight, x[rows], x[columns]),
            "cross": np.einsum("ng,kng,ng->gk", weight, x, y),
        }


@dataclass(frozen=True)
class WeightedResiduals(Weighted):
    """Weighted sums of squared residuals of the weighted regressions."""

    name: ClassVar[str] = "query.weighted_residuals"
    risk: ClassVar[Risk] = Risk.SUM

    fitted: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`square` (genes,)."""
        return {"square": Block((len(self.columns),), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`; `fitted` are the (k, genes) coefficients of the weighted regressions."""
        return super().consistent() and self.fitted.shape == self.coefficients.shape

    def words(self) -> str:
        """See `Query`."""
        return f"weighted sums of squared residuals of {len(self.columns)} genes, cohort {self.cohort}"

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`."""
        return ("coefficients", "trend", "fitted")

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        weight, y, x = self.parts(frame)
        residual = y - np.einsum("kng,kg->ng", x, self.fitted)
        return {"square": (weight * np.square(residual)).sum(axis=0)}


@dataclass(frozen=True)
class DifferentialExpression:
    """How much each gene changes with one unit of the first column of the design, all else alike.

    Attributes
    ----------
    genes
        Those that were found somewhere, in order.
    log2_fold_change_, std_err_, t_, p_, adjusted_p_
        (genes,) each; the standard error has the moderated variance in it, and p is adjusted by Benjamini & Hochberg.
    mean_
        (genes,) mean log2 counts per million.
    variance_
        (genes,) residual variances of the weighted regressions, before they were shrunk.
    prior_
        What they were shrunk towards.
    degrees_
        Of t: the residual ones and the prior's, never more than all genes have together.
    n_
        Patients.
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
    degrees_: float
    n_: int

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


def differential_expression(
    cohort: str, recipe: Recipe, genes: tuple[str, ...], design: tuple[str, ...], library: str
) -> Conclusion[DifferentialExpression]:
    """Moderated t statistics of the first column of the design, gene by gene; four rounds.

    Parameters
    ----------
    genes
        Columns of counts. Genes that some hospital never found are left out: their level there is not known.
    design
        Columns that explain, the one of interest first; the level of each hospital is absorbed.
    library
        The column of library sizes, or of effective ones (`size_factors`).

    Raises
    ------
    FedmviError
        601 no patients, or fewer than two genes that vary; 603 columns that are dependent or the same within hospitals.
    """
    k = len(design)
    first = yield total(ExpressionProducts(cohort, recipe, genes, design, library))
    found = first["absent"] == 0
    kept = tuple(gene for gene, known in zip(genes, found, strict=True) if known)
    n, degrees = int(first["n"]), int(first["n"]) - int(first["sites"]) - k
    if n == 0 or degrees < 1 or len(kept) < 2:
        raise FedmviError(601, f"{n} patients, {len(kept)} genes", cohort=cohort)
    products = symmetric(first["design"], k)
    _require_full_rank(products, n)
    start = np.linalg.solve(products, first["cross"][:, found])
    squares = yield total(ExpressionResiduals(cohort, recipe, kept, design, library, start))
    mean = first["level"][found] / n
    curve = trend(mean + float(first["depth"]) / n - np.log2(_MILLION), np.maximum(squares["square"], 0.0) / degrees)
    sums = yield total(WeightedProducts(cohort, recipe, kept, design, library, start, curve))
    inverse = np.asarray(np.linalg.inv(symmetric(sums["design"], k)), dtype=np.float64)
    fitted = np.einsum("gij,gj->ig", inverse, sums["cross"])
    last = yield total(WeightedResiduals(cohort, recipe, kept, design, library, start, curve, fitted))
    return _moderated(kept, mean, fitted[0], inverse[:, 0, 0], np.maximum(last["square"], 0.0) / degrees, degrees, n)


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


def _moderated(
    genes: tuple[str, ...],
    mean: FloatArray,
    change: FloatArray,
    unscaled: FloatArray,
    variance: FloatArray,
    degrees: int,
    n: int,
) -> DifferentialExpression:
    prior = prior_of(variance, degrees)
    std_err = np.sqrt(unscaled * posterior(variance, degrees, prior))
    t = change / std_err
    total_degrees = min(prior.degrees + degrees, float(degrees * len(genes)))
    p = two_sided(t, total_degrees)
    return DifferentialExpression(
        genes, change, std_err, t, p, benjamini_hochberg(p), mean, variance, prior, total_degrees, n
    )

"""common/statistics: the weighted sums of limma-voom, and of which genes the weights are those of many patients.

A coordinator says from which trend and coefficients hospitals make their weights. With others than honest ones it could
give weight to few patients, or other weight to few: so a trend is held to what variances of counts do, and genes are
left out whose weights single patients out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Risk, Summary
from common.statistics.voom_sums import MILLION, Expressed, blocks_of, centred
from common.study.recipe import Frame
from common.study.table import FloatArray

LEAST_ROOT, MOST_ROOT = 0.2, 20.0
"""What the square root of a standard deviation of log2 counts may be."""
LARGEST_RATIO = 8.0
"""Of a trend's highest and lowest points; those of real cohorts are below 5. No weight is beyond 8^4 of another."""
STEEPEST, JUMP = 0.5, 0.2
"""How much the logarithm of a trend may change by a doubling of the count, and beside it. Counts of molecules that are
drawn at random make a change of log(2) / 4 = 0.17: variance of log counts is at most as one over the count."""
LEAST_HIDING = 0.01
"""Of how far weights are from the usual one, squared and summed, what all but a few patients have of these few's: they
hide them to a tenth. A hospital of sixteen patients or more loses one gene in two hundred by it, of twelve one in
fifteen."""
ALIKE = 1e-13
"""Weights that differ by no more are the same but for their last digits."""
MOST_OF_WEIGHT = 0.9
"""Of a gene's weight fewer patients than a hospital tells of have no more."""
LARGEST_LEVEL = 200.0
"""Largest absolute log2 count at which a trend may have a point."""


def smooth(trend: FloatArray) -> bool:
    """Whether a (2, points) trend is one of variance over counts, and no step that is put next to one patient."""
    if trend.ndim != 2 or trend.shape[0] != 2 or trend.shape[1] < 2:
        return False
    level, root = trend
    if not bool(np.all(np.diff(level) > 0)) or float(np.abs(level).max()) > LARGEST_LEVEL:
        return False
    lowest, highest = float(root.min()), float(root.max())
    if lowest < LEAST_ROOT or highest > min(MOST_ROOT, LARGEST_RATIO * lowest):
        return False
    rise = [sign * np.log(root) - STEEPEST * level for sign in (1.0, -1.0)]
    return all(float((one - np.minimum.accumulate(one)).max()) <= JUMP for one in rise)


def singled_out(weight: FloatArray, found: int) -> NDArray[np.bool_]:
    """(genes,) whether (n, genes) weights tell fewer than `found` patients from all others; of none where it is 1.

    The unweighted sums of the same patients, so many times the usual weight, less the weighted ones leave each patient
    by how far his weight is from the usual one, to the last digit: where only few are, that is their expression. So
    the others must differ, too (`LEAST_HIDING`); and few must not have almost all of the weight.
    """
    few = min(found - 1, len(weight))
    if few <= 0:
        return np.zeros(weight.shape[1], dtype=np.bool_)
    usual = np.median(weight, axis=0)
    apart = np.abs(weight - usual) / usual
    farthest, heaviest = (_largest(values, few) for values in (np.square(apart), weight))
    hiding = np.square(apart).sum(axis=0) - farthest
    alone = (hiding < LEAST_HIDING * farthest) & (apart.max(axis=0) > ALIKE)
    singled: NDArray[np.bool_] = alone | (heaviest > MOST_OF_WEIGHT * weight.sum(axis=0))
    return singled


def _largest(values: FloatArray, few: int) -> FloatArray:
    """(genes,) sums of the few largest of (n, genes) values."""
    return np.asarray(np.partition(values, len(values) - few, axis=0)[len(values) - few :].sum(axis=0))


@dataclass(frozen=True)
class Weighted(Expressed):
    """What the questions of the weighted regressions share.

    Attributes
    ----------
    coefficients
        (k, genes) of the first regressions, whose fitted counts give the weights.
    trend
        (2, points) of the square root of the residual standard deviation over the mean log2 count, rising in the first
        row; constant beyond its ends, and `smooth`.
    """

    coefficients: FloatField
    trend: FloatField

    def consistent(self) -> bool:
        """See `Query`."""
        shapes = self.coefficients.shape == (len(self.design), len(self.columns))
        return super().consistent() and self.scale == "counts" and shapes and smooth(self.trend)

    def weights(self, frame: Frame, genes: slice, y: FloatArray) -> FloatArray:
        """(n, genes) precisions of the log2 expression `y` of a block of genes."""
        if not frame.n:
            return np.ones(y.shape)
        fitted = y.mean(axis=0) + centred(frame.matrix(self.design)) @ self.coefficients[:, genes]
        count = fitted + np.log2((frame.columns[self.library] + 1.0) / MILLION)[:, np.newaxis]
        root: FloatArray = np.interp(count, *self.trend)
        return root**-4.0

    def parts(self, frame: Frame) -> Iterator[tuple[slice, FloatArray, FloatArray, list[FloatArray]]]:
        """By block of genes: (n, genes) weights and responses, and as many for each column of the design, centred by
        the weighted means of each gene."""
        x = frame.matrix(self.design)
        for genes in blocks_of(len(self.columns)):
            y = self.logs(frame, genes)
            weight = self.weights(frame, genes, y)
            share = weight / weight.sum(axis=0) if frame.n else weight
            columns = [x[:, [j]] - (share * x[:, [j]]).sum(axis=0) for j in range(x.shape[1])]
            yield genes, weight, y - (share * y).sum(axis=0), columns


@dataclass(frozen=True)
class WeightCounts(Weighted):
    """Of which genes the weights single patients out: no weighted sums are asked of them.

    Attributes
    ----------
    found
        As of `ExpressionCounts`; see `singled_out`.
    """

    name: ClassVar[str] = "query.weight_counts"
    risk: ClassVar[Risk] = Risk.SUM

    found: int

    def blocks(self) -> Mapping[str, Block]:
        """`apart` (genes,): sites at which few patients have other weights than all others."""
        return {"apart": Block((len(self.columns),), Kind.COUNT)}

    def consistent(self) -> bool:
        """See `Query`."""
        return super().consistent() and self.found >= 1

    def words(self) -> str:
        """See `Query`."""
        return f"of which of {len(self.columns)} genes the weights single patients out, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        apart = np.zeros(len(self.columns), dtype=np.int64)
        for genes in blocks_of(len(self.columns)):
            apart[genes] = singled_out(self.weights(frame, genes, self.logs(frame, genes)), self.found)
        return {"apart": apart}


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
        summary: Summary = {name: np.zeros(block.shape) for name, block in self.blocks().items()}
        pairs = list(zip(*(index.tolist() for index in np.tril_indices(len(self.design))), strict=True))
        for genes, weight, y, x in self.parts(frame):
            weighted = [weight * column for column in x]
            for place, (i, j) in enumerate(pairs):
                summary["design"][genes, place] = (weighted[i] * x[j]).sum(axis=0)
            for i, column in enumerate(weighted):
                summary["cross"][genes, i] = (column * y).sum(axis=0)
        return summary


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

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        square = np.zeros(len(self.columns))
        for genes, weight, y, x in self.parts(frame):
            residual = y
            for column, fitted in zip(x, self.fitted[:, genes], strict=True):
                residual = residual - column * fitted
            square[genes] = (weight * np.square(residual)).sum(axis=0)
        return {"square": square}

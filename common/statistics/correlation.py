"""common/statistics: Pearson correlation of many columns at once, within sites or pooled, and filters by it.

Within sites, each site centres by its own means before cross-products are taken, so that differences between sites
(scanners, protocols) make no correlation: this is the partial correlation given the site. Pooled, columns are
centred by the pooled means of an earlier round (see `moments`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.moments import Moments, moments
from common.statistics.newton import symmetric
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

MAX_COLUMNS = 0.33
"""Most columns of a matrix of cross-products, as a fraction of the patients."""

CONSTANT = 1e-12
"""A standard deviation below this fraction of the mean is rounding."""

CONSTANT_WITHIN = 1e-18
"""Mean square within sites, of a column of unit variance, below which it is rounding."""


@dataclass(frozen=True)
class CrossProducts(Query):
    """Sums of products of every pair of columns, centred at each site by its own means or not at all."""

    name: ClassVar[str] = "query.cross_products"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    within_site: bool

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sites` (); `sum` (p,), zero within sites; `cross` (p(p+1)/2,) lower triangle."""
        p = len(self.columns)
        return {
            "n": Block((), Kind.COUNT),
            "sites": Block((), Kind.COUNT),
            "sum": Block((p,), Kind.REAL),
            "cross": Block((p * (p + 1) // 2,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        where = "within sites" if self.within_site else "over all sites"
        return f"sums of products of {len(self.columns)} columns {where} in cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """The columns; a matrix of more of them than a third of the patients comes close to the patients' rows."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def values(self, frame: Frame) -> FloatArray:
        """(n, p) what is multiplied."""
        return frame.matrix(self.columns)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        values = self.values(frame)
        if self.within_site:
            values = within(values)
        sums = np.zeros(len(self.columns)) if self.within_site else values.sum(axis=0)
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "sites": np.array(int(frame.n > 0), dtype=np.int64),
            "sum": sums,
            "cross": (values.T @ values)[np.tril_indices(len(self.columns))],
        }


def within(values: FloatArray) -> FloatArray:
    """(n, p) values less the mean of each column; an empty site stays empty."""
    centred: FloatArray = values - values.sum(axis=0) / max(len(values), 1)
    return centred


class Keep(StrEnum):
    """Which of two columns with too large a correlation is kept.

    FIRST: columns are taken in the order of a priority (smallest first, equal ones and by default all in declared
    order), and one is kept if its correlations with all kept before do not exceed the threshold.

    LESS_CORRELATED: `caret::findCorrelation(exact = TRUE)` (Kuhn, J Stat Softw 2008;28(5), as its source has it):
    pairs are visited by descending mean |r|, and of a pair above the threshold the first column is dropped if its
    mean |r| with the columns left exceeds the mean of all |r| left without the second's row, else the second.
    """

    FIRST = "first"
    LESS_CORRELATED = "less-correlated"


@dataclass(frozen=True)
class Correlation:
    """A correlation matrix.

    Attributes
    ----------
    r_
        (p, p) correlations of the columns in declared order.
    square_
        (p,) centred sums of squares of what was correlated: columns of pooled variance 1, or scaled ranks.
    n_, sites_
        Patients, and sites that have any.
    degrees_
        Degrees of freedom of a test of one correlation: n - 2 pooled, n - sites - 1 within sites.
    """

    columns: tuple[str, ...]
    r_: FloatArray
    square_: FloatArray
    n_: int
    sites_: int
    degrees_: int

    @property
    def p_(self) -> FloatArray:
        """(p, p) two-sided p values by t = r sqrt(df / (1 - r^2)); 0 where |r| is 1."""
        from scipy import special

        rest = np.maximum(1.0 - np.square(self.r_), 0.0)
        with np.errstate(divide="ignore"):
            t = np.where(rest > 0, np.abs(self.r_) * np.sqrt(self.degrees_ / rest), np.inf)
        p: FloatArray = 2.0 * special.stdtr(self.degrees_, -t)
        return p

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a pair of columns: `first`, `second`, `r`, `p`."""
        p = self.p_
        return [
            {"first": self.columns[i], "second": self.columns[j], "r": float(self.r_[i, j]), "p": float(p[i, j])}
            for i, j in zip(*np.triu_indices(len(self.columns), 1), strict=True)
        ]

    def kept(
        self, threshold: float, rule: Keep = Keep.FIRST, priority: Sequence[float] | None = None
    ) -> tuple[str, ...]:
        """The columns left, in declared order, after dropping one of each pair with |r| > threshold (see `Keep`).

        `priority` (p,) is for Keep.FIRST only (error 501).
        """
        if rule is Keep.LESS_CORRELATED and priority is not None:
            raise FedmviError(501, "a priority is for Keep.FIRST")
        kept = _keep_less_correlated(self.r_, threshold) if rule is Keep.LESS_CORRELATED else None
        if kept is None:
            kept = _keep_first(self.r_, threshold, np.zeros(len(self.columns)) if priority is None else priority)
        return tuple(self.columns[i] for i in kept)


def _keep_first(r: FloatArray, threshold: float, priority: Sequence[float] | FloatArray) -> list[int]:
    free = np.ones(len(r), dtype=bool)
    kept = []
    for i in np.argsort(np.asarray(priority, dtype=np.float64), kind="stable").tolist():
        if free[i]:
            kept.append(i)
            free &= np.abs(r[i]) <= threshold
    return sorted(kept)


def _keep_less_correlated(r: FloatArray, threshold: float) -> list[int]:
    p = len(r)
    size = np.abs(r) * (1.0 - np.eye(p))
    order = np.argsort(-size.sum(axis=0), kind="stable")
    size = size[np.ix_(order, order)]
    left = np.ones(p, dtype=bool)
    for i in range(p - 1):
        for j in np.flatnonzero(size[i] > threshold).tolist():
            if j < i or not left[j]:
                continue
            if not left[i]:
                break
            live = size[np.ix_(left, left)]
            count = len(live)
            mine = size[i, left].sum() / (count - 1)
            others = (live.sum() - size[j, left].sum()) / ((count - 1) * (count - 1))
            left[i if mine > others else j] = False
    return sorted(order[left].tolist())


def correlation(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], within_site: bool = True
) -> Conclusion[Correlation]:
    """Pearson correlations of all pairs of columns; three rounds, two of them moments.

    The recipe must leave complete cases.

    Raises
    ------
    FedmviError
        615 more columns than a third of the patients, 616 a constant column; 601 no patients.
    """
    scale, standard = yield from standardised(cohort, recipe, columns)
    check_size(cohort, len(columns), float(scale.n_.min()))
    sums = yield total(CrossProducts(cohort, standard, columns, within_site))
    return correlation_of(cohort, columns, sums, within_site)


def correlation_of(cohort: str, columns: tuple[str, ...], sums: Summary, within_site: bool) -> Correlation:
    """The correlations of summed `CrossProducts`; error 616 for a column that is constant."""
    n, sites = int(sums["n"]), int(sums["sites"])
    products = symmetric(sums["cross"], len(columns)) - np.outer(sums["sum"], sums["sum"]) / n
    square = np.diag(products).copy()
    require_variation(cohort, columns, square > CONSTANT_WITHIN * n)
    root = np.sqrt(square)
    r = np.clip(products / np.outer(root, root), -1.0, 1.0)
    np.fill_diagonal(r, 1.0)
    return Correlation(columns, r, square, n, sites, n - sites - 1 if within_site else n - 2)


def standardised(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[tuple[Moments, Recipe]]:
    """Moments of the columns, and the recipe with them scaled to mean 0 and variance 1; error 616 for a constant."""
    scale = yield from moments(cohort, recipe, columns)
    require_variation(cohort, columns, scale.std_ > CONSTANT * np.abs(scale.mean_))
    return scale, recipe.then(scale.standardising)


def require_variation(cohort: str, columns: tuple[str, ...], varies: NDArray[np.bool_]) -> None:
    """Error 616 names the first column that does not vary."""
    if not bool(varies.all()):
        constant = [name for name, does in zip(columns, varies, strict=True) if not does]
        raise FedmviError(616, f"{len(constant)} constant columns: {constant}", cohort=cohort, column=constant[0])


def check_size(cohort: str, columns: int, patients: float) -> None:
    """Error 615 for more columns than `MAX_COLUMNS` of the patients."""
    if columns > MAX_COLUMNS * patients:
        raise FedmviError(615, cohort=cohort, columns=columns, patients=int(patients))

"""common/statistics: groups of patients in a few projected numbers: their means, and axes of the spread within groups.

Sums of products are taken over each half of a cohort, dealt by the site (`Fold`), because a two-sample test trains on
one half and measures on the other (`two_sample`); sums by level of an endpoint tell only means. What is within groups
is the products less those of the means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.newton import symmetric
from common.statistics.refinement import Counts
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

HALVES = 2
MAX_LEVELS = 10
VANISHING = 1e-9
"""Spread along an axis, relative to the widest one, below which it is rounding."""


def half_of(frame: Frame) -> NDArray[np.int64]:
    """(n,) 0 or 1: whether the patient's fold is even or odd."""
    return frame.columns["fold"].astype(np.int64) % HALVES


@dataclass(frozen=True)
class HalfProducts(Query):
    """Sums of some columns and of their products over either half of the patients."""

    name: ClassVar[str] = "query.half_products"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2,), `sum` (2, p), `cross` (2, p(p+1)/2) lower triangle."""
        p = len(self.columns)
        return {
            "n": Block((HALVES,), Kind.COUNT),
            "sum": Block((HALVES, p), Kind.REAL),
            "cross": Block((HALVES, p * (p + 1) // 2), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"sums of products of {len(self.columns)} columns over either half of cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """The columns, for either half: matrices of more come close to the patients' rows."""
        return HALVES * len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) who is in either half: each must be enough patients."""
        return np.array([half_of(frame) == half for half in range(HALVES)], dtype=np.float64)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases and folds."""
        values, half = frame.matrix(self.columns), half_of(frame)
        lower = np.tril_indices(len(self.columns))
        parts = [values[half == one] for one in range(HALVES)]
        return {
            "n": np.array([len(part) for part in parts], dtype=np.int64),
            "sum": np.array([part.sum(axis=0) for part in parts]),
            "cross": np.array([(part.T @ part)[lower] for part in parts]),
        }


@dataclass(frozen=True)
class LevelSums(Query):
    """Sums of some columns over the patients of each level of an endpoint."""

    name: ClassVar[str] = "query.level_sums"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    endpoint: str
    levels: int

    def blocks(self) -> Mapping[str, Block]:
        """`n` (levels,), `sum` (levels, p)."""
        shape = (self.levels, len(self.columns))
        return {"n": Block((self.levels,), Kind.COUNT), "sum": Block(shape, Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of {len(self.columns)} columns by level of {self.endpoint}, cohort {self.cohort}"

    def consistent(self) -> bool:
        """See `Query`."""
        return 2 <= self.levels <= MAX_LEVELS

    @property
    def parameters(self) -> int:
        """The columns."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint, where it has two levels."""
        return self.endpoint if self.levels == 2 else ""

    @property
    def levels_of(self) -> str:
        """The endpoint, where it has more."""
        return self.endpoint if self.levels > 2 else ""

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases."""
        values, level = frame.matrix(self.columns), frame.endpoints[self.endpoint].astype(np.int64)
        sums = np.zeros((self.levels, len(self.columns)))
        np.add.at(sums, level, values)
        return {"n": np.bincount(level, minlength=self.levels).astype(np.int64), "sum": sums}


@dataclass(frozen=True)
class Halves:
    """Either half of a cohort.

    Attributes
    ----------
    n_
        (2,)
    mean_
        (2, p)
    cross_
        (2, p, p) sums of products, not centred.
    """

    columns: tuple[str, ...]
    n_: Counts
    mean_: FloatArray
    cross_: FloatArray

    def scatter(self, half: int) -> FloatArray:
        """(p, p) sum of products of one half about its mean."""
        mean = self.mean_[half]
        scatter: FloatArray = self.cross_[half] - float(self.n_[half]) * np.outer(mean, mean)
        return scatter

    @property
    def whole(self) -> Group:
        """The cohort as one group."""
        n = int(self.n_.sum())
        return Group("", n, (self.n_ @ self.mean_) / n)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a half: `half`, `n`, and the mean of each column."""
        rows = zip(self.n_.tolist(), self.mean_.tolist(), strict=True)
        return [{"half": k, "n": n, **dict(zip(self.columns, mean, strict=True))} for k, (n, mean) in enumerate(rows)]


@dataclass(frozen=True)
class Group:
    """Patients that belong together: their name, how many they are, and their mean, (p,)."""

    name: str
    n: int
    mean: FloatArray


@dataclass(frozen=True)
class Projected:
    """Groups in the two directions in which patients of a group differ most.

    Attributes
    ----------
    groups
        The groups.
    centres_
        (groups, 2) their means, from the mean of all patients.
    variance_
        (2,) of patients within groups along either axis, and their share of the whole variance within groups.
    share_
        (2,)
    degrees_
        Patients less groups.
    axes_
        (p, 2) unit vectors; the largest number of each is positive.
    within_
        (p, p) pooled covariance within groups.
    """

    groups: tuple[Group, ...]
    centres_: FloatArray
    variance_: FloatArray
    share_: FloatArray
    degrees_: int
    axes_: FloatArray
    within_: FloatArray

    def region(self, n: int) -> FloatArray:
        """(2,) half axes of the ellipse that holds the true mean of a group of n patients with 95 % confidence.

        Hotelling's T-squared on the two axes, with the pooled covariance (Johnson & Wichern, Applied Multivariate
        Statistical Analysis, 6th ed., section 5.4 and result 6.2); along them the covariance is diagonal.
        """
        from scipy import special

        degrees = self.degrees_
        reach = 2.0 * degrees / (degrees - 1.0) * float(special.fdtri(2, degrees - 1, 0.95))
        half_axes: FloatArray = np.sqrt(self.variance_ * reach / n)
        return half_axes


def halves(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[Halves]:
    """Means and products over either half of a cohort; one round.

    Parameters
    ----------
    recipe
        Leaves complete cases, and ends in `Fold`.

    Raises
    ------
    FedmviError
        601 a half without patients.
    """
    sums = yield total(HalfProducts(cohort, recipe, columns))
    n = sums["n"]
    if int(n.min()) < 1:
        raise FedmviError(601, cohort=cohort)
    return Halves(columns, n, sums["sum"] / n[:, np.newaxis], symmetric(sums["cross"], len(columns)))


def level_groups(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], endpoint: str, names: Sequence[str]
) -> Conclusion[tuple[Group, ...]]:
    """The means of the patients of each level that has any; one round."""
    sums = yield total(LevelSums(cohort, recipe, columns, endpoint, len(names)))
    return tuple(
        Group(name, n, sums["sum"][i] / n)
        for i, (name, n) in enumerate(zip(names, sums["n"].tolist(), strict=True))
        if n
    )


def project(parts: Sequence[tuple[Halves, Sequence[Group]]]) -> Projected:
    """Principal components of the pooled covariance within groups.

    Parameters
    ----------
    parts
        Of each cohort its sums, and the groups that all its patients belong to.

    Raises
    ------
    FedmviError
        690 patients of a group differ in fewer than two directions.
    """
    groups = tuple(group for _, own in parts for group in own)
    n = np.array([group.n for group in groups], dtype=np.float64)
    means = np.array([group.mean for group in groups])
    cross = sum((part.cross_.sum(axis=0) for part, _ in parts), np.zeros((means.shape[1],) * 2))
    degrees = int(n.sum()) - len(groups)
    if degrees < 2:
        raise FedmviError(690, f"{degrees} degrees of freedom")
    within = (cross - (means.T * n) @ means) / degrees
    values, vectors = np.linalg.eigh(within)
    variance, axes = values[::-1][:2], vectors[:, ::-1][:, :2]
    if not variance[1] > VANISHING * max(float(variance[0]), float(np.trace(cross)) * VANISHING / n.sum()):
        raise FedmviError(690, f"variances {values.tolist()}")
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(2)])
    centres = (means - n @ means / n.sum()) @ axes
    return Projected(groups, centres, variance, variance / float(values.sum()), degrees, axes, within)

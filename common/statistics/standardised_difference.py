"""common/statistics: standardised differences of two groups of patients, and the sums that tell two classes apart.

A standardised difference does not grow with the number of patients, as a test's statistic does (Austin, Stat Med
2009;28:3083). Of categories with more than two levels it is the Mahalanobis distance of the two vectors of shares
(Yang & Dalton, SAS Global Forum 2012, paper 335), which for two levels is the absolute value of Austin's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion
from common.statistics.counts import Counts
from common.statistics.moments import Moments, moments
from common.statistics.student_t import ClassMoments
from common.study.recipe import Recipe, Standardise
from common.study.table import FloatArray

_SINGULAR = 1e-12
"""Smallest eigenvalue of a covariance of shares that is none by rounding."""


@dataclass(frozen=True)
class ByClass:
    """Moments of one column in each class of a binary endpoint.

    Attributes
    ----------
    n_, mean_, std_
        (2,) the class without the endpoint first; `std_` has n - 1 in its denominator, and is NaN below two values.
    """

    n_: FloatArray
    mean_: FloatArray
    std_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a class: `class` (0 or 1), `n`, `mean`, `std`."""
        rows = zip(self.n_.tolist(), self.mean_.tolist(), self.std_.tolist(), strict=True)
        return [{"class": k, "n": int(n), "mean": mean, "std": std} for k, (n, mean, std) in enumerate(rows)]


def moments_by_class(cohort: str, recipe: Recipe, endpoint: str, column: str) -> Conclusion[ByClass]:
    """Mean and standard deviation of a column in each class of an endpoint, missing values left out; three rounds.

    The first two are those of `moments`, and cost nothing where these are asked as well.

    Raises
    ------
    FedmviError
        601 a column without values, 602 a class without.
    """
    whole: Moments = yield from moments(cohort, recipe, (column,))
    mean, std = float(whole.mean_[0]), float(whole.std_[0])
    scale = std if std > 0 else 1.0
    standard = recipe.then(Standardise((column,), (mean,), (scale,)))
    sums = yield total(ClassMoments(cohort, standard, endpoint, (column,)))
    n = sums["n"][:, 0].astype(np.float64)
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    centre = sums["sum"][:, 0] / n
    squares = np.maximum(sums["square"][:, 0] - n * np.square(centre), 0.0)
    spread = np.sqrt(np.divide(squares, n - 1.0, out=np.full(2, np.nan), where=n > 1))
    return ByClass(n, mean + scale * centre, scale * spread)


def of_means(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Second mean less first, over the root of the mean of both variances; NaN where neither group varies.

    Parameters
    ----------
    first, second
        Mean and standard deviation of each group.
    """
    spread = math.sqrt((first[1] ** 2 + second[1] ** 2) / 2.0)
    return (second[0] - first[0]) / spread if spread > 0 else math.nan


def of_shares(first: Counts, second: Counts) -> float:
    """The standardised difference of two groups in the levels of a variable; NaN where a group is empty, or the groups
    differ and neither varies.

    With two levels it is the share of the second level in `second` less that in `first`, standardised, and has a sign;
    with more it has none.

    Parameters
    ----------
    first, second
        (levels,) patients of each group. Levels that nobody has do not count.
    """
    if first.sum() == 0 or second.sum() == 0:
        return math.nan
    two = first.size == 2
    occurs = (first + second) > 0
    shares = [group[occurs] / group.sum() for group in (first, second)]
    difference = (shares[1] - shares[0])[1:]
    if not bool(np.any(difference)):
        return 0.0
    covariance = sum((np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in shares), np.zeros((occurs.sum() - 1,) * 2)) / 2.0
    values, vectors = np.linalg.eigh(covariance)
    along = vectors.T @ difference
    if bool(np.any(np.abs(along[values <= _SINGULAR]) > math.sqrt(_SINGULAR))):
        return math.nan
    varies = values > _SINGULAR
    distance = math.sqrt(float(np.sum(np.square(along[varies]) / values[varies])))
    return math.copysign(distance, float(difference[0])) if two else distance

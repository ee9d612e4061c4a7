"""common/statistics: how one site's profile differs from others': tests of one scale, for sites as for drawn ones.

Of every column the difference of the means; of every number the largest difference of the cumulative histograms
(Kolmogorov-Smirnov); of all together Fisher's discriminant, trained on one half and measured on the other, either way
round (Kim et al., Ann Stat 2021;49:411); and the mean of the model's linear predictor. All are computed from sums
alone, with one covariance within hospitals, and each is about standard normal where hospitals do not differ, so that
the largest of them can be taken (`max_t`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.statistics.distributions import Z975
from common.statistics.refinement import Counts
from common.statistics.site_profile import HALVES
from common.study.table import FloatArray

_FLAT = 1e-9
"""Spread along an axis, relative to the widest one, below which it is rounding."""

SCORE_WEIGHT = 1.2
"""How much larger the test of the score counts than the others, decided beforehand: it is where a difference costs
most, and where another frequency of the outcome shows (weights: Genovese, Roeder & Wasserman, Biometrika 2006;93:509).
"""

_LARGEST = 40.0
"""A test statistic beyond it is one whose p value is no number any more."""


@dataclass(frozen=True)
class Profiles:
    """Profiles of hospitals, or of others with which each of them is compared.

    Attributes
    ----------
    n
        (..., 2) patients by half.
    total
        (..., 2, p) sums of the standardised columns by half.
    below
        (..., numbers, 9) patients below each edge; NaN where it is hidden.
    """

    n: Counts
    total: FloatArray
    below: FloatArray

    def less(self, other: Profiles) -> Profiles:
        """Those who are not in another one, which is a part of this."""
        return Profiles(self.n - other.n, self.total - other.total, self.below - other.below)

    @property
    def size(self) -> FloatArray:
        """(...,) patients."""
        size: FloatArray = self.n.sum(axis=-1).astype(np.float64)
        return size

    @property
    def mean(self) -> FloatArray:
        """(..., p) of all patients; of nobody NaN."""
        return _over(self.total.sum(axis=-2), self.size[..., np.newaxis])

    @property
    def half_means(self) -> FloatArray:
        """(..., 2, p)."""
        return _over(self.total, self.n[..., np.newaxis].astype(np.float64))


def _over(sums: FloatArray, n: FloatArray) -> FloatArray:
    found: FloatArray = sums / np.where(n > 0, n, np.nan)
    return found


@dataclass(frozen=True)
class Tests:
    """Tests of hospitals, in the last axis; NaN where one could not be made.

    Attributes
    ----------
    means
        (..., p) of each column: the standardised difference over its standard error.
    distances
        (..., numbers) Kolmogorov-Smirnov distances.
    histograms
        (..., numbers) the same as standard normal deviates with the p value of the distance.
    separation
        (...,) distance between the hospital and the others along the discriminant, in standard deviations within.
    separation_std_err
        (...,) its standard error.
    classifier
        (...,) of the discriminant.
    score
        (...,) of the mean of the linear predictor, of the columns that are told.
    """

    means: FloatArray
    distances: FloatArray
    histograms: FloatArray
    separation: FloatArray
    separation_std_err: FloatArray
    classifier: FloatArray
    score: FloatArray

    @property
    def sizes(self) -> FloatArray:
        """(..., p + numbers + 2) how large each test is, with its weight; the discriminant's is one-sided."""
        parts = (
            np.abs(self.means),
            self.histograms,
            np.maximum(self.classifier, 0.0)[..., np.newaxis],
            SCORE_WEIGHT * np.abs(self.score)[..., np.newaxis],
        )
        return np.concatenate(parts, axis=-1)


def within(cross: FloatArray, profiles: Profiles) -> FloatArray:
    """(..., p, p) covariance within hospitals.

    Parameters
    ----------
    cross
        (p, p) sums of products over all patients of the cohort, not centred.
    profiles
        (..., hospitals) who have them all.
    """
    n, mean = profiles.size, np.nan_to_num(profiles.mean)
    between = np.einsum("...s,...si,...sj->...ij", n, mean, mean)
    degrees = n.sum(axis=-1) - np.count_nonzero(n, axis=-1)
    return np.asarray((cross - between) / degrees[..., np.newaxis, np.newaxis], dtype=np.float64)


def tests(sites: Profiles, others: Profiles, covariance: FloatArray, formula: FloatArray) -> Tests:
    """Tests of hospitals against others.

    Parameters
    ----------
    sites, others
        (..., hospitals) each; nobody is in both.
    covariance
        (..., p, p) within hospitals, see `within`.
    formula
        (p,) coefficients of the linear predictor.
    """
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)[..., np.newaxis, :]
    gap = sites.mean - others.mean
    share = 1.0 / _positive(sites.size) + 1.0 / _positive(others.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = gap / np.sqrt(_positive(variance) * share[..., np.newaxis])
        told = np.where(np.isnan(gap), 0.0, formula)
        spread = np.einsum("...hi,...ij,...hj->...h", told, covariance, told)
        score = (np.nan_to_num(gap) * told).sum(axis=-1) / np.sqrt(_positive(spread) * share)
    distances, histograms = _histograms(sites, others)
    separation, error, classifier = _classifier(sites, others, covariance)
    return Tests(means, distances, histograms, separation, error, classifier, score)


def _positive(values: FloatArray) -> FloatArray:
    return np.where(values > 0, values, np.nan)


def _histograms(sites: Profiles, others: Profiles) -> tuple[FloatArray, FloatArray]:
    """Distances over the edges that are shown, and their deviates."""
    n, m = _positive(sites.size)[..., np.newaxis], _positive(others.size)[..., np.newaxis]
    apart = np.abs(sites.below / n[..., np.newaxis] - others.below / m[..., np.newaxis])
    hidden = np.isnan(apart)
    distance = np.where(hidden.all(axis=-1), np.nan, np.where(hidden, 0.0, apart).max(axis=-1))
    return distance, _deviates(distance * np.sqrt(n * m / (n + m)))


def _deviates(scaled: FloatArray) -> FloatArray:
    """Standard normal deviates, two-sided, with the asymptotic p of scaled distances (Kolmogorov 1933)."""
    from scipy import special

    p = special.kolmogorov(scaled)
    # Where p is 0 in floating point, 2 exp(-2 x^2) is that of the deviate 2 x, nearly.
    found: FloatArray = np.where(p > 0, -special.ndtri(p / 2.0), np.minimum(2.0 * scaled, _LARGEST))
    return found


def _classifier(sites: Profiles, others: Profiles, covariance: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distance of the means along the discriminant of the other half, its standard error, and its test."""
    gap = sites.half_means - others.half_means
    told = np.asarray(~np.isnan(gap).any(axis=-2))
    inverse = _inverses(covariance, told)
    gap = np.nan_to_num(gap)
    products = np.einsum("...hi,...ij,...kj->...hk", gap, inverse, gap)
    own = np.sqrt(_positive(np.maximum(np.diagonal(products, axis1=-2, axis2=-1), 0.0)))
    errors = np.sqrt(1.0 / _positive(sites.n.astype(np.float64)) + 1.0 / _positive(others.n.astype(np.float64)))
    # What is measured on one half is the gap along the unit direction of the other.
    along = products[..., 0, 1][..., np.newaxis] / own[..., ::-1]
    error = np.sqrt(np.mean(np.square(errors), axis=-1))
    return along.mean(axis=-1), error, (along / errors).sum(axis=-1) / HALVES


def _inverses(covariance: FloatArray, told: NDArray[np.bool_]) -> FloatArray:
    """(..., hospitals, p, p) inverse covariance of the columns that are told, zero for the others."""
    if told.all():
        whole = np.linalg.pinv(covariance, rcond=_FLAT, hermitian=True)
        return np.asarray(whole[..., np.newaxis, :, :], dtype=np.float64)
    pairs = told[..., :, np.newaxis] & told[..., np.newaxis, :]
    parts = np.where(pairs, covariance[..., np.newaxis, :, :], 0.0)
    return np.asarray(np.linalg.pinv(parts, rcond=_FLAT, hermitian=True), dtype=np.float64)


def area(separation: float, std_err: float) -> tuple[float, float, float]:
    """Area under the curve of normal values so far apart, with its 95 % limits (Hanley & McNeil 1982, binormal).

    The limits do not count on the two halves' being independent.
    """
    from scipy import special

    low, high = separation - Z975 * std_err, separation + Z975 * std_err
    value, least, most = (float(special.ndtr(x / np.sqrt(2.0))) for x in (separation, low, high))
    return value, least, most

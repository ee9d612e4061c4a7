"""common/statistics: the Frechet distance of two cohorts, as of normal distributions, from sums that are there already.

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Dowson & Landau, J Multivar Anal 1982;12:450; of networks' vectors:
Heusel et al., NIPS 2017). Of finite samples it is too large and never 0, by about an amount in proportion to 1/n (Chong
& Forsyth, CVPR 2020:6069). So the distance of the two halves of each cohort stands beside it, and what follows from
them for cohorts of these sizes that do not differ. In cohorts of few patients the proportion is rough: with halves of
20 and four columns the expected distance was a tenth too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.statistics.projection import HALVES, Halves
from common.study.table import FloatArray


@dataclass(frozen=True)
class Frechet:
    """Distance of two cohorts, in squares of the columns' units.

    Attributes
    ----------
    distance_
        Between the cohorts.
    halves_
        (2,) between the halves of either.
    expected_
        Between cohorts of these sizes that do not differ, as the halves tell, those of the larger cohort more.
    """

    distance_: float
    halves_: tuple[float, float]
    expected_: float

    @property
    def excess(self) -> float:
        """The distance less what is expected; around 0 where cohorts do not differ."""
        return self.distance_ - self.expected_


def frechet(one: Halves, other: Halves) -> Frechet:
    """The distance of two cohorts by the sums over their halves; error 601 for a half of fewer than two patients."""
    cohorts = (one, other)
    if any(int(cohort.n_.min()) < HALVES for cohort in cohorts):
        raise FedmviError(601, "a half of a cohort", cohort="")
    parts = [[(part.mean_[k], part.scatter(k) / (float(part.n_[k]) - 1.0)) for k in range(HALVES)] for part in cohorts]
    halves = tuple(frechet_distance(*pair[0], *pair[1]) for pair in parts)
    # In proportion to 1/n: a half's unit is 1/n_a + 1/n_b of the halves, and the cohorts' is 1/n_1 + 1/n_2.
    units = [distance / float((1.0 / cohort.n_).sum()) for distance, cohort in zip(halves, cohorts, strict=True)]
    sizes = [float(cohort.n_.sum()) for cohort in cohorts]
    expected = float(np.average(units, weights=sizes)) * sum(1.0 / size for size in sizes)
    distance = frechet_distance(*_whole(one), *_whole(other))
    return Frechet(distance, (halves[0], halves[1]), expected)


def frechets(sums: Sequence[Halves]) -> list[Frechet]:
    """The first cohort against each other."""
    return [frechet(sums[0], other) for other in sums[1:]]


def frechet_distance(
    mean: FloatArray, covariance: FloatArray, other: FloatArray, other_covariance: FloatArray
) -> float:
    """Of two normal distributions: means (p,), covariances (p, p), which may be singular."""
    root = _root(covariance)
    # S1 S2 has the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), which rounding leaves real.
    inner = np.linalg.eigvalsh(root @ other_covariance @ root)
    cross = float(np.sqrt(np.maximum(inner, 0.0)).sum())
    apart = float(np.square(mean - other).sum())
    return max(apart + float(np.trace(covariance)) + float(np.trace(other_covariance)) - 2.0 * cross, 0.0)


def _root(covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)
    root: FloatArray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _whole(sums: Halves) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance (n - 1) of a cohort."""
    n = float(sums.n_.sum())
    mean = sums.whole.mean
    return mean, (sums.cross_.sum(axis=0) - n * np.outer(mean, mean)) / (n - 1.0)

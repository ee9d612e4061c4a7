"""common/statistics: Cox's partial likelihood over the risk sets of one stratum, for many coefficient vectors at once.

Score, information and log-likelihood with Efron's (J Am Stat Assoc 1977;72:557) or Breslow's treatment of ties. The
information is the weighted second moment of the patients less that of the risk sets' means, so that no second moment
of a single risk set is made:  sum_i w_i x_i x_i' - sum_e m_e m_e',  w_i the hazard that patient i lived through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray

Indices = NDArray[np.intp]


class Ties(StrEnum):
    """How deaths at the same time are treated."""

    EFRON = "efron"
    BRESLOW = "breslow"


def grouped_sum(index: Indices, size: int, values: FloatArray) -> FloatArray:
    """(size, ...) sums of the (n, ...) values by their (n,) index."""
    sums = np.zeros((size, *values.shape[1:]))
    if index.size:
        order = np.argsort(index, kind="stable")
        present, starts = np.unique(index[order], return_index=True)
        sums[present] = np.add.reduceat(values[order], starts, axis=0)
    return sums


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk, and who dies, at each of some points in time.

    Attributes
    ----------
    at
        (points,) ascending times.
    reached
        (n,) how many of the points each patient reaches.
    death
        (n,) whether the patient dies, at the last point reached.
    """

    at: FloatArray
    reached: Indices
    death: NDArray[np.bool_]

    @classmethod
    def of(cls, time: FloatArray, event: FloatArray, at: FloatArray | None = None) -> RiskSets:
        """The risk sets at given times, outside which nobody dies; by default at all deaths."""
        death = event == 1.0
        at = np.unique(time[death]) if at is None else at
        reached = np.searchsorted(at, time, side="right")
        death[death] = (reached[death] > 0) & (at[reached[death] - 1] == time[death]) if at.size else False
        return cls(at, reached, death)

    @property
    def points(self) -> int:
        """Number of points."""
        return self.at.size

    def at_risk(self, values: FloatArray) -> FloatArray:
        """(points, ...) sums of the (n, ...) values over those at risk."""
        begun = self.reached > 0
        leaving = grouped_sum(self.reached[begun] - 1, self.points, values[begun])
        return np.cumsum(leaving[::-1], axis=0)[::-1]

    def dying(self, values: FloatArray) -> FloatArray:
        """(points, ...) sums of the (n, ...) values over those who die."""
        return grouped_sum(self.reached[self.death] - 1, self.points, values[self.death])

    @property
    def deaths(self) -> NDArray[np.int64]:
        """(points,) deaths."""
        return np.bincount(self.reached[self.death] - 1, minlength=self.points).astype(np.int64)


@dataclass(frozen=True)
class DeathSteps:
    """Deaths one after the other.

    Attributes
    ----------
    point
        (deaths,) the point of each.
    fraction
        (deaths,) the share of the point's deaths that counts as gone already: 0, 1/d, .. (d-1)/d, or 0 (Breslow).
    """

    point: Indices
    fraction: FloatArray

    @classmethod
    def of(cls, deaths: NDArray[np.int64], ties: Ties) -> DeathSteps:
        """The steps of (points,) numbers of deaths."""
        point = np.repeat(np.arange(deaths.size), deaths)
        if ties is Ties.BRESLOW:
            return cls(point, np.zeros(point.size))
        place = np.arange(point.size) - (np.cumsum(deaths) - deaths)[point]
        return cls(point, place / deaths[point])

    def left(self, at_risk: FloatArray, dying: FloatArray) -> FloatArray:
        """(deaths, ...) sums over the risk set of each step, from (points, ...) sums."""
        shape = (-1, *(1,) * (at_risk.ndim - 1))
        return at_risk[self.point] - self.fraction.reshape(shape) * dying[self.point]


@dataclass(frozen=True)
class Hazards:
    """What is known of the risk sets once coefficients are given; `...` stands for axes of several fits, or none.

    Attributes
    ----------
    steps
        The deaths.
    total
        (deaths, ...) sum of relative hazards over the risk set of each step.
    mean
        (deaths, ..., p) mean of the columns over it, weighted by relative hazard.
    """

    steps: DeathSteps
    total: FloatArray
    mean: FloatArray

    def lived(self, sets: RiskSets, increments: FloatArray) -> FloatArray:
        """(n, ...) the (deaths, ...) increments summed over what each patient lived through."""
        discounts = self._by_point(increments * self._fraction(increments), sets.points)
        return lived(sets, self._by_point(increments, sets.points), discounts)

    def profile(self, deaths: NDArray[np.int64]) -> HazardProfile:
        """By point, of which each has one of the (points,) deaths at least."""
        increment = 1.0 / self.total
        drift = increment[..., np.newaxis] * self.mean
        return HazardProfile(
            self._by_point(self.mean, deaths.size) / deaths.reshape(-1, *(1,) * (self.mean.ndim - 1)),
            self._by_point(increment, deaths.size),
            self._by_point(increment * self._fraction(increment), deaths.size),
            self._by_point(drift, deaths.size),
            self._by_point(drift * self._fraction(drift), deaths.size),
        )

    def _by_point(self, values: FloatArray, points: int) -> FloatArray:
        return grouped_sum(self.steps.point, points, values)

    def _fraction(self, values: FloatArray) -> FloatArray:
        return self.steps.fraction.reshape(-1, *(1,) * (values.ndim - 1))


@dataclass(frozen=True)
class HazardProfile:
    """Risk sets by point, as score residuals need them.

    Attributes
    ----------
    mean
        (points, ..., p) mean of the columns over the risk set; over the steps of tied deaths, its average.
    increment, discount
        (points, ...) of the cumulative baseline hazard, and what of it those who die then are spared (Efron).
    drift, drift_discount
        (points, ..., p) increments times means, likewise.
    """

    mean: FloatArray
    increment: FloatArray
    discount: FloatArray
    drift: FloatArray
    drift_discount: FloatArray


def lived(sets: RiskSets, increments: FloatArray, discounts: FloatArray) -> FloatArray:
    """(n, ...) the (points, ...) increments summed up to each patient's time; who dies has the last one discounted."""
    before = np.concatenate([np.zeros((1, *increments.shape[1:])), np.cumsum(increments, axis=0)])
    through: FloatArray = before[sets.reached]
    through[sets.death] -= discounts[sets.reached[sets.death] - 1]
    return through


@dataclass(frozen=True)
class PartialLikelihood:
    """The partial likelihood of one stratum at m coefficient vectors.

    Attributes
    ----------
    sets, X
        Risk sets at the stratum's own death times, and the (n, p) columns.
    relative
        (n, m) relative hazards, each vector's largest 1.
    hazards
        See `Hazards`, with m.
    log_likelihood
        (m,)
    """

    sets: RiskSets
    X: FloatArray
    relative: FloatArray
    hazards: Hazards
    log_likelihood: FloatArray

    @classmethod
    def of(cls, time: FloatArray, event: FloatArray, X: FloatArray, beta: FloatArray, ties: Ties) -> PartialLikelihood:
        """Of (n,) times and events, (n, p) columns and (m, p) coefficients."""
        sets = RiskSets.of(time, event)
        linear = X @ beta.T
        linear = linear - np.max(linear, axis=0, initial=-np.inf)
        relative = np.exp(linear)
        weighted = relative[:, :, np.newaxis] * X[:, np.newaxis, :]
        steps = DeathSteps.of(sets.deaths, ties)
        left = steps.left(sets.at_risk(relative), sets.dying(relative))
        mean = steps.left(sets.at_risk(weighted), sets.dying(weighted)) / left[:, :, np.newaxis]
        log_likelihood = linear[sets.death].sum(axis=0) - np.log(left).sum(axis=0)
        return cls(sets, X, relative, Hazards(steps, left, mean), log_likelihood)

    def score(self, weights: FloatArray | None = None) -> FloatArray:
        """(m, p) sum of the Schoenfeld residuals, times the (points,) weights of their times."""
        weights = np.ones(self.sets.points) if weights is None else weights
        own = weights[self.sets.reached[self.sets.death] - 1] @ self.X[self.sets.death]
        expected: FloatArray = np.tensordot(weights[self.hazards.steps.point], self.hazards.mean, axes=(0, 0))
        return own - expected

    def information(self, weights: FloatArray | None = None) -> FloatArray:
        """(m, p, p) sum of the variances over the risk sets, times the (points,) weights of their times."""
        at = np.ones(self.hazards.steps.point.size) if weights is None else weights[self.hazards.steps.point]
        increments = at[:, np.newaxis] / self.hazards.total
        weight = self.relative * self.hazards.lived(self.sets, increments)
        mean = np.moveaxis(self.hazards.mean, 1, 0)
        second = np.matmul(self.X.T[np.newaxis] * weight.T[:, np.newaxis, :], self.X)
        first = np.matmul(np.swapaxes(mean * at[:, np.newaxis], 1, 2), mean)
        return np.asarray(second - first, dtype=np.float64)

    def score_residuals(self) -> FloatArray:
        """(n, m, p) each patient's part of the score."""
        return score_residuals(self.sets, self.X, self.relative, self.hazards.profile(self.sets.deaths))


def score_residuals(sets: RiskSets, X: FloatArray, relative: FloatArray, profile: HazardProfile) -> FloatArray:
    """(n, m, p) score residuals (Therneau, Grambsch & Fleming, Biometrika 1990;77:147), with Efron's ties.

    delta_i (x_i - mean at own time) - r_i sum over what i lived through of (x_i - mean) d hazard, with (n, p) columns
    and (n, m) relative hazards r.
    """
    through = lived(sets, profile.increment, profile.discount)
    drift = lived(sets, profile.drift, profile.drift_discount)
    residuals: FloatArray = -relative[:, :, np.newaxis] * (X[:, np.newaxis, :] * through[:, :, np.newaxis] - drift)
    residuals[sets.death] += X[sets.death][:, np.newaxis, :] - profile.mean[sets.reached[sets.death] - 1]
    return residuals


def share_of_hazard(relative: FloatArray) -> FloatArray:
    """(n, ...) how much each patient counts among others of (n, ...) relative hazards: at most 1, and 1 if all alike.

    They add up to at most Kish's effective number of patients, (sum r)^2 / sum r^2.
    """
    square = np.sum(np.square(relative), axis=0)
    alike = np.sum(relative, axis=0) / np.where(square > 0, square, 1.0)
    share: FloatArray = np.minimum(1.0, relative * alike)
    return share

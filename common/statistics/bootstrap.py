"""common/statistics: bootstrap intervals of areas, shares at cut-offs, net benefit, Brier score and calibration slope.

Each site resamples its own patients with replacement, within each class of the endpoint, and all replicates travel in
lock-step (percentile intervals: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13). Replicates of all
models and measures are of the same sets of patients, so differences are paired. Each replicate is that of the pooled
rows with the same weights; intervals depend on which patients are at which site, as the resampling is by site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Ask, total
from common.federation.runner import Conclusion
from common.statistics.refinement import Counts, Keys, Leaves
from common.statistics.resampling import MAX_CELLS, ResampledLines, ResampledRuns, ResampledThresholds
from common.statistics.roc import class_leaves
from common.study.recipe import Recipe
from common.study.table import FloatArray

REPLICATES = 2000
MAX_ROUNDS = 25
STEP_TOLERANCE = 1e-10
SEPARATED = 0.25
"""Share of the patients' own information below which the classes of a replicate are as good as separated."""


@dataclass(frozen=True)
class Replicates:
    """A statistic, or several, in the patients and in bootstrap sets of them.

    Attributes
    ----------
    columns
        Scores, the first axis.
    estimate_
        (scores, ...) in the patients as they are.
    replicates_
        (scores, ..., replicates); NaN where a replicate has no finite value.
    """

    columns: tuple[str, ...]
    estimate_: FloatArray
    replicates_: FloatArray

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the 95 % percentile intervals, (scores, ...) each, of the finite replicates."""
        low, high = np.nanquantile(self.replicates_, [0.025, 0.975], axis=-1)
        return low, high

    @property
    def undefined_(self) -> Counts:
        """(scores, ...) replicates without a finite value."""
        return np.asarray(np.isnan(self.replicates_).sum(axis=-1), dtype=np.int64)

    def difference(self, first: str, second: str) -> Replicates:
        """First minus second score, replicate by replicate."""
        i, j = self.columns.index(first), self.columns.index(second)
        return Replicates(
            (f"{first} - {second}",),
            (self.estimate_[i] - self.estimate_[j])[np.newaxis],
            (self.replicates_[i] - self.replicates_[j])[np.newaxis],
        )

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a score, of statistics with one value a score."""
        low, high = self.interval
        return [
            {"column": name, "value": float(self.estimate_[i]), "low": float(low[i]), "high": float(high[i])}
            for i, name in enumerate(self.columns)
        ]


@dataclass(frozen=True)
class _Runs:
    """The leaves of several scores, with neighbours of one class joined: an area depends on their order only."""

    runs: Keys
    low: Keys
    mixed: Keys
    positive: Keys

    @classmethod
    def of(cls, leaves: Sequence[Leaves]) -> _Runs:
        parts = []
        for leaf in leaves:
            has = leaf.counts > 0
            tied = has[:, 0] & has[:, 1]
            begins = np.ones(leaf.low.size, dtype=bool)
            begins[1:] = tied[1:] | tied[:-1] | (has[1:, 1] != has[:-1, 1])
            parts.append((leaf.low[begins], tied[begins], has[begins, 1]))
        low, mixed, positive = (np.concatenate(part).astype(np.uint64) for part in zip(*parts, strict=True))
        return cls(np.array([part[0].size for part in parts], dtype=np.uint64), low, mixed, positive)


def bootstrap_areas(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    replicates: int = REPLICATES,
    weights: tuple[str, ...] = (),
) -> Conclusion[Replicates]:
    """Replicates of the areas under the ROC curves of several scores; one round more than the areas alone.

    Parameters
    ----------
    columns
        Scores that the recipe leaves for every patient.
    weights
        Columns with how often each patient counts in each replicate, instead of draws.

    Raises
    ------
    FedmviError
        602 one class only, 640 a patient lacks a score.
    """
    leaves = yield from class_leaves(cohort, recipe, endpoint, columns)
    n = leaves[0].counts.sum(axis=0)
    if any(not np.array_equal(leaf.counts.sum(axis=0), n) for leaf in leaves):
        raise FedmviError(640, cohort=cohort)
    runs = _Runs.of(leaves)
    slots = runs.low.size + int(runs.mixed.sum())
    largest = int(n.max()) if not weights else (1 << 20) - 1
    questions = [
        ResampledRuns(cohort, recipe, columns, endpoint, first, sets, weights, runs.runs, runs.low, runs.mixed, largest)
        for first, sets in _chunks(replicates, weights, slots)
    ]
    replies = yield tuple[Ask, ...](total(question) for question in questions)
    counts = np.concatenate([q.unpack(reply["counts"]) for q, reply in zip(questions, replies, strict=True)])
    return _replicates(columns, _areas(runs, counts))


def _chunks(replicates: int, weights: tuple[str, ...], cells: int) -> list[tuple[int, int]]:
    """First set and number of sets of each question; set 0 is the patients as they are."""
    last = len(weights) if weights else replicates
    size = max(1, MAX_CELLS // max(cells, 1))
    return [(first, min(size, last + 1 - first)) for first in range(0, last + 1, size)]


def _replicates(columns: tuple[str, ...], values: FloatArray) -> Replicates:
    """From (sets, scores, ...)."""
    return Replicates(columns, values[0], np.moveaxis(values[1:], 0, -1))


def _areas(runs: _Runs, counts: Counts) -> FloatArray:
    """(sets, scores) from (sets, slots) counts."""
    slot = np.cumsum(1 + runs.mixed) - (1 + runs.mixed)
    ends = np.cumsum(runs.runs.astype(np.int64))
    result = []
    for begin, end in zip(ends - runs.runs.astype(np.int64), ends, strict=True):
        first, mixed, positive = slot[begin:end].astype(np.int64), runs.mixed[begin:end] > 0, runs.positive[begin:end]
        own, other = counts[:, first], counts[:, first + mixed]
        negatives = np.where(mixed | (positive == 0), own, 0)
        positives = np.where(mixed, other, np.where(positive > 0, own, 0))
        twice_u = np.sum(positives * (2 * np.cumsum(negatives, axis=1) - negatives), axis=1)
        pairs = negatives.sum(axis=1) * positives.sum(axis=1)
        with np.errstate(invalid="ignore"):
            result.append(twice_u / (2.0 * pairs))
    return np.stack(result, axis=1)


@dataclass(frozen=True)
class ThresholdReplicates:
    """Replicates at thresholds: (scores, thresholds) each, and the Brier score (scores,).

    The Brier score is one of scores that are predicted risks, and so is the net benefit.
    """

    thresholds: FloatArray
    sensitivity_: Replicates
    specificity_: Replicates
    net_benefit_: Replicates
    brier_: Replicates

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a score, measure and threshold, of the Brier score without threshold."""
        rows: list[dict[str, Any]] = []
        for measure in ("sensitivity", "specificity", "net_benefit"):
            fit: Replicates = getattr(self, f"{measure}_")
            low, high = fit.interval
            for i, name in enumerate(fit.columns):
                for j, threshold in enumerate(self.thresholds[i].tolist()):
                    limits = {"value": float(fit.estimate_[i, j]), "low": float(low[i, j]), "high": float(high[i, j])}
                    rows.append({"column": name, "measure": measure, "threshold": threshold, **limits})
        return rows + [{**row, "measure": "brier"} for row in self.brier_.summary]


def bootstrap_thresholds(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    thresholds: FloatArray,
    replicates: int = REPLICATES,
    weights: tuple[str, ...] = (),
) -> Conclusion[ThresholdReplicates]:
    """Replicates of sensitivity, specificity, net benefit and Brier score at (scores, thresholds); one round.

    Parameters and errors as `bootstrap_areas`; a score at or above a threshold is a positive test.
    """
    sizes = _chunks(replicates, weights, 2 * thresholds.size + 3 * len(columns))
    replies = yield tuple[Ask, ...](
        total(ResampledThresholds(cohort, recipe, columns, endpoint, first, sets, weights, thresholds))
        for first, sets in sizes
    )
    sums: Mapping[str, Any] = {name: np.concatenate([reply[name] for reply in replies]) for name in replies[0]}
    positive, n = sums["positive"].astype(np.float64), sums["n"].astype(np.float64)[:, :, np.newaxis]
    if bool(np.any(n[0] == 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    if bool(np.any(n[0] != n[0, :1])):
        raise FedmviError(640, cohort=cohort)
    patients = n.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        odds = thresholds / (1.0 - thresholds)
        share = positive / n
        benefit = positive[..., 1] / patients - positive[..., 0] / patients * odds
    return ThresholdReplicates(
        thresholds=thresholds,
        sensitivity_=_replicates(columns, share[..., 1]),
        specificity_=_replicates(columns, 1.0 - share[..., 0]),
        net_benefit_=_replicates(columns, benefit),
        brier_=_replicates(columns, sums["square"] / patients[..., 0]),
    )


def bootstrap_slope(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    column: str,
    replicates: int = REPLICATES,
    weights: tuple[str, ...] = (),
) -> Conclusion[Replicates]:
    """Replicates of intercept and slope of the calibration line of a predicted risk, (1, 2); about seven rounds.

    Newton's method in all replicates at once. A replicate that does not converge, or whose classes a line separates
    (nearly: it has less than a quarter of the information of the patients as they are), is NaN. Parameters as
    `bootstrap_areas`.
    """
    sets = (len(weights) if weights else replicates) + 1
    coef = np.zeros((sets, 2))
    going, lost = np.ones(sets, dtype=bool), np.zeros(sets, dtype=bool)
    for _ in range(MAX_ROUNDS):
        sums = yield total(ResampledLines(cohort, recipe, (column,), endpoint, 0, sets, weights, coef))
        (a, b, c), score = sums["information"].T, sums["score"]
        with np.errstate(invalid="ignore", divide="ignore"):
            step = np.stack([c * score[:, 0] - b * score[:, 1], a * score[:, 1] - b * score[:, 0]], axis=1)
            step = step / (a * c - b * b)[:, np.newaxis]
        lost |= ~np.isfinite(step).all(axis=1) | (a < SEPARATED * a[0])
        going &= ~lost
        coef = np.where(going[:, np.newaxis], coef + step, np.where(lost[:, np.newaxis], 0.0, coef))
        going &= np.max(np.abs(step), axis=1) > STEP_TOLERANCE
        if not bool(np.any(going)):
            break
    values = np.where((going | lost)[:, np.newaxis], np.nan, coef)
    return _replicates((column,), values[:, np.newaxis])

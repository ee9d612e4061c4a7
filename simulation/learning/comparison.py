"""simulation: learning: areas and accuracies of several trainings on the same patients, and how far they differ.

Intervals are percentiles of a paired bootstrap over patients (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapter 13), within every class, so that no replicate lacks one. What is resampled is the mean over the seeds of
training: the spread between seeds stands beside it, and is not in the interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray

REPLICATES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Scored:
    """What the networks of one way of training said of a cohort's patients.

    Attributes
    ----------
    present
        (seeds, n) probability that MVI is present.
    likeliest
        (seeds, n) the likeliest class.
    """

    present: FloatArray
    likeliest: FloatArray

    def of(self, rows: NDArray[np.bool_]) -> Scored:
        """A part of the patients."""
        return Scored(self.present[:, rows], self.likeliest[:, rows])


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval; of differences, the first way less the second."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """For programs."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Row:
    """One way of training in one cohort.

    Attributes
    ----------
    seed_sd
        Standard deviation of the area between seeds; None of one seed.
    majority_class
        The accuracy of saying the commonest class to all of these patients.
    auc_difference, accuracy_difference
        Against the federated training; None for itself.
    """

    way: str
    cohort: str
    patients: int
    auc: Estimate
    seed_sd: float | None
    accuracy: Estimate
    majority_class: float
    auc_difference: Estimate | None
    accuracy_difference: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        estimates = ("auc", "accuracy", "auc_difference", "accuracy_difference")
        found = {name: each.as_json() if (each := getattr(self, name)) else None for name in estimates}
        facts = {name: getattr(self, name) for name in ("way", "cohort", "patients", "seed_sd", "majority_class")}
        return {**facts, **found}


def compare(cohort: str, labels: NDArray[np.int64], ways: Mapping[str, Scored], reference: str, seed: int) -> list[Row]:
    """A row for every way of training; all of them scored the same patients.

    Parameters
    ----------
    labels
        (n,) classes, 0 without MVI.
    ways
        By name.
    reference
        The way that the others are held against.
    seed
        Of the bootstrap.
    """
    counts = _resamples(labels, seed)
    areas = {
        name: np.mean([_areas(one, labels, counts) for one in each.present], axis=0) for name, each in ways.items()
    }
    right = {name: _accuracies(each.likeliest, labels, counts) for name, each in ways.items()}
    rows = []
    for name, each in ways.items():
        single = [float(_areas(one, labels, counts[:1])[0]) for one in each.present]
        other = name != reference
        rows.append(
            Row(
                name,
                cohort,
                labels.size,
                _estimate(areas[name]),
                float(np.std(single, ddof=1)) if len(single) > 1 else None,
                _estimate(right[name]),
                float(np.bincount(labels).max()) / labels.size,
                _estimate(areas[name] - areas[reference]) if other else None,
                _estimate(right[name] - right[reference]) if other else None,
            )
        )
    return rows


def _resamples(labels: NDArray[np.int64], seed: int) -> FloatArray:
    """(1 + replicates, n) how often each patient counts; first the cohort as it is."""
    rng = np.random.default_rng(seed)
    counts = np.ones((1 + REPLICATES, labels.size))
    for level in np.unique(labels):
        rows = np.flatnonzero(labels == level)
        counts[1:, rows] = rng.multinomial(rows.size, np.full(rows.size, 1 / rows.size), size=REPLICATES)
    return counts


def _areas(scores: FloatArray, labels: NDArray[np.int64], counts: FloatArray) -> FloatArray:
    """The area under the ROC curve in every resample (Bamber, J Math Psychol 1975; ties count half)."""
    present = labels > 0
    above = np.sign(scores[present][:, None] - scores[~present][None, :]) / 2 + 0.5
    weights = counts[:, present], counts[:, ~present]
    pairs = np.einsum("bp,pq,bq->b", weights[0], above, weights[1], optimize=True)
    areas: FloatArray = pairs / (weights[0].sum(axis=1) * weights[1].sum(axis=1))
    return areas


def _accuracies(likeliest: FloatArray, labels: NDArray[np.int64], counts: FloatArray) -> FloatArray:
    right = np.mean(likeliest == labels, axis=0)
    shares: FloatArray = counts @ right / counts.sum(axis=1)
    return shares


def _estimate(values: FloatArray) -> Estimate:
    """The first value, which is that of the cohort itself, with percentiles of the others."""
    low, high = np.percentile(values[1:], (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return Estimate(float(values[0]), float(low), float(high))


def as_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Cells of each row as text: way, area, its SD over seeds, accuracy, the commonest class's, both differences."""
    return [
        (
            row.way,
            _text(row.auc),
            "" if row.seed_sd is None else f"{row.seed_sd:.3f}",
            _text(row.accuracy),
            f"{row.majority_class:.3f}",
            _text(row.auc_difference),
            _text(row.accuracy_difference),
        )
        for row in rows
    ]


def _text(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"

"""simulation: benchmarks: the reduction chain that is timed: its settings, and what it must give on either side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from common.study.table import FloatArray


@dataclass(frozen=True)
class Settings:
    """What both sides are asked for.

    Attributes
    ----------
    icc, fdr, parameters, correlation
        Thresholds of the reduction; `parameters` is the share of patients that bounds the columns of a Gram matrix.
    mrmr, lambdas, smallest_lambda, folds, replicates
        Features that mRMR leaves; the path, down to this share of the largest lambda; cross-validation; bootstrap.
    support
        Standardised coefficient below which a feature counts as left out.
    """

    icc: float = 0.75
    fdr: float = 0.05
    parameters: float = 0.33
    correlation: float = 0.9
    mrmr: int = 30
    lambdas: int = 60
    smallest_lambda: float = 0.01
    folds: int = 10
    replicates: int = 2000
    support: float = 1e-4
    thresholds: FloatArray = field(default_factory=lambda: np.arange(1, 100) / 100)


@dataclass(frozen=True)
class Chain:
    """What the chain gave.

    Attributes
    ----------
    decisions
        Places of the features after each step, in order, and the place of lambda.1se.
    numbers
        Arrays by name, of order 1.
    """

    decisions: tuple[tuple[int, ...], ...]
    numbers: Mapping[str, FloatArray]

    def equals(self, other: Chain, tolerances: Mapping[str, float], usual: float) -> bool:
        """Equal decisions, and each number within its own tolerance, or the usual one."""
        apart = self.distances(other)
        return self.decisions == other.decisions and all(apart[n] <= tolerances.get(n, usual) for n in apart)

    def distances(self, other: Chain) -> dict[str, float]:
        """The largest difference of every array of numbers; infinite where shapes differ."""
        return {name: _apart(values, other.numbers[name]) for name, values in self.numbers.items()}


def _apart(first: FloatArray, second: FloatArray) -> float:
    return float(np.max(np.abs(first - second), initial=0.0)) if first.shape == second.shape else float("inf")

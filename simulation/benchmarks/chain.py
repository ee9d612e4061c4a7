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

    def equals(self, other: Chain, tolerance: float) -> bool:
        """Equal decisions, and numbers within a tolerance."""
        return self.decisions == other.decisions and self.distance(other) <= tolerance

    def distance(self, other: Chain) -> float:
        """The largest difference of any number; infinite where shapes differ."""
        pairs = [(self.numbers[name], other.numbers[name]) for name in self.numbers]
        if any(a.shape != b.shape for a, b in pairs):
            return float("inf")
        return max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)

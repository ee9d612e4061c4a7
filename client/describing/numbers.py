"""client/describing: the numbers of one column among some patients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from client.cohort.units import Flags
from common.study.table import Column


@dataclass(frozen=True)
class Numbers:
    """A continuous column. A value that is given as below or above a limit counts as the limit.

    Attributes
    ----------
    n, missing
        Patients with a value, and without.
    bounds
        Of `n`, those of whom only a limit is given.
    mean, sd
        NaN without a value; `sd` has n - 1 in the denominator.
    low, lower, median, upper, high
        Smallest value, quartiles (linear between the neighbours), largest value.
    """

    n: int
    missing: int
    bounds: int
    mean: float
    sd: float
    low: float
    lower: float
    median: float
    upper: float
    high: float


@dataclass(frozen=True)
class Counts:
    """A column with levels: patients with a value, without, and at each level."""

    n: int
    missing: int
    counts: tuple[int, ...]


def numbers(column: Column, rows: Flags) -> Numbers:
    """The numbers of the patients in `rows` (n,)."""
    here = column.of(rows)
    known = ~np.isnan(here.values)
    values = here.values[known]
    n, missing = int(values.size), int(np.count_nonzero(~known))
    bounds = int(np.count_nonzero(here.censored[known]))
    if n == 0:
        return Numbers(0, missing, 0, *(math.nan,) * 7)
    sd = float(np.std(values, ddof=1)) if n > 1 else math.nan
    return Numbers(
        n, missing, bounds, float(values.mean()), sd, *map(float, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
    )


def counts(column: Column, rows: Flags) -> Counts:
    """The counts of the patients in `rows` (n,)."""
    values = column.of(rows).values
    known = values[~np.isnan(values)]
    each = np.bincount(known.astype(np.int64), minlength=len(column.levels))
    return Counts(int(known.size), int(values.size - known.size), tuple(int(count) for count in each))

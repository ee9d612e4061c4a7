"""common/statistics: p values of many tests at once, by the largest of them under permutation.

Single-step max-T (Westfall & Young, Resampling-Based Multiple Testing, 1993, algorithm 2.5): with a p value of at most
0.05 taken for a finding, no false one is made in 95 % of studies in which nothing differs, however tests depend on
each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.study.table import FloatArray

LEVEL = 0.05


@dataclass(frozen=True)
class MaxT:
    """Tests beside what chance makes of the largest of them.

    Attributes
    ----------
    p_
        Of the tests' shape: adjusted p values; NaN where there is no test.
    critical_
        A test that is larger has an adjusted p value of at most 0.05.
    """

    p_: FloatArray
    critical_: float


def max_t(observed: FloatArray, chance: FloatArray) -> MaxT:
    """Adjusted p values, (1 + deals with as large a largest test) / (1 + deals) (Phipson & Smyth 2010).

    Parameters
    ----------
    observed
        Sizes of the tests, of any shape; NaN where there is none.
    chance
        (deals, *observed.shape) sizes of the same tests where nothing differs. Tests that are not observed do not
        count, and neither does a test that a deal has not.

    Raises
    ------
    ValueError
        No deals, or no test.
    """
    missing = np.isnan(observed)
    if not len(chance) or bool(missing.all()):
        raise ValueError("max-T needs deals and tests")
    counted = np.where(np.isnan(chance) | missing, -np.inf, chance)
    largest = np.sort(counted.reshape(len(chance), -1).max(axis=1))
    deals = largest.size
    above = deals - np.searchsorted(largest, np.where(missing, 0.0, observed), side="left")
    p = np.where(missing, np.nan, (1.0 + above) / (1.0 + deals))
    allowed = int(np.floor(LEVEL * (deals + 1) + 1e-9)) - 1
    return MaxT(p, float(largest[deals - 1 - allowed]) if allowed >= 0 else float("inf"))

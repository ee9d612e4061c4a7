"""common/statistics: p values of many tests, adjusted for their number.

Tests without a p value (NaN) are not counted and stay NaN; a p value outside 0 to 1 is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.study.table import FloatArray


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Adjusted p values, of any shape, that control the false discovery rate of independent or positively dependent
    tests.

    (Benjamini & Hochberg, J R Stat Soc B 1995;57:289: the smallest level at which the step-up procedure rejects.)
    """

    def stepped_up(rising: FloatArray) -> FloatArray:
        scaled = rising * (rising.size / np.arange(1, rising.size + 1))
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, stepped_up)


def holm(p: FloatArray) -> FloatArray:
    """Adjusted p values, of any shape, that control the family-wise error rate of any tests.

    (Holm, Scand J Stat 1979;6:65: the smallest level at which the step-down procedure rejects.)
    """

    def stepped_down(rising: FloatArray) -> FloatArray:
        return np.maximum.accumulate(rising * np.arange(rising.size, 0, -1))

    return _adjusted(p, stepped_down)


def _adjusted(p: FloatArray, step: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """The known p values in rising order, adjusted by `step`, and put back; none above 1."""
    known = ~np.isnan(p)
    values = p[known]
    if values.size and not bool(np.all((values >= 0) & (values <= 1))):
        raise ValueError("a p value is between 0 and 1")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(step(values[order]), 1.0)
    result = np.full(p.shape, np.nan)
    result[known] = adjusted
    return result

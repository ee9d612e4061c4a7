"""common/statistics: p values of many tests, adjusted for their number."""

from __future__ import annotations

import numpy as np

from common.study.table import FloatArray


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Adjusted p values that control the false discovery rate of independent or positively dependent tests.

    (Benjamini & Hochberg, J R Stat Soc B 1995;57:289: the smallest level at which the step-up procedure rejects.)

    Parameters
    ----------
    p
        Of any shape; a test without a p value (NaN) is not counted and stays NaN.

    Raises
    ------
    ValueError
        Where a p value is outside 0 to 1.
    """
    known = ~np.isnan(p)
    values = p[known]
    if values.size and not bool(np.all((values >= 0) & (values <= 1))):
        raise ValueError("a p value is between 0 and 1")
    order = np.argsort(values)[::-1]
    scaled = values[order] * (values.size / np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    result = np.full(p.shape, np.nan)
    result[known] = adjusted
    return result


def holm(p: FloatArray) -> FloatArray:
    """Adjusted p values that control the family-wise error rate of any tests (Holm, Scand J Stat 1979;6:65).

    Parameters
    ----------
    p
        Of any shape; a test without a p value (NaN) is not counted and stays NaN.

    Raises
    ------
    ValueError
        Where a p value is outside 0 to 1.
    """
    known = ~np.isnan(p)
    values = p[known]
    if values.size and not bool(np.all((values >= 0) & (values <= 1))):
        raise ValueError("a p value is between 0 and 1")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    result = np.full(p.shape, np.nan)
    result[known] = adjusted
    return result

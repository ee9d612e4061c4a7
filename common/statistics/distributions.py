"""common/statistics: tails and quantiles that conclusions need; SciPy is loaded only there.

A site answers without them, in a process that lives for one message, where loading SciPy would cost more than
answering.
"""

from __future__ import annotations

from common.study.table import FloatArray

Z975 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def two_sided_p(z: float) -> float:
    """Two-sided p value of a standard normal statistic."""
    from scipy import special

    return float(2.0 * special.ndtr(-abs(z)))


def chi2_p(chi2: float, degrees: int) -> float:
    """Upper tail of the chi-square distribution."""
    from scipy import special

    return float(special.chdtrc(degrees, chi2))


def chi2_quantile(probability: float, degrees: int) -> float:
    """Quantile of the chi-square distribution."""
    from scipy import special

    return float(special.chdtri(degrees, 1.0 - probability))


def student_two_sided_p(t: FloatArray, degrees: FloatArray) -> FloatArray:
    """Two-sided p values of Student's t statistics; NaN where either is."""
    from scipy import special

    p: FloatArray = 2.0 * special.stdtr(degrees, -abs(t))
    return p


def student_quantile(probability: float, degrees: FloatArray) -> FloatArray:
    """Quantiles of Student's t distribution."""
    from scipy import special

    t: FloatArray = special.stdtrit(degrees, probability)
    return t


def normal_quantile(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    from scipy import special

    return float(special.ndtri(probability))

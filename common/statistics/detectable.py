"""common/statistics: the smallest shift of a hospital that tests of its size would find with a power of 80 %.

What was not found may be there, and smaller. All are approximate: normal or chi-square statistics with the errors that
were measured.
"""

from __future__ import annotations

import numpy as np

from common.study.table import FloatArray

POWER = 0.8


def smallest_detectable(critical: float, n: float, others: float) -> float:
    """The standardised difference of one column that is found at the critical value, two-sided."""
    from scipy import special

    reach = critical + float(special.ndtri(POWER))
    return reach * float(np.sqrt(1.0 / n + 1.0 / others))


def detectable_odds_ratio(covariance: FloatArray, level: float) -> float:
    """By how much the odds of the outcome differ, above 1, from what a score says, if a test of its line finds it.

    Wald's test of intercept and slope together, of a hospital where the intercept alone is another one: its statistic
    is chi-square with two degrees, and not centred by the square of the difference times its information.

    Parameters
    ----------
    covariance
        (2, 2) of the intercept and slope beside which the difference stands.
    level
        Two-sided, after adjustment for all tests.
    """
    from scipy import special

    critical = float(special.chdtri(2, level))
    off_centre = float(special.chndtrinc(critical, 2, 1.0 - POWER))
    return float(np.exp(np.sqrt(off_centre / np.linalg.inv(covariance)[0, 0])))


def detectable_frequency(n: int, present: int, others: int, level: float) -> float | None:
    """By how much a higher frequency of the outcome is found beside others, by a test of the two tables' counts.

    By the arcsine transform of both (Cohen, Statistical Power Analysis, 1988, section 6.2); Fisher's exact test needs a
    little more. None where not even a frequency of 1 would be found.

    Parameters
    ----------
    n
        Patients of the hospital.
    present, others
        Patients with the outcome among the others, and all of these.
    level
        As of `detectable_odds_ratio`.
    """
    from scipy import special

    reach = float(special.ndtri(1.0 - level / 2.0) + special.ndtri(POWER)) * float(np.sqrt(1.0 / n + 1.0 / others))
    known = present / others
    found = float(np.arcsin(np.sqrt(known))) + reach / 2.0
    return float(np.sin(found) ** 2) - known if found < np.pi / 2.0 else None

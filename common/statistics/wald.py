"""common/statistics: the row of a table of coefficients: Wald's z, p and interval, and the odds ratio."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.statistics.distributions import Z975, two_sided_p


def wald_row(term: str, coef: float, std_err: float) -> dict[str, Any]:
    """A coefficient of a logistic model and its odds ratio, each with its 95 % interval; NaN where not estimable."""
    low, high = coef - Z975 * std_err, coef + Z975 * std_err
    return {
        "term": term,
        "coef": float(coef),
        "std_err": float(std_err),
        "coef_low": float(low),
        "coef_high": float(high),
        "z": float(coef / std_err),
        "p": two_sided_p(float(coef / std_err)),
        "odds_ratio": float(np.exp(coef)),
        "odds_ratio_low": float(np.exp(low)),
        "odds_ratio_high": float(np.exp(high)),
    }

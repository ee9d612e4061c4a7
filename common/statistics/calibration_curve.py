"""common/statistics: a smooth calibration curve of predicted risks, from the sums of `calibration`.

A logistic regression on the restricted cubic spline of the logit of the risk (Harrell, Regression Modeling Strategies,
2nd ed., eq. 2.25; Van Calster et al., J Clin Epidemiol 2016;74:167).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.federation.runner import Conclusion
from common.statistics.calibration import logit, logit_line, spline
from common.statistics.distributions import Z975, chi2_p
from common.study.recipe import Recipe, logistic_function
from common.study.table import FloatArray


@dataclass(frozen=True)
class CalibrationCurve:
    """A smooth calibration curve: observed against predicted risk.

    Attributes
    ----------
    knots
        Of the spline, as predicted risks.
    coef_, covariance_
        (knots,) intercept and spline on the logit scale, and their covariance.
    """

    column: str
    knots: tuple[float, ...]
    coef_: FloatArray
    covariance_: FloatArray

    def at(self, risk: FloatArray) -> FloatArray:
        """(3, n) observed risk at predicted ones, and its pointwise 95 % band; linear beyond the outer knots."""
        basis = spline(logit(risk), logit(np.array(self.knots)))
        design = np.column_stack([np.ones(len(risk)), basis])
        linear = design @ self.coef_
        half = Z975 * np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance_, design))
        return logistic_function(np.stack([linear, linear - half, linear + half]))

    @property
    def nonlinearity(self) -> tuple[float, int, float]:
        """Chi-square, degrees of freedom and p of Wald's test that the curve is a line on the logit scale."""
        bends = self.coef_[2:]
        chi2 = float(bends @ np.linalg.solve(self.covariance_[2:, 2:], bends))
        return chi2, bends.size, chi2_p(chi2, bends.size)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a knot: predicted risk, and observed risk with its band."""
        rows = zip(self.knots, *self.at(np.array(self.knots)).tolist(), strict=True)
        return [
            {"column": self.column, "predicted": risk, "observed": value, "observed_low": low, "observed_high": high}
            for risk, value, low, high in rows
        ]


def calibration_curve(
    cohort: str, recipe: Recipe, endpoint: str, column: str, knots: tuple[float, ...]
) -> Conclusion[CalibrationCurve]:
    """Restricted cubic spline of the logit of the predicted risk, 3 to 7 knots given as ascending risks.

    Knots fixed in the protocol, or the quantiles of the risks in the cohort that the model was fitted on, are the
    same in every cohort, so curves can be compared.

    Raises
    ------
    FedmviError
        602 one class only, 603 no patients between knots, 604 no convergence, 642 risks that separate the classes.
    """
    fit = yield from logit_line(cohort, recipe, endpoint, column, logit(np.array(knots)), np.zeros(len(knots)))
    return CalibrationCurve(column, knots, fit.coef_, fit.covariance_)

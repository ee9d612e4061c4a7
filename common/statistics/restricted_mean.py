"""common/statistics: restricted mean survival time by group, with its error, and the groups' differences and ratios.

From the pooled life table, so exactly that of the pooled rows, however many sites there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975, two_sided_p
from common.statistics.life_table import Counts, KaplanMeier, LifeTable, curves_of, life_table
from common.study.recipe import Recipe
from common.study.table import FloatArray


def restricted_mean(curve: KaplanMeier, horizon: float) -> tuple[float, float]:
    """Area under a curve from 0 to the horizon, in the unit of its times, and its standard error.

    The error is Greenwood's, sum of (area from t to the horizon)^2 d / (r (r - d)), without the correction for few
    events, as in R's `survfit` (Irwin, J Hygiene 1949;47:188; Klein & Moeschberger, Survival Analysis, 2003, eq.
    4.5.2). Not a number where the curve ends before the horizon, above zero: what follows is unknown.
    """
    before = curve.time_ <= horizon
    time, survival = curve.time_[before], curve.survival_[before]
    if curve.n_ == 0 or (curve.time_[-1] < horizon and curve.survival_[-1] > 0):
        return float("nan"), float("nan")
    widths = np.diff(np.concatenate([[0.0], time, [horizon]]))
    areas = widths * np.concatenate([[1.0], survival])
    left = np.cumsum(areas[:0:-1])[::-1]
    d, r = curve.events_[before].astype(np.float64), curve.at_risk_[before].astype(np.float64)
    # Whoever dies last leaves no area behind.
    hazard = np.where(r > d, d / (r * np.maximum(r - d, 1.0)), 0.0)
    return float(areas.sum()), float(np.sqrt(np.sum(np.square(left) * hazard)))


@dataclass(frozen=True)
class RestrictedMeans:
    """Restricted mean survival times; groups are compared with the first.

    Attributes
    ----------
    horizon_
        To which time, in the endpoint's unit.
    patients_, events_
        (groups,) patients, and those with the event up to the horizon.
    mean_, std_err_
        (groups,) restricted mean, in the endpoint's unit, and its error.
    difference_, difference_std_err_
        (groups - 1,) restricted mean less that of the first group.
    ratio_, log_ratio_std_err_
        (groups - 1,) restricted mean over that of the first group, and the error of its logarithm.
    """

    horizon_: float
    patients_: Counts
    events_: Counts
    mean_: FloatArray
    std_err_: FloatArray
    difference_: FloatArray
    difference_std_err_: FloatArray
    ratio_: FloatArray
    log_ratio_std_err_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a group, with 95 % intervals; all but the first have difference, ratio and their p."""
        rows: list[dict[str, Any]] = []
        for i, (mean, error) in enumerate(zip(self.mean_.tolist(), self.std_err_.tolist(), strict=True)):
            row = {"group": i, "patients": int(self.patients_[i]), "events": int(self.events_[i]), "mean": mean}
            row |= {"std_err": error, "low": mean - Z975 * error, "high": mean + Z975 * error}
            rows.append(row | (self._contrast(i - 1) if i else {}))
        return rows

    def _contrast(self, i: int) -> dict[str, float]:
        apart, error = float(self.difference_[i]), float(self.difference_std_err_[i])
        ratio, log_error = float(self.ratio_[i]), float(self.log_ratio_std_err_[i])
        with np.errstate(divide="ignore", invalid="ignore"):
            difference_p = two_sided_p(float(np.float64(apart) / error))
            ratio_p = two_sided_p(float(np.log(np.float64(ratio)) / log_error))
        return {
            "difference": apart,
            "difference_low": apart - Z975 * error,
            "difference_high": apart + Z975 * error,
            "difference_p": difference_p,
            "ratio": ratio,
            "ratio_low": float(ratio * np.exp(-Z975 * log_error)),
            "ratio_high": float(ratio * np.exp(Z975 * log_error)),
            "ratio_p": ratio_p,
        }


def restricted_means(
    cohort: str, recipe: Recipe, endpoint: str, groups: int, precision: float, grid_points: int, horizon: float
) -> Conclusion[RestrictedMeans]:
    """Restricted mean survival time to a horizon by `group`, differences and ratios; one round.

    The ratio's error is that of its logarithm, by the delta method (Royston & Parmar, BMC Med Res Methodol
    2013;13:152; Uno et al., J Clin Oncol 2014;32:2380). A group without patients has no mean.

    Raises
    ------
    FedmviError
        601 no patients, 656 a group is not followed to the horizon.
    """
    table = LifeTable(cohort, recipe, endpoint, groups, precision, grid_points)
    events, censored = yield from life_table(table)
    curves = curves_of(events, censored, precision)
    pairs = [restricted_mean(curve, horizon) for curve in curves]
    if not horizon > 0 or any(curve.n_ > 0 and np.isnan(pair[0]) for curve, pair in zip(curves, pairs, strict=True)):
        raise FedmviError(656, endpoint=endpoint, time=horizon)
    mean, error = np.array(pairs).T
    until = [int(curve.events_[curve.time_ <= horizon].sum()) for curve in curves]
    log_error = error / mean
    return RestrictedMeans(
        horizon_=horizon,
        patients_=np.array([curve.n_ for curve in curves], dtype=np.int64),
        events_=np.array(until, dtype=np.int64),
        mean_=mean,
        std_err_=error,
        difference_=mean[1:] - mean[0],
        difference_std_err_=np.hypot(error[1:], error[0]),
        ratio_=mean[1:] / mean[0],
        log_ratio_std_err_=np.hypot(log_error[1:], log_error[0]),
    )

"""common/statistics: decision curves: the net benefit of acting on a predicted risk, over a range of thresholds.

Vickers & Elkin, Med Decis Making 2006;26:565; for survival with the Kaplan-Meier risk among those who would be treated
(Vickers et al., BMC Med Inform Decis Mak 2008;8:53). Whoever has a risk of at least the threshold would be treated.
Only counts of patients above thresholds are summed, so curves are those of the pooled patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.confusion import ThresholdCounts
from common.statistics.refinement import Counts, public_thresholds
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

MAX_CELLS = 1 << 22


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefits per patient.

    Attributes
    ----------
    thresholds
        (thresholds,) risks from which one would treat.
    risk_
        Share of patients with the outcome, or as given.
    true_positive_, false_positive_
        (models, thresholds) treated with and without the outcome, per patient.
    net_benefit_
        (models, thresholds) true positives - false positives * threshold / (1 - threshold) - harm. For survival NaN
        where nobody who would be treated was observed up to the time.
    treat_all_
        (thresholds,) net benefit of treating everybody; that of treating nobody is 0.
    interventions_avoided_
        (models, thresholds) treatments that the model spares per patient against treating everybody, without one
        outcome more going untreated; NaN at a threshold of 0.
    """

    columns: tuple[str, ...]
    thresholds: FloatArray
    n_: int
    risk_: float
    true_positive_: FloatArray
    false_positive_: FloatArray
    net_benefit_: FloatArray
    treat_all_: FloatArray
    interventions_avoided_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row for each model and threshold."""
        return [
            {
                "column": name,
                "threshold": float(self.thresholds[j]),
                "net_benefit": float(self.net_benefit_[i, j]),
                "treat_all": float(self.treat_all_[j]),
                "treat_none": 0.0,
                "interventions_avoided": float(self.interventions_avoided_[i, j]),
            }
            for i, name in enumerate(self.columns)
            for j in range(self.thresholds.size)
        ]


def decision_curve(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    thresholds: FloatArray,
    *,
    prevalence: float | None = None,
    harm: tuple[float, ...] = (),
) -> Conclusion[DecisionCurve]:
    """Net benefit of models that predict a binary endpoint; one round.

    Parameters
    ----------
    columns
        Predicted risks, known for the same patients.
    thresholds
        (thresholds,) at least 0 and below 1.
    prevalence
        The outcome's share where it is not that of the patients, as in case-control data.
    harm
        (models,) harm of measuring what each model needs, in units of net benefit; none by default.

    Raises
    ------
    FedmviError
        602 one class only, 640 a patient lacks a risk.
    """
    broadcast = np.tile(thresholds, (len(columns), 1))
    sums = yield total(ThresholdCounts(cohort, recipe, columns, endpoint, broadcast))
    n = sums["n"]
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    if bool(np.any(n != n[0])):
        raise FedmviError(640, cohort=cohort)
    patients = int(n[0].sum())
    if prevalence is None:
        # Dividing once keeps the rounding of the plain definition.
        risk, (false, true) = float(n[0, 1] / patients), np.moveaxis(sums["positive"] / patients, -1, 0)
    else:
        false, true = np.moveaxis(sums["positive"] / n[0], -1, 0)
        risk, true, false = prevalence, true * prevalence, false * (1.0 - prevalence)
    return _curve(columns, thresholds, patients, risk, true, false, harm)


def _curve(
    columns: tuple[str, ...],
    thresholds: FloatArray,
    n: int,
    risk: float,
    true: FloatArray,
    false: FloatArray,
    harm: tuple[float, ...],
) -> DecisionCurve:
    odds = thresholds / (1.0 - thresholds)
    cost = np.array(harm or (0.0,) * len(columns))[:, np.newaxis]
    benefit = true - false * odds - cost
    everybody = risk - (1.0 - risk) * odds
    with np.errstate(divide="ignore", invalid="ignore"):
        avoided = np.where(odds > 0, (benefit - everybody) / odds, np.nan)
    return DecisionCurve(columns, thresholds, n, risk, true, false, benefit, everybody, avoided)


@dataclass(frozen=True)
class ThresholdLifeTable(Query):
    """Events and censorings up to a horizon, by time and by how many thresholds a risk reaches.

    Times are counted on the endpoint's grid; later ones are one cell together.
    """

    name: ClassVar[str] = "query.threshold_life_table"
    risk: ClassVar[Risk] = Risk.PROFILE

    columns: tuple[str, ...]
    endpoint: str
    thresholds: FloatField
    precision: float
    grid_points: int
    horizon: int

    def blocks(self) -> Mapping[str, Block]:
        """`events`, `censored`: (columns, thresholds + 1, horizon + 2) each."""
        shape = (len(self.columns), self.thresholds.size + 1, self.horizon + 2)
        return {"events": Block(shape, Kind.COUNT), "censored": Block(shape, Kind.COUNT)}

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(self.thresholds)

    def consistent(self) -> bool:
        """See `Query`."""
        ascending = self.thresholds.ndim == 1 and bool(np.all(np.diff(self.thresholds) > 0))
        return ascending and self.precision > 0 and 0 <= self.horizon < self.grid_points <= MAX_CELLS

    def words(self) -> str:
        """See `Query`."""
        return (
            f"events and censorings of {self.endpoint} by time up to {self.horizon * self.precision:g} between "
            f"{self.thresholds.size} thresholds of {len(self.columns)} scores, cohort {self.cohort}"
        )

    def answer(self, frame: Frame) -> Summary:
        """Patients without a risk are left out, model by model."""
        point = np.rint(frame.endpoints[f"{self.endpoint}.time"] / self.precision).astype(np.int64)
        event = frame.endpoints[f"{self.endpoint}.event"] == 1.0
        shape = self.blocks()["events"].shape
        tables = {"events": np.zeros(shape, dtype=np.int64), "censored": np.zeros(shape, dtype=np.int64)}
        for i, name in enumerate(self.columns):
            score = frame.columns[name]
            reached = np.searchsorted(self.thresholds, score, side="right")
            for block, chosen in (("events", event), ("censored", ~event)):
                mine = chosen & ~np.isnan(score)
                np.add.at(tables[block][i], (reached[mine], np.minimum(point[mine], self.horizon + 1)), 1)
        return tables


def survival_decision_curve(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    thresholds: FloatArray,
    *,
    precision: float,
    grid_points: int,
    time: float,
) -> Conclusion[DecisionCurve]:
    """Net benefit of models that predict an event of a survival endpoint up to a time; one round.

    Parameters
    ----------
    columns
        Predicted risks of the event up to `time`, known for the same patients.
    thresholds
        (thresholds,) ascending, at least 0 and below 1.
    precision, grid_points
        The endpoint's grid, in its unit of time.
    time
        In the same unit, on the grid.

    Raises
    ------
    FedmviError
        601 no patients, 640 a patient lacks a risk.
    """
    horizon = round(time / precision)
    query = ThresholdLifeTable(cohort, recipe, columns, endpoint, thresholds, precision, grid_points, horizon)
    tables = yield total(query)
    # From the highest threshold down: everybody above it, and at index 0 everybody.
    events, censored = (np.cumsum(tables[name][:, ::-1], axis=1)[:, ::-1] for name in ("events", "censored"))
    n = (events + censored).sum(axis=2)
    if bool(np.any(n[:, 0] == 0)):
        raise FedmviError(601, cohort=cohort)
    if bool(np.any(n[:, 0] != n[0, 0])):
        raise FedmviError(640, cohort=cohort)
    alive = _survival(events, censored, horizon)
    share = n[:, 1:] / n[0, 0]
    true, false = share * (1.0 - alive[:, 1:]), share * alive[:, 1:]
    return _curve(columns, thresholds, int(n[0, 0]), float(1.0 - alive[0, 0]), true, false, ())


def _survival(events: Counts, censored: Counts, horizon: int) -> FloatArray:
    """Kaplan-Meier survival at the horizon along the last axis of counts.

    1 without patients; NaN where some are left but nobody was observed up to the horizon.
    """
    leaving = events + censored
    at_risk = leaving.sum(axis=-1, keepdims=True) - np.cumsum(leaving, axis=-1) + leaving
    survival: FloatArray = np.prod((1.0 - events / np.maximum(at_risk, 1))[..., : horizon + 1], axis=-1)
    lost = (at_risk[..., 0] > 0) & (at_risk[..., horizon] == 0) & (survival > 0)
    return np.where(lost, np.nan, survival)

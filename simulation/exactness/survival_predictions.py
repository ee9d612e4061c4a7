"""simulation: exactness of time-dependent areas and Brier scores with weights for censoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from common.federation.runner import Conclusion
from common.statistics.dynamic_auc import DynamicAuc, dynamic_auc
from common.statistics.survival_brier import SurvivalBrier, survival_brier
from common.study.recipe import Complete, Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, largest, library
from simulation.exactness.survival_times import grid_of
from simulation.exactness.tables import breast_recurrence, liver_resection
from simulation.views import COHORT

SCORES = ("size", "risk")
"""One of few values with many ties, and one in which hardly any patients tie."""

EARLIER = Recipe((Complete(("earlier",), ()),))
"""The patients of whom censoring is estimated where it is not in all."""


def survival_predictions_by_day() -> Case:
    """By the day: areas and Brier scores at one, two and three years."""
    return _predictions(breast_recurrence(), 1.0, (365.0, 730.0, 1095.0))


def survival_predictions_with_ties() -> Case:
    """By tenths of a month, many ties: areas and Brier scores at one, two and three years."""
    return _predictions(liver_resection(), 0.1, (12.0, 24.0, 36.0))


CASES: tuple[Callable[[], Case], ...] = (survival_predictions_by_day, survival_predictions_with_ties)


def with_predictions(table: Table, times: tuple[float, ...]) -> Table:
    """The table with a risk, a predicted survival for each time, and every patient but each fifth marked."""
    age, size = table.columns["age"], table.columns["size"]
    risk = (size - size.mean()) / size.std() + 0.1 * np.sin(age)
    rate = np.exp(0.3 * risk) / (2.0 * table.endpoints["os.time"].mean())
    survival = {f"survival@{time:g}": np.exp(-rate * time) for time in times}
    earlier = np.where(np.arange(size.size) % 5 == 0, np.nan, 1.0)
    return replace(table, columns={**table.columns, "risk": risk, **survival, "earlier": earlier})


def _predictions(plain: Table, precision: float, times: tuple[float, ...]) -> Case:
    table = with_predictions(plain, times)
    grid = grid_of(table, "os", precision)[1:]
    predicted = tuple(f"survival@{time:g}" for time in times)
    earlier = (COHORT, EARLIER)

    def conclusions() -> list[Conclusion[Any]]:
        return [
            dynamic_auc(COHORT, Recipe(), "os", SCORES, *grid, times),
            dynamic_auc(COHORT, Recipe(), "os", SCORES, *grid, times, earlier),
            survival_brier(COHORT, Recipe(), "os", predicted, *grid, times),
            survival_brier(COHORT, Recipe(), "os", predicted, *grid, times, earlier),
        ]

    def differences(results: list[Any]) -> list[Difference]:
        everyone = np.ones(table.site.size, dtype=bool)
        some = ~np.isnan(table.columns["earlier"])
        auc, auc_earlier, brier, brier_earlier = results
        return [
            *_areas(auc, table, everyone, ""),
            *_areas(auc_earlier, table, some, ", censoring of other patients"),
            *_scores(brier, table, everyone, predicted, ""),
            *_scores(brier_earlier, table, some, predicted, ", censoring of other patients"),
        ]

    return Case(table, conclusions, differences)


def _outcome(table: Table, rows: Any) -> Any:
    from sksurv.util import Surv

    return Surv.from_arrays(table.endpoints["os.event"][rows] == 1.0, table.endpoints["os.time"][rows])


def _areas(fits: tuple[DynamicAuc, ...], table: Table, train: Any, how: str) -> list[Difference]:
    from sksurv.metrics import cumulative_dynamic_auc

    area = mean = 0.0
    for fit in fits:
        known = _outcome(table, train), _outcome(table, slice(None))
        theirs, average = cumulative_dynamic_auc(*known, table.columns[fit.column_], fit.times_)
        area, mean = max(area, largest(fit.auc_, theirs)), max(mean, largest(fit.mean_auc_, average))
    oracle = f"{library('scikit-survival')} cumulative_dynamic_auc"
    return [
        Difference(f"cumulative/dynamic AUC{how}", oracle, area, 1e-12),
        Difference(f"cumulative/dynamic AUC, mean over time{how}", oracle, mean, 1e-12),
    ]


def _scores(fit: SurvivalBrier, table: Table, train: Any, predicted: tuple[str, ...], how: str) -> list[Difference]:
    from sksurv.metrics import brier_score, integrated_brier_score
    from sksurv.nonparametric import SurvivalFunctionEstimator

    known = _outcome(table, train), _outcome(table, slice(None))
    X: FloatArray = table.matrix(predicted)
    null = np.tile(SurvivalFunctionEstimator().fit(known[1]).predict_proba(fit.times_), (X.shape[0], 1))
    pairs = {
        "Brier score": (fit.brier_, brier_score(*known, X, fit.times_)[1]),
        "Brier score of Kaplan-Meier": (fit.null_, brier_score(*known, null, fit.times_)[1]),
        "integrated Brier score": (fit.integrated_, integrated_brier_score(*known, X, fit.times_)),
        "integrated Brier score of Kaplan-Meier": (
            fit.integrated_null_,
            integrated_brier_score(*known, null, fit.times_),
        ),
    }
    oracle = f"{library('scikit-survival')} brier_score"
    return [Difference(f"{name}{how}", oracle, largest(*pair), 1e-12) for name, pair in pairs.items()]

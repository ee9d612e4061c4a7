"""simulation: exactness of the recalibration of predicted risks, and of cut-offs with a guaranteed sensitivity."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from common.statistics.calibration import logit
from common.statistics.confusion import HUNDREDTHS
from common.statistics.guaranteed_sensitivity import GuaranteedSensitivity, guaranteed_sensitivity
from common.statistics.recalibration import Method, RecalibrationResult, Rule, recalibrate
from common.study.recipe import Recipe
from simulation.exactness.measuring import Case, Difference, Table, largest, library
from simulation.exactness.predicted_risks import risks
from simulation.views import COHORT

COLUMNS = ("mean_texture", "mean_smoothness")
TARGET = 0.8


@cache
def _fits() -> dict[str, Any]:
    """Of the pooled rows: intercept beside the offset, line, and all columns."""
    import statsmodels.api as sm

    table = risks()
    y, offset = table.endpoints["y"], logit(table.columns["risk"])
    ones, x = np.ones((y.size, 1)), table.matrix(COLUMNS)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    settings = {"disp": 0, "tol": 1e-14, "maxiter": 100}
    return {
        "large": sm.GLM(y, ones, sm.families.Binomial(), offset=offset).fit(tol=1e-14),
        "line": sm.Logit(y, np.column_stack([ones, offset])).fit(**settings),
        "refit": sm.Logit(y, sm.add_constant(standard)).fit(**settings),
        "offset": offset,
        "y": y,
    }


def recalibrated() -> Case:
    """A forced slope, and the tests of the closed procedure."""
    table = risks()

    def asked() -> list[Any]:
        return [
            recalibrate(COHORT, Recipe(), "y", "risk", (), Rule.SLOPE),
            recalibrate(COHORT, Recipe(), "y", "risk", COLUMNS),
        ]

    return Case(table, asked, lambda r: _recalibrated(table, r[0], r[1]))


def _recalibrated(table: Table, slope: RecalibrationResult, closed: RecalibrationResult) -> list[Difference]:
    import statsmodels.api as sm
    from scipy import stats

    fits, version = _fits(), library("statsmodels")
    chi2 = 2.0 * (fits["line"].llf - fits["large"].llf)
    shrunk = 1.0 + max(0.0, (chi2 - 1.0) / chi2) * (fits["line"].params[1] - 1.0)
    ones = np.ones((table.site.size, 1))
    beside = sm.GLM(fits["y"], ones, sm.families.Binomial(), offset=shrunk * fits["offset"]).fit(tol=1e-14)
    risk = table.columns["risk"]
    original = float(np.sum(np.where(fits["y"] == 1, np.log(risk), np.log1p(-risk))))
    known = {
        Method.NONE: (original, 3),
        Method.INTERCEPT: (fits["large"].llf, 2),
        Method.SLOPE: (fits["line"].llf, 1),
    }
    theirs = [(2.0 * (fits["refit"].llf - known[test.method][0]), known[test.method][1]) for test in closed.tests_]
    p = [stats.chi2.sf(value, degrees) for value, degrees in theirs]
    return [
        Difference("recalibration, unshrunk slope", f"{version} Logit",
                   abs(slope.unshrunk_slope_ - fits["line"].params[1]), 1e-9),
        Difference("recalibration, shrunk slope and its intercept", f"{version} Logit, GLM(offset)",
                   largest([slope.slope_, slope.intercept_], [shrunk, beside.params[0]]), 1e-9),
        Difference("closed testing, likelihood ratios", f"{version} Logit, GLM(offset)",
                   largest([test.chi2 for test in closed.tests_], [value for value, _ in theirs]), 1e-8),
        Difference("closed testing, p", f"{library('scipy')} chi2",
                   largest([test.p for test in closed.tests_], p), 1e-9),
    ]  # fmt: skip


def guaranteed() -> Case:
    """The largest cut-off whose one-sided limit reaches the target."""
    table = risks()
    return Case(
        table,
        lambda: [guaranteed_sensitivity(COHORT, Recipe(), "y", "risk", TARGET)],
        lambda r: _guaranteed(table, r[0]),
    )


def _guaranteed(table: Table, found: GuaranteedSensitivity) -> list[Difference]:
    from scipy import stats

    positives = table.columns["risk"][table.endpoints["y"] == 1]

    def limit(cutoff: float) -> float:
        test = stats.binomtest(int(np.sum(positives >= cutoff)), positives.size, alternative="greater")
        return float(test.proportion_ci(0.95, method="exact").low)

    best = max(float(cutoff) for cutoff in HUNDREDTHS if limit(float(cutoff)) >= TARGET)
    oracle = f"{library('scipy')} binomtest, exact"
    return [
        Difference("guaranteed sensitivity, cut-off", oracle, abs(found.cutoff_ - best), 0.0),
        Difference("guaranteed sensitivity, lower limit", oracle, abs(found.lower_ - limit(best)), 1e-9),
    ]


CASES = (recalibrated, guaranteed)

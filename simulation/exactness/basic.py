"""simulation: exactness of moments, maximum-likelihood logistic regression, AUC, Kaplan-Meier and log-rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.statistics.logistic import LogisticResult, logistic
from common.statistics.moments import Moments, moments
from common.statistics.roc import RocResult, roc
from common.statistics.survival import SurvivalResult, survival
from common.study.recipe import Complete, Recipe
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library
from simulation.exactness.tables import breast_cancer, liver_cancer, recidivism
from simulation.views import COHORT

SEVEN = (
    "mean_texture", "mean_smoothness", "mean_symmetry", "texture_error", "smoothness_error", "mean_fractal_dimension",
    "symmetry_error",
)  # fmt: skip


def means() -> Case:
    """Means and standard deviations."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(table, lambda: [moments(COHORT, Recipe(), names)], lambda r: _moments(table, r[0]))


def multivariable() -> Case:
    """One logistic regression on seven predictors."""
    table = breast_cancer()
    return Case(table, lambda: [logistic(COHORT, Recipe(), "y", SEVEN)], lambda r: _logistic(table, [SEVEN], r, ""))


def univariable() -> Case:
    """Thirty logistic regressions in lock-step."""
    table = breast_cancer()
    sets = [(name,) for name in table.columns]
    return Case(
        table,
        lambda: [logistic(COHORT, Recipe(), "y", names) for names in sets],
        lambda r: _logistic(table, sets, r, "univariable "),
    )


def areas() -> Case:
    """Thirty areas under ROC curves in lock-step."""
    table = breast_cancer()
    return Case(
        table,
        lambda: [roc(COHORT, Recipe(), "y", name) for name in table.columns],
        lambda r: _roc(table, dict(zip(table.columns, r, strict=True))),
    )


def life_tables() -> Case:
    """Kaplan-Meier curves and their log-rank test, five groups."""
    table = recidivism()
    groups = int(table.columns["group"].max()) + 1
    grid = int(table.endpoints["os.time"].max()) + 1
    return Case(table, lambda: [survival(COHORT, Recipe(), "os", groups, 1.0, grid)], lambda r: _survival(table, r[0]))


def centres() -> Case:
    """Disease-free interval by microvascular invasion, and invasion by age, over the centres that took part."""
    table = liver_cancer()
    known = np.isfinite(table.endpoints["dfi.time"]) & np.isfinite(table.endpoints["dfi.event"])
    free = Recipe((Complete(("group",), ("dfi.time", "dfi.event")),))
    grid = int(table.endpoints["dfi.time"][known].max()) + 1
    aged = np.isfinite(table.columns["age"])

    def differences(results: list[Any]) -> list[Difference]:
        return _survival(table.rows(known), results[0], "dfi") + _logistic(
            table.rows(aged), [("age",)], results[1:], ""
        )

    return Case(
        table,
        lambda: [
            survival(COHORT, free, "dfi", 2, 1.0, grid),
            logistic(COHORT, Recipe((Complete(("age",), ("y",)),)), "y", ("age",)),
        ],
        differences,
    )


CASES = (means, multivariable, univariable, areas, life_tables, centres)


def _moments(table: Table, fit: Moments) -> list[Difference]:
    from sklearn.preprocessing import StandardScaler

    X = np.column_stack([table.columns[name] for name in fit.columns])
    scaler = StandardScaler().fit(X)
    std = scaler.scale_ * np.sqrt(len(X) / (len(X) - 1))
    oracle = f"{library('scikit-learn')} StandardScaler"
    return [
        Difference("mean (relative)", oracle, float(np.max(np.abs(fit.mean_ / scaler.mean_ - 1))), 1e-12),
        Difference("standard deviation (relative)", oracle, float(np.max(np.abs(fit.std_ / std - 1))), 1e-12),
    ]


def _logistic(
    table: Table, columns: Sequence[tuple[str, ...]], fits: Sequence[LogisticResult], kind: str
) -> list[Difference]:
    import statsmodels.api as sm

    worst = dict.fromkeys(("coefficient", "standard error", "log10 p", "log-likelihood"), 0.0)
    for names, fit in zip(columns, fits, strict=True):
        X = np.column_stack([table.columns[name] for name in names])
        scale = X.std(axis=0)
        pooled = sm.Logit(table.endpoints["y"], sm.add_constant((X - X.mean(axis=0)) / scale)).fit(
            disp=0, tol=1e-14, maxiter=100
        )
        p = np.array([row["p"] for row in fit.summary[1:]])
        for name, difference in (
            ("coefficient", np.abs(fit.coef_[1:] * scale - pooled.params[1:])),
            ("standard error", np.abs(fit.std_err_[1:] * scale - pooled.bse[1:])),
            ("log10 p", np.abs(np.log10(p) - np.log10(pooled.pvalues[1:]))),
            ("log-likelihood", np.abs(fit.log_likelihood_ - pooled.llf)),
        ):
            worst[name] = max(worst[name], float(np.max(difference)))
    oracle = f"{library('statsmodels')} Logit(tol=1e-14)"
    limits = {"coefficient": 1e-9, "standard error": 1e-9, "log10 p": 1e-8, "log-likelihood": 1e-8}
    return [Difference(f"{kind}logistic {name} (standardised)", oracle, worst[name], limits[name]) for name in worst]


def _roc(table: Table, fits: Mapping[str, RocResult]) -> list[Difference]:
    from sklearn.metrics import roc_auc_score

    y = table.endpoints["y"]
    area = error = 0.0
    for name, fit in fits.items():
        score = table.columns[name]
        area = max(area, abs(fit.auc_ - float(roc_auc_score(y, score))))
        psi = 0.5 * (1.0 + np.sign(score[y == 1][:, np.newaxis] - score[y == 0]))
        parts = (psi.mean(axis=1), psi.mean(axis=0))
        error = max(error, abs(fit.std_err_ - float(np.sqrt(sum(p.var(ddof=1) / p.size for p in parts)))))
    return [
        Difference("AUC", f"{library('scikit-learn')} roc_auc_score", area, 1e-12),
        Difference("DeLong standard error", "all pairs, by its definition", error, 1e-12),
    ]


def _survival(table: Table, fit: SurvivalResult, endpoint: str = "os") -> list[Difference]:
    from lifelines.statistics import multivariate_logrank_test

    test = multivariate_logrank_test(
        table.endpoints[f"{endpoint}.time"], table.columns["group"], table.endpoints[f"{endpoint}.event"]
    )
    oracle = library("lifelines")
    return [
        *_lifelines(table, fit, endpoint),
        *_survfit(fit, golden("kaplan_meier")[table.key]),
        Difference(f"log-rank chi2, {fit.degrees_ + 1} groups", oracle, abs(fit.chi2_ - test.test_statistic), 1e-8),
        Difference("log-rank log10 p", oracle, abs(np.log10(fit.p_) - np.log10(test.p_value)), 1e-8),
    ]


def _lifelines(table: Table, fit: SurvivalResult, endpoint: str) -> list[Difference]:
    from lifelines import KaplanMeierFitter

    time_, event = table.endpoints[f"{endpoint}.time"], table.endpoints[f"{endpoint}.event"]
    group = table.columns["group"]
    curve = band = at_risk = 0.0
    for i, ours in enumerate(fit.curves_):
        pooled = KaplanMeierFitter().fit(time_[group == i], event[group == i])
        curve = max(curve, largest(ours.survival_, pooled.survival_function_.loc[ours.time_].to_numpy()[:, 0]))
        limits = pooled.confidence_interval_survival_function_.loc[ours.time_].to_numpy()
        # Where nobody is left its interval is not one; ours is of the curve, which is zero.
        left = ours.survival_ > 0
        band = max(band, largest(np.column_stack([ours.low_, ours.high_])[left], limits[left]))
        at_risk = max(at_risk, largest(ours.at_risk_, pooled.event_table["at_risk"].loc[ours.time_].to_numpy()))
    oracle = library("lifelines")
    return [
        Difference("Kaplan-Meier survival", oracle, curve, 1e-12),
        Difference("Kaplan-Meier log-log band", oracle, band, 1e-12),
        Difference("patients at risk", oracle, at_risk, 0.0),
    ]


def _survfit(fit: SurvivalResult, groups: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """R gives no band where the curve is one or zero, and no median or limit that is not reached."""
    worst = {"Greenwood standard error": 0.0, "log-log band": 0.0, "median and interval": 0.0}
    for ours, frozen in zip(fit.curves_, groups, strict=True):
        theirs = {name: np.array([np.nan if x == "NA" else x for x in values], dtype=np.float64)
                  for name, values in frozen.items()}  # fmt: skip
        told = np.isfinite(theirs["low"])
        limits = np.array(ours.median)
        for name, difference in (
            ("Greenwood standard error", largest(ours.std_err_[told], theirs["std_err"][told])),
            ("log-log band", largest([ours.low_[told], ours.high_[told]], [theirs["low"][told], theirs["high"][told]])),
            ("median and interval", largest(np.where(np.isinf(limits), np.nan, limits), theirs["median"])),
        ):
            worst[name] = max(worst[name], difference)
    versions = golden("kaplan_meier")["r"]
    oracle = f"R {versions['R']} survival {versions['survival']} survfit"
    return [
        Difference(f"Kaplan-Meier {name}", oracle, apart, 0.0 if name.startswith("median") else 1e-12)
        for name, apart in worst.items()
    ]

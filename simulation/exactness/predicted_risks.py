"""simulation: exactness of calibration, decision curves, reclassification and bootstrap of predicted risks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from common.statistics.bootstrap import (
    Replicates,
    ThresholdReplicates,
    bootstrap_areas,
    bootstrap_slope,
    bootstrap_thresholds,
)
from common.statistics.calibration import Calibration, calibration
from common.statistics.calibration_curve import CalibrationCurve, calibration_curve
from common.statistics.decision_curve import DecisionCurve, decision_curve, survival_decision_curve
from common.statistics.hosmer_lemeshow import HosmerLemeshow, hosmer_lemeshow
from common.statistics.reclassification import Reclassification, reclassification
from common.study.drafting import drawn_times
from common.study.recipe import Recipe, logistic_function
from simulation.exactness.measuring import (
    Case,
    Difference,
    Table,
    golden,
    largest,
    library,
    public_data,
)
from simulation.exactness.tables import breast_cancer, dcurves
from simulation.views import COHORT, row_keys

RISKS = ("risk", "other_risk")
CUTS = np.array([[0.3], [0.5]])
KNOTS = (0.15, 0.3, 0.5, 0.7)


@cache
def risks() -> Table:
    """The breast cancers with two predicted risks and 20 sets of weights."""
    table = breast_cancer()
    texture, smoothness = table.columns["mean_texture"], table.columns["mean_smoothness"]
    columns = {
        **table.columns,
        "risk": logistic_function(-7.5 + 0.2 * texture + 30.0 * smoothness),
        "other_risk": np.round(logistic_function(-5.0 + 0.22 * texture), 2),
    }
    drawn = np.random.default_rng(7).multinomial(table.site.size, np.full(table.site.size, 1 / table.site.size), 20)
    columns |= {f"weight{i}": weights.astype(np.float64) for i, weights in enumerate(drawn)}
    return replace(table, columns=columns)


WEIGHTS = tuple(f"weight{i}" for i in range(20))


def calibrated() -> Case:
    """Calibration in the large, slope, Brier score and calibration error of one risk."""
    table = risks()
    return Case(table, lambda: [calibration(COHORT, Recipe(), "y", "risk")], lambda r: _calibration(table, r[0]))


def _calibration(table: Table, fit: Calibration) -> list[Difference]:
    from sklearn import metrics
    from sklearn.calibration import calibration_curve as binned

    frozen = golden("evaluation")["calibration"]
    version = golden("evaluation")["r"]["version"]
    y, risk = table.endpoints["y"], table.columns["risk"]
    observed, predicted = binned(y, risk, n_bins=10, strategy="uniform")
    n = fit.bin_n_[fit.bin_n_ > 0]
    brier = metrics.brier_score_loss(y, risk)
    error = abs(fit.expected_error - float(np.sum(n * np.abs(observed - predicted)) / y.size))
    line = [fit.intercept_, fit.slope_, *np.sqrt(np.diag(fit.covariance_))]
    sklearn = library("scikit-learn")
    scaled = 1.0 - brier / metrics.brier_score_loss(y, np.full(y.size, y.mean()))
    return [
        Difference(
            "calibration in the large, with error", f"{version} glm(offset)",
            largest([fit.in_the_large_, fit.in_the_large_std_err_],
                    [frozen["in_the_large"], frozen["in_the_large_std_err"]]), 1e-10,
        ),
        Difference(
            "calibration intercept and slope, with errors", f"{version} glm",
            largest(line, [*frozen["coef"], *frozen["std_err"]]), 1e-10,
        ),
        Difference("observed/expected", "plain sums", abs(fit.observed_to_expected[0] - y.sum() / risk.sum()), 1e-12),
        Difference("Brier score", f"{sklearn} brier_score_loss", abs(fit.brier_ - brier), 1e-12),
        Difference("scaled Brier score", f"{sklearn} brier_score_loss", abs(fit.scaled_brier_ - scaled), 1e-12),
        Difference("expected calibration error", f"{sklearn} calibration_curve", error, 1e-12),
    ]  # fmt: skip


def calibrated_curve() -> Case:
    """A smooth calibration curve, four knots."""
    return Case(risks(), lambda: [calibration_curve(COHORT, Recipe(), "y", "risk", KNOTS)], lambda r: _smooth(r[0]))


def _smooth(fit: CalibrationCurve) -> list[Difference]:
    frozen = golden("evaluation")
    linear, std_err = (np.array(frozen["calibration"][key]) for key in ("curve_linear", "curve_std_err"))
    grid = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    z = 1.959963984540054
    theirs = logistic_function(np.stack([linear, linear - z * std_err, linear + z * std_err]))
    oracle = f"{frozen['r']['version']} glm, splines::ns"
    return [Difference("calibration curve with band", oracle, largest(fit.at(grid), theirs), 1e-10)]


def deciles() -> Case:
    """The Hosmer-Lemeshow test."""
    table = risks()
    names = RISKS
    return Case(
        table,
        lambda: [hosmer_lemeshow(COHORT, Recipe(), "y", name) for name in names],
        lambda r: _deciles(table, dict(zip(names, r, strict=True))),
    )


def _deciles(table: Table, fits: Mapping[str, HosmerLemeshow]) -> list[Difference]:
    import pandas as pd

    apart = 0.0
    for name, fit in fits.items():
        rows = pd.DataFrame({"risk": table.columns[name], "y": table.endpoints["y"]})
        by = rows.groupby(pd.qcut(rows["risk"], 10, duplicates="drop"), observed=True)
        n, observed, expected = by.size(), by["y"].sum(), by["risk"].sum()
        chi2 = float((np.square(observed - expected) / (expected * (1 - expected / n))).sum())
        apart = max(apart, abs(fit.chi2_ - chi2), largest(fit.group_n_, n))
    return [Difference("Hosmer-Lemeshow chi2, exact deciles", "pooled formula, pandas qcut", apart, 1e-10)]


THRESHOLDS = np.arange(1, 100) / 100
BINARY = (("r_case1_results.csv", "famhistory", 0.0), ("r_case3_results.csv", "marker", 0.0333))
TIMES = (
    ("r_case2_results.csv", "cancerpredmarker", 1.0),
    ("r_simple_surv_dca_result_df.csv", "famhistory", 1.5),
    ("dca_tut_r_stdca_coxph_df.csv", "pr_failure18", 1.5),
)


def net_benefits() -> Case:
    """Decision curves of a binary endpoint, one with harm."""
    table = dcurves()
    return Case(
        table,
        lambda: [decision_curve(COHORT, Recipe(), "y", (m,), THRESHOLDS, harm=(harm,)) for _, m, harm in BINARY],
        lambda r: [_net_benefit("net benefit", [name for name, _, _ in BINARY], r)],
    )


def net_benefits_survival() -> Case:
    """Decision curves of a survival endpoint."""
    import pandas as pd

    table = dcurves()
    times = np.unique(pd.read_csv(public_data("dcurves_reference") / "df_surv.csv")["ttcancer"])

    def curve(model: str, time: float) -> Any:
        rank = float(np.searchsorted(times, time, side="right") - 1)
        return survival_decision_curve(
            COHORT, Recipe(), "os", (model,), THRESHOLDS, precision=1.0, grid_points=times.size, time=rank
        )

    return Case(
        table,
        lambda: [curve(model, time) for _, model, time in TIMES],
        lambda r: [_net_benefit("net benefit, survival", [name for name, _, _ in TIMES], r)],
    )


def _net_benefit(statistic: str, files: Sequence[str], fits: Sequence[DecisionCurve]) -> Difference:
    import pandas as pd

    apart = 0.0
    for file, fit in zip(files, fits, strict=True):
        frozen = pd.read_csv(public_data("dcurves_reference") / file)
        for name, ours in ((fit.columns[0], fit.net_benefit_[0]), ("all", fit.treat_all_)):
            rows = frozen[(frozen["variable"] == name) & (frozen["threshold"] > 0)]
            theirs = rows["net_benefit"].to_numpy()
            mine = ours[np.rint(100 * rows["threshold"]).astype(int) - 1]
            # R tells nothing where nobody is followed to the time; ours does where all had the event before it.
            mine = np.where(np.isnan(theirs), np.nan, mine)
            apart = max(apart, largest(mine, theirs))
            if name != "all" and "net_intervention_avoided" in rows:
                avoided = fit.interventions_avoided_[0][np.rint(100 * rows["threshold"]).astype(int) - 1]
                theirs = rows["net_intervention_avoided"].to_numpy()
                apart = max(apart, largest(np.where(np.isnan(theirs), np.nan, avoided), theirs))
    return Difference(
        f"{statistic}, interventions avoided", "R dcurves, results published with dcurves for Python", apart, 1e-12
    )


def reclassified() -> Case:
    """Net reclassification and integrated discrimination improvement."""
    table = risks()
    cuts = np.array([0.2, 0.5])
    return Case(
        table,
        lambda: [reclassification(COHORT, Recipe(), "y", "other_risk", "risk", cuts)],
        lambda r: _reclassified(r[0]),
    )


def _reclassified(fit: Reclassification) -> list[Difference]:
    frozen = golden("evaluation")["reclassification"]
    theirs = [
        [frozen[kind][name], frozen[kind][f"se.{name}"]]
        for kind, name in (("categorical", "nri"), ("continuous", "nri"), ("continuous", "idi"))
    ]
    ours = [[i.value_, i.std_err_] for i in (fit.categorical_, fit.continuous_, fit.idi_)]
    oracle = f"R Hmisc {golden('evaluation')['r']['Hmisc']} improveProb"
    return [Difference("NRI and IDI, with errors", oracle, largest(ours, theirs), 1e-12)]


def replicates() -> Case:
    """Bootstrap replicates with given weights."""
    table = risks()

    def conclusions() -> list[Any]:
        return [
            bootstrap_areas(COHORT, Recipe(), "y", RISKS, weights=WEIGHTS),
            bootstrap_thresholds(COHORT, Recipe(), "y", RISKS, CUTS, weights=WEIGHTS),
            bootstrap_slope(COHORT, Recipe(), "y", "risk", weights=WEIGHTS),
        ]

    return Case(table, conclusions, lambda r: _given(table, *r))


def drawn_replicates() -> Case:
    """Bootstrap replicates with weights that the sites draw."""
    table = risks()
    return Case(
        table, lambda: [bootstrap_areas(COHORT, Recipe(), "y", RISKS, replicates=20)], lambda r: _drawn(table, r[0])
    )


def _areas(table: Table, fit: Replicates, weights: Sequence[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    y = table.endpoints["y"]
    theirs = [[roc_auc_score(y, table.columns[name], sample_weight=w) for w in weights] for name in fit.columns]
    return largest(fit.replicates_, theirs)


def _given(table: Table, areas: Replicates, cuts: ThresholdReplicates, slope: Replicates) -> list[Difference]:
    import statsmodels.api as sm
    from sklearn.metrics import brier_score_loss, recall_score

    y = table.endpoints["y"]
    weights = [table.columns[name] for name in WEIGHTS]
    shares = brier = benefit = 0.0
    for i, name in enumerate(RISKS):
        risk, cut = table.columns[name], float(CUTS[i, 0])
        test = risk >= cut
        for j, w in enumerate(weights):
            for label, ours in ((1, cuts.sensitivity_), (0, cuts.specificity_)):
                recall = recall_score(y, test, pos_label=label, sample_weight=w)
                shares = max(shares, abs(ours.replicates_[i, 0, j] - recall))
            brier = max(brier, abs(cuts.brier_.replicates_[i, j] - brier_score_loss(y, risk, sample_weight=w)))
            direct = np.average(test * (y - (1 - y) * cut / (1 - cut)), weights=w)
            benefit = max(benefit, abs(cuts.net_benefit_.replicates_[i, 0, j] - direct))
    risk = table.columns["risk"]
    design = sm.add_constant(np.log(risk) - np.log1p(-risk))
    binomial = sm.families.Binomial()
    lines = [sm.GLM(y, design, binomial, freq_weights=w).fit(tol=1e-14, maxiter=100).params for w in weights]
    sklearn = library("scikit-learn")
    return [
        Difference("bootstrap AUC", f"{sklearn} roc_auc_score(sample_weight)", _areas(table, areas, weights), 1e-9),
        Difference("bootstrap sensitivity, specificity", f"{sklearn} recall_score(sample_weight)", shares, 1e-9),
        Difference("bootstrap Brier score", f"{sklearn} brier_score_loss(sample_weight)", brier, 1e-9),
        Difference("bootstrap net benefit", "pooled, by its definition", benefit, 1e-9),
        Difference(
            "bootstrap calibration slope",
            f"{library('statsmodels')} GLM(freq_weights)",
            largest(slope.replicates_[0], np.transpose(lines)),
            1e-9,
        ),
    ]


def _drawn(table: Table, fit: Replicates) -> list[Difference]:
    keys, y = row_keys(table.site.size), table.endpoints["y"]
    weights = np.zeros((20, y.size))
    for site in np.unique(table.site):
        own = table.site == site
        weights[:, own] = drawn_times(keys[own], y[own], 1, 20)
    oracle = f"{library('scikit-learn')} roc_auc_score(sample_weight)"
    return [Difference("bootstrap AUC, drawn by the sites", oracle, _areas(table, fit, list(weights)), 1e-9)]


CASES = (
    calibrated,
    calibrated_curve,
    deciles,
    net_benefits,
    net_benefits_survival,
    reclassified,
    replicates,
    drawn_replicates,
)

"""simulation: exactness of areas and their comparison, rank tests, cut-offs and confusion tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.statistics.confusion import ConfusionResult, confusion
from common.statistics.cutoffs import Cutoff, Rule, cutoffs
from common.statistics.mann_whitney import MannWhitneyResult, mann_whitney
from common.statistics.roc import RocComparison, compare_areas
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import (
    Case,
    Difference,
    Table,
    golden,
    largest,
    library,
    relative,
)
from simulation.exactness.predicted_risks import CUTS, RISKS, risks
from simulation.exactness.tables import breast_cancer, heart_disease
from simulation.views import COHORT

SCORES = ("mean_texture", "mean_smoothness", "mean_symmetry", "texture_error", "smoothness_error")
HEART = ("age", "trestbps", "thalach", "oldpeak")


def compared_areas() -> Case:
    """Five areas and DeLong's paired test between every two."""
    return Case(breast_cancer(), lambda: [compare_areas(COHORT, Recipe(), "y", SCORES)], lambda r: _compared(r[0]))


def _compared(fit: RocComparison) -> list[Difference]:
    frozen = golden("evaluation")
    theirs = [frozen["areas"][name] for name in fit.columns]
    oracle = f"pROC {frozen['r']['pROC']} roc, ci.auc"
    tests = [fit.difference(c["first"], c["second"]) for c in frozen["comparisons"]]
    paired = f"pROC {frozen['r']['pROC']} roc.test(paired)"
    p = [c["p"] for c in frozen["comparisons"]]
    intervals = [[c["low"], c["high"]] for c in frozen["comparisons"]]
    return [
        Difference("AUC, five scores", oracle, largest([f.auc_ for f in fit.rocs_], [t["auc"] for t in theirs]), 1e-12),
        Difference(
            "DeLong standard error",
            oracle,
            largest(np.sqrt(np.diag(fit.covariance_)), [t["std_err"] for t in theirs]),
            1e-12,
        ),
        Difference(
            "AUC 95 % interval", oracle,
            largest([f.interval for f in fit.rocs_], [[t["low"], t["high"]] for t in theirs]), 1e-12,
        ),
        Difference("paired DeLong p (relative)", paired, relative([t.p_ for t in tests], p), 1e-9),
        Difference("paired AUC difference, interval", paired, largest([t.interval for t in tests], intervals), 1e-12),
    ]  # fmt: skip


def pooled_ranks() -> Case:
    """Mann-Whitney U over all patients, with ties and missing values."""
    table = heart_disease()
    return Case(
        table,
        lambda: [mann_whitney(COHORT, Recipe(), "y", HEART, within_site=False)],
        lambda r: _pooled_ranks(table, r[0]),
    )


def _pooled_ranks(table: Table, fit: MannWhitneyResult) -> list[Difference]:
    from scipy import stats

    def groups(name: str) -> tuple[FloatArray, FloatArray]:
        x, y = table.columns[name], table.endpoints["y"]
        return x[(y == 1) & ~np.isnan(x)], x[(y == 0) & ~np.isnan(x)]

    u = [stats.mannwhitneyu(*groups(name)).statistic for name in fit.columns]
    plain, corrected = (
        [stats.mannwhitneyu(*groups(name), use_continuity=use, method="asymptotic").pvalue for name in fit.columns]
        for use in (False, True)
    )
    oracle = f"{library('scipy')} mannwhitneyu"
    return [
        Difference("Mann-Whitney U", oracle, largest(fit.u_, u), 0.0),
        Difference("Mann-Whitney log10 p", oracle, largest(np.log10(fit.p_), np.log10(plain)), 1e-8),
        Difference(
            "Mann-Whitney log10 p, continuity", oracle, largest(np.log10(fit.p_corrected_), np.log10(corrected)), 1e-8
        ),
    ]


def stratified_ranks() -> Case:
    """Van Elteren's test over four hospitals, with ties and missing values."""
    return Case(heart_disease(), lambda: [mann_whitney(COHORT, Recipe(), "y", HEART)], lambda r: _stratified(r[0]))


def _stratified(fit: MannWhitneyResult) -> list[Difference]:
    frozen = golden("evaluation")
    theirs = [frozen["van_elteren"]["heart"][name] for name in fit.columns]
    oracle = f"coin {frozen['r']['coin']} independence_test, strata"
    return [
        Difference("van Elteren z", oracle, largest(np.abs(fit.z_), [abs(t["z"]) for t in theirs]), 1e-10),
        Difference("van Elteren p", oracle, largest(fit.p_, [t["p"] for t in theirs]), 1e-12),
    ]


def chosen_cutoffs() -> Case:
    """Cut-offs by Youden's index, and at 90 % sensitivity or specificity."""
    rules = ((Rule.YOUDEN, 0.0), (Rule.SENSITIVITY, 0.9), (Rule.SPECIFICITY, 0.9))
    return Case(
        breast_cancer(),
        lambda: [cutoffs(COHORT, Recipe(), "y", SCORES, rule, target) for rule, target in rules],
        lambda r: _cutoffs([cutoff for part in r for cutoff in part]),
    )


def _cutoffs(fits: Sequence[Cutoff]) -> list[Difference]:
    frozen = golden("evaluation")
    theirs = [frozen["areas"][fit.column][fit.rule] for fit in fits]
    oracle = f"pROC {frozen['r']['pROC']} coords"
    value = largest([fit.value_ for fit in fits], [t["threshold"] for t in theirs])
    ours = [[fit.sensitivity_, fit.specificity_] for fit in fits]
    shares = largest(ours, [[t["sensitivity"], t["specificity"]] for t in theirs])
    return [
        Difference("cut-off (Youden, fixed sensitivity, specificity)", oracle, value, 1e-12),
        Difference("its sensitivity and specificity", oracle, shares, 1e-12),
    ]


def confusion_tables() -> Case:
    """Confusion tables of two risks at frozen cut-offs."""
    table = risks()
    return Case(table, lambda: [confusion(COHORT, Recipe(), "y", RISKS, CUTS[:, 0])], lambda r: _confusion(table, r[0]))


def _confusion(table: Table, fit: ConfusionResult) -> list[Difference]:
    from sklearn import metrics
    from statsmodels.stats.proportion import proportion_confint

    y = table.endpoints["y"]
    counts = shares = intervals = 0.0
    for i, (name, row) in enumerate(zip(fit.columns, fit.summary, strict=True)):
        test = table.columns[name] >= fit.cutoffs[i]
        counts = max(counts, largest(fit.counts_[i], metrics.confusion_matrix(y, test)))
        theirs = {
            "sensitivity": metrics.recall_score(y, test),
            "specificity": metrics.recall_score(y, test, pos_label=0),
            "ppv": metrics.precision_score(y, test),
            "npv": metrics.precision_score(y, test, pos_label=0),
            "accuracy": metrics.accuracy_score(y, test),
            "f1": metrics.f1_score(y, test),
            "balanced_accuracy": metrics.balanced_accuracy_score(y, test),
        }
        shares = max(shares, *(abs(row[key] - value) for key, value in theirs.items()))
        for key, (count, n) in fit.shares.items():
            low, high = proportion_confint(count[i], n[i], method="wilson")
            intervals = max(intervals, abs(row[f"{key}_low"] - low), abs(row[f"{key}_high"] - high))
    return [
        Difference("confusion table", f"{library('scikit-learn')} confusion_matrix", counts, 0.0),
        Difference("shares, F1, balanced accuracy", f"{library('scikit-learn')} metrics", shares, 1e-12),
        Difference("Wilson intervals", f"{library('statsmodels')} proportion_confint", intervals, 1e-12),
    ]


CASES = (compared_areas, pooled_ranks, stratified_ranks, chosen_cutoffs, confusion_tables)

"""common/study: the statistics that a study may declare in `[[analyses]]`, and the questions that each may ask.

A site answers a question only if its approved study declares a statistic that asks it. What every study asks (counts,
moments, logistic regression, AUC, life tables) is `ALWAYS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

StatisticName = Literal[
    "means",
    "quantiles",
    "t-test",
    "mann-whitney",
    "correlation",
    "rank-correlation",
    "univariable-logistic",
    "firth",
    "logistic-fixed-sites",
    "logistic-conditional",
    "backward-elimination",
    "lasso",
    "stability-selection",
    "mrmr",
    "chi-square",
    "reader-kappa",
    "random-effects",
    "cox-lasso",
    "cox",
    "cox-common",
    "concordance",
    "calibration",
    "decision-curve",
    "bootstrap",
    "cut-off",
    "compare-areas",
    "ordinal-logistic",
    "cause-specific-cox",
    "competing-risks",
    "restricted-mean",
    "follow-up",
    "stratified-log-rank",
]


@dataclass(frozen=True)
class Kind:
    """What a statistic needs of its analysis, and which questions it asks beyond `ALWAYS`.

    Attributes
    ----------
    title
        For readers.
    endpoint
        The kind of its endpoint.
    on
        Predictors of a training cohort, scores of models in a cohort that they are evaluated in, or groups of a
        training cohort.
    fewest
        Fewest predictors or models; 0 for a group that may be left out.
    times
        Whether the analysis names times: none, the one horizon that is needed, or any.
    """

    title: str
    endpoint: Literal["binary", "ordinal", "survival", "competing", "none"]
    questions: frozenset[str]
    on: Literal["predictors", "models", "group"] = "predictors"
    fewest: int = 1
    times: Literal["none", "one", "any"] = "none"


FOLDS = 10
"""Folds of every cross-validation. Dealings of one's choice would be so many equations for the patients dealt."""

ALWAYS = frozenset(
    {
        "query.flow",
        "query.classes",
        "query.missing",
        "query.deviations",
        "query.logistic",
        "query.score_counts",
        "query.roc_alone",
        "query.life_table",
        "query.survival_alone",
    }
)


def _asks(*names: str) -> frozenset[str]:
    return frozenset(f"query.{name}" for name in names)


IMPUTERS: Mapping[str, str] = MappingProxyType({"median": "query.grid_counts", "chained": "query.observed_gram"})
"""The question that fits the imputer of a model, by what the model says of missing values."""


ANALYSES: Mapping[StatisticName, Kind] = MappingProxyType(
    {
        "means": Kind("Means and standard deviations", "none", _asks()),
        "quantiles": Kind("Quartiles, guarded", "none", _asks("grid_counts")),
        "t-test": Kind("t tests", "binary", _asks("class_moments", "within_site_products")),
        "mann-whitney": Kind("Mann-Whitney tests", "binary", _asks("within_site_ranks")),
        "correlation": Kind("Pearson correlations", "none", _asks("cross_products"), fewest=2),
        "rank-correlation": Kind("Spearman correlations", "none", _asks("site_ranks"), fewest=2),
        "univariable-logistic": Kind("Logistic regressions on each predictor", "binary", _asks("marginal_logistic")),
        "firth": Kind("Firth's logistic regression", "binary", _asks("logistic_stack", "firth")),
        "logistic-fixed-sites": Kind(
            "Logistic regression with an intercept for each site", "binary", _asks("stratified_logistic")
        ),
        "logistic-conditional": Kind("Conditional logistic regression by site", "binary", _asks("stratified_logistic")),
        "backward-elimination": Kind("Backward elimination by AIC", "binary", _asks("logistic_stack"), fewest=2),
        "lasso": Kind(
            "LASSO with cross-validated penalty", "binary", _asks("set_moments", "penalised", "held_out"), fewest=2
        ),
        "stability-selection": Kind("Stability selection", "binary", _asks("set_moments", "penalised"), fewest=2),
        "mrmr": Kind("Predictors in order of mRMR", "binary", _asks("endpoint_products"), fewest=2),
        "chi-square": Kind("Chi-square tests of categories", "binary", _asks("class_table")),
        "reader-kappa": Kind("Agreement of two readers, Cohen's kappa", "none", _asks("reader_table")),
        "random-effects": Kind(
            "Random-effects summary of logistic regressions of single sites", "binary", _asks("logistic_alone")
        ),
        "cox-lasso": Kind(
            "LASSO of a Cox model, stratified by site", "survival", _asks("cox_sets", "cox_path"), fewest=2
        ),
        "cox": Kind(
            "Cox regression, stratified by site",
            "survival",
            _asks("cox", "cox_residuals", "schoenfeld"),
        ),
        "cox-common": Kind(
            "Cox regression with a common baseline",
            "survival",
            _asks("cox_risk_sets", "cox_pooled_residuals", "weighted_events"),
        ),
        "concordance": Kind("Harrell's concordance", "survival", _asks("pairs")),
        "calibration": Kind("Calibration", "binary", _asks("recalibration", "binned_risks"), on="models"),
        "decision-curve": Kind("Decision curve", "binary", _asks("threshold_counts"), on="models"),
        "bootstrap": Kind(
            "Bootstrap intervals",
            "binary",
            _asks("resampled_runs", "resampled_thresholds", "resampled_lines"),
            on="models",
        ),
        "cut-off": Kind(
            "Performance at the training cohort's Youden cut-off", "binary", _asks("threshold_counts"), on="models"
        ),
        "compare-areas": Kind(
            "Comparison of areas under ROC curves", "binary", _asks("placements"), on="models", fewest=2
        ),
        "ordinal-logistic": Kind(
            "Proportional-odds logistic regression", "ordinal", _asks("ordinal", "ordinal_parallel")
        ),
        "cause-specific-cox": Kind(
            "Cause-specific Cox regression, stratified by site",
            "competing",
            _asks("cox", "cox_residuals", "schoenfeld"),
        ),
        "competing-risks": Kind(
            "Cumulative incidence with Gray's test",
            "competing",
            _asks("competing_table"),
            on="group",
            fewest=0,
            times="any",
        ),
        "restricted-mean": Kind(
            "Restricted mean survival time", "survival", _asks(), on="group", fewest=0, times="one"
        ),
        "follow-up": Kind("Follow-up", "survival", _asks(), on="group", fewest=0, times="one"),
        "stratified-log-rank": Kind("Log-rank test stratified by site", "survival", _asks("log_rank_sums"), on="group"),
    }
)

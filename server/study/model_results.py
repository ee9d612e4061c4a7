"""server/study: what is published of models: their predictors, regressions, reductions, choices, and optimism."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.published.results import AFTER_SELECTION, Estimate, LogisticModel, Predictor, Result
from common.statistics.logistic import LogisticResult
from common.statistics.roc import RocResult
from common.study.chain import ChainedImpute
from common.study.coding import coded_columns
from common.study.modelling import Fixed
from common.study.protocol import Model, Study
from common.study.recipe import Cut, Impute
from common.study.terms import Term
from server.study.models import FittedModel, refusal

LEAK_AUC = 0.95


def publish(study: Study, fitted: FittedModel) -> list[Result]:
    """Moments, univariable and multivariable results of one model."""
    return [_moments_result(study, fitted), _alone_result(study, fitted), _fit_result(study, fitted)]


def model_base(study: Study, model: Model, part: str, statistic: str, title: str) -> dict[str, Any]:
    """What every result of a model in its training cohort says of itself."""
    return {
        "id": f"model.{model.name}.{part}",
        "statistic": statistic,
        "title": f"{title}, {model.title}",
        "cohort": model.cohort,
        "sites": sorted(study.cohort(model.cohort).sites),
        "how": "exact",
    }


def _moments_result(study: Study, fitted: FittedModel) -> Result:
    base = model_base(study, fitted.model, "moments", "moments", "Predictors")
    if isinstance(fitted.moments, FedmviError):
        status, note = refusal(fitted.moments)
        return Result.model_validate({**base, "status": status, "note": note})
    estimates = []
    for i, column in enumerate(fitted.columns):
        unit = study.variable(column.variable).unit if column.coding == "linear" else ""
        n, mean, std = fitted.moments.n_[i], fitted.moments.mean_[i], fitted.moments.std_[i]
        estimates += [
            Estimate(name="known", term=column.name, value=float(n)),
            Estimate(name="mean", term=column.name, value=float(mean), unit=unit),
            Estimate(name="std", term=column.name, value=_finite(std), unit=unit),
        ]
    return Result.model_validate({**base, "n": int(fitted.moments.n_.max()), "estimates": estimates})


def _finite(value: float | np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None


def _alone_result(study: Study, fitted: FittedModel) -> Result:
    estimates: list[Estimate] = []
    leaks = []
    for column, single, area in zip(fitted.columns, fitted.alone, fitted.alone_auc, strict=True):
        if isinstance(single, FedmviError):
            note = refusal(single)[1]
            estimates.append(Estimate(name="odds_ratio", term=column.name, value=None, note=note))
        elif single.separated_:
            estimates.append(Estimate(name="odds_ratio", term=column.name, value=None, note=_SEPARATED))
        else:
            estimates.append(Estimate(name="patients", term=column.name, value=float(single.n_)))
            estimates += _coefficient_estimates(single, skip_intercept=True)
        if isinstance(area, RocResult):
            low, high = area.interval
            estimates.append(
                Estimate(name="auc", term=column.name, value=area.auc_, low=_finite(low), high=_finite(high),
                         std_err=_finite(area.std_err_))
            )  # fmt: skip
            if max(area.auc_, 1.0 - area.auc_) > LEAK_AUC:
                leaks.append(column.name)
    note = ""
    if leaks:
        note = f"Suspected leak: {', '.join(leaks)} alone has an AUC above {LEAK_AUC}; check how it was recorded."
    base = model_base(study, fitted.model, "univariable", "univariable-logistic", "Each predictor alone")
    fits = [single for single in fitted.alone if isinstance(single, LogisticResult)]
    if fits:
        widest = max(fits, key=lambda single: single.n_)
        base |= {"n": widest.n_, "events": widest.events_}
    return Result.model_validate({**base, "estimates": estimates, "note": note})


_SEPARATED = (
    "The predictors separate the classes (completely or nearly), so that no maximum-likelihood estimate exists: "
    "use fewer or coarser predictors."
)


HARMONISED = " The formula is of harmonised features: it is not for values as a hospital measures them."


def _coefficient_estimates(fit: LogisticResult, *, skip_intercept: bool = False) -> list[Estimate]:
    estimates = []
    for row in fit.summary:
        if row["term"] == "intercept" and skip_intercept:
            continue
        estimates.append(
            Estimate(name="coef", term=row["term"], value=row["coef"], low=row["coef_low"], high=row["coef_high"],
                     std_err=row["std_err"], p=row["p"])
        )  # fmt: skip
        if row["term"] != "intercept":
            low, high = row["odds_ratio_low"], row["odds_ratio_high"]
            estimates.append(
                Estimate(name="odds_ratio", term=row["term"], value=_finite(row["odds_ratio"]), low=_finite(low),
                         high=_finite(high), p=row["p"])
            )  # fmt: skip
    return estimates


def _after_selection(found: Estimate) -> Estimate:
    """A coefficient of a model on scores, which were developed and chosen on the same patients."""
    return found.model_copy(update={"note": AFTER_SELECTION})


_HANDLED = {
    "complete-case": "complete cases",
    "mean": "missing values set to training means",
    "median": "missing values set to guarded training medians, of binary columns to means",
    "chained": "missing values filled by chained regressions of the training cohort, without the outcome",
}


_ON_SCORES = (
    " Scores among the predictors are out-of-fold ones; their p values take no notice of how the scores were developed "
    "and chosen."
)


def _fit_result(study: Study, fitted: FittedModel) -> Result:
    base = model_base(study, fitted.model, "coefficients", "multivariable-logistic", "All predictors together")
    fit = fitted.fit
    if isinstance(fit, FedmviError):
        status, note = refusal(fit)
        return Result.model_validate({**base, "status": status, "note": note})
    if isinstance(fit, Fixed):
        return _fixed_result(study, fitted, fit, base)
    base |= {"n": fit.n_, "events": fit.events_}
    if fit.separated_:
        return Result.model_validate({**base, "status": "not-estimable", "note": _SEPARATED})
    chi2, degrees, p = fit.likelihood_ratio
    estimates = [
        *(_after_selection(e) if fitted.scores else e for e in _coefficient_estimates(fit)),
        Estimate(name="log_likelihood", value=fit.log_likelihood_),
        Estimate(name="likelihood_ratio_chi2", term=f"df={degrees}", value=chi2, p=p),
        Estimate(name="aic", value=fit.aic),
        Estimate(name="events_per_parameter", value=fit.events_ / degrees),
        *_cutoff(fitted),
    ]
    scored = _ON_SCORES if fitted.scores else ""
    harmonised = HARMONISED if fitted.model.harmonise is not None else ""
    note = f"Wald intervals; {_HANDLED[fitted.model.missing]}; Newton rounds: {fit.rounds_}.{scored}{harmonised}"
    usable = None if harmonised else _usable(study, fitted, fit.covariance_.tolist())
    return Result.model_validate({**base, "estimates": estimates, "note": note, "model": usable})


def _cutoff(fitted: FittedModel) -> list[Estimate]:
    """The cut-off that was frozen with the model, where groups are formed by its score."""
    if not isinstance(fitted.cutoff, float):
        return []
    return [Estimate(name="cutoff", value=fitted.cutoff, note="Youden, in the training cohort")]


def _fixed_result(study: Study, fitted: FittedModel, fit: Fixed, base: dict[str, Any]) -> Result:
    """A formula from elsewhere: its coefficients, with neither intervals nor tests."""
    terms = ("intercept", *(column.name for column in fitted.columns))
    estimates = [
        Estimate(name="coef", term=term, value=value)
        for term, value in zip(terms, (fit.intercept, *fit.coefficients), strict=True)
    ]
    estimates += _cutoff(fitted)
    note = "The formula stands in the protocol; nothing was fitted."
    shown = {"estimates": estimates, "note": note, "model": _usable(study, fitted, [])}
    return Result.model_validate({**base, "title": f"Formula, {fitted.model.title}", **shown})


def predictor_of(study: Study, term: Term, cutoffs: Mapping[str, float | None]) -> Predictor:
    """One input of a model; `cutoffs` are those that training chose, by column."""
    variable, columns = study.variable(term.variable), coded_columns(study, (term,))
    return Predictor(
        variable=variable.name,
        coding=term.coding,
        terms=[column.name for column in columns],
        levels=list(variable.level_names),
        cutoff=cutoffs.get(columns[0].name, columns[0].cutoff) if term.coding == "above" else None,
        low=variable.low,
        high=variable.high,
    )


def _usable(study: Study, fitted: FittedModel, covariance: list[list[float]]) -> LogisticModel:
    """What a nomogram or a calculator needs beside the coefficients."""
    cuts = {step.name: step.cutoff for step in fitted.recipe.steps if isinstance(step, Cut)}
    predictors = [predictor_of(study, term, cuts) for term in fitted.model.predictors]
    endpoint = study.endpoint(fitted.model.endpoint).title
    filling = next((step for step in fitted.recipe.steps if isinstance(step, Impute | ChainedImpute)), None)
    return LogisticModel(
        endpoint=endpoint, predictors=predictors, covariance=covariance, scores=dict(fitted.scores), filling=filling
    )

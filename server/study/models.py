"""server/study: step: the logistic models: each predictor alone, all together, and the score that is frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.statistics.imputation import chained_imputer
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.moments import Moments, moments
from common.statistics.quantiles import Guard, quantiles
from common.statistics.roc import RocResult, roc
from common.study.chain import ChainedImpute
from common.study.protocol import Model, Study
from common.study.ranges import filled_range, plausible_range
from common.study.recipe import CodedColumn, Complete, Impute, Recipe, Score, Select, coded_columns
from server.study.results import Estimate, LogisticModel, Predictor, Result

LEAK_AUC = 0.95


@dataclass(frozen=True)
class FittedModel:
    """What training a model gave; each part is a result or the error that it met.

    Attributes
    ----------
    recipe
        From a site's table to the frame the model was fitted on, or would be used on.
    moments
        Of each coded column, where known.
    alone, alone_auc
        Each column alone: regression and AUC, in the order of `columns`.
    fit
        All columns together.
    """

    model: Model
    columns: tuple[CodedColumn, ...]
    recipe: Recipe
    moments: Moments | FedmviError
    alone: tuple[LogisticResult | FedmviError, ...]
    alone_auc: tuple[RocResult | FedmviError, ...]
    fit: LogisticResult | FedmviError

    @property
    def score(self) -> Score | None:
        """The frozen score, if the model could be fitted."""
        if isinstance(self.fit, FedmviError) or self.fit.separated_:
            return None
        names = tuple(column.name for column in self.columns)
        coefficients = tuple(float(c) for c in self.fit.coef_[1:])
        return Score(self.model.name, self.model.endpoint, names, coefficients, float(self.fit.coef_[0]))

    @property
    def scoring(self) -> Recipe | None:
        """The recipe that ends in the score."""
        return None if self.score is None else self.recipe.then(self.score)


def fit_all(study: Study) -> Conclusion[list[FittedModel]]:
    """Fit every model of the study in lock-step."""
    return (yield from together(*(fit(study, model) for model in study.models)))


def fit(study: Study, model: Model) -> Conclusion[FittedModel]:
    """Fit one model: each column alone on its known values, and all columns together."""
    columns = coded_columns(study, model.predictors)
    names = tuple(column.name for column in columns)
    select = Recipe().then(Select(columns))
    known = yield from attempt(moments(model.cohort, select, names))
    filled = yield from attempt(_filled(study, model, columns, select, known))
    recipe = select.then(Complete(names, (model.endpoint,))) if isinstance(filled, FedmviError) else filled
    alone = []
    alone_auc = []
    for name in names:
        single = select.then(Complete((name,), (model.endpoint,)))
        alone.append(attempt(logistic(model.cohort, single, model.endpoint, (name,), model.name)))
        alone_auc.append(attempt(roc(model.cohort, single, model.endpoint, name)))
    whole = attempt(_whole(model, filled, names))
    answers = yield from together(whole, *alone, *alone_auc)
    k = len(names)
    return FittedModel(model, columns, recipe, known, tuple(answers[1 : k + 1]), tuple(answers[k + 1 :]), answers[0])


def _whole(model: Model, filled: Recipe | FedmviError, names: tuple[str, ...]) -> Conclusion[LogisticResult]:
    """All columns together; without the imputer that the model declares there is no such fit."""
    if isinstance(filled, FedmviError):
        raise filled
    return (yield from logistic(model.cohort, filled, model.endpoint, names, model.name))


def _filled(
    study: Study, model: Model, columns: tuple[CodedColumn, ...], select: Recipe, known: Moments | FedmviError
) -> Conclusion[Recipe]:
    """From the coded columns to complete ones, as the model treats missing values; no outcome is used.

    Raises
    ------
    FedmviError
        What the imputer met.
    """
    names = tuple(column.name for column in columns)
    complete = Complete(names, (model.endpoint,))
    if model.missing == "complete-case":
        return select.then(complete)
    if isinstance(known, FedmviError):
        raise known
    if model.missing == "chained":
        low, high = zip(*(filled_range(study, column) for column in columns), strict=True)
        chained = yield from chained_imputer(model.cohort, select, names, low, high)
        return select.then(chained.step_, complete)
    values = known.mean_.copy()
    # The median of a binary column is a level itself, and whom it fills would be taken for known.
    numbers = [i for i, column in enumerate(columns) if column.coding in ("linear", "log")]
    if model.missing == "median" and numbers:
        low, high = zip(*(plausible_range(study, columns[i]) for i in numbers), strict=True)
        guard = Guard(low, high, study.limits.min_cell)
        fit = yield from quantiles(model.cohort, select, tuple(names[i] for i in numbers), (0.5,), guard)
        values[numbers] = fit.at(0.5)
    return select.then(Impute(names, tuple(values.tolist())), complete)


def publish(study: Study, fitted: FittedModel) -> list[Result]:
    """Moments, univariable and multivariable results of one model."""
    return [_moments_result(study, fitted), _alone_result(study, fitted), _fit_result(study, fitted)]


def refusal(error: FedmviError) -> tuple[str, str]:
    """Status and note of a result that met an error: the gate refused, or it cannot be estimated."""
    by = f"Site {error.site}: " if error.site else ""
    return ("refused" if 400 <= error.number < 500 else "not-estimable"), f"{by}{error.code}: {error.what} {error.do}"


def _base(study: Study, fitted: FittedModel, part: str, statistic: str, title: str) -> dict[str, Any]:
    return {
        "id": f"model.{fitted.model.name}.{part}",
        "statistic": statistic,
        "title": f"{title}, {fitted.model.title}",
        "cohort": fitted.model.cohort,
        "sites": sorted(study.cohort(fitted.model.cohort).sites),
        "how": "exact",
    }


def _moments_result(study: Study, fitted: FittedModel) -> Result:
    base = _base(study, fitted, "moments", "moments", "Predictors")
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
    base = _base(study, fitted, "univariable", "univariable-logistic", "Each predictor alone")
    fits = [single for single in fitted.alone if isinstance(single, LogisticResult)]
    if fits:
        widest = max(fits, key=lambda single: single.n_)
        base |= {"n": widest.n_, "events": widest.events_}
    return Result.model_validate({**base, "estimates": estimates, "note": note})


_SEPARATED = (
    "The predictors separate the classes (completely or nearly), so that no maximum-likelihood estimate exists: "
    "use fewer or coarser predictors."
)


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


_HANDLED = {
    "complete-case": "complete cases",
    "mean": "missing values set to training means",
    "median": "missing values set to guarded training medians, of binary columns to means",
    "chained": "missing values filled by chained regressions of the training cohort, without the outcome",
}


def _fit_result(study: Study, fitted: FittedModel) -> Result:
    base = _base(study, fitted, "coefficients", "multivariable-logistic", "All predictors together")
    fit = fitted.fit
    if isinstance(fit, FedmviError):
        status, note = refusal(fit)
        return Result.model_validate({**base, "status": status, "note": note})
    base |= {"n": fit.n_, "events": fit.events_}
    if fit.separated_:
        return Result.model_validate({**base, "status": "not-estimable", "note": _SEPARATED})
    chi2, degrees, p = fit.likelihood_ratio
    estimates = [
        *_coefficient_estimates(fit),
        Estimate(name="log_likelihood", value=fit.log_likelihood_),
        Estimate(name="likelihood_ratio_chi2", term=f"df={degrees}", value=chi2, p=p),
        Estimate(name="aic", value=fit.aic),
        Estimate(name="events_per_parameter", value=fit.events_ / degrees),
    ]
    note = f"Wald intervals; {_HANDLED[fitted.model.missing]}; Newton rounds: {fit.rounds_}."
    return Result.model_validate({**base, "estimates": estimates, "note": note, "model": _usable(study, fitted, fit)})


def _usable(study: Study, fitted: FittedModel, fit: LogisticResult) -> LogisticModel:
    """What a nomogram or a calculator needs beside the coefficients."""
    predictors = []
    for term in fitted.model.predictors:
        variable, columns = study.variable(term.variable), coded_columns(study, (term,))
        predictors.append(
            Predictor(
                variable=variable.name, coding=term.coding, terms=[column.name for column in columns],
                levels=list(variable.level_names), cutoff=columns[0].cutoff if term.coding == "above" else None,
                low=variable.low, high=variable.high,
            )
        )  # fmt: skip
    endpoint = study.endpoint(fitted.model.endpoint).title
    filling = next((step for step in fitted.recipe.steps if isinstance(step, Impute | ChainedImpute)), None)
    return LogisticModel(endpoint=endpoint, predictors=predictors, covariance=fit.covariance_.tolist(), filling=filling)

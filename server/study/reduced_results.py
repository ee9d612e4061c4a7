"""server/study: what is published of reduced models: what each step left, out-of-fold areas, choices, optimism."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.published.results import Estimate, LogisticModel, Result
from common.statistics.icc import MIN_LESIONS, Agreement
from common.statistics.reduced_score import ReducedScore
from common.statistics.roc import RocResult
from common.study.coding import coded_columns
from common.study.protocol import Model, Study
from server.study.evaluation import pooled_result
from server.study.model_results import HARMONISED, model_base, predictor_of
from server.study.models import FittedModel, ScoredModel, refusal
from server.study.optimism import Optimism
from server.study.reduced import Chosen, ReducedModel

_FAIR = (
    "Each training patient is scored by the model that was developed without the patient's fold: every filter, the "
    "correlations, mRMR and the LASSO's penalty anew."
)


def publish_reduced(study: Study, reduced: ReducedModel) -> list[Result]:
    """What the steps left, the formula, and the out-of-fold area."""
    whole = reduced.whole
    spread = [] if isinstance(whole, FedmviError) or whole.empty else [_spread(study, whole, reduced.model)]
    return [_reduction(study, reduced), *spread, _formula(study, reduced), _out_of_fold(study, reduced)]


def _refused(base: dict[str, Any], error: FedmviError) -> Result:
    status, note = refusal(error)
    return Result.model_validate({**base, "status": status, "note": note})


def _reduction(study: Study, reduced: ReducedModel) -> Result:
    model, whole = reduced.model, reduced.whole
    base = model_base(study, model, "reduction", "feature-reduction", "Predictors left after each step")
    if isinstance(whole, FedmviError):
        return _refused(base, whole)
    declared = len(coded_columns(study, model.predictors))
    steps = [("declared", declared), *((step, len(left)) for step, left in whole.left_)]
    estimates = [Estimate(name="left", term=step, value=float(count)) for step, count in steps]
    folds = [score for score in reduced.by_fold if isinstance(score, ReducedScore)]
    for name in whole.names_:
        share = sum(name in score.names_ for score in folds) / len(folds) if folds else math.nan
        value = share if math.isfinite(share) else None
        estimates.append(Estimate(name="selected_in_folds", term=name, value=value))
    note = "" if whole.names_ else "No signal was found: no predictor passed all steps."
    if whole.agreement_ is not None and model.reduction is not None and model.reduction.icc is not None:
        estimates += _agreement(whole.agreement_, whole.names_)
        note = f"{_readers(whole.agreement_, model.reduction.icc)} {note}".rstrip()
    events = whole.events_ if min(whole.events_, whole.n_ - whole.events_) >= study.limits.min_cell else None
    return Result.model_validate({**base, "n": whole.n_, "events": events, "estimates": estimates, "note": note})


def _agreement(found: Agreement, names: Sequence[str]) -> list[Estimate]:
    """How well readers agree on each predictor of the formula, with the lesions that both read."""
    return [
        Estimate(
            name="icc", term=name, value=float(found.icc_[i]), low=float(found.low_[i]), high=float(found.high_[i]),
            note=f"{int(found.n_[i])} patients of {int(found.sites_[i])} hospitals",
        )
        for name, i in ((name, found.features.index(name)) for name in names)
    ]  # fmt: skip


def _readers(found: Agreement, least: float) -> str:
    known = np.isfinite(found.icc_)
    middle = f", median {np.median(found.icc_[known]):.2f}" if known.any() else ""
    agreed = f"{len(found.reproducible(least))} of {len(found.features)} predictors"
    return (
        f"Both readers agree on {agreed}: {found.form.value} of at least {least:g} within hospitals, averaged over "
        f"those where both have read {MIN_LESIONS} patients or more{middle}."
    )


def _spread(study: Study, whole: ReducedScore, model: Model) -> Result:
    """Mean and standard deviation of the columns in the formula, on the scale on which they enter it."""
    base = model_base(study, model, "moments", "moments", "Predictors")
    estimates = [
        Estimate(name=name, term=term, value=value)
        for term, mean, std in zip(whole.names_, whole.mean_, whole.std_, strict=True)
        for name, value in (("known", float(whole.n_)), ("mean", mean), ("std", std))
    ]
    return Result.model_validate({**base, "n": whole.n_, "estimates": estimates})


def _formula(study: Study, reduced: ReducedModel) -> Result:
    model, whole, score = reduced.model, reduced.whole, reduced.score
    base = model_base(study, model, "coefficients", "multivariable-logistic", "Coefficients of the LASSO")
    if isinstance(whole, FedmviError):
        return _refused(base, whole)
    if score is None:
        failed = reduced.draft if isinstance(reduced.draft, FedmviError) else FedmviError(659, model=model.name)
        return _refused(base, failed)
    estimates = [
        Estimate(name="coef", term=term, value=value)
        for term, value in zip(("intercept", *score.names), (score.intercept, *score.coefficients), strict=True)
    ]
    estimates.append(Estimate(name="penalty", value=whole.lambda_))
    if not isinstance(reduced.cutoff, FedmviError):
        estimates.append(Estimate(name="cutoff", value=reduced.cutoff, note="Youden, on out-of-fold scores"))
    note = "Shrunk coefficients on the predictors' own scales; they have no intervals or p values."
    note += HARMONISED if model.harmonise is not None else ""
    usable = None if model.harmonise is not None else _usable(study, model, score.names)
    return Result.model_validate({**base, "n": whole.n_, "estimates": estimates, "note": note, "model": usable})


def _usable(study: Study, model: Model, names: Sequence[str]) -> LogisticModel:
    of = {column.name: term for term in model.predictors for column in coded_columns(study, (term,))}
    used = dict.fromkeys(of[name] for name in names)
    predictors = [predictor_of(study, term, {}) for term in used]
    left = [p.model_copy(update={"terms": [term for term in p.terms if term in names]}) for p in predictors]
    return LogisticModel(endpoint=study.endpoint(model.endpoint).title, predictors=left, covariance=[])


def _out_of_fold(study: Study, reduced: ReducedModel) -> Result:
    base = model_base(study, reduced.model, "cross-validated", "cross-validated-auc", "Cross-validated discrimination")
    area = reduced.area
    if isinstance(area, FedmviError):
        return _refused(base, area)
    return pooled_result(study, area, base, _FAIR, "out of fold")


_NO_SIGNAL = "No signal was found: none of the models has a score."


def publish_choice(study: Study, chosen: Chosen) -> Result:
    """The out-of-fold area of every model of a choice, and which was taken."""
    first = next(model for model in study.models if model.name == chosen.choice.models[0])
    base = {
        "id": f"choice.{chosen.choice.name}",
        "statistic": "choice",
        "title": f"Choice of the model, {chosen.choice.title}",
        "cohort": first.cohort,
        "sites": sorted(study.cohort(first.cohort).sites),
        "how": "exact",
    }
    estimates = []
    for name, area in chosen.areas.items():
        if isinstance(area, RocResult):
            low, high = area.interval
            note = "chosen" if name == chosen.model else "withheld everywhere" if name in chosen.barred else ""
            estimates.append(Estimate(name="auc", term=name, value=area.auc_, low=low, high=high, note=note))
        else:
            estimates.append(Estimate(name="auc", term=name, value=None, note=refusal(area)[1]))
    note = (
        "The largest cross-validated area of the training cohort decides; the area of the chosen one is a little too "
        "good for it. Other cohorts took no part."
    )
    if chosen.barred:
        note += (
            f" {', '.join(sorted(chosen.barred))}: not to be chosen, because training hospitals differ in whom they "
            "see, which harmonising without covariates takes away."
        )
    if chosen.model is None:
        missing = "No model could be chosen: none has a score." if chosen.barred else _NO_SIGNAL
        return Result.model_validate({**base, "status": "not-estimable", "estimates": estimates, "note": missing})
    return Result.model_validate({**base, "estimates": estimates, "note": note})


def publish_optimism(study: Study, fitted: ScoredModel, evaluated: Sequence[Result]) -> list[Result]:
    """The apparent area, the optimism, and their difference; nothing of a model whose study asks for none."""
    model, optimism = fitted.model, fitted.optimism
    if optimism is None:
        return []
    base = model_base(study, model, "optimism", "optimism", "Area corrected for optimism")
    if isinstance(optimism, FedmviError):
        return [_refused(base, optimism)]
    apparent = next((r for r in evaluated if r.id == f"model.{model.name}.auc.{model.cohort}"), None)
    area = next((e.value for e in apparent.estimates if e.name == "auc"), None) if apparent is not None else None
    if apparent is None or area is None or not isinstance(optimism, Optimism) or not math.isfinite(optimism.mean):
        why = "Not estimable: there is no apparent area, or no bootstrap set with a model."
        return [Result.model_validate({**base, "status": "not-estimable", "note": why})]
    estimates = [
        Estimate(name="apparent_auc", value=area),
        Estimate(name="optimism", value=optimism.mean, note=_repeated(fitted)),
        Estimate(name="corrected_auc", value=area - optimism.mean),
        Estimate(name="bootstrap_sets", value=float(optimism.own_.size)),
    ]
    failed = f" {optimism.failed_} sets without a model are left out." if optimism.failed_ else ""
    note = f"Harrell's bootstrap, inside hospitals and classes.{failed}"
    shown = {"n": apparent.n, "events": apparent.events, "estimates": estimates, "note": note}
    return [Result.model_validate({**base, **shown})]


def _repeated(fitted: ScoredModel) -> str:
    """Which steps of a model's development are done anew on each bootstrap set, and which are not."""
    anew = (
        "every filter, mRMR, and the LASSO with its penalty" if isinstance(fitted, ReducedModel) else "the regression"
    )
    kept = ["harmonisation"] if fitted.model.harmonise is not None else []
    if isinstance(fitted, FittedModel):
        kept += ["filling of missing values"] if fitted.model.missing != "complete-case" else []
        kept += (
            ["developing and choosing the scores among its predictors, which are out of fold"] if fitted.scores else []
        )
    return f"Done anew on each set: {anew}." + (f" Not repeated: {', '.join(kept)}." if kept else "")

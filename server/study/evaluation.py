"""server/study: step: discrimination of the frozen models in each cohort, pooled or by each site alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import HIDDEN, Summary, each
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Curve, Estimate, Result
from common.statistics.roc import RocAlone, RocResult, roc
from common.study.protocol import Cohort, Study
from common.study.recipe import Recipe
from server.study.models import FittedModel, ScoredModel, refusal

ROLE_NOTES = {
    "train": "Apparent: measured in the patients that the model was fitted on, and therefore optimistic.",
    "internal-test": "Patients of the training sites that were set aside before fitting.",
    "external-test": "Patients of sites that took no part in training; opened after the models were frozen.",
}


def evaluate(study: Study, fitted: Sequence[ScoredModel]) -> Conclusion[list[Result]]:
    """AUC of every fitted model in its training cohort and in each cohort that it names, in lock-step."""
    parts = []
    for model in fitted:
        for name in (model.model.cohort, *model.model.evaluate):
            parts.append(_one(study, model, study.cohort(name)))
    groups: list[list[Result]] = yield from together(*parts)
    return [result for group in groups for result in group]


def _one(study: Study, fitted: ScoredModel, cohort: Cohort) -> Conclusion[list[Result]]:
    own = cohort.name == fitted.model.cohort
    recipe, score = (fitted.training if own else fitted.scoring), fitted.score
    base: dict[str, Any] = {
        "id": f"model.{fitted.model.name}.auc.{cohort.name}",
        "statistic": "auc",
        "title": f"Discrimination of {fitted.model.title}, cohort {cohort.name}",
        "cohort": cohort.name,
        "sites": sorted(cohort.sites),
        "how": "exact",
    }
    note = ROLE_NOTES.get(cohort.role, "")
    if recipe is None or score is None:
        why = "The model could not be fitted."
        return [Result.model_validate({**base, "status": "not-estimable", "note": why})]
    if len(cohort.sites) < study.limits.min_sites:
        return (yield from _alone(study, recipe, score.column, fitted, base, note))
    answer = yield from attempt(roc(cohort.name, recipe, fitted.model.endpoint, score.column))
    if isinstance(answer, FedmviError):
        status, why = refusal(answer)
        return [Result.model_validate({**base, "status": status, "note": why})]
    if own and isinstance(fitted, FittedModel) and fitted.scores:
        note = f"{note} Its scores among the predictors are out-of-fold ones."
    return [pooled_result(study, answer, base, note, str(base["cohort"]))]


def pooled_result(study: Study, answer: RocResult, base: dict[str, Any], note: str, name: str) -> Result:
    """An area over all sites of a cohort, with its coarse curve of that name; none of a class with few patients."""
    cell = study.limits.min_cell
    shown = {
        "n": answer.n_,
        "events": answer.events_ if min(answer.events_, answer.n_ - answer.events_) >= cell else None,
    }
    if min(answer.events_, answer.n_ - answer.events_) < study.limits.min_test_class:
        why = f"Not estimable: fewer than {study.limits.min_test_class} patients in a class."
        return Result.model_validate({**base, **shown, "status": "not-estimable", "note": why})
    low, high = answer.interval
    auc = Estimate(name="auc", value=answer.auc_, low=low, high=high, std_err=answer.std_err_)
    curve = answer.curve(cell)
    roc_curve = Curve(name=name, x=curve[0].tolist(), y=curve[1].tolist())
    return Result.model_validate({**base, **shown, "estimates": [auc], "curves": [roc_curve], "note": note})


def alone_base(base: dict[str, Any], site: str) -> dict[str, Any]:
    """What the result of one site that answers alone says about itself."""
    title = f"{base['title']}, site {site}"
    return {**base, "id": f"{base['id']}.{site}", "title": title, "sites": [site], "how": "site-alone"}


def _alone(
    study: Study, recipe: Recipe, column: str, fitted: ScoredModel, base: dict[str, Any], note: str
) -> Conclusion[list[Result]]:
    query = RocAlone(
        str(base["cohort"]),
        recipe,
        endpoint=fitted.model.endpoint,
        column=column,
        min_class=study.limits.min_test_class,
        min_cell=study.limits.min_cell,
    )
    answer: dict[str, Summary | FedmviError] = yield each(query)
    return [_alone_result(study, site, answer[site], base, note) for site in sorted(answer)]


def _alone_result(study: Study, site: str, summary: Summary | FedmviError, base: dict[str, Any], note: str) -> Result:
    alone = alone_base(base, site)
    if isinstance(summary, FedmviError):
        status, why = refusal(summary)
        return Result.model_validate({**alone, "status": status, "note": why})
    absent, present, _ = (int(v) for v in summary["classes"])
    shown = {
        **alone,
        "n": None if HIDDEN in (absent, present) else absent + present,
        "events": None if present == HIDDEN else present,
    }
    if not int(summary["estimable"]):
        why = f"Not estimable: fewer than {study.limits.min_test_class} patients in a class."
        return Result.model_validate({**shown, "status": "not-estimable", "note": why})
    estimate, curve = own_area(summary, site)
    return Result.model_validate({**shown, "estimates": [estimate], "curves": [curve], "note": note})


def own_area(summary: Summary, name: str) -> tuple[Estimate, Curve]:
    """The area and the coarse curve that a site tells of itself in answer to `RocAlone`."""
    auc, std_err = (float(v) for v in summary["auc"])
    low, high = RocResult(np.array([]), np.array([]), auc, std_err, 0).interval
    points = int(summary["points"])
    curve = Curve(name=name, x=summary["curve"][0, :points].tolist(), y=summary["curve"][1, :points].tolist())
    return Estimate(name="auc", value=auc, low=low, high=high, std_err=std_err), curve

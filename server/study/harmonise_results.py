"""server/study: what is published of harmonised features: what is frozen, and where too few patients were."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import FedmviError
from common.statistics.combat import CombatFit
from common.study.harmonisation import MIN_PATIENTS
from common.study.protocol import Study
from server.study.model_results import model_base
from server.study.models import ScoredModel, refusal
from server.study.results import Estimate, Result


def publish_harmonisation(study: Study, fitted: Sequence[ScoredModel], evaluated: Sequence[Result]) -> list[Result]:
    """How the columns of each model are harmonised, and where a hospital had too few patients for it."""
    return [_result(study, one, evaluated) for one in fitted if one.model.harmonise is not None]


def _result(study: Study, fitted: ScoredModel, evaluated: Sequence[Result]) -> Result:
    model, fit = fitted.model, fitted.harmonised
    base = model_base(study, model, "harmonisation", "harmonisation", "Harmonisation of features")
    if not isinstance(fit, CombatFit):
        status, note = refusal(fit) if fit is not None else ("not-estimable", "Nothing was fitted.")
        return Result.model_validate({**base, "status": status, "note": note})
    estimates = [Estimate(name="features", value=float(len(fit.columns)))]
    for row in fit.summary:
        column = str(row["column"])
        estimates += [Estimate(name=name, term=column, value=row[name]) for name in ("grand_mean", "pooled_std")]
        effects = ((covariate, row[f"coef_{covariate}"]) for covariate in fit.covariates)
        estimates += [Estimate(name="effect", term=f"{column} by {name}", value=value) for name, value in effects]
    few = FedmviError(617).code
    own = (result for result in evaluated if result.id.split(".")[1] == model.name and few in result.note)
    places = sorted(one.cohort if one.how != "site-alone" else f"{one.cohort} at {one.sites[0]}" for one in own)
    refused = f": not evaluated are {', '.join(places)}." if places else "; here none was."
    note = f"{_NOTE} A hospital with fewer than {MIN_PATIENTS} patients of a cohort is refused{refused}"
    return Result.model_validate({**base, "n": fit.n_, "estimates": estimates, "note": note})


_NOTE = (
    "ComBat (Johnson, Li & Rabinovic, 2007): means, standard deviations and effects of covariates are those of the "
    "training cohort, fitted once, without outcomes, and so before folds and bootstrap sets are taken. Location and "
    "scale are each hospital's own, of all its patients of a cohort, and never leave it; they follow from its data and "
    "these numbers alone, whoever is scored. What differs between hospitals for other reasons than measurement, and "
    "is no covariate, is removed too."
)

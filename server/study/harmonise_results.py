"""server/study: what is published of harmonised features: what is frozen, and where too few patients were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.statistics.combat import CombatFit
from common.statistics.distributions import Z975
from common.statistics.max_t import LEVEL
from common.study.harmonisation import MIN_PATIENTS
from common.study.protocol import Model, Study
from common.study.shifted import compared_cohorts, compared_model
from common.study.withholding import withholdable
from server.study.counts import Counted
from server.study.model_results import model_base
from server.study.models import ScoredModel, refusal
from server.study.withholding import Suspected, other_frequencies


def publish_harmonisation(
    study: Study, fitted: Sequence[ScoredModel], evaluated: Sequence[Result], suspected: Suspected, counts: Counted
) -> list[Result]:
    """How the columns of each model are harmonised, and where it is not used: at `suspected` hospitals, and where
    there were too few patients for it."""
    return [_result(study, one, evaluated, suspected, counts) for one in fitted if one.model.harmonise is not None]


def _result(
    study: Study, fitted: ScoredModel, evaluated: Sequence[Result], suspected: Suspected, counts: Counted
) -> Result:
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
    estimates += [*_admitted(study, model, suspected), *_gained(study, model, evaluated)]
    note = f"{note} {_withheld(study, model, suspected)}{_uneven(study, model, counts)}"
    return Result.model_validate({**base, "n": fit.n_, "estimates": estimates, "note": note})


def _admitted(study: Study, model: Model, suspected: Suspected) -> list[Estimate]:
    """By hospital outside of training: 1 where the model is used, 0 where the first model of [shift] stands for it."""
    plain = compared_model(study)
    if plain is None or model not in withholdable(study):
        return []
    sites = sorted({site for name in compared_cohorts(study) for site in study.cohort(name).sites})
    why = {site: f"it may differ in whom it sees ({words})" for site, words in suspected.elsewhere.items()}
    if suspected.training:
        why = dict.fromkeys(sites, f"training hospitals differ in whom they see: {_listed(suspected.training)}")
    return [
        Estimate(
            name="admitted", term=site, value=float(site not in why),
            note=f"{why[site]}; read '{plain.name}' there" if site in why else "",
        )
        for site in sites
    ]  # fmt: skip


def _listed(why: Mapping[str, str]) -> str:
    return ", ".join(f"{site} ({words})" for site, words in sorted(why.items()))


_GAIN = (
    "the harmonised model's less that of '{}'; limits as if both were measured in different patients, which are wider "
    "than those of a paired test"
)


def _gained(study: Study, model: Model, evaluated: Sequence[Result]) -> Iterator[Estimate]:
    """By cohort, or hospital of one, how much larger the area is than without: whether it helped.

    One frame cannot hold a column both ways, so the two areas cannot be compared patient by patient.
    """
    plain = compared_model(study)
    if plain is None or model.name not in (study.shift.models if study.shift is not None else ()):
        return
    areas = {result.id: found for result in evaluated if (found := _area(result)) is not None}
    for result in evaluated:
        own, other = areas.get(result.id), areas.get(f"model.{plain.name}.{result.id.split('.', 2)[2]}")
        if result.id.split(".")[1] != model.name or result.cohort == model.cohort or own is None or other is None:
            continue
        gain, error = own[0] - other[0], float(np.hypot(own[1], other[1]))
        place = result.cohort if result.how != "site-alone" else f"{result.cohort} at {result.sites[0]}"
        yield Estimate(
            name="auc_difference", term=place, value=gain, low=gain - Z975 * error, high=gain + Z975 * error,
            std_err=error, note=_GAIN.format(plain.name),
        )  # fmt: skip


def _area(result: Result) -> tuple[float, float] | None:
    """Of a result with an area: it, and its standard error."""
    found = next((e for e in result.estimates if e.name == "auc"), None) if result.statistic == "auc" else None
    if found is None or found.value is None or found.std_err is None:
        return None
    return found.value, found.std_err


def _withheld(study: Study, model: Model, suspected: Suspected) -> str:
    if study.shift is None:
        return "Whether hospitals differ in whom they see was not looked at: the study has no [shift]."
    if model not in withholdable(study):
        covariates = model.harmonise.covariates if model.harmonise is not None else ()
        return (
            f"It is used at every hospital, on the assumption that {', '.join(covariates)} explain whom each sees."
            if covariates
            else "It is used at every hospital: [shift] compares them with another training cohort."
        )
    rule = (
        "Decided without the outcomes of test cohorts and frozen with the models: it is withheld at a hospital that "
        "may have another frequency of the outcome, has patients with other traits, or tells too little of itself, and "
        "everywhere if training hospitals differ so among themselves; wherever it is part of a sum, that sum is "
        "withheld."
    )
    if suspected.training:
        return (
            f"{rule} Withheld everywhere, as training hospitals differ: {_listed(suspected.training)}. It is not "
            "chosen among models and remedies, either; name the covariates that explain whom hospitals see."
        )
    if not suspected.elsewhere:
        return f"{rule} Here it is used at every hospital."
    return f"{rule} Withheld at {_listed(suspected.elsewhere)}."


def _uneven(study: Study, model: Model, counts: Counted) -> str:
    """Of a model that is used although training hospitals have other frequencies of the outcome; else ""."""
    sites = sorted(site for site, p in other_frequencies(model, counts).items() if p <= LEVEL)
    if not sites or model in withholdable(study):
        return ""
    named = model.harmonise.covariates if model.harmonise is not None else ()
    beyond = f", beyond what {', '.join(named)} explain" if named else ""
    return (
        f" The frequency of the outcome differs between training hospitals ({', '.join(sites)}): a part of that is "
        f"taken away with their means{beyond}."
    )


_NOTE = (
    "ComBat (Johnson, Li & Rabinovic, 2007): means, standard deviations and effects of covariates are those of the "
    "training cohort, fitted once, without outcomes, and so before folds and bootstrap sets are taken. Location and "
    "scale are each hospital's own and never leave it: of its training patients, or, where it has none of the same "
    "label, of all its test and calibration patients together. They follow from its data and these numbers alone, "
    "whoever is scored. Outside of training they are shrunk towards its own, "
    "by what chance alone makes of them. What differs between hospitals for other reasons than measurement, and is no "
    "covariate, is removed too."
)

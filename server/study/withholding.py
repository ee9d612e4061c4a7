"""server/study: step: where a harmonised model is withheld: decided without outcomes, and frozen with the models."""

from __future__ import annotations

from common.errors import FedmviError
from common.statistics.shift_verdict import Verdict, suspects_another_case_mix
from common.study.protocol import Study
from common.study.shifted import compared_cohorts, compared_model
from common.study.withholding import Withheld, withholdable
from server.study.shift import Looked


def suspected(study: Study, looked: Looked | None) -> dict[str, Verdict]:
    """Hospitals whose patients may differ in how often they have the outcome, and what is said of each.

    Of a hospital in several of the compared cohorts one is enough. Training hospitals are only among them for other
    patients than those of training. None where the study compares no hospitals.
    """
    model = compared_model(study)
    if looked is None or model is None:
        return {}
    if isinstance(looked.detection, FedmviError):
        return {site: Verdict.CANNOT_TELL for name in compared_cohorts(study) for site in study.cohort(name).sites}
    elsewhere = (one for one in looked.detection.sites_ if one.cohort != model.cohort)
    return {one.site: one.verdict for one in elsewhere if suspects_another_case_mix(one.verdict, one.label_)}


def withhold(study: Study, looked: Looked | None) -> tuple[Withheld, ...]:
    """Every harmonised model that has no covariates, at every such hospital."""
    sites = sorted(suspected(study, looked))
    return tuple(Withheld(model.name, site) for model in withholdable(study) for site in sites)

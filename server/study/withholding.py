"""server/study: step: where a harmonised model is withheld: decided without closed outcomes, frozen with the models.

ComBat removes a hospital's own location and scale, whatever they come from. Where hospitals differ in whom they see,
and no covariate says so, that is a part of what a model should know. At a hospital that took no part the model is
withheld there. Where the hospitals of training differ among themselves it is fitted on columns that lack that part,
and so withheld everywhere: their outcomes are open, and say more than their predictors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.max_t import LEVEL
from common.statistics.multiplicity import holm
from common.statistics.score_shift import class_frequency_p
from common.statistics.shift_detection import Detection, SiteShift
from common.statistics.shift_verdict import Verdict, suspects_another_case_mix
from common.study.protocol import Model, Study
from common.study.shifted import compared_cohorts, compared_model, traits
from common.study.withholding import Withheld, withholdable
from server.study.centre_areas import best_of
from server.study.counts import Counted
from server.study.leave_one_out import LeftOut
from server.study.models import ScoredModel
from server.study.shift import Looked, detect

FREQUENCY = "another frequency of the outcome"


@dataclass(frozen=True)
class Suspected:
    """Hospitals that may differ in whom they see, each with what is said of it.

    Attributes
    ----------
    elsewhere
        Those whose patients are not those of training.
    training
        Those of training, if they differ from each other.
    """

    elsewhere: Mapping[str, str]
    training: Mapping[str, str]


def look(study: Study, fitted: Sequence[ScoredModel], counts: Counted) -> Conclusion[tuple[Looked | None, Suspected]]:
    """Compare the hospitals without outcomes but those of training, and say which of them are suspected."""
    looked = yield from detect(study, fitted, counts)
    return looked, suspected(study, looked, counts)


def suspected(study: Study, looked: Looked | None, counts: Counted) -> Suspected:
    """Hospitals whose patients may differ in how often they have the outcome, or do differ in a trait of theirs.

    Of a hospital in several of the compared cohorts one is enough. None where the study compares no hospitals.
    """
    model = compared_model(study)
    if looked is None or model is None:
        return Suspected({}, {})
    frequencies = other_frequencies(model, counts)
    uneven = {site: FREQUENCY for site, p in frequencies.items() if p <= LEVEL}
    if isinstance(looked.detection, FedmviError):
        everywhere = {site for name in compared_cohorts(study) for site in study.cohort(name).sites}
        return Suspected(dict.fromkeys(sorted(everywhere), Verdict.CANNOT_TELL.value), uneven)
    elsewhere, training = {}, dict(uneven)
    for one in looked.detection.sites_:
        # What outcomes tell of a training hospital is better than what its predictors do.
        labelled = one.cohort == model.cohort and one.site in frequencies
        why = "" if labelled or not suspects_another_case_mix(one.verdict, one.label_) else one.verdict.value
        why = why or _other_traits(study, model, looked.detection, one)
        if why and one.cohort == model.cohort:
            training.setdefault(one.site, why)
        elif why:
            elsewhere[one.site] = why
    return Suspected(elsewhere, training)


def _other_traits(study: Study, model: Model, detection: Detection, one: SiteShift) -> str:
    """The traits of its patients that differ, which no scanner changes; "" for none."""
    names = detection.differing(one, traits(study, model))
    return f"other {', '.join(names)}" if names else ""


def other_frequencies(model: Model, counts: Counted) -> dict[str, float]:
    """By training hospital that tells its classes: p of the frequency that the others have, by Fisher's exact test,
    adjusted for all hospitals (Holm)."""
    classes = counts.classes[model.cohort, model.endpoint]
    if classes.pooled is None:
        return {}
    own = {site: row[:2] for site, row in zip(classes.sites, classes.by_site, strict=True) if int(row[:2].min()) >= 0}
    found = np.array([class_frequency_p(row, classes.pooled[:2] - row) for row in own.values()])
    return dict(zip(own, holm(found).tolist(), strict=True))


def withhold(study: Study, found: Suspected) -> tuple[Withheld, ...]:
    """Every harmonised model that has no covariates, at every such hospital; at all where those of training differ."""
    sites = study.sites() if found.training else sorted(found.elsewhere)
    return tuple(Withheld(model.name, site) for model in withholdable(study) for site in sites)


def withheld_everywhere(study: Study, found: Suspected) -> frozenset[str]:
    """The names of the models that nobody should be scored by."""
    return frozenset(model.name for model in withholdable(study)) if found.training else frozenset()


def without_withheld(left: LeftOut | None, names: frozenset[str]) -> LeftOut | None:
    """Leaving centres out, with the best of the models that are not withheld everywhere."""
    if left is None or not names:
        return left
    return replace(left, chosen=best_of({m.model.name: m.areas for m in left.models if m.model.name not in names}))

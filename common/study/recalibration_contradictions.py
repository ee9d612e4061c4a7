"""common/study: what a protocol says of recalibrations against the rest of it."""

from __future__ import annotations

from common.study.protocol import Study
from common.study.scores import named_model, named_network
from common.study.shifting import Recalibration

_Found = list[tuple[tuple[str | int, ...], str]]


def recalibration_contradictions(study: Study) -> _Found:
    """(place, sentence) pairs, empty for a sound protocol.

    That the patients of a calibration cohort are in no training or test cohort is said of cohorts in general.
    """
    found: _Found = []
    names = {model.name for model in study.models} | {network.name for network in study.networks}
    names |= {choice.name for choice in study.choices}
    for i, one in enumerate(study.recalibrations):
        place = ("recalibrations", i)
        if one.name in names or one.name in [other.name for other in study.recalibrations[:i]]:
            found.append(((*place, "name"), f"'{one.name}' is declared twice"))
        found += _model(study, (*place, "model"), one)
        found += _cohort(study, (*place, "cohort"), one)
    return found


def _model(study: Study, place: tuple[str | int, ...], one: Recalibration) -> _Found:
    model = named_model(study, one.model)
    if model is None and named_network(study, one.model) is not None:
        return [(place, f"'{one.model}' is a network: name a model that has `score.{one.model}` as its predictor")]
    if model is None:
        return [(place, f"'{one.model}' is not a model of the study")]
    if not model.evaluate:
        return [(place, f"'{one.model}' is evaluated nowhere: name test cohorts in its `evaluate`")]
    return []


def _cohort(study: Study, place: tuple[str | int, ...], one: Recalibration) -> _Found:
    cohort = next((c for c in study.cohorts if c.name == one.cohort), None)
    if cohort is None or cohort.role != "calibration":
        return [(place, f"'{one.cohort}' is not a cohort with the role calibration")]
    if 1 < len(cohort.sites) < study.limits.min_sites:
        least = study.limits.min_sites
        sentence = f"'{one.cohort}' has {len(cohort.sites)} sites: a sum needs {least}, and one site may fit alone"
        return [(place, sentence)]
    return []

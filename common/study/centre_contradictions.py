"""common/study: what leave-one-centre-out says against the rest of a protocol."""

from __future__ import annotations

from common.study.protocol import Study
from common.study.scores import score_terms


def centre_contradictions(study: Study) -> list[tuple[tuple[str | int, ...], str]]:
    """(place, sentence) pairs, empty for a sound protocol; models that there are not are told elsewhere."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if study.shift is None or not study.shift.leave_one_centre_out:
        return found
    cohorts = {cohort.name: cohort for cohort in study.cohorts}
    for i, name in enumerate(study.shift.models):
        model = next((model for model in study.models if model.name == name), None)
        if model is None or model.cohort not in cohorts:
            continue
        place, least = ("shift", "models", i), study.limits.min_sites
        if len(cohorts[model.cohort].sites) <= least:
            sentence = f"'{model.cohort}' has no more than {least} sites: without one of them nothing can be summed"
            found.append((("shift", "leave_one_centre_out"), sentence))
            break
        if score_terms(model):
            sentence = f"'{name}' has scores among its predictors, whose models would have to be left out with it"
            found.append((place, sentence))
    return found

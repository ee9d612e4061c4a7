"""common/study: what `cox` of `[[comparisons]]` says against the rest of a protocol."""

from __future__ import annotations

from common.study.modelling import is_score
from common.study.protocol import Comparison, Study
from common.study.scores import candidates, of_score, score_terms
from common.study.terms import Term

_Found = list[tuple[tuple[str | int, ...], str]]


def hazard_contradictions(study: Study, i: int, comparison: Comparison) -> _Found:
    """(place, sentence) pairs of one comparison; what its terms say by themselves is told with all other terms."""
    if comparison.cox is None:
        return []
    place = ("comparisons", i, "cox")
    found: _Found = []
    cohort = next((c for c in study.cohorts if c.name == comparison.cohort), None)
    if cohort is not None and len(cohort.sites) < study.limits.min_sites:
        sentence = f"'{cohort.name}' has fewer than {study.limits.min_sites} sites: nothing can be summed"
        found.append((place, sentence))
    if not is_score(comparison.group) and _levels(study, comparison.group) > 2:
        found.append((place, f"'{comparison.group}' has more than two groups: a hazard ratio is of two"))
    for earlier in study.comparisons[:i]:
        same = earlier.cohort == comparison.cohort and bool(_groups(study, earlier) & _groups(study, comparison))
        if same and earlier.cox is not None and earlier.cox != comparison.cox:
            # Patients of whom one covariate more is known are a few fewer: their sums would be the difference.
            sentence = f"'{earlier.name}' has other covariates for the same groups: all of one group alike"
            found.append((place, sentence))
            break
    for j, term in enumerate(comparison.cox):
        found += [((*place, j), sentence) for sentence in _no_covariate(study, comparison, j, term)]
    return found


def _groups(study: Study, comparison: Comparison) -> set[str]:
    """What forms the groups: a score of a choice is one of its candidates' scores."""
    group = comparison.group
    return {group, *(candidates(study, of_score(group)) if is_score(group) else ())}


def _levels(study: Study, group: str) -> int:
    endpoint = next((e for e in study.endpoints if e.name == group), None)
    try:
        return len((study.variable(group) if endpoint is None else endpoint).level_names)
    except KeyError:
        return 0  # a group that is none is told elsewhere


def _harmonised(study: Study, group: str) -> set[str]:
    """Predictors of models that are harmonised, whose scores form the groups or are predictors of these."""
    names = candidates(study, of_score(group)) if is_score(group) else ()
    models = [model for model in study.models if model.name in names]
    inner = {name for m in models for t in score_terms(m) for name in candidates(study, of_score(t.variable))}
    models += [model for model in study.models if model.name in inner]
    return {term.variable for model in models if model.harmonise is not None for term in model.predictors}


def _no_covariate(study: Study, comparison: Comparison, j: int, term: Term) -> list[str]:
    """Why a term cannot stand beside the groups; nothing where it can."""
    name, earlier = term.variable, (comparison.cox or ())[:j]
    if is_score(name):
        return [f"'{name}' is a score: covariates are variables of the hospitals' tables"]
    found = []
    if name == comparison.group:
        found.append(f"'{name}' is the group itself")
    if name in {other.variable for other in earlier}:
        found.append(f"'{name}' is named twice")
    if name in _harmonised(study, comparison.group):
        found.append(f"'{name}' is harmonised for the score of the groups: one frame cannot hold it both ways")
    try:
        variable = study.variable(name)
    except KeyError:
        return found  # that there is none is told with all other terms
    if variable.known != "preoperative" or variable.leaks:
        found.append(f"'{name}' is {variable.known}: covariates are known before surgery")
    return found

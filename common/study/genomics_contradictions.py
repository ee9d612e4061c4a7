"""common/study: what `[genomics]` says against the rest of a protocol."""

from __future__ import annotations

from common.study.genomics import ExpressionComparison, Genomics
from common.study.model_contradictions import score_contradictions
from common.study.modelling import is_score
from common.study.protocol import Study

_Place = tuple[str | int, ...]
_Found = list[tuple[_Place, str]]


def genomics_contradictions(study: Study) -> _Found:
    """(place, sentence) pairs, empty for a sound protocol."""
    if study.genomics is None:
        return []
    found = _gene_sets(study.genomics)
    names = [one.name for one in study.genomics.comparisons]
    for i, one in enumerate(study.genomics.comparisons):
        place = ("genomics", "comparisons", i)
        if one.name in names[:i]:
            found.append(((*place, "name"), f"'{one.name}' is declared twice"))
        found += _cohort(study, place, one)
        found += _group(study, place, one)
        found += _covariates(study, (*place, "covariates"), one)
    return found


def _gene_sets(genomics: Genomics) -> _Found:
    sets = genomics.gene_sets
    if sets is None or sets.smallest <= min(sets.largest, len(genomics.symbols)):
        return []
    sentence = f"no set has {sets.smallest} genes or more and at most {sets.largest}, of {len(genomics.symbols)} genes"
    return [(("genomics", "gene_sets", "smallest"), sentence)]


def _cohort(study: Study, place: _Place, one: ExpressionComparison) -> _Found:
    cohort = next((c for c in study.cohorts if c.name == one.cohort), None)
    if cohort is None or cohort.role != "genomics":
        return [((*place, "cohort"), f"'{one.cohort}' is not a cohort with the role genomics")]
    return []


def _group(study: Study, place: _Place, one: ExpressionComparison) -> _Found:
    if is_score(one.group):
        return score_contradictions(study, (*place, "group"), one.group, one.cohort)
    if one.by == "score":
        return [((*place, "by"), f"'{one.group}' is no score: name `score.` and a model or network as `group`")]
    endpoint = next((e for e in study.endpoints if e.name == one.group), None)
    if endpoint is not None:
        levels = endpoint.level_names
    else:
        try:
            levels = study.variable(one.group).level_names
        except KeyError:
            sentence = f"'{one.group}' is neither a score, nor an endpoint of the study, nor a variable"
            return [((*place, "group"), sentence)]
    if len(levels) != 2:
        return [((*place, "group"), f"'{one.group}' is not binary: two groups are compared")]
    return []


def _covariates(study: Study, place: _Place, one: ExpressionComparison) -> _Found:
    outcomes = {column for endpoint in study.endpoints for column in (endpoint.name, *endpoint.columns)}
    found: _Found = []
    for i, name in enumerate(one.covariates):
        if name == one.group:
            found.append((place, f"'{name}' is the group itself"))
        elif name in one.covariates[:i]:
            found.append((place, f"'{name}' is named twice"))
        elif name in outcomes or is_score(name):
            what = "a score" if is_score(name) else "an endpoint"
            found.append((place, f"'{name}' is {what}: covariates are variables of the hospitals' tables"))
        else:
            found += [(place, sentence) for sentence in _no_covariate(study, name)]
    return found


def _no_covariate(study: Study, name: str) -> list[str]:
    """Why a variable cannot be a column of a design; nothing where it can."""
    try:
        variable = study.variable(name)
    except KeyError:
        return [f"'{name}' is neither in the dictionary nor in [[variables]]"]
    if variable.leaks or variable.known == "follow-up":
        return [f"'{name}' tells of the outcome, and its effect would be taken out of the comparison"]
    if len(variable.level_names) > 2:
        return [f"'{name}' has more than two levels: a covariate is a number or binary"]
    if variable.kind == "continuous" and None in (variable.low, variable.high):
        return [f"'{name}' is used as a number: give its plausible range, `low` and `high`"]
    return []

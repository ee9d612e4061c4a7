"""common/study: what `[characteristics]`, `[[subgroups]]` and acquisition facts say against the rest of a protocol."""

from __future__ import annotations

from common.study.acquisition import LEVELS, acquisition_facts
from common.study.dictionary import Variable
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.subgroups import Division, Subgroups

_Found = list[tuple[tuple[str | int, ...], str]]


def table_contradictions(study: Study) -> _Found:
    """As `contradictions`, of characteristics and subgroups."""
    found = _acquisition(study) + (_characteristics(study) if study.characteristics is not None else [])
    names = [s.name for s in study.subgroups]
    found += [(("subgroups", i, "name"), f"'{n}' is declared twice") for i, n in enumerate(names) if n in names[:i]]
    for i, subgroups in enumerate(study.subgroups):
        found += _subgroups(study, i, subgroups)
    return found


def _acquisition(study: Study) -> _Found:
    """A study may name some of the levels that images' headers tell: patients of another one have no value then."""
    found: _Found = []
    for i, variable in enumerate(study.variables):
        levels = LEVELS[variable.name] if variable.name in acquisition_facts(study.preparation) else None
        if levels is not None and not (variable.level_names and set(variable.level_names) <= set(levels)):
            sentence = f"'{variable.name}' is read from the images: its levels are some of {', '.join(levels)}"
            found.append((("variables", i, "levels"), sentence))
    return found


def _characteristics(study: Study) -> _Found:
    table = study.characteristics
    if table is None:
        return []
    found: _Found = []
    if table.by is not None and table.by not in {e.name for e in study.endpoints if e.kind == "binary"}:
        found.append((("characteristics", "by"), f"'{table.by}' is not a binary endpoint of the study"))
    for i, name in enumerate(table.variables):
        place = ("characteristics", "variables", i)
        sentence = _unusable(study, name)
        if sentence:
            found.append((place, sentence))
        elif name in acquisition_facts(study.preparation):
            # Counts of one column in two tables could tell what either hides.
            found.append((place, f"'{name}' is told in the table of how images were acquired"))
        elif name in table.variables[:i]:
            found.append((place, f"'{name}' is named twice"))
        elif _endless(study.variable(name)):
            found.append((place, f"'{name}' is used as a number: give its plausible range, `low` and `high`"))
    return found


def _subgroups(study: Study, i: int, subgroups: Subgroups) -> _Found:
    found: _Found = []
    model = next((m for m in study.models if m.name == subgroups.model), None)
    cohort = next((c for c in study.cohorts if c.name == subgroups.cohort), None)
    if model is None:
        found.append((("subgroups", i, "model"), f"'{subgroups.model}' is not one of [[models]]"))
    elif subgroups.cohort not in model.evaluate:
        sentence = f"the model '{subgroups.model}' is not evaluated in '{subgroups.cohort}'"
        found.append((("subgroups", i, "cohort"), sentence))
    if cohort is not None and len(cohort.sites) < study.limits.min_sites:
        sentence = f"'{subgroups.cohort}' has fewer than {study.limits.min_sites} sites: nothing can be summed"
        found.append((("subgroups", i, "cohort"), sentence))
    if any((s.model, s.cohort) == (subgroups.model, subgroups.cohort) for s in study.subgroups[:i]):
        found.append((("subgroups", i, "cohort"), "this model has subgroups of this cohort already: add to their `by`"))
    earlier = next((s for s in study.subgroups[:i] if s.cohort == subgroups.cohort), None)
    if earlier is not None and earlier.by != subgroups.by:
        # Cut-offs that differ a little would tell the few patients between them.
        sentence = f"'{earlier.name}' divides the patients of '{subgroups.cohort}' otherwise: all tables alike"
        found.append((("subgroups", i, "by"), sentence))
    for j, division in enumerate(subgroups.by):
        place = ("subgroups", i, "by", j)
        sentence = _undividing(study, division)
        if not sentence and division.variable in {d.variable for d in subgroups.by[:j]}:
            # Two cut-offs would tell the few patients between them.
            sentence = f"'{division.variable}' divides the patients already"
        if sentence:
            found.append((place, sentence))
    return found


def _endless(variable: Variable) -> bool:
    return variable.kind == "continuous" and None in (variable.low, variable.high)


def _unusable(study: Study, name: str) -> str:
    """Why a variable cannot be asked about; "" where it can."""
    if is_score(name):
        return f"'{name}' is a score, and no variable of the hospitals' tables"
    try:
        study.variable(name)
    except KeyError:
        return f"'{name}' is neither in the dictionary nor in [[variables]]"
    if name in {column for endpoint in study.endpoints for column in endpoint.columns}:
        return f"'{name}' is an endpoint itself"
    return ""


def _undividing(study: Study, division: Division) -> str:
    """Why something cannot divide the patients; "" where it can."""
    sentence = _unusable(study, division.variable)
    if sentence:
        return sentence
    variable = study.variable(division.variable)
    if variable.leaks or variable.known == "follow-up":
        return f"'{division.variable}' tells of the outcome: subgroups are those of patients before it is known"
    if variable.kind != "continuous" and division.cutoff is not None:
        return f"'{division.variable}' has levels: it has no `cutoff`"
    if variable.kind == "continuous" and division.cutoff is None and variable.cutoff is None:
        return f"'{division.variable}' has no cut-off in the dictionary: give `cutoff`"
    return ""

"""common/study: what one part of a protocol says against another, all of it at once."""

from __future__ import annotations

import math

from common.study.analyses import ANALYSES
from common.study.centre_contradictions import centre_contradictions
from common.study.dictionary import DICTIONARY, Variable
from common.study.features import LINEAR_LIMIT
from common.study.genomics_contradictions import genomics_contradictions
from common.study.harmonised import harmonise_contradictions
from common.study.hazard_contradictions import hazard_contradictions
from common.study.model_contradictions import analysed_contradictions, model_contradictions
from common.study.modelling import is_score
from common.study.network_contradictions import network_contradictions
from common.study.protocol import Analysis, Cohort, Comparison, Model, Study
from common.study.ranges import NUMBERS
from common.study.recalibration_contradictions import recalibration_contradictions
from common.study.shifted import shift_contradictions
from common.study.table_contradictions import table_contradictions
from common.study.terms import Term


def contradictions(study: Study) -> list[tuple[tuple[str | int, ...], str]]:
    """What one part of a protocol says against another: (place, sentence) pairs, empty for a sound protocol."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    found += _twice("endpoints", [e.name for e in study.endpoints])
    found += _twice("cohorts", [c.name for c in study.cohorts])
    found += _twice("models", [m.name for m in study.models])
    found += _twice("variables", [v.name for v in study.variables])
    found += _twice("comparisons", [c.name for c in study.comparisons])
    for i, variable in enumerate(study.variables):
        if "." in variable.name and not (study.preparation and study.preparation.has_feature(variable.name)):
            found.append((("variables", i, "name"), f"'{variable.name}' is not a feature of [preparation]"))
        usual = DICTIONARY.get(variable.name)
        if usual is not None and (usual.known != variable.known or usual.leaks != variable.leaks):
            sentence = f"the dictionary's '{variable.name}' is {usual.known}: give your variable another name"
            found.append((("variables", i, "known"), sentence))
    for i, cohort in enumerate(study.cohorts):
        found += _cohort_contradictions(study, i, cohort)
    for i, model in enumerate(study.models):
        found += _model_contradictions(study, i, model)
    found += _twice("analyses", [a.name for a in study.analyses])
    for i, analysis in enumerate(study.analyses):
        found += _analysis_contradictions(study, i, analysis)
    for i, comparison in enumerate(study.comparisons):
        found += _comparison_contradictions(study, i, comparison)
    for name in sorted(set(study.reporting.site_ethics) - set(study.sites())):
        found.append((("reporting", "site_ethics"), f"'{name}' is not a site of any cohort"))
    found += harmonise_contradictions(study) + shift_contradictions(study) + _looked_at(study)
    found += recalibration_contradictions(study) + centre_contradictions(study) + genomics_contradictions(study)
    return found + table_contradictions(study) + network_contradictions(study) + model_contradictions(study)


_Found = list[tuple[tuple[str | int, ...], str]]


def _twice(table: str, names: list[str]) -> _Found:
    return [((table, i, "name"), f"'{n}' is declared twice") for i, n in enumerate(names) if n in names[:i]]


def _cohort_contradictions(study: Study, i: int, cohort: Cohort) -> _Found:
    found: _Found = []
    prediction = ("train", "internal-test", "calibration", "external-test")
    binary = {e.name for e in study.endpoints if e.kind == "binary"}
    if cohort.split and cohort.split.stratify and cohort.split.stratify not in binary:
        found.append((("cohorts", i, "split"), f"'{cohort.split.stratify}' is not a binary endpoint"))
    for other in study.cohorts[:i]:
        shared = sorted(set(cohort.sites) & set(other.sites))
        if not shared or cohort.role not in prediction or other.role not in prediction:
            continue
        apart = cohort.label is not None and other.label is not None and cohort.label != other.label
        if not apart and cohort.split is None and other.split is None:
            found.append(
                (
                    ("cohorts", i, "sites"),
                    f"the patients of '{shared[0]}' would be in '{other.name}' and '{cohort.name}'; "
                    "a patient has one prediction role: tell them apart by `label` or `split`",
                )
            )
    return found


def _model_contradictions(study: Study, i: int, model: Model) -> _Found:
    found: _Found = []
    endpoints = {e.name: e for e in study.endpoints}
    cohorts = {c.name: c for c in study.cohorts}
    if model.endpoint not in endpoints or endpoints[model.endpoint].kind != "binary":
        found.append((("models", i, "endpoint"), f"'{model.endpoint}' is not a binary endpoint of the study"))
    if model.cohort not in cohorts or cohorts[model.cohort].role != "train":
        found.append((("models", i, "cohort"), f"'{model.cohort}' is not a cohort with the role train"))
    if model.cohort in cohorts and len(cohorts[model.cohort].sites) < study.limits.min_sites:
        found.append(
            (
                ("models", i, "cohort"),
                f"'{model.cohort}' has fewer than {study.limits.min_sites} sites: nothing can be summed",
            )
        )
    for name in model.evaluate:
        if name not in cohorts or cohorts[name].role not in ("internal-test", "external-test"):
            found.append((("models", i, "evaluate"), f"'{name}' is not an internal-test or external-test cohort"))
    source = endpoints[model.endpoint].columns if model.endpoint in endpoints else ()
    used: set[tuple[str, str, float | None]] = set()
    for j, term in enumerate(model.predictors):
        place = ("models", i, "predictors", j)
        found += _term_contradictions(study, place, term, source)
        if (term.variable, term.coding, term.cutoff) in used:
            found.append((place, f"'{term.variable}' is used twice in the same coding"))
        used.add((term.variable, term.coding, term.cutoff))
    return found


def _term_contradictions(study: Study, place: tuple[str | int, ...], term: Term, source: tuple[str, ...]) -> _Found:
    try:
        variable = study.variable(term.variable)
    except KeyError:
        if "." in term.variable:
            return [(place, f"'{term.variable}' is not a feature of [preparation]")]
        return [(place, f"'{term.variable}' is neither in the dictionary nor in [[variables]]")]
    found: _Found = []
    if (term.coding == "levels") == (variable.kind == "continuous"):
        found.append((place, f"the coding '{term.coding}' does not fit '{term.variable}', which is {variable.kind}"))
    if term.cutoff is not None and term.coding != "above":
        found.append((place, "`cutoff` belongs to the coding `above`"))
    scored = is_score(term.variable)
    if term.coding == "above" and term.cutoff is None and variable.cutoff is None and not scored:
        found.append((place, f"'{term.variable}' has no cut-off in the dictionary: give `cutoff`"))
    if term.coding in NUMBERS and (variable.low is None or variable.high is None):
        found.append((place, f"'{term.variable}' is used as a number: give its plausible range, `low` and `high`"))
    if "." in term.variable and not scored and not found:
        low, high = variable.low or 0.0, variable.high or 0.0
        if term.coding == "linear" and max(-low, high) > LINEAR_LIMIT:
            sentence = f"'{term.variable}' may be too large: use the coding 'log', or declare a range up to"
            found.append((place, f"{sentence} {LINEAR_LIMIT:g} under [[variables]]"))
        if term.coding == "log" and low <= -1:
            sentence = f"'{term.variable}' may be negative: declare its range, with `low = 0`, under [[variables]]"
            found.append((place, sentence))
    if term.variable in source:
        found.append((place, f"'{term.variable}' is the endpoint itself"))
    return found


def _analysis_contradictions(study: Study, i: int, analysis: Analysis) -> _Found:
    kind = ANALYSES[analysis.statistic]
    found: _Found = []
    kinds = {e.name: e.kind for e in study.endpoints}
    if kinds.get(analysis.endpoint or "", "none") != kind.endpoint:
        article = "an" if kind.endpoint == "ordinal" else "a"
        wanted = "no endpoint" if kind.endpoint == "none" else f"{article} {kind.endpoint} endpoint of the study"
        found.append((("analyses", i, "endpoint"), f"'{analysis.statistic}' needs {wanted}"))
    given = {"predictors": analysis.predictors, "models": analysis.models, "group": (analysis.group,)}
    given = {on: parts for on, parts in given.items() if parts and parts != (None,)}
    if len(given.get(kind.on, ())) < kind.fewest or given.keys() - {kind.on}:
        few = "a `group`" if kind.on == "group" else f"{kind.fewest} or more `{kind.on}`"
        found.append((("analyses", i, kind.on), f"'{analysis.statistic}' needs {few} only"))
    found += _setting_contradictions(study, i, analysis)
    if analysis.group is not None:
        found += _group_contradictions(study, ("analyses", i, "group"), analysis.group)
    cohorts = {c.name: c for c in study.cohorts}
    cohort = cohorts.get(analysis.cohort)
    if cohort is None or (kind.on != "models" and cohort.role != "train"):
        found.append((("analyses", i, "cohort"), f"'{analysis.cohort}' is not a cohort with the role train"))
    elif len(cohort.sites) < study.limits.min_sites:
        sentence = f"'{analysis.cohort}' has fewer than {study.limits.min_sites} sites: nothing can be summed"
        found.append((("analyses", i, "cohort"), sentence))
    models = {m.name: m for m in study.models}
    found += analysed_contradictions(study, i, analysis)
    # A reduced model has columns of its own only, and fills none.
    filling = {models[name].missing for name in analysis.models if name in models and not models[name].reduction}
    if len(filling) > 1:
        found.append((("analyses", i, "models"), "the models treat missing values differently"))
    if len(analysis.models) > 1 and any(models[n].missing == "chained" for n in analysis.models if n in models):
        sentence = "a model fills missing values by chained regressions of its own: analyse it alone"
        found.append((("analyses", i, "models"), sentence))
    return found + _analysed_terms(study, i, analysis)


def _analysed_terms(study: Study, i: int, analysis: Analysis) -> _Found:
    found: _Found = []
    source = next((e.columns for e in study.endpoints if e.name == analysis.endpoint), ())
    for j, term in enumerate(analysis.predictors):
        found += _term_contradictions(study, ("analyses", i, "predictors", j), term, source)
        if is_score(term.variable):
            found.append((("analyses", i, "predictors", j), "scores are predictors of [[models]] only"))
        if analysis.statistic == "chi-square" and term.coding in NUMBERS:
            sentence = f"'chi-square' compares categories: use '{term.variable}' with a cut-off"
            found.append((("analyses", i, "predictors", j), sentence))
        if analysis.statistic == "reader-kappa" and term.coding != "levels":
            sentence = f"'reader-kappa' is of traits with levels, and '{term.variable}' is a number"
            found.append((("analyses", i, "predictors", j), sentence))
    return found


def _looked_at(study: Study) -> _Found:
    """Of the predictors of `[shift]`: they are compared where endpoints are closed, so none may tell of an outcome."""
    found: _Found = []
    terms = study.shift.predictors if study.shift is not None else ()
    source = tuple(column for endpoint in study.endpoints for column in endpoint.columns)
    for j, term in enumerate(terms):
        place = ("shift", "predictors", j)
        wrong = _term_contradictions(study, place, term, source)
        if is_score(term.variable):
            wrong = [(place, f"'{term.variable}' is a score: nothing is trained yet")]
        elif not wrong and _tells(study.variable(term.variable)):
            wrong = [(place, f"'{term.variable}' is not known before surgery, and tells of the outcome")]
        elif term in terms[:j]:
            wrong = [(place, f"'{term.variable}' is used twice in the same coding")]
        found += wrong
    return found


def _tells(variable: Variable) -> bool:
    return bool(variable.leaks) or variable.known != "preoperative"


def _setting_contradictions(study: Study, i: int, analysis: Analysis) -> _Found:
    if analysis.statistic == "rank-correlation" and not analysis.within_site:
        # Ranks over all sites need tables of the server's making, which could single out patients.
        return [(("analyses", i, "within_site"), "ranks are compared within sites only")]
    wanted, place = ANALYSES[analysis.statistic].times, ("analyses", i, "times")
    if wanted == "none" and analysis.times:
        return [(place, f"'{analysis.statistic}' has no `times`")]
    if wanted == "one" and len(analysis.times) != 1:
        return [(place, f"'{analysis.statistic}' needs one time, its horizon, in `times`")]
    horizon = next((e.horizon for e in study.endpoints if e.name == analysis.endpoint), math.inf)
    return [
        (place, f"the time {time:g} is not between 0 and the endpoint's maximum")
        for time in analysis.times
        if not 0 < time <= horizon
    ]


def _group_contradictions(study: Study, place: tuple[str | int, ...], group: str) -> _Found:
    """Groups are the classes of a binary or ordinal endpoint, or else the levels of a variable."""
    levels = next((e.level_names for e in study.endpoints if e.name == group), None)
    if levels is None:
        try:
            levels = study.variable(group).level_names
        except KeyError:
            levels = ()
    return [] if levels else [(place, f"'{group}' does not form groups")]


def _comparison_contradictions(study: Study, i: int, comparison: Comparison) -> _Found:
    found: _Found = []
    endpoints = {e.name: e.kind for e in study.endpoints}
    if endpoints.get(comparison.endpoint) != "survival":
        found.append((("comparisons", i, "endpoint"), f"'{comparison.endpoint}' is not a survival endpoint"))
    cohort = next((c for c in study.cohorts if c.name == comparison.cohort), None)
    if cohort is None:
        found.append((("comparisons", i, "cohort"), f"'{comparison.cohort}' is not a cohort"))
    if comparison.horizon is not None and endpoints.get(comparison.endpoint) == "survival":
        place = ("comparisons", i, "horizon")
        if comparison.horizon > study.endpoint(comparison.endpoint).horizon:
            found.append((place, "the horizon lies beyond the endpoint's maximum"))
        if any(time > comparison.horizon for time in comparison.times):
            found.append((place, "one of `times` lies beyond the horizon"))
        if cohort is not None and len(cohort.sites) < study.limits.min_sites:
            sentence = f"'{cohort.name}' has fewer than {study.limits.min_sites} sites: a site alone has no horizon"
            found.append((place, sentence))
    outcomes = tuple(column for endpoint in study.endpoints for column in endpoint.columns)
    for j, term in enumerate(comparison.cox or ()):
        found += _term_contradictions(study, ("comparisons", i, "cox", j), term, outcomes)
    found += hazard_contradictions(study, i, comparison)
    if is_score(comparison.group):
        return found  # see `model_contradictions`
    return found + _group_contradictions(study, ("comparisons", i, "group"), comparison.group)

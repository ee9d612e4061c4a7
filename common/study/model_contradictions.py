"""common/study: what a protocol says of reductions, choices, scores and formulas against the rest of it."""

from __future__ import annotations

from collections.abc import Iterator

from common.study.coding import coded_columns
from common.study.modelling import Choice, is_score
from common.study.networks import Network
from common.study.protocol import Analysis, Model, Study
from common.study.scores import candidates, named_model, named_network, of_score, score_terms
from common.study.terms import Term

_Place = tuple[str | int, ...]
_Found = list[tuple[_Place, str]]


def model_contradictions(study: Study) -> _Found:
    """(place, sentence) pairs, empty for a sound protocol."""
    found: _Found = []
    names = [*(model.name for model in study.models), *(network.name for network in study.networks)]
    for i, choice in enumerate(study.choices):
        if choice.name in names or choice.name in [c.name for c in study.choices[:i]]:
            found.append((("choices", i, "name"), f"'{choice.name}' is declared twice"))
        found += _choice(study, i, choice)
    for i, model in enumerate(study.models):
        place = ("models", i)
        if named_network(study, model.name) is not None and _is_used(study, model.name):
            found.append(((*place, "name"), f"a network is called '{model.name}' too: whose is `score.{model.name}`?"))
        found += _reduction(study, place, model) if model.reduction else []
        found += _fixed(study, place, model) if model.fixed else []
        found += _scores(study, place, model)
    found += _one_source(study)
    for i, comparison in enumerate(study.comparisons):
        if is_score(comparison.group):
            found += score_contradictions(study, ("comparisons", i, "group"), comparison.group, comparison.cohort)
    return found


def analysed_contradictions(study: Study, i: int, analysis: Analysis) -> _Found:
    """Of the models whose scores an analysis is about; areas of choices and networks are compared, too."""
    place: _Place = ("analyses", i, "models")
    found: _Found = []
    used: set[str] = set()
    for name in analysis.models:
        plain = named_model(study, name)
        network = named_network(study, name) if analysis.statistic == "compare-areas" and plain is None else None
        options = candidates(study, name) if analysis.statistic == "compare-areas" or plain is not None else ()
        models = [model for model in study.models if model.name in options]
        endpoints = {network.binary} if network is not None else {model.endpoint for model in models}
        where = [(part.cohort, *part.evaluate) for part in (*models, *((network,) if network is not None else ()))]
        if not where or any(analysis.cohort not in cohorts for cohorts in where):
            found.append((place, f"no model '{name}' is evaluated in '{analysis.cohort}'"))
        elif endpoints != {analysis.endpoint}:
            found.append((place, f"the model '{name}' predicts '{', '.join(sorted(endpoints))}'"))
        again = used & {name, *options}
        if again:
            found.append((place, f"'{min(again)}' may be compared with itself: name it once, or the choice of it"))
        used |= {name, *options}
    return found


def _is_used(study: Study, name: str) -> bool:
    groups = [comparison.group for comparison in study.comparisons]
    groups += [comparison.group for comparison in study.genomics.comparisons] if study.genomics is not None else []
    terms = [term.variable for model in study.models for term in model.predictors]
    compared = (used for a in study.analyses if a.statistic == "compare-areas" for used in a.models)
    return name in compared or any(is_score(used) and of_score(used) == name for used in (*groups, *terms))


def _choice(study: Study, i: int, choice: Choice) -> _Found:
    place = ("choices", i, "models")
    found: _Found = []
    if len(set(choice.models)) < len(choice.models):
        found.append((place, "a model is named twice"))
    networks = [network for network in study.networks if network.name in choice.models]
    if networks and len(networks) == len(set(choice.models)):
        return found + [(place, sentence) for sentence in _networks(networks)]
    models = [named_model(study, name) for name in choice.models]
    for name, model in zip(choice.models, models, strict=True):
        if model is None or model.reduction is None:
            found.append((place, f"'{name}' is not a model with a `reduction`, nor are all of them networks"))
    if len({(model.cohort, model.endpoint) for model in models if model is not None}) > 1:
        found.append((place, "the models are not of one cohort and endpoint"))
    return found


def _networks(networks: list[Network]) -> Iterator[str]:
    """Why networks cannot be compared by the hospitals that were left out."""
    for network in networks:
        if not network.by_centre:
            yield f"'{network.name}' leaves out no hospital: its development is `{network.development}`"
    used = [{sequence for combination in network.combinations for sequence in combination} for network in networks]
    if len({(n.cohort, n.endpoint, n.binary, n.missing, *sorted(s)) for n, s in zip(networks, used, strict=True)}) > 1:
        yield "the networks are not of one cohort and endpoint, or their sequences leave other patients out"


def _reduction(study: Study, place: _Place, model: Model) -> _Found:
    found: _Found = []
    if model.fixed is not None:
        found.append(((*place, "fixed"), "a formula that is given is not reduced: leave out `reduction` or `fixed`"))
    if model.missing != "complete-case":
        sentence = "a reduced model leaves patients with missing predictors out: every fold would need fillings anew"
        found.append(((*place, "missing"), sentence))
    if score_terms(model):
        found.append(((*place, "predictors"), "a reduced model has no scores among its predictors"))
    if len(model.predictors) < 2:
        found.append(((*place, "predictors"), "there is nothing to reduce: name two or more predictors"))
    if study.is_read_twice(model):
        found += _read_twice(study, (*place, "reduction", "icc"), model)
    return found


def _read_twice(study: Study, place: _Place, model: Model) -> _Found:
    radiomics = study.preparation.radiomics if study.preparation is not None else None
    found: _Found = []
    if radiomics is None or not radiomics.second_reader:
        found.append((place, "no second reader's features are made: set `second_reader` in [preparation.radiomics]"))
    others = sorted({term.variable for term in model.predictors} - set(study.features()))
    if others:
        found.append((place, f"'{others[0]}' is no feature of images, of which alone there are second readings"))
    return found


def _fixed(study: Study, place: _Place, model: Model) -> _Found:
    found: _Found = []
    try:
        columns = coded_columns(study, model.predictors)
    except (KeyError, ValueError):
        return []  # a predictor that is none is told elsewhere
    if model.fixed is not None and len(model.fixed.coefficients) != len(columns):
        sentence = f"the predictors are {len(columns)} columns: {', '.join(column.name for column in columns)}"
        found.append(((*place, "fixed"), f"`coefficients` must have one number each; {sentence}"))
    if model.optimism:
        found.append(((*place, "optimism"), "a formula that is not fitted has no optimism"))
    return found


def _scores(study: Study, place: _Place, model: Model) -> _Found:
    found: _Found = []
    reduced = 0
    for j, term in enumerate(model.predictors):
        if is_score(term.variable):
            reduced += bool(candidates(study, of_score(term.variable)))
            found += _score(study, (*place, "predictors", j), model, term)
    if reduced and len({t.variable for t in score_terms(model) if candidates(study, of_score(t.variable))}) > 1:
        sentence = "out-of-fold scores of two reduced models are of different folds: name one, or a choice among them"
        found.append(((*place, "predictors"), sentence))
    if score_terms(model) and model.missing == "chained":
        found.append(((*place, "missing"), "chained regressions do not go with scores among the predictors"))
    return found


def _one_source(study: Study) -> _Found:
    """Models of one cohort build on one reduced score: two drafts would be two thresholds next to one patient."""
    first: dict[str, str] = {}
    for i, model in enumerate(study.models):
        for j, term in enumerate(model.predictors):
            name = of_score(term.variable)
            if is_score(term.variable) and candidates(study, name) and first.setdefault(model.cohort, name) != name:
                sentence = f"models of '{model.cohort}' build on '{first[model.cohort]}': one reduced score a cohort"
                return [(("models", i, "predictors", j), sentence)]
    return []


def _score(study: Study, place: _Place, model: Model, term: Term) -> _Found:
    found: _Found = []
    name = of_score(term.variable)
    network = named_network(study, name)
    sources = [m for m in (named_model(study, part) for part in candidates(study, name)) if m is not None]
    if network is None and not (sources and all(source.reduction is not None for source in sources)):
        return [(place, f"'{name}' is neither a choice nor a model with a `reduction` nor a network")]
    if term.coding not in ("linear", "above"):
        found.append((place, "a score is coded `linear` or `above`"))
    if term.cutoff is not None and not 0.0 < term.cutoff < 1.0:
        found.append((place, "the cut-off of a score is between 0 and 1"))
    if network is not None and network.development == "published":
        found.append((place, f"'{name}' has no out-of-fold scores: its development is `{network.development}`"))
    of = [(n.cohort, n.binary, n.evaluate) for n in (network,) if n is not None]
    of += [(source.cohort, source.endpoint, source.evaluate) for source in sources]
    for cohort, endpoint, evaluate in of:
        if (cohort, endpoint) != (model.cohort, model.endpoint):
            found.append((place, f"'{name}' is of another cohort or endpoint than '{model.name}'"))
            break
        lacking = sorted(set(model.evaluate) - set(evaluate)) if network is not None else []
        if lacking:
            found.append((place, f"'{name}' is not evaluated in '{lacking[0]}', where '{model.name}' is"))
    return found


def score_contradictions(study: Study, place: _Place, group: str, cohort: str) -> _Found:
    """Of `score.` and a name, by which groups are formed in a cohort: that it is a score which is known there."""
    name = of_score(group)
    network = named_network(study, name)
    if network is None:
        models = [model for model in study.models if model.name in candidates(study, name)]
        used = {of_score(term.variable) for model in models for term in score_terms(model)}
        unseen = [n.name for n in study.networks if n.name in used and cohort not in (n.cohort, *n.evaluate)]
        if not models:
            return [(place, f"'{name}' is no model, choice or network")]
        return [(place, f"'{one}' is not evaluated in '{cohort}', and '{name}' uses it") for one in unseen]
    if cohort not in (network.cohort, *network.evaluate):
        return [(place, f"'{name}' is not evaluated in '{cohort}': add it to the network's `evaluate`")]
    return []

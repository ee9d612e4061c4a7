"""common/study: which columns of a model are harmonised, by what, and what the protocol may say of it.

Harmonisation is unsupervised: it knows covariates and features, and no outcome. So it is fitted once on the training
cohort, before folds and bootstrap sets are taken, and a site's location and scale are those of a group of its patients
(`scales`), whoever of them a question is about.
"""

from __future__ import annotations

from itertools import combinations, product

from common.study.coding import CodedColumn
from common.study.harmonisation import MIN_PATIENTS, Combat
from common.study.protocol import Model, Study
from common.study.ranges import NUMBERS, plausible_range
from common.study.recipe import Recipe
from common.study.scores import (
    candidates,
    covariate_columns,
    named_model,
    needed_columns,
    of_score,
    plain_columns,
    score_terms,
)

_Found = list[tuple[tuple[str | int, ...], str]]


def harmonised_columns(study: Study, model: Model) -> tuple[CodedColumn, ...]:
    """The columns of a model that are harmonised: numbers that are neither scores nor of a covariate."""
    if model.harmonise is None:
        return ()
    kept = model.harmonise.covariates
    return tuple(c for c in plain_columns(study, model) if c.coding in NUMBERS and c.variable not in kept)


def harmonises(study: Study, model: Model, step: Combat) -> bool:
    """Whether a step is of the kind by which the study has this model harmonised, whatever its numbers."""
    asked = (step.model, step.training, step.covariates)
    own = (model.name, model.cohort, tuple(column.name for column in covariate_columns(study, model)))
    return asked == own and harmonisable(study, model, step.names) and step == _kind(step)


def harmonisable(study: Study, model: Model, names: tuple[str, ...]) -> bool:
    """Whether a model may have these harmonised: all its columns that are, in order; if they are reduced, some."""
    whole = tuple(column.name for column in harmonised_columns(study, model))
    # Columns that some hospital may not be asked about are left out before anything else, see `UnfitColumns`.
    some = tuple(name for name in whole if name in set(names)) if model.reduction is not None else whole
    return bool(names) and names == some


def _kind(step: Combat) -> Combat:
    """The step as a study has it, with its columns and numbers."""
    return Combat(
        step.names, step.covariates, step.mean, step.scale, step.coefficients, eb=len(step.names) > 1, parametric=True,
        mean_only=False, reference="", min_patients=MIN_PATIENTS, bounded=True, model=step.model,
        training=step.training,
    )  # fmt: skip


def plausible_step(study: Study, model: Model, step: Combat) -> bool:
    """Whether its numbers may be those of plausible patients, see `Combat.plausible`."""
    columns = (*harmonised_columns(study, model), *covariate_columns(study, model))
    return step.plausible({column.name: plausible_range(study, column) for column in columns})


def harmonised_ranges(study: Study, model: Model, step: Combat) -> dict[str, tuple[float, float]]:
    """The range of each column that the step of a model makes."""
    return step.reach({column.name: plausible_range(study, column) for column in covariate_columns(study, model)})


def ranges_after(study: Study, model: Model, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """The range of each column of a model that comes from the tables, after what a recipe harmonises."""
    made = {column.name: plausible_range(study, column) for column in plain_columns(study, model)}
    for step in recipe.steps:
        if isinstance(step, Combat) and harmonises(study, model, step):
            made |= harmonised_ranges(study, model, step)
    return made


def harmonise_contradictions(study: Study) -> _Found:
    """(place, sentence) pairs, empty for a sound protocol."""
    found: _Found = []
    for i, model in enumerate(study.models):
        if model.harmonise is not None:
            found += _of_model(study, ("models", i, "harmonise"), model)
    return found or _mixed(study)


def _of_model(study: Study, place: tuple[str | int, ...], model: Model) -> _Found:
    found: _Found = []
    named = model.harmonise.covariates if model.harmonise is not None else ()
    outcomes = {column for endpoint in study.endpoints for column in (endpoint.name, *endpoint.columns)}
    for name in named:
        try:
            variable = None if name in outcomes else study.variable(name)
        except KeyError:
            found.append((place, f"'{name}' is neither in the dictionary nor in [[variables]]"))
            continue
        if variable is None or variable.known != "preoperative" or variable.leaks:
            found.append((place, f"'{name}' is no covariate: its effect would write the outcome into the features"))
        elif len(variable.level_names) > 2:
            found.append((place, f"'{name}' has more than two levels: a covariate is a number or binary"))
        elif variable.kind == "continuous" and (variable.low is None or variable.high is None):
            found.append((place, f"'{name}' is used as a number: give its plausible range, `low` and `high`"))
    if len(set(named)) < len(named):
        found.append((place, "a covariate is named twice"))
    if model.fixed is not None:
        found.append((place, "a formula that is given is not of harmonised features: leave out `harmonise` or `fixed`"))
    try:
        left = found or harmonised_columns(study, model)
    except (KeyError, ValueError):
        return found  # a predictor that is none is told elsewhere
    nothing = "there is nothing to harmonise: no predictor is a number, or all are covariates"
    return found if left else [(place, nothing)]


def _mixed(study: Study) -> _Found:
    """What would have a column in one frame both as it is and harmonised, or harmonised in two ways."""
    found: _Found = []
    for i, model in enumerate(study.models):
        for term in score_terms(model):
            for name in candidates(study, of_score(term.variable)):
                shared = _shared(study, model.name, name)
                if shared:
                    sentence = f"'{model.name}' and '{name}' do not harmonise '{shared}' alike, and share its patients"
                    found.append((("models", i, "predictors"), sentence))
    for i, analysis in enumerate(study.analyses):
        parts = [_with_sources(study, name) for name in analysis.models]
        pairs = ((a, b) for one, other in combinations(parts, 2) for a, b in product(one, other))
        shared = next((s for a, b in pairs if a != b and (s := _shared(study, a, b))), "")
        if shared:
            sentence = f"the models do not harmonise '{shared}' alike: analyse them one by one"
            found.append((("analyses", i, "models"), sentence))
    return found


def _with_sources(study: Study, name: str) -> tuple[str, ...]:
    models = [model for model in study.models if model.name in candidates(study, name)]
    terms = [term for model in models for term in score_terms(model)]
    sources = (source for term in terms for source in candidates(study, of_score(term.variable)))
    return (*(model.name for model in models), *sources)


def _shared(study: Study, one: str, other: str) -> str:
    """The first column that one of two models harmonises and the other uses, too; "" for none."""
    models = [model for model in (named_model(study, one), named_model(study, other)) if model is not None]
    if all(model.harmonise is None for model in models):
        return ""
    try:
        used = [[column.name for column in needed_columns(study, model)] for model in models]
        made = [{column.name for column in harmonised_columns(study, model)} for model in models]
    except (KeyError, ValueError):
        return ""  # a predictor that is none is told elsewhere
    clashes = (name for i in (0, 1) for name in used[1 - i] if name in made[i])
    return next(clashes, "") if len(models) > 1 else ""

"""common/study: scores as predictors and groups: whose score is meant, and what is needed to know it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from common.study.coding import CodedColumn, coded_columns, columns_of
from common.study.dictionary import Variable
from common.study.modelling import SCORE, Choice, is_score
from common.study.networks import Network
from common.study.protocol import Analysis, Model, Study
from common.study.recipe import ModelColumns
from common.study.terms import Term

GROUP = "group"
"""The column of groups."""


def plain_columns(study: Study, model: Model) -> tuple[CodedColumn, ...]:
    """The columns of a model that come from the hospitals' tables, in order."""
    return coded_columns(study, tuple(term for term in model.predictors if not is_score(term.variable)))


def covariate_columns(study: Study, model: Model) -> tuple[CodedColumn, ...]:
    """The columns whose effects are kept when a model's features are harmonised."""
    named = model.harmonise.covariates if model.harmonise is not None else ()
    return tuple(column for name in named for column in _covariate(study.variable(name)))


def _covariate(variable: Variable) -> tuple[CodedColumn, ...]:
    number = variable.kind == "continuous"
    return columns_of(variable, Term(variable=variable.name, coding="linear" if number else "levels"))


def needed_columns(study: Study, model: Model) -> tuple[CodedColumn, ...]:
    """The columns of a hospital's table that a model needs: its own, and those by which they are harmonised."""
    own = plain_columns(study, model)
    if model.harmonise is None:
        return own
    return tuple({column.name: column for column in (*own, *covariate_columns(study, model))}.values())


def score_terms(model: Model) -> tuple[Term, ...]:
    """The predictors of a model that are scores."""
    return tuple(term for term in model.predictors if is_score(term.variable))


def score_column(study: Study, term: Term) -> str:
    """The column that a predictor becomes which is a score."""
    return columns_of(study.variable(term.variable), term)[0].name


def named_model(study: Study, name: str) -> Model | None:
    """The model of that name, if it is one."""
    return next((model for model in study.models if model.name == name), None)


def named_network(study: Study, name: str) -> Network | None:
    """The network of that name, if it is one."""
    return next((network for network in study.networks if network.name == name), None)


def candidates(study: Study, name: str) -> tuple[str, ...]:
    """The models of which `score.<name>` may be the score: one, those of a choice, or none where it is a network's."""
    choice = next((choice for choice in study.choices if choice.name == name), None)
    if choice is not None:
        return choice.models
    return () if named_model(study, name) is None else (name,)


def calibrated_with(study: Study, network: Network) -> tuple[str, ...]:
    """The cohorts in which risks of models on a network's score are corrected: it scores their patients, too."""
    cohorts = []
    for one in study.recalibrations:
        model = named_model(study, one.model)
        if model is not None and network.name in {of_score(term.variable) for term in score_terms(model)}:
            cohorts.append(one.cohort)
    return tuple(dict.fromkeys(cohorts))


def scored_cohorts(study: Study, network: Network) -> tuple[str, ...]:
    """The cohorts whose patients a network scores: where it is developed and evaluated, and risks are corrected."""
    return tuple(dict.fromkeys((network.cohort, *network.evaluate, *calibrated_with(study, network))))


def network_choices(study: Study) -> tuple[Choice, ...]:
    """The choices among networks."""
    names = {network.name for network in study.networks}
    return tuple(choice for choice in study.choices if set(choice.models) <= names)


def of_score(name: str) -> str:
    """Whose score a predictor or a group is."""
    return name.removeprefix(SCORE)


def source_column(network: Network) -> str:
    """The column of a network's scores that `score.<network>` stands for."""
    return f"{network.name}.{network.inference}"


def analysed_models(study: Study, analysis: Analysis) -> tuple[Model, ...]:
    """The models whose scores an analysis may be about: those that it names, and all of a choice that it names."""
    named = dict.fromkeys(model for name in analysis.models for model in candidates(study, name))
    return tuple(model for model in study.models if model.name in named)


def needed(study: Study, name: str) -> Iterator[frozenset[str]]:
    """What must be known of a patient for a model's score: its columns, those of a reduced model by one name.

    One set for each way in which choices may turn out; what networks make is not among them.
    """
    model = named_model(study, name)
    if model is None:
        return
    if model.reduction is not None:
        yield frozenset({ModelColumns(model.name).complete})
        return
    own = frozenset(column.name for column in needed_columns(study, model))
    options = [candidates(study, of_score(term.variable)) for term in score_terms(model)]
    for chosen in product(*(option for option in options if option)):
        yield own | {ModelColumns(part).complete for part in chosen}


def links(study: Study, name: str) -> int:
    """Most scores and cut-offs that a recipe has which ends in a model's score."""
    model = named_model(study, name)
    terms = score_terms(model) if model is not None else ()
    return 1 + sum(1 + bool(candidates(study, of_score(term.variable))) for term in terms)


def most_frozen(study: Study) -> int:
    """Most recipes, each up to a score or cut-off, that an honest server freezes of models, groups and analyses."""
    # Of a model on scores the training patients' recipe is another one. Both have a cut-off where centres are compared.
    most = sum(2 * links(study, model.name) for model in study.models)
    most += 2 * len(study.shift.models) if study.shift is not None else 0
    for comparison in study.comparisons:
        if is_score(comparison.group):
            named = candidates(study, of_score(comparison.group))
            # Regressions have a recipe of their own: of patients of whom covariates are known.
            recipes = 1 if comparison.cox is None else 2
            most += recipes * (1 + max((links(study, name) for name in named), default=0))
    for compared in study.genomics.comparisons if study.genomics is not None else ():
        if is_score(compared.group):
            named = candidates(study, of_score(compared.group))
            most += 1 + max((links(study, name) for name in named), default=0)
    joint = (analysis.models for analysis in study.analyses if len(analysis.models) > 1)
    of_each = (
        max((links(study, one) for one in candidates(study, name)), default=0) for names in joint for name in names
    )
    return most + sum(of_each)

"""client/release: the scope of a frozen score: the model's own formula, of the patients whom the model speaks of.

A server that could have one score in two forms, of patients with gaps filled and of those without gaps, would be told
by the difference of two answers of whoever has the gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from client.release import expression_scope
from client.release.harmonise_scope import check_scored
from client.release.hazard_scope import hazard_patients
from client.release.model_scope import fixed_formula
from common.errors import FedmviError
from common.federation.query import Query
from common.study.chain import ChainedImpute
from common.study.coding import coded_columns
from common.study.correcting import recalibrated_model
from common.study.protocol import Model, Study
from common.study.ranges import LARGEST, Range
from common.study.recipe import Complete, DraftScore, Impute, Made, ModelColumns, Score, Step
from common.study.scores import (
    analysed_models,
    candidates,
    named_model,
    named_network,
    needed,
    of_score,
    plain_columns,
    score_terms,
    source_column,
)


def check_score(step: Score, ranges: Mapping[str, Range], query: Query, study: Study) -> None:
    """Refuse what the study does not have: another formula, or the model's score of other patients than the model's.

    Raises
    ------
    FedmviError
        414 with the part that is foreign to the study.
    """
    # A corrected score has the columns of the frozen one; what it may be is decided by the second freeze.
    model = named_model(study, step.model) or recalibrated_model(study, step.model)
    if model is None:
        raise FedmviError(414, step.model, part="a model")
    names = tuple(column.name for column in coded_columns(study, model.predictors))
    own = set(step.names) <= set(names) if model.reduction else step.names == names
    _need(own and set(step.names) <= set(ranges) and step.endpoint == model.endpoint, "a model")
    _need(len(set(step.names)) == len(step.names) and fixed_formula(model, step), "a model")
    check_scored(model, step.names, query, study)
    _need(len(step.coefficients) == len(step.names), "a number")
    _need(all(abs(number) <= LARGEST for number in (step.intercept, *step.coefficients)), "a number")
    before = query.recipe.steps[: query.recipe.steps.index(step)]
    _need(_is_filled(model, before, study), "a filling")
    _need(_is_known(model, before, query, study), "a set of patients")


def _is_filled(model: Model, before: tuple[Step, ...], study: Study) -> bool:
    """Whether gaps are filled where the model fills them, in all its columns, and nowhere else."""
    own = {column.name for column in plain_columns(study, model)}
    means = {name for step in before if isinstance(step, Impute) for name in step.names} & own
    chained = {name for step in before if isinstance(step, ChainedImpute) for name in step.names} & own
    if model.missing == "complete-case" or model.reduction is not None:
        return not means | chained
    return (means, chained) == ((set(), own) if model.missing == "chained" else (own, set()))


def _is_known(model: Model, before: tuple[Step, ...], query: Query, study: Study) -> bool:
    """Whether those are left of whom all is known that is needed, and all of them.

    In training a score is made of others' scores out of fold, which those have whose columns are known.
    """
    known = next((frozenset(step.columns) for step in reversed(before) if isinstance(step, Complete)), frozenset())
    networks = [named_network(study, of_score(term.variable)) for term in score_terms(model)]
    if not {source_column(network) for network in networks if network is not None} <= known:
        return False
    # Whoever has one score of a network has them all.
    known -= {name for step in before if isinstance(step, Made) for name in step.names}
    known |= {ModelColumns(step.model).complete for step in before if isinstance(step, DraftScore)}
    own = any(names <= known for names in needed(study, model.name))
    return own and (known in set(_whole_sets(study, model)) or known in _compared_sets(query, study))


def _whole_sets(study: Study, model: Model) -> Iterator[frozenset[str]]:
    """What is known of the patients of a model's score: all that it needs, or what it is part of, or compared with."""
    using = {one.name for one in study.models if model.name in {one.name, *_scored_by(study, one)}}
    for name in using:
        yield from needed(study, name)
    for analysis in study.analyses:
        parts = [list(_needed_of(study, name)) for name in analysis.models]
        if using & {one.name for one in analysed_models(study, analysis)}:
            yield from (frozenset().union(*sets) for sets in product(*(part for part in parts if part)))


def _needed_of(study: Study, name: str) -> Iterator[frozenset[str]]:
    """What must be known for the score of a model, or of any model of a choice; nothing for a network's."""
    for model in candidates(study, name):
        yield from needed(study, model)


def _scored_by(study: Study, model: Model) -> set[str]:
    """The models whose scores may be predictors of this one."""
    return {name for term in score_terms(model) for name in candidates(study, of_score(term.variable))}


def _compared_sets(query: Query, study: Study) -> set[frozenset[str]]:
    """What is known of those whose groups by the score are compared beside covariates."""
    expressed = set(expression_scope.complete_sets(study)) if expression_scope.is_expression(query) else set()
    return expressed | {names for names, _ in hazard_patients(query, study)}


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)

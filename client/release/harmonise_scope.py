"""client/release: the scope of harmonised columns: of which models, by what numbers, and what is asked to fit them.

The numbers are the server's, and location and scale are the site's own, of a group of its patients (`scales`): neither
the cohort that is asked, nor a part of it, nor an outcome changes them. A residual is centred and scaled by the site
itself, within limits of what empirical Bayes and training's numbers may change of that (`harmonisation.SHRUNK`), so the
server cannot move it far or stretch it; limited numbers keep what covariates add from being a cut-off
(`Combat.plausible`), and a run answers one step a model (`once`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from common.errors import FedmviError
from common.federation.query import Query
from common.statistics.combat import DesignProducts, ResidualSquares
from common.study.coding import CodedColumn
from common.study.harmonisation import Combat
from common.study.harmonised import (
    harmonisable,
    harmonised_columns,
    harmonised_ranges,
    harmonises,
    plausible_step,
)
from common.study.protocol import Model, Study
from common.study.ranges import Range, plausible_range
from common.study.recipe import Complete, ModelColumns, Select, Standardise, Without
from common.study.scores import covariate_columns, needed_columns


def check_harmonising(step: Combat, ranges: Mapping[str, Range], query: Query, study: Study) -> dict[str, Range]:
    """The ranges of the columns that a step harmonises; error 414 for one that no model of the study has."""
    models = [model for model in study.models if harmonises(study, model, step)]
    named = {*step.names, *step.covariates}
    if not models or not named <= set(ranges):
        raise FedmviError(414, part="a column")
    earlier = {name for other in _steps(query) if other is not step for name in other.names}
    if earlier & named:
        raise FedmviError(414, part="a column")  # harmonised twice, or by a column that is harmonised
    if not plausible_step(study, models[0], step):
        raise FedmviError(414, part="a number")
    return harmonised_ranges(study, models[0], step)


def check_scored(model: Model, names: tuple[str, ...], query: Query, study: Study) -> None:
    """Error 414 for the score of a model of columns that are harmonised and should not be, or the other way round."""
    made = {name for step in _steps(query) if harmonises(study, model, step) for name in step.names}
    touched = {name for step in _steps(query) if not harmonises(study, model, step) for name in step.names}
    wanted = set(names) & set(_names(harmonised_columns(study, model)))
    if not wanted <= made or touched & set(_names(needed_columns(study, model))):
        raise FedmviError(414, part="a model")


HARMONISES = frozenset({DesignProducts.name, ResidualSquares.name})
"""What is asked to fit how a model's features are harmonised."""


def harmonise_declares(query: Query, study: Study) -> bool:
    """Whether a model of the study, which has its columns harmonised, asks this to fit how."""
    if not isinstance(query, DesignProducts | ResidualSquares) or query.name not in HARMONISES:
        return False
    asked = (query.cohort, query.covariates)
    fits = (
        model for model in study.models
        if model.harmonise is not None and asked == (model.cohort, _names(covariate_columns(study, model)))
    )  # fmt: skip
    # No part of the patients, and no column that is harmonised already.
    whole = all(isinstance(step, _WHOLE) for step in query.recipe.steps)
    return whole and any(harmonisable(study, model, query.columns) for model in fits)


_WHOLE = (Without, Select, ModelColumns, Complete, Standardise)


def harmonise_columns(study: Study) -> dict[CodedColumn, Range]:
    """The columns that models keep when they are harmonised, with their ranges."""
    kept = (column for model in study.models for column in covariate_columns(study, model))
    return {column: plausible_range(study, column) for column in kept}


def as_they_are(study: Study, model: Model) -> frozenset[str]:
    """The columns of a model that are not harmonised."""
    return frozenset(_names(needed_columns(study, model))) - frozenset(_names(harmonised_columns(study, model)))


def harmonised_sets(study: Study) -> Iterator[tuple[frozenset[str], str]]:
    """The sets of complete cases of models with harmonised columns, as (columns, endpoint).

    Whoever lacks a covariate has no harmonised value: he is missing wherever one is.
    """
    for model in study.models:
        covariates = frozenset(_names(covariate_columns(study, model)))
        names = _names(harmonised_columns(study, model))
        if names and model.reduction is None:
            yield frozenset(names) | covariates, model.endpoint
            yield from ((covariates | {name}, model.endpoint) for name in names)


def _steps(query: Query) -> list[Combat]:
    return [step for step in query.recipe.steps if isinstance(step, Combat)]


def _names(columns: tuple[CodedColumn, ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)

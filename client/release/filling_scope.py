"""client/release: the scope of what fills missing values: only as a model of the study says, with plausible numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from client.release.network_scope import made_steps
from common.errors import FedmviError
from common.federation.query import Query
from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn, coded_columns
from common.study.protocol import Study
from common.study.ranges import LARGEST, Range, filled_range
from common.study.recipe import Cut, Impute, ModelColumns, Recipe, Select
from common.study.scores import analysed_models, needed_columns, plain_columns


def check_filling(step: Impute | ChainedImpute, ranges: Mapping[str, Range], query: Query, study: Study) -> None:
    """Refuse what the study does not have.

    Raises
    ------
    FedmviError
        414 with the part that is foreign to the study, 409 a binary column imputed with a level itself.
    """
    if isinstance(step, Impute):
        _impute(step, ranges, query, study)
    else:
        _chained_impute(step, ranges, study)


def read_columns(recipe: Recipe, study: Study) -> list[CodedColumn]:
    """The columns that a recipe reads from the table, one by one or as those of a model."""
    read = [column for step in recipe.steps if isinstance(step, Select) for column in step.columns]
    whole = {step.model for step in recipe.steps if isinstance(step, ModelColumns)}
    return read + [c for m in study.models if m.name in whole for c in needed_columns(study, m)]


def level_columns(recipe: Recipe, study: Study) -> list[tuple[str, ...]]:
    """The columns of a recipe that are levels of one variable, for every such variable."""
    found: dict[str, list[str]] = {}
    for column in dict.fromkeys(read_columns(recipe, study)):
        if column.coding == "equals":
            found.setdefault(column.variable, []).append(column.name)
    return [tuple(names) for names in found.values()]


def binary_columns(recipe: Recipe, study: Study) -> frozenset[str]:
    """The columns of a recipe that tell whether a patient has a level or is above a cut-off."""
    coded = read_columns(recipe, study)
    cut = [step.name for step in recipe.steps if isinstance(step, Cut) and step.cutoff is not None]
    return frozenset([*(column.name for column in coded if column.coding in ("above", "equals")), *cut])


def imputed_sets(study: Study) -> set[frozenset[str]]:
    """The sets of columns that models fill by numbers, alone or those of an analysis together.

    Any other set would leave out, or keep, the few patients who lack one column.
    """
    own = {
        m.name: frozenset(c.name for c in plain_columns(study, m)) if m.missing in ("mean", "median") else frozenset()
        for m in study.models
    }
    joint = (
        frozenset().union(*(own[model.name] for model in analysed_models(study, analysis)))
        for analysis in study.analyses
    )
    return {*own.values(), *joint}


def _impute(step: Impute, ranges: Mapping[str, Range], query: Query, study: Study) -> None:
    alone = {c.name for other in query.recipe.steps if isinstance(other, Select) for c in other.columns}
    _need(frozenset(step.names) in imputed_sets(study) and set(step.names) <= alone, "a column")
    _need(not set(step.names) & {name for made in made_steps(query) for name in made.names}, "a column")
    _need(set(step.names) <= set(ranges) and len(step.names) == len(step.values), "a column")
    binary = binary_columns(query.recipe, study)
    for name, value in zip(step.names, step.values, strict=True):
        low, high = ranges[name]
        _need(low <= value <= high, "a number")
        if name in binary and value in (0.0, 1.0):
            # Patients without a value would count as having the level, and hide how few have it.
            raise FedmviError(409, f"column {name} imputed with {value}", limit=1, cohort=query.cohort)


def _chained_impute(step: ChainedImpute, ranges: Mapping[str, Range], study: Study) -> None:
    """Only a model that declares it, on all its columns, with filled values between limits that the protocol gives."""
    filled = [coded_columns(study, model.predictors) for model in study.models if model.missing == "chained"]
    columns = next((part for part in filled if tuple(column.name for column in part) == step.names), ())
    _need(bool(columns) and set(step.names) <= set(ranges), "a column")
    _need(step.consistent(), "a number")
    limits = [filled_range(study, column) for column in columns]
    _need((list(step.low), list(step.high)) == ([a for a, _ in limits], [b for _, b in limits]), "a range")
    _need(all(abs(number) <= LARGEST for row in step.coefficients for number in row), "a number")
    spans = zip(step.low, step.high, step.scale, strict=True)
    _need(all((high - low) / scale <= LARGEST for low, high, scale in spans if math.isfinite(high - low)), "a number")


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)

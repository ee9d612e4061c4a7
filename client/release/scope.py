"""client/release: the scope of a study: a question may use only what the protocol, which this hospital approved, has.

Columns, cut-offs, groups, time grids and models are the protocol's; the server chooses none of them. What it does
choose (coefficients, means, imputed values) is bounded so that no sum can leave the range of exact sums because
of one site's data: whether it does would otherwise tell that site's own sum. All of it is decided from the question
and the protocol, before any data is touched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Query
from common.study.analyses import ALWAYS, ANALYSES
from common.study.protocol import Analysis, Endpoint, Model, Study
from common.study.recipe import (
    CodedColumn,
    Complete,
    Fold,
    Group,
    Impute,
    Recipe,
    Score,
    Select,
    Standardise,
    coded_columns,
)

MAX_ELEMENTS = 1 << 22
"""Most numbers in one answer."""

LARGEST = 1e6
"""Largest coefficient, and largest standardised value that a plausible patient may have."""

_ORDER = (Select, Group, Impute, Complete, Score, Fold, Standardise)
MAX_FOLDS = 20

Range = tuple[float, float]
_UNBOUNDED: Range = (-math.inf, math.inf)


def elements(query: Query) -> int:
    """How many numbers the answer has; error 415 for more than one answer may have."""
    shapes = [block.shape for block in query.blocks().values()]
    count = sum(math.prod(shape) for shape in shapes)
    if any(dimension < 0 for shape in shapes for dimension in shape) or count > MAX_ELEMENTS:
        raise FedmviError(415, limit=MAX_ELEMENTS)
    return count


def columns_of(query: Query) -> tuple[str, ...]:
    """The columns of the frame that a query names."""
    named = (*getattr(query, "columns", ()), *query.uses)
    return (*dict.fromkeys(named), *((query.column,) if hasattr(query, "column") else ()))


def binary_columns(recipe: Recipe) -> frozenset[str]:
    """The columns of a recipe that tell whether a patient has a level or is above a cut-off."""
    coded = [column for step in recipe.steps if isinstance(step, Select) for column in step.columns]
    return frozenset(column.name for column in coded if column.coding in ("above", "equals"))


def check_scope(query: Query, study: Study) -> None:
    """Refuse what the study does not have.

    Raises
    ------
    FedmviError
        414 with the part that is foreign to the study, 409 a binary column imputed with a level itself.
    """
    _declared(query, study)
    _need(all(math.isfinite(number) for number in _numbers(query)), "a number")
    ranges = _recipe(query, study)
    named = columns_of(query)
    declared = getattr(query, "columns", ())
    _need(set(named) <= set(ranges) and len(set(declared)) == len(declared), "a column")
    _endpoint(query, study)
    _need(query.consistent(), "a number")
    for name in _broadcast(query):
        _need(bool(np.all(np.abs(getattr(query, name)) <= LARGEST)), "a number")
    if hasattr(query, "low") and hasattr(query, "high"):
        # A grid between limits of the server's choice could be as fine as it likes around one patient.
        limits = [ranges[name] for name in declared]
        _need((query.low.tolist(), query.high.tolist()) == ([a for a, _ in limits], [b for _, b in limits]), "a range")
    centre = np.asarray(getattr(query, "centre", ()), dtype=np.float64)
    for name, value in zip(declared if centre.size else (), centre.tolist(), strict=True):
        low, high = ranges[name]
        _need(min(low, 0.0) <= value <= max(high, 0.0), "a number")


def _declared(query: Query, study: Study) -> None:
    """A question that is not asked in every study needs an analysis of this cohort and endpoint that asks it."""
    if query.name in ALWAYS:
        return
    asking = [
        a for a in study.analyses
        if query.name in ANALYSES[a.statistic].questions and query.cohort in _cohorts(study, a)
    ]  # fmt: skip
    _need(bool(asking), "an analysis")
    endpoint = getattr(query, "endpoint", "")
    asking = [a for a in asking if endpoint in ("", a.endpoint)]
    _need(bool(asking), "an endpoint")
    named = set(columns_of(query)) - {"fold"}
    _need(any(named <= _columns_of_analysis(study, analysis) for analysis in asking), "a column")


def _cohorts(study: Study, analysis: Analysis) -> set[str]:
    """Where an analysis asks: its cohort, and, to choose a cut-off, that on which its models were trained."""
    return {
        analysis.cohort,
        *(study_model.cohort for study_model in study.models if study_model.name in analysis.models),
    }


def _columns_of_analysis(study: Study, analysis: Analysis) -> set[str]:
    scores = {f"score.{name}" for name in analysis.models}
    return scores | {column.name for column in coded_columns(study, analysis.predictors)}


def _broadcast(query: Query) -> Iterator[str]:
    """The arrays of numbers that a query brings, apart from `centre`, which is bounded by the columns' ranges."""
    for field in fields(query):
        value = getattr(query, field.name)
        if field.name != "centre" and isinstance(value, np.ndarray) and value.dtype == np.float64:
            yield field.name


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)


def _numbers(query: Query) -> Iterator[float]:
    def inside(value: Any) -> Iterator[float]:
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from inside(item)
        elif isinstance(value, int | float):
            yield float(value) if abs(value) < 1e300 else math.inf

    packed = pack(query, type(query))
    yield from inside(json.loads(packed.text))
    yield from (float(np.max(np.abs(array))) for array in packed.arrays if array.size)


def _recipe(query: Query, study: Study) -> dict[str, Range]:
    """The range of every column that the recipe makes, for plausible patients."""
    steps = query.recipe.steps
    # Steps that no statistic of a study uses yet (ComBat, chained imputation) are no part of any study.
    _need(all(type(step) in _ORDER for step in steps), "a step")
    places = [_ORDER.index(type(step)) for step in steps]
    once = [place for place in places if place != _ORDER.index(Score)]
    _need(places == sorted(places) and len(once) == len(set(once)), "an order of steps")
    ranges: dict[str, Range] = {}
    for step in steps:
        if isinstance(step, Select):
            allowed = _columns(study)
            _need(all(allowed.get(column) is not None for column in step.columns), "a column or cut-off")
            ranges |= {column.name: allowed[column] for column in step.columns}
        elif isinstance(step, Group):
            groups = {c.group for c in study.comparisons if c.cohort == query.cohort}
            _need(step.by in groups and len(step.labels) == _levels(study, step.by), "a group")
            ranges["group"] = (0.0, float(len(step.labels)))
        elif isinstance(step, Impute):
            _impute(step, ranges, query)
        elif isinstance(step, Complete):
            endpoints = {key for e in study.endpoints for key in e.keys}
            _need(set(step.columns) <= set(ranges) and set(step.endpoints) <= endpoints, "a column")
        elif isinstance(step, Score):
            _score(step, ranges, study)
            ranges[step.column] = (0.0, 1.0)
        elif isinstance(step, Fold):
            binary = {e.name for e in study.endpoints if e.kind == "binary"}
            _need(2 <= step.folds <= MAX_FOLDS and step.endpoint in binary, "a fold")
            ranges["fold"] = (0.0, float(step.folds - 1))
        elif isinstance(step, Standardise):
            _standardise(step, ranges)
    return ranges


def _columns(study: Study) -> dict[CodedColumn, Range]:
    """Every column that the protocol has, with the range of its plausible values."""
    allowed: dict[CodedColumn, Range] = {}
    for known in study.variable_names():
        allowed[CodedColumn(known, known, "known")] = (1.0, 1.0)
    parts: tuple[Model | Analysis, ...] = (*study.models, *study.analyses)
    for column in (column for part in parts for column in coded_columns(study, part.predictors)):
        variable = study.variable(column.variable)
        low = -math.inf if variable.low is None else variable.low
        high = math.inf if variable.high is None else variable.high
        if column.coding == "log":
            low, high = (math.log1p(low) if low > -1 else -math.inf), math.log1p(high)
        allowed[column] = (low, high) if column.coding in ("linear", "log") else (0.0, 1.0)
    return allowed


def _levels(study: Study, by: str) -> int:
    return 2 if by in {e.name for e in study.endpoints} else len(study.variable(by).level_names)


def _impute(step: Impute, ranges: Mapping[str, Range], query: Query) -> None:
    _need(set(step.names) <= set(ranges) and len(step.names) == len(step.values), "a column")
    binary = binary_columns(query.recipe)
    for name, value in zip(step.names, step.values, strict=True):
        low, high = ranges[name]
        _need(low <= value <= high, "a number")
        if name in binary and value in (0.0, 1.0):
            # Patients without a value would count as having the level, and hide how few have it.
            raise FedmviError(409, f"column {name} imputed with {value}", limit=1, cohort=query.cohort)


def _score(step: Score, ranges: Mapping[str, Range], study: Study) -> None:
    model = next((m for m in study.models if m.name == step.model), None)
    _need(model is not None, "a model")
    if model is not None:
        names = tuple(column.name for column in coded_columns(study, model.predictors))
        _need(step.names == names and set(names) <= set(ranges) and step.endpoint == model.endpoint, "a model")
    _need(len(step.coefficients) == len(step.names), "a number")
    _need(all(abs(number) <= LARGEST for number in (step.intercept, *step.coefficients)), "a number")


def _standardise(step: Standardise, ranges: dict[str, Range]) -> None:
    _need(set(step.names) <= set(ranges), "a column")
    _need(len(step.names) == len(step.mean) == len(step.scale) == len(set(step.names)), "a number")
    for name, mean, scale in zip(step.names, step.mean, step.scale, strict=True):
        low, high = ranges[name]
        _need(low <= mean <= high and scale > 0, "a number")
        # A variable without declared range has no bound; the protocol should give it one.
        ends = [abs(end - mean) / scale for end in (low, high) if math.isfinite(end)]
        _need(all(end <= LARGEST for end in ends), "a number")
        ranges[name] = ((low - mean) / scale, (high - mean) / scale)


def _endpoint(query: Query, study: Study) -> None:
    named = getattr(query, "endpoint", None)
    if named is None:
        return
    endpoint = next((e for e in study.endpoints if e.name == named), None)
    _need(endpoint is not None, "an endpoint")
    if endpoint is not None and hasattr(query, "grid_points"):
        grid = (endpoint.precision, endpoint.grid_points)
        _need((getattr(query, "precision", None), query.grid_points) == grid, "a time grid")
        groups = {len(step.labels) for step in query.recipe.steps if isinstance(step, Group)}
        _need(not hasattr(query, "groups") or (groups or {1}) == {query.groups}, "a group")
        _times(query, study, endpoint)


def _times(query: Query, study: Study, endpoint: Endpoint) -> None:
    """Curves of one site are given at the protocol's times and by the month, never by the day."""
    month = endpoint.month
    declared = {time for c in study.comparisons for time in c.times if c.endpoint == endpoint.name}
    times = getattr(query, "times", ())
    _need(all(t in declared or (t >= 0 and t == round(t / month) * month) for t in times), "a time")

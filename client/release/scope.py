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

from client.release import expression_scope
from client.release.acquisition_scope import acquisition_columns, acquisition_declares
from client.release.centre_scope import centres_declare, check_centre
from client.release.characteristics_scope import characteristics_columns, characteristics_declare
from client.release.filling_scope import check_filling
from client.release.harmonise_scope import (
    as_they_are,
    check_harmonising,
    harmonise_columns,
    harmonise_declares,
    harmonised_sets,
)
from client.release.hazard_scope import hazard_columns, hazard_patients, regressed
from client.release.model_scope import (
    check_order,
    complete_sets,
    model_step,
    reduction_declares,
)
from client.release.network_scope import made_ranges, made_steps, network_declares, scored_endpoints
from client.release.recalibration_scope import recalibration_declares
from client.release.score_scope import check_score
from client.release.shift_scope import looked_at_sets, shift_declares
from client.release.subgroup_scope import subgroup_columns, subgroups_declare, subset_of, without_subset
from client.release.table_scope import check_table, read_by_both
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Query, Risk
from common.statistics.chi_square import ClassTable
from common.statistics.cox import StratifiedCox
from common.statistics.resampling import Resampled
from common.study.analyses import ALWAYS, ANALYSES, FOLDS, IMPUTERS
from common.study.centres import of_everybody
from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn, coded_columns
from common.study.comparing import expressed_groups
from common.study.expressed import EffectiveLibrary, Genes
from common.study.harmonisation import Combat
from common.study.modelling import is_score
from common.study.protocol import Analysis, Comparison, Endpoint, Study
from common.study.ranges import LARGEST, NUMBERS, Range, plausible_range, table_columns
from common.study.readings import BothReadings
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    Group,
    Impute,
    Made,
    ModelColumns,
    Outside,
    Resample,
    Score,
    SecondReadings,
    Select,
    Standardise,
)
from common.study.scores import GROUP, analysed_models, needed_columns, source_column

MAX_ELEMENTS = 1 << 22
"""Most numbers in one answer, but for weights of networks."""

MAX_WEIGHTS = 1 << 24
"""Most weights of a network in one answer."""


def elements(query: Query) -> int:
    """How many numbers the answer has; error 415 for more than one answer may have."""
    shapes = [block.shape for block in query.blocks().values()]
    count = sum(math.prod(shape) for shape in shapes)
    limit = MAX_WEIGHTS if query.risk is Risk.MODEL else MAX_ELEMENTS
    if any(dimension < 0 for shape in shapes for dimension in shape) or count > limit:
        raise FedmviError(415, limit=limit)
    return count


def columns_of(query: Query) -> tuple[str, ...]:
    """The columns of the frame that a query names."""
    named = (*getattr(query, "columns", ()), *query.uses)
    return (*dict.fromkeys(named), *((query.column,) if hasattr(query, "column") else ()))


def check_scope(query: Query, study: Study) -> None:
    """Refuse what the study does not have.

    Raises
    ------
    FedmviError
        414 with the part that is foreign to the study, 409 a binary column imputed with a level itself.
    """
    check_centre(query, study)
    _declared(query, study)
    _need(query.consistent(), "a number")
    _need(all(math.isfinite(number) for number in _numbers(query)), "a number")
    ranges = _recipe(query, study)
    expression_scope.check_numbers(query, ranges)
    named = columns_of(query)
    declared = getattr(query, "columns", ())
    _need(set(named) <= set(ranges) and len(set(declared)) == len(declared), "a column")
    alone = query.name in ALWAYS or bool(query.levels_of) or not hasattr(query, "columns")
    _need(bool(declared) or alone, "a column")
    _need("fold" not in named or (query.folds > 0 and "fold" not in declared), "a column")
    # Nothing that a study declares has these yet.
    _need(not getattr(query, "offset", "") and not getattr(query, "strata", ()), "a column")
    _need(len(set(getattr(query, "class_weights", (1.0,)))) == 1, "a number")
    _endpoint(query, study)
    if isinstance(query, StratifiedCox) and query.horizon is not None:
        _need(regressed(query, study) is not None, "a time")
    widest = max((abs(end) for name in query.uses for end in ranges.get(name, ()) if math.isfinite(end)), default=0.0)
    _need(widest <= query.widest, "a number")
    if isinstance(query, Resampled):
        _need(not query.weights, "a column")  # resamples are the site's own draws
    check_table(query, study)
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
    if subset_of(query) is not None or subgroups_declare(query, study):
        _need(subgroups_declare(query, study), "a subgroup")
        return
    if query.name in ALWAYS or acquisition_declares(query, study) or recalibration_declares(query, study):
        return
    if regressed(query, study) is not None:
        return
    if shift_declares(query, study) or centres_declare(query, study) or expression_scope.declares(query, study):
        return
    if IMPUTERS.get(_filling(query, study)) == query.name or network_declares(query, study):
        return
    if reduction_declares(query, study) or characteristics_declare(query, study) or harmonise_declares(query, study):
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
    asking = [a for a in asking if named <= _columns_of_analysis(study, a)]
    _need(bool(asking), "a column")
    groups = {step.by for step in query.recipe.steps if isinstance(step, Group)}
    _need(any(groups <= {a.group} for a in asking), "a group")


def _filling(query: Query, study: Study) -> str:
    """How a model of this cohort fills missing values of the columns that a query names; "" for no such model."""
    if query.name not in IMPUTERS.values():
        return ""
    named = set(columns_of(query))
    for model in study.models:
        # The median of a binary column would be a level itself.
        columns = coded_columns(study, model.predictors)
        names = {c.name for c in columns if model.missing != "median" or c.coding in NUMBERS}
        if model.cohort == query.cohort and IMPUTERS.get(model.missing) == query.name and named <= names:
            return model.missing
    return ""


def _cohorts(study: Study, analysis: Analysis) -> set[str]:
    """Where an analysis asks: its cohort, and, to choose a cut-off, that on which its models were trained."""
    return {
        analysis.cohort,
        *(model.cohort for model in analysed_models(study, analysis)),
    }


def _columns_of_analysis(study: Study, analysis: Analysis) -> set[str]:
    scores = {f"score.{model.name}" for model in analysed_models(study, analysis)}
    scores |= {source_column(network) for network in study.networks if network.name in analysis.models}
    if analysis.statistic in ("chi-square", "reader-kappa"):
        return {column.name for column, _ in table_columns(study, analysis.predictors)}
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
    steps = without_subset(of_everybody(query.recipe).steps)
    check_order(steps)
    ranges: dict[str, Range] = {}
    for step in steps:
        if isinstance(step, Select):
            allowed = _columns(study, query)
            _need(all(allowed.get(column) is not None for column in step.columns), "a column or cut-off")
            ranges |= {column.name: allowed[column] for column in step.columns}
        elif isinstance(step, Group):
            parts: tuple[Comparison | Analysis, ...] = (*study.comparisons, *study.analyses)
            asked = (getattr(query, "endpoint", None), query.cohort)
            groups = {part.group for part in parts if asked in ((part.endpoint, part.cohort), (None, part.cohort))}
            groups |= expressed_groups(study, query.cohort, query.recipe)
            _need(step.by in groups and len(step.labels) == _levels(study, step.by), "a group")
            ranges["group"] = (0.0, float(len(step.labels)))
        elif isinstance(step, Made):
            for name, range_ in made_ranges(step, query, study):
                _need(name not in ranges, "a column")
                ranges[name] = range_
        elif isinstance(step, Combat | Genes | EffectiveLibrary | BothReadings):
            ranges |= _added(step, ranges, query, study)
        elif isinstance(step, ModelColumns | SecondReadings | Outside | Resample | DraftScore | Cut):
            ranges |= model_step(step, ranges, query, study)
        elif isinstance(step, Impute | ChainedImpute):
            check_filling(step, ranges, query, study)
        elif isinstance(step, Complete):
            # Whoever has one score of a network has them all.
            made = {name for other in made_steps(query) for name in other.names}
            patients = (frozenset(step.columns) - made, frozenset(step.endpoints))
            known = _complete(study, scored=bool(made & set(step.columns))) | hazard_patients(query, study)
            _need(patients in known, "a set of patients")
        elif isinstance(step, Score):
            check_score(step, ranges, query, study)
            ranges[step.column] = (0.0, 1.0)
        elif isinstance(step, Fold):
            named = getattr(query, "endpoint", "") or step.endpoint.removesuffix(".event")
            endpoints = {key for e in study.endpoints if e.name == named for key in e.keys}
            _need(step.folds == FOLDS and step.endpoint in endpoints, "a fold")
            ranges["fold"] = (0.0, float(step.folds - 1))
        elif isinstance(step, Standardise):
            _standardise(step, ranges)
    return ranges


def _added(
    step: Combat | Genes | EffectiveLibrary | BothReadings, ranges: Mapping[str, Range], query: Query, study: Study
) -> Mapping[str, Range]:
    if isinstance(step, BothReadings):
        return read_by_both(step, query, study)
    if isinstance(step, Combat):
        return check_harmonising(step, ranges, query, study)
    return expression_scope.added_by(step, ranges, query, study)


_Patients = tuple[frozenset[str], frozenset[str]]


def _complete(study: Study, *, scored: bool) -> set[_Patients]:
    """The sets of complete cases that a study speaks of, as (columns, endpoint columns).

    Of a model those who have everything, and for each column alone those who have it; of an analysis those who have
    everything, or the endpoint; of groups those who have group and endpoint; of those whom a network scored those who
    have its endpoints. Subsets of a server's choice would differ by a patient.
    """
    if ("complete", scored) not in study.worked_out:
        study.worked_out["complete", scored] = _complete_sets(study, scored=scored)
    known: set[_Patients] = study.worked_out["complete", scored]
    return known


def _complete_sets(study: Study, *, scored: bool) -> set[_Patients]:
    found: set[_Patients] = {(frozenset(), keys) for keys in scored_endpoints(study)} if scored else set()
    found |= {(names, frozenset()) for names in expression_scope.complete_sets(study)}
    sets: list[tuple[frozenset[str], str]] = []
    for model in study.models:
        names = frozenset(column.name for column in needed_columns(study, model))
        if model.reduction is not None:
            continue  # its columns are completed by one name, see `complete_sets`
        sets += [(names, model.endpoint), *((frozenset({n}), model.endpoint) for n in as_they_are(study, model))]
    sets += [*harmonised_sets(study), *looked_at_sets(study)]
    for analysis in study.analyses:
        names = frozenset(column.name for column in coded_columns(study, analysis.predictors))
        sets += [(names, analysis.endpoint or ""), (frozenset(), analysis.endpoint or "")]
    sets += [(frozenset({"group"}), comparison.endpoint) for comparison in study.comparisons]
    sets += [(frozenset({"group"}), a.endpoint or "") for a in study.analyses if a.group is not None]
    sets += complete_sets(study)
    for names, endpoint in sets:
        keys = study.endpoint(endpoint).keys if endpoint else ()
        found.add((names, frozenset(keys)))
    return found


def _columns(study: Study, query: Query) -> dict[CodedColumn, Range]:
    """Every column that the protocol has, with the range of its plausible values."""
    if "columns" not in study.worked_out:
        study.worked_out["columns"] = _predictors(study)
    allowed: dict[CodedColumn, Range] = dict(study.worked_out["columns"])
    allowed |= characteristics_columns(study, query) | subgroup_columns(study, query)
    if isinstance(query, ClassTable):  # the index of a level is no number for a regression
        terms = tuple(term for a in study.analyses if a.statistic == "chi-square" for term in a.predictors)
        allowed |= {column: (0.0, levels - 1.0) for column, levels in table_columns(study, terms)}
    allowed |= hazard_columns(query, study)
    return allowed | acquisition_columns(study, query) | expression_scope.covariates(query, study)


def _predictors(study: Study) -> dict[CodedColumn, Range]:
    """The columns of all that has predictors, and whether each variable is known."""
    found = {CodedColumn(known, known, "known"): (1.0, 1.0) for known in study.variable_names()}
    for column in (column for part in study.on_predictors for column in coded_columns(study, part.predictors)):
        if not is_score(column.variable):
            found[column] = plausible_range(study, column)
    return found | harmonise_columns(study)


def _levels(study: Study, by: str) -> int:
    endpoint = next((e for e in study.endpoints if e.name == by), None)
    return len((study.variable(by) if endpoint is None else endpoint).level_names)


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
    _need(endpoint is not None and _fits(query, endpoint), "an endpoint")
    if endpoint is not None and hasattr(query, "grid_points"):
        grid = (endpoint.precision, endpoint.grid_points)
        _need((getattr(query, "precision", None), query.grid_points) == grid, "a time grid")
        groups = {len(step.labels) for step in query.recipe.steps if isinstance(step, Group)}
        groups |= {2 for step in query.recipe.steps if isinstance(step, Cut) and step.name == GROUP}
        _need(not hasattr(query, "groups") or (groups or {1}) == {query.groups}, "a group")
        _times(query, study, endpoint)


def _fits(query: Query, endpoint: Endpoint) -> bool:
    """Whether the codes of the endpoint mean what the question takes them for; analyses name theirs by kind."""
    if query.levels_of:
        return getattr(query, "levels", 0) == len(endpoint.levels)
    if hasattr(query, "grid_points"):
        return endpoint.timed
    return query.name not in ALWAYS or query.name == "query.classes" or endpoint.kind == "binary"


def _times(query: Query, study: Study, endpoint: Endpoint) -> None:
    """Curves of one site are given at the protocol's times and by the month, never by the day."""
    month = endpoint.month
    declared = {time for c in study.comparisons for time in (*c.times, c.horizon) if c.endpoint == endpoint.name}
    times = getattr(query, "times", ())
    _need(all(t in declared or (t >= 0 and t == round(t / month) * month) for t in times), "a time")

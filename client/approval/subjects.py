"""client/approval: what a study asks about, part by part: the patients, columns and endpoint of each declared part.

It follows the protocol and nothing else: which questions a declared statistic may ask is `common/study/analyses.py`,
which the gate reads too. What a coordinator's program then asks is not known here, and is not relied on: the gate
refuses every question outside of these parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from client.release.network_scope import COLUMNS, QUESTIONS
from common.federation.query import Mode
from common.study.analyses import ALWAYS, ANALYSES, FOLDS, IMPUTERS
from common.study.networks import Network
from common.study.protocol import Analysis, Model, Study
from common.study.ranges import filled_range, plausible_range, table_columns
from common.study.recipe import (
    CodedColumn,
    Complete,
    Fold,
    Group,
    Impute,
    Made,
    Recipe,
    Score,
    Select,
    coded_columns,
)

EVERY_STUDY, EVERY_MODEL = "every study", "every model"
NO_PART = "no part of it; answered if asked"
_STEP = 0.01
_MODEL = "0" * 64
_KNOWN_ENDPOINT = frozenset({"t-test", "mann-whitney", "univariable-logistic", "chi-square"})
_MOMENTS = frozenset({"query.deviations"})
_TABLES = frozenset({"query.life_table", "query.survival_alone"})
_RANKS = frozenset({"query.score_counts"})


@dataclass(frozen=True)
class Subject:
    """What one part of a study asks about in one cohort.

    Attributes
    ----------
    part
        The part, for people: "model clinical".
    questions
        Names of the questions that it may ask.
    recipe
        From the table to a frame like the one that is asked about; fitted numbers in it are examples.
    columns
        Of the frame, that the questions are about.
    endpoint
        Its name, or "".
    groups
        How many groups are compared; 1 where none are.
    ranges
        (low, high) of each column.
    levels
        Of the columns, for tables of categories; else empty.
    computed
        Whether its frame can be made here before anything is asked: scores of networks are not there yet.
    modes
        How it is asked, of the ways in which a question may be.
    """

    part: str
    cohort: str
    questions: frozenset[str]
    recipe: Recipe = field(default_factory=Recipe)
    columns: tuple[str, ...] = ()
    endpoint: str = ""
    groups: int = 1
    ranges: tuple[tuple[float, float], ...] = ()
    levels: tuple[int, ...] = ()
    computed: bool = True
    modes: tuple[Mode, ...] = tuple(Mode)


def subjects_of(study: Study) -> Iterator[Subject]:
    """Every part of a study in every cohort that it asks about."""
    for cohort in study.cohorts:
        yield Subject(EVERY_STUDY, cohort.name, frozenset({"query.flow"}))
        for endpoint in study.endpoints:
            yield Subject(EVERY_STUDY, cohort.name, frozenset({"query.classes"}), endpoint=endpoint.name)
    for cohort_name in dict.fromkeys(model.cohort for model in study.models):
        yield _missing(study, cohort_name)
    for model in study.models:
        yield from _model(study, model)
    for analysis in study.analyses:
        yield from _analysis(study, analysis)
    for comparison in study.comparisons:
        part, questions = f"comparison {comparison.name}", frozenset({_survival(study, comparison.cohort)})
        yield _grouped(study, part, comparison.cohort, questions, comparison.endpoint, comparison.group)
    for network in study.networks:
        yield from _network(study, network)


def always_admitted(study: Study) -> Iterator[tuple[str, str]]:
    """(question, cohort): what the gate takes in every study, whether a part of this one needs it or not.

    Of cohorts whose endpoints are closed it takes them about frozen scores and groups only, after the freeze.
    """
    binary = any(endpoint.kind == "binary" for endpoint in study.endpoints)
    timed = any(endpoint.timed for endpoint in study.endpoints)
    for cohort in study.cohorts:
        for name in sorted(ALWAYS):
            if (name in _TABLES and not timed) or (name in _BINARY and not binary):
                continue
            yield name, cohort.name


_BINARY = frozenset({"query.logistic", "query.score_counts", "query.roc_alone"})


def _area(study: Study, cohort: str) -> str:
    """An area over all sites, or, of too few sites to be summed, by each on its own."""
    return "query.score_counts" if _poolable(study, cohort) else "query.roc_alone"


def _survival(study: Study, cohort: str) -> str:
    return "query.life_table" if _poolable(study, cohort) else "query.survival_alone"


def _poolable(study: Study, cohort: str) -> bool:
    return len(study.cohort(cohort).sites) >= study.limits.min_sites


def _missing(study: Study, cohort: str) -> Subject:
    """Missing values of everything that models of a training cohort use."""
    used = [term.variable for model in study.models if model.cohort == cohort for term in model.predictors]
    variables = tuple(dict.fromkeys(used))
    known = Recipe((Select(tuple(CodedColumn(v, v, "known") for v in variables)),))
    return Subject(EVERY_MODEL, cohort, frozenset({"query.missing"}), known, variables)


def _model(study: Study, model: Model) -> Iterator[Subject]:
    part = f"model {model.name}"
    columns = coded_columns(study, model.predictors)
    names, keys = tuple(c.name for c in columns), study.endpoint(model.endpoint).keys
    whole = Subject(part, model.cohort, _MOMENTS, Recipe((Select(columns),)), names, ranges=_ranges(study, columns))
    yield whole
    imputer = IMPUTERS.get(model.missing)
    if imputer is not None:
        # The median of a binary column would be a level itself: it takes the mean.
        numbers = [i for i, c in enumerate(columns) if imputer != "query.grid_counts" or c.coding in ("linear", "log")]
        if numbers:
            yield replace(
                whole,
                questions=frozenset({imputer}),
                columns=tuple(names[i] for i in numbers),
                ranges=tuple(whole.ranges[i] for i in numbers),
            )
    fitted = replace(whole, recipe=filled(study, (model,)), endpoint=model.endpoint)
    yield replace(fitted, questions=frozenset({"query.logistic"}))
    for name, range_ in zip(names, whole.ranges, strict=True):
        alone = Recipe((Select(columns), Complete((name,), keys)))
        asked = frozenset({"query.logistic", "query.score_counts"})
        yield replace(fitted, questions=asked, recipe=alone, columns=(name,), ranges=(range_,))
    for cohort in dict.fromkeys((model.cohort, *model.evaluate)):
        yield _scored(study, part, cohort, frozenset({_area(study, cohort)}), (model,))


def _scored(study: Study, part: str, cohort: str, questions: frozenset[str], models: tuple[Model, ...]) -> Subject:
    scores = tuple(_score(study, model) for model in models)
    columns = tuple(score.column for score in scores)
    ranges = ((0.0, 1.0),) * len(columns)
    return Subject(
        part, cohort, questions, filled(study, models).then(*scores), columns, models[0].endpoint, ranges=ranges
    )


def _score(study: Study, model: Model) -> Score:
    """A score with coefficients of no meaning: it stands for the one that will be fitted and frozen."""
    names = tuple(column.name for column in coded_columns(study, model.predictors))
    return Score(model.name, model.endpoint, names, tuple(_STEP * (i + 1) for i in range(len(names))), 0.0)


def filled(study: Study, models: tuple[Model, ...]) -> Recipe:
    """Complete cases of models, with missing values filled, by examples, where a model fills them."""
    columns = tuple({c.name: c for m in models for c in coded_columns(study, m.predictors)}.values())
    filling = {
        c.name: _example(filled_range(study, c))
        for m in models
        if m.missing != "complete-case"
        for c in coded_columns(study, m.predictors)
    }
    impute = (Impute(tuple(filling), tuple(filling.values())),) if filling else ()
    keys = study.endpoint(models[0].endpoint).keys
    return Recipe((Select(columns), *impute, Complete(tuple(c.name for c in columns), keys)))


def _example(range_: tuple[float, float]) -> float:
    """A plausible value between the limits, of which either may be missing."""
    low, high = range_
    if math.isfinite(low) and math.isfinite(high):
        return (low + high) / 2
    return low if math.isfinite(low) else high if math.isfinite(high) else 0.0


def _ranges(study: Study, columns: tuple[CodedColumn, ...]) -> tuple[tuple[float, float], ...]:
    return tuple(plausible_range(study, column) for column in columns)


def _analysis(study: Study, analysis: Analysis) -> Iterator[Subject]:
    kind, part = ANALYSES[analysis.statistic], f"analysis {analysis.name}"
    if kind.on == "models":
        models = tuple(m for m in study.models if m.name in analysis.models)
        yield _scored(study, part, analysis.cohort, kind.questions | _RANKS, models)
        # A cut-off is chosen where the models were trained.
        for cohort in sorted({m.cohort for m in models} - {analysis.cohort}):
            yield _scored(study, part, cohort, kind.questions | _RANKS, models)
        return
    if kind.on == "group":
        tables = _TABLES & {_survival(study, analysis.cohort)} if kind.endpoint == "survival" else frozenset()
        yield _grouped(
            study, part, analysis.cohort, kind.questions | tables, analysis.endpoint or "", analysis.group or ""
        )
        return
    if analysis.statistic == "chi-square":
        tables_ = table_columns(study, analysis.predictors)
        recipe = Recipe(
            (Select(tuple(c for c, _ in tables_)), Complete((), study.endpoint(analysis.endpoint or "").keys))
        )
        for column, levels in tables_:
            yield Subject(
                part, analysis.cohort, kind.questions, recipe, (column.name,), analysis.endpoint or "",
                ranges=((0.0, levels - 1.0),), levels=(levels,),
            )  # fmt: skip
        return
    columns = coded_columns(study, analysis.predictors)
    names = tuple(c.name for c in columns)
    keys = study.endpoint(analysis.endpoint).keys if analysis.endpoint else ()
    recipe = Recipe((Select(columns),))
    if analysis.statistic in _KNOWN_ENDPOINT:
        recipe = recipe.then(Complete((), keys))
    elif analysis.statistic not in ("means", "quantiles"):
        recipe = recipe.then(Complete(names, keys))
    if analysis.statistic in ("lasso", "cox-lasso"):
        recipe = recipe.then(Fold(FOLDS, keys[-1]))
    further = _MOMENTS if analysis.statistic in ("means", "quantiles") else frozenset()
    if kind.endpoint in ("survival", "competing"):
        further |= {"query.life_table"}  # the scale of time on which hazards are tested
    yield Subject(
        part, analysis.cohort, kind.questions | further, recipe, names, analysis.endpoint or "",
        ranges=_ranges(study, columns),
    )  # fmt: skip


def _grouped(study: Study, part: str, cohort: str, questions: frozenset[str], endpoint: str, group: str) -> Subject:
    keys = study.endpoint(endpoint).keys
    if not group:
        return Subject(part, cohort, questions, Recipe((Complete((), keys),)), endpoint=endpoint)
    own = next((e for e in study.endpoints if e.name == group), None)
    levels = (study.variable(group) if own is None else own).level_names
    recipe = Recipe((Group(group, levels), Complete(("group",), keys)))
    return Subject(part, cohort, questions, recipe, endpoint=endpoint, groups=len(levels))


def _network(study: Study, network: Network) -> Iterator[Subject]:
    part = f"network {network.name}"
    yield Subject(part, network.cohort, frozenset({"query.grade_counts"}), endpoint=network.grades)
    named = dict.fromkeys((network.grades, network.binary))
    keys = tuple(key for name in named for key in study.endpoint(name).keys)
    recipe = Recipe((Made(_MODEL, network.name, COLUMNS), Complete((f"{network.name}.mean",), keys)))
    for cohort in dict.fromkeys((network.cohort, *network.evaluate)):
        mean = Subject(
            part, cohort, QUESTIONS | _RANKS, recipe, (f"{network.name}.mean",), network.binary,
            ranges=((0.0, 1.0),), computed=False,
        )  # fmt: skip
        grade = replace(
            mean,
            questions=frozenset({"query.grade_table"}),
            columns=(f"{network.name}.mean.grade",),
            endpoint=network.grades,
        )
        alone = replace(mean, questions=frozenset({"query.roc_alone", "query.grade_table"}), modes=(Mode.EACH,))
        if _poolable(study, cohort):
            # Over enough sites nobody needs the results of single ones; the gate takes the questions all the same.
            yield from (replace(subject, modes=(Mode.TOTAL,)) for subject in (mean, grade))
            yield replace(alone, part=NO_PART)
        else:
            yield from (alone, grade)

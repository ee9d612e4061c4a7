"""client/approval: what a study asks about, part by part: the patients, columns and endpoint of each declared part.

It follows the protocol and nothing else: which questions a declared statistic may ask is `common/study/analyses.py`,
which the gate reads too. What a coordinator's program then asks is not known here, and is not relied on: the gate
refuses every question outside of these parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from client.approval.adaptation_subjects import adaptation_subjects
from client.approval.centre_subjects import centre_subjects, network_at_cutoff
from client.approval.expression_subjects import expression_subjects
from client.approval.hazard_subjects import hazard_subjects
from client.approval.model_subjects import (
    group_parts,
    harmonisation,
    harmonising,
    is_computed,
    parts_of,
    reduced_model,
    training_frame,
)
from client.approval.recalibration_subjects import recalibration_subjects
from client.approval.shift_subjects import shift_subjects
from client.approval.subject import Subject
from client.release.network_scope import COLUMNS, QUESTIONS
from common.federation.query import Mode
from common.networks.projection import LARGEST, projected_columns
from common.study.analyses import ALWAYS, ANALYSES, FOLDS, IMPUTERS
from common.study.coding import CodedColumn, coded_columns
from common.study.described import (
    acquired_cohorts,
    acquired_columns,
    described_classes,
    described_cohorts,
    described_variables,
)
from common.study.dividing import divided, subset_recipe
from common.study.harmonised import ranges_after
from common.study.modelling import is_score
from common.study.networks import Network
from common.study.protocol import Analysis, Cohort, Comparison, Model, Study
from common.study.ranges import NUMBERS, plausible_range, table_columns
from common.study.readings import BothReadings
from common.study.recipe import Complete, Fold, Group, Made, Recipe, Resample, Select, Standardise
from common.study.scores import needed_columns, of_score, plain_columns, score_terms
from common.study.scoring import grouped, merged
from common.study.subgroups import THRESHOLDS, Subgroups

EVERY_STUDY, EVERY_MODEL = "every study", "every model"
NO_PART = "no part of it; answered if asked"
_STEP = 0.01
_MODEL = "0" * 64
_KNOWN_ENDPOINT = frozenset({"t-test", "mann-whitney", "univariable-logistic", "chi-square"})
_MOMENTS = frozenset({"query.deviations"})
_TABLES = frozenset({"query.life_table", "query.survival_alone"})
_RANKS = frozenset({"query.score_counts"})
_NUMBERS, _LEVELS = ("query.deviations", "query.class_moments"), ("query.level_counts", "query.class_table")


def subjects_of(study: Study) -> Iterator[Subject]:
    """Every part of a study in every cohort that it asks about."""
    for cohort in study.cohorts:
        yield Subject(EVERY_STUDY, cohort.name, frozenset({"query.flow"}))
        for endpoint in study.endpoints:
            yield Subject(EVERY_STUDY, cohort.name, frozenset({"query.classes"}), endpoint=endpoint.name)
    for cohort_name in dict.fromkeys(model.cohort for model in study.models):
        yield _missing(study, cohort_name)
    for model in study.models:
        own = tuple(_model(study, model))
        yield from (*own, *centre_subjects(study, model, own))
    for analysis in study.analyses:
        yield from _analysis(study, analysis)
    for comparison in study.comparisons:
        yield from _comparison(study, comparison)
    for network in study.networks:
        yield from _network(study, network)
    for cohort in described_cohorts(study):
        yield from _characteristics(study, cohort)
    for cohort in acquired_cohorts(study):
        yield _acquisition(study, cohort)
    for subgroups in study.subgroups:
        yield from _subgroups(study, subgroups)
    yield from _recalibrations(study)
    yield from shift_subjects(study)
    yield from expression_subjects(study)


def _comparison(study: Study, comparison: Comparison) -> Iterator[Subject]:
    """Curves by groups, and regressions where there are some."""
    part, questions = f"comparison {comparison.name}", frozenset({_survival(study, comparison.cohort)})
    if is_score(comparison.group):
        yield _by_score(study, part, comparison, questions)
    else:
        yield _grouped(study, part, comparison.cohort, questions, comparison.endpoint, comparison.group)
    if comparison.cox is not None:
        yield from hazard_subjects(study, part, comparison)


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
    variables = tuple(name for name in dict.fromkeys(used) if not is_score(name))
    known = Recipe((Select(tuple(CodedColumn(v, v, "known") for v in variables)),))
    return Subject(EVERY_MODEL, cohort, frozenset({"query.missing"}), known, variables)


def _model(study: Study, model: Model) -> Iterator[Subject]:
    part = f"model {model.name}"
    if model.reduction is not None:
        yield from reduced_model(study, model)
    else:
        yield from _regression(study, model, part)
    for cohort in dict.fromkeys((model.cohort, *model.evaluate)):
        yield _scored(study, part, cohort, frozenset({_area(study, cohort)}), (model,))


def _regression(study: Study, model: Model, part: str) -> Iterator[Subject]:
    """Means of the columns, what fills missing values, and regressions on each column and on all."""
    plain, columns = plain_columns(study, model), coded_columns(study, model.predictors)
    keys, frame = study.endpoint(model.endpoint).keys, training_frame(study, model)
    names, read, steps = tuple(c.name for c in plain), needed_columns(study, model), harmonising(study, model)
    select = Recipe((Select(read), *steps))
    ranges = tuple(ranges_after(study, model, select)[name] for name in names)
    whole = Subject(part, model.cohort, _MOMENTS, select, names, ranges=ranges)
    if plain:
        yield whole
    if steps:
        needed = tuple(c.name for c in read) if model.missing == "complete-case" else steps[0].columns
        yield harmonisation(study, model, Recipe((Select(read), Complete(needed, keys))))
    imputer = IMPUTERS.get(model.missing)
    if imputer is not None:
        # The median of a binary column would be a level itself: it takes the mean.
        numbers = [i for i, c in enumerate(plain) if imputer != "query.grid_counts" or c.coding in NUMBERS]
        if numbers:
            yield replace(
                whole,
                questions=frozenset({imputer}),
                columns=tuple(names[i] for i in numbers),
                ranges=tuple(whole.ranges[i] for i in numbers),
            )
    fitted = replace(
        whole, recipe=frame, columns=tuple(c.name for c in columns), ranges=_ranges(study, columns),
        endpoint=model.endpoint, computed=is_computed(parts_of(study, model)),
    )  # fmt: skip
    yield replace(fitted, questions=frozenset({"query.logistic"}))
    if model.optimism:
        yield replace(fitted, questions=frozenset({"query.logistic"}), recipe=frame.then(Resample(1, model.endpoint)))
    asked = frozenset({"query.logistic", "query.score_counts"})
    for name, range_ in zip(names, whole.ranges, strict=True):
        covariates = (covariate for step in steps if name in step.names for covariate in step.covariates)
        alone = whole.recipe.then(Complete((name, *covariates), keys))
        yield replace(fitted, questions=asked, recipe=alone, columns=(name,), ranges=(range_,), computed=True)
    for column in columns[len(plain) :] if score_terms(model) else ():
        yield replace(fitted, questions=asked | _MOMENTS, columns=(column.name,), ranges=((0.0, 1.0),))


def _scored(study: Study, part: str, cohort: str, questions: frozenset[str], models: tuple[Model, ...]) -> Subject:
    """Scores, with coefficients of no meaning: they stand for those that will be fitted and frozen."""
    parts = merged(parts_of(study, model) for model in models)
    recipe = parts.recipe(study.endpoint(models[0].endpoint).keys)
    if len(models) == 1 and cohort == models[0].cohort and score_terms(models[0]):
        recipe = training_frame(study, models[0]).then(parts.chain[-1])
    columns = tuple(f"score.{model.name}" for model in models)
    ranges = ((0.0, 1.0),) * len(columns)
    return Subject(
        part, cohort, questions, recipe, columns, models[0].endpoint, ranges=ranges, computed=is_computed(parts)
    )


def _compared(study: Study, part: str, analysis: Analysis) -> Subject:
    """Scores of models, networks and choices on one frame; of a choice those of its first model."""
    made = [group_parts(study, name) for name in analysis.models]
    parts = merged(one for one, _ in made)
    recipe = parts.recipe(study.endpoint(analysis.endpoint or "").keys)
    columns, questions = tuple(column for _, column in made), ANALYSES[analysis.statistic].questions | _RANKS
    return Subject(
        part, analysis.cohort, questions, recipe, columns, analysis.endpoint or "",
        ranges=((0.0, 1.0),) * len(columns), computed=is_computed(parts),
    )  # fmt: skip


def _by_score(study: Study, part: str, comparison: Comparison, questions: frozenset[str]) -> Subject:
    """Groups below, and from the cut-off of a score on."""
    keys, name = study.endpoint(comparison.endpoint).keys, of_score(comparison.group)
    parts, column = group_parts(study, name)
    recipe = grouped(parts, column, _STEP, keys)
    return Subject(
        part, comparison.cohort, questions, recipe, endpoint=comparison.endpoint, groups=2, computed=is_computed(parts)
    )


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
    if analysis.statistic == "compare-areas":
        yield _compared(study, part, analysis)
        return
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
    if analysis.statistic == "reader-kappa":
        for column, levels in table_columns(study, analysis.predictors):
            yield Subject(
                part, analysis.cohort, kind.questions, Recipe((BothReadings(column.name),)), (column.name,),
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


def _characteristics(study: Study, cohort: Cohort) -> Iterator[Subject]:
    """Each variable of the table of characteristics: its moments, its levels, and both by class where it is open."""
    endpoint = described_classes(study, cohort)
    for part in described_variables(study, cohort):
        for column, names in ((part.number, _NUMBERS), (part.table, _LEVELS)):
            if column is None:
                continue
            levels = () if column is part.number else (len(part.terms),)
            ranges = (plausible_range(study, column) if column is part.number else (0.0, len(part.terms) - 1.0),)
            told = Subject(
                "table of characteristics", cohort.name, frozenset(names[:1]), Recipe((Select((column,)),)),
                (column.name,), ranges=ranges, levels=levels,
            )  # fmt: skip
            yield told
            if endpoint:
                low, high = ranges[0]
                spread = (high - low) / 4.0 if math.isfinite(high - low) else 1.0
                standard = (Standardise(told.columns, (_example(ranges[0]),), (spread,)),) if names is _NUMBERS else ()
                recipe = told.recipe.then(*standard)
                yield replace(told, questions=frozenset(names[1:]), recipe=recipe, endpoint=endpoint)


def _acquisition(study: Study, cohort: Cohort) -> Subject:
    """How images were acquired: of this site alone, and over all sites where they are enough."""
    asked = acquired_columns(study)
    columns, levels = (tuple(part) for part in zip(*asked, strict=True))
    questions = {"query.own_level_table"} | ({"query.level_table"} if _poolable(study, cohort.name) else set())
    return Subject(
        "acquisition of images", cohort.name, frozenset(questions), Recipe((Select(columns),)),
        tuple(column.name for column in columns), ranges=tuple((0.0, count - 1.0) for count in levels), levels=levels,
    )  # fmt: skip


def _subgroups(study: Study, subgroups: Subgroups) -> Iterator[Subject]:
    """The binned score of everybody, and of each level."""
    model = next(m for m in study.models if m.name == subgroups.model)
    asked = frozenset({"query.threshold_counts"})
    whole = _scored(study, f"subgroups {subgroups.name}", subgroups.cohort, asked, (model,))
    whole = replace(whole, thresholds=THRESHOLDS)
    yield whole
    for part in divided(study, subgroups):
        for level in range(len(part.levels)):
            yield replace(whole, recipe=subset_recipe(study, subgroups, whole.recipe, part, level))


def _recalibrations(study: Study) -> Iterator[Subject]:
    for one in study.recalibrations:
        model = next(m for m in study.models if m.name == one.model)
        yield from recalibration_subjects(study, one, _scored(study, "", one.cohort, frozenset(), (model,)))


def _projection(study: Study, network: Network) -> Iterator[Subject]:
    """What is asked of the projections of each sequence that may be the chosen one's."""
    if network.projection is None:
        return
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    for cohort in (name for name in network.projection.cohorts if _poolable(study, name)):
        for sequence in network.sequences:
            made = Made(_MODEL, network.name, projected_columns(sequence, network.projection.dimensions))
            recipe = Recipe((made, Complete(made.names, keys)))
            ranges = ((-LARGEST, LARGEST),) * len(made.names)
            whole = Subject(
                f"network {network.name}", cohort, frozenset({"query.half_products"}),
                recipe.then(Fold(FOLDS, network.binary)), made.names, ranges=ranges, computed=False,
            )  # fmt: skip
            yield whole
            for endpoint in dict.fromkeys((network.grades, network.binary)):
                yield replace(whole, questions=frozenset({"query.level_sums"}), recipe=recipe, endpoint=endpoint)
                yield replace(whole, questions=frozenset({"query.direction_counts"}), endpoint=endpoint)


def _network(study: Study, network: Network) -> Iterator[Subject]:
    part = f"network {network.name}"
    yield from (*_projection(study, network), *adaptation_subjects(study, network))
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
            if network.by_centre and cohort == network.cohort:
                yield replace(alone, part=f"{part}, at each hospital", questions=frozenset({"query.roc_alone"}))
        else:
            yield from (alone, grade)
        if cohort in network.evaluate:
            yield network_at_cutoff(study, network, mean)

"""client/release: the scope of a study's models while they are developed: parts of the patients, drafts, cut-offs.

A draft score is a function of the server's choice, of patients whose endpoints are open. So a model has one in a run
(`once`), it is made of the model's own columns, rounded, and seen in the model's training cohort only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from client.release.harmonise_scope import check_scored
from client.release.network_scope import AT_CUTOFF, network_cut
from common.errors import FedmviError
from common.federation.query import Query
from common.statistics.icc import LEAST_APART, SiteAgreement
from common.statistics.unfit_columns import UnfitColumns
from common.study.analyses import FOLDS
from common.study.centres import Only, centre_of, cut_at, shift_models
from common.study.chain import ChainedImpute
from common.study.coding import coded_columns
from common.study.comparing import expressed_groups
from common.study.expressed import EffectiveLibrary, Genes
from common.study.features import second_reading
from common.study.harmonisation import Combat
from common.study.modelling import is_score
from common.study.protocol import Model, Study
from common.study.ranges import LARGEST, Range, plausible_range
from common.study.readings import BothReadings
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    Frame,
    Group,
    Impute,
    Made,
    ModelColumns,
    Outside,
    Recipe,
    Resample,
    Score,
    SecondReadings,
    Select,
    Standardise,
    Step,
    logistic_function,
)
from common.study.scores import (
    GROUP,
    candidates,
    named_model,
    named_network,
    needed,
    needed_columns,
    of_score,
    score_column,
    source_column,
)

LETTERS: Mapping[type, str] = {
    Select: "S", Group: "G", Made: "M", ModelColumns: "P", SecondReadings: "A", Impute: "I", ChainedImpute: "I",
    Complete: "C", Fold: "F", Outside: "O", Resample: "R", DraftScore: "D", Cut: "T", Score: "K", Standardise: "Z",
    Combat: "H", Genes: "X", EffectiveLibrary: "L", BothReadings: "B",
}  # fmt: skip
"""The steps that a study may ask for. Others (drawn imputations) are no part of any study."""

LEAST_SPREAD = 0.25
"""Least mean of 4 s (1 - s) of a draft score s: 1 for one half, 0 for certainties."""

ORDER = re.compile(r"B|S?G?X?M*P*A?H*(CFD)?T*I?C?(FO|R)?(D|[KT]*F?Z?L?)")
"""Columns are read, and harmonised; out-of-fold scores of a reduced model may be added; the rest is filled and
complete; a part of the patients may be taken; and they are scored, or dealt into folds and standardised. Where genes
are read, libraries are scaled at the end. Two readers' traits are read alone."""

REDUCES = frozenset(
    {
        "query.unfit_columns",
        "query.marginal_logistic",
        "query.cross_products",
        "query.endpoint_products",
        "query.set_moments",
        "query.penalised",
        "query.held_out",
        "query.site_agreement",
    }
)
"""What the reduction of a model asks, beyond what every study asks."""


def model_step(
    step: ModelColumns | SecondReadings | Outside | Resample | DraftScore | Cut,
    ranges: Mapping[str, Range],
    query: Query,
    study: Study,
) -> dict[str, Range]:
    """The columns that a step of developing a model adds, each with its range; error 414 for what is not declared."""
    if isinstance(step, ModelColumns):
        return _read(step, study)
    if isinstance(step, SecondReadings):
        return _read_again(step, query, study)
    if isinstance(step, DraftScore):
        _draft(step, ranges, query, study)
        return {step.column: (0.0, 1.0)}
    if isinstance(step, Cut):
        _cut(step, ranges, query, study)
        return {step.name: (0.0, 1.0)}
    _part(step, query, study)
    return {}


def check_order(steps: tuple[Step, ...]) -> None:
    """Error 414 for steps that no study asks for, or in another order."""
    _need(all(type(step) in LETTERS for step in steps), "a step")
    word = "".join(LETTERS[type(step)] for step in steps)
    _need(ORDER.fullmatch(word) is not None, "an order of steps")
    parts = sum(isinstance(step, ModelColumns) for step in steps)
    _need(parts == 1 or not re.search("CFD|FO", word), "an order of steps")


def reduction_declares(query: Query, study: Study) -> bool:
    """Whether a model of the study, whose columns the recipe reads, asks this to be reduced."""
    read = [step for step in query.recipe.steps if isinstance(step, ModelColumns)]
    model = named_model(study, read[0].model) if len(read) == 1 else None
    if query.name not in REDUCES or model is None or model.reduction is None:
        return False
    if getattr(query, "sampling", "folds") != "folds":
        return False
    if isinstance(query, UnfitColumns) and query.min_cell != study.limits.min_cell:
        return False
    own = {column.name for column in coded_columns(study, model.predictors)} | {"fold"}
    if isinstance(query, SiteAgreement):
        features = set(query.readers[0]) <= own - {"fold"} and query.is_second_reading
        return query.cohort == model.cohort and features and query.apart == LEAST_APART
    named = {*getattr(query, "columns", ()), *query.uses}
    return query.cohort == model.cohort and getattr(query, "endpoint", "") in ("", model.endpoint) and named <= own


def _read(step: ModelColumns, study: Study) -> dict[str, Range]:
    model = named_model(study, step.model)
    if model is None or model.reduction is None:
        raise FedmviError(414, step.model, part="a model")
    return {column.name: plausible_range(study, column) for column in needed_columns(study, model)}


def _read_again(step: SecondReadings, query: Query, study: Study) -> dict[str, Range]:
    """Nothing but the agreement of readers is asked of them, of the model whose columns are read."""
    model = named_model(study, step.model)
    read = [other.model for other in query.recipe.steps if isinstance(other, ModelColumns)]
    _need(isinstance(query, SiteAgreement) and read == [step.model], "second readings")
    if model is None or not study.is_read_twice(model):
        raise FedmviError(414, step.model, part="second readings")
    columns = coded_columns(study, model.predictors)
    return {second_reading(column.name): plausible_range(study, column) for column in columns}


def _part(step: Outside | Resample, query: Query, study: Study) -> None:
    read = {other.model for other in query.recipe.steps if isinstance(other, ModelColumns)}
    here = [model for model in study.models if model.cohort == query.cohort]
    if isinstance(step, Outside):
        _need(any(model.name in read and model.reduction for model in here), "a fold")
        _need(0 <= step.fold < FOLDS, "a fold")
    else:
        of = [model for model in here if 1 <= step.replicate <= model.optimism and model.endpoint == step.endpoint]
        _need(bool(of), "a bootstrap set")


def _draft(step: DraftScore, ranges: Mapping[str, Range], query: Query, study: Study) -> None:
    model = named_model(study, step.model)
    _need(model is not None and query.cohort == model.cohort, "a model")
    if model is None:
        return
    check_scored(model, step.names, query, study)
    own = {column.name for column in coded_columns(study, model.predictors)}
    _need(set(step.names) <= own & set(ranges) and len(set(step.names)) == len(step.names), "a model")
    _need(step.endpoint == model.endpoint, "a model")
    if step.by_fold:
        _need(model.reduction is not None and len(step.intercepts) == FOLDS and step.replicate == 0, "a model")
    else:
        # The draft of everybody's model is for its cut-off; of a reduced model that is chosen out of fold. That of the
        # model without a centre is for this centre's area.
        alone = isinstance(centre_of(query.recipe), Only)
        least = 1 if model.reduction is not None and not alone else 0
        _need(len(step.intercepts) == 1 and least <= step.replicate <= model.optimism, "a bootstrap set")
        _need(not alone or step.replicate == 0, "a bootstrap set")
        # It is measured, and no predictor of anything.
        measured = ("query.roc_alone", step.column) if alone else ("query.score_counts", (step.column,))
        _need((query.name, getattr(query, "column" if alone else "columns", ())) == measured, "a column")
    if model.fixed is not None:
        given = (step.intercepts, step.coefficients) == ((model.fixed.intercept,), (model.fixed.coefficients,))
        _need(given and step.names == tuple(c.name for c in coded_columns(study, model.predictors)), "a number")
    _need(len(step.coefficients) == len(step.intercepts), "a number")
    _need(all(len(formula) == len(step.names) for formula in step.coefficients), "a number")
    numbers = (number for formula in (step.intercepts, *step.coefficients) for number in formula)
    _need(all(abs(number) <= LARGEST for number in numbers), "a number")


def _cut(step: Cut, ranges: Mapping[str, Range], query: Query, study: Study) -> None:
    _need(step.source in ranges, "a column")
    _need(step.cutoff is None or 0.0 <= step.cutoff <= 1.0, "a number")
    if step.name == GROUP:
        asked = (getattr(query, "endpoint", None), query.cohort)
        groups = {c.group for c in study.comparisons if asked == (c.endpoint, c.cohort)}
        # Moments, which have no endpoint, standardise the columns of a regression.
        groups |= {c.group for c in study.comparisons if c.cox is not None and asked == (None, c.cohort)}
        groups |= expressed_groups(study, query.cohort, query.recipe)
        _need(step.cutoff is not None and any(is_score_of(study, g, step.source) for g in groups), "a group")
        return
    if step in {cut_at(name, f"score.{name}", step.cutoff) for name in shift_models(study) if step.cutoff is not None}:
        return
    # Of a network's score it is for that network by hospital and for its fall, and for no other question.
    if isinstance(query, AT_CUTOFF) and any(network_cut(step, network) for network in study.networks):
        return
    for model in study.models:
        for term in model.predictors:
            if not is_score(term.variable) or score_column(study, term) != step.name:
                continue
            sound = (step.cutoff is None) == (term.coding == "linear") and term.cutoff in (None, step.cutoff)
            if sound and is_score_of(study, term.variable, step.source):
                return
    raise FedmviError(414, step.name, part="a column or cut-off")


def is_score_of(study: Study, name: str, column: str) -> bool:
    """Whether a column may be the score that a predictor or group names."""
    if not is_score(name):
        return False
    network = named_network(study, of_score(name))
    if network is not None:
        return column == source_column(network)
    return column in {f"score.{model}" for model in candidates(study, of_score(name))}


def draft_columns(recipe: Recipe) -> frozenset[str]:
    """The columns of a recipe that are draft scores, under whatever name."""
    found: set[str] = set()
    for step in recipe.steps:
        if isinstance(step, DraftScore):
            found.add(step.column)
        elif isinstance(step, Cut) and step.source in found:
            found.add(step.name)
    return frozenset(found)


def draws_apart(recipe: Recipe, frame: Frame, min_cell: int) -> bool:
    """Whether each formula of a draft tells many patients from many, of all that the frame has.

    A fold has a formula of its own, and its patients are told by a difference (`Outside`): one that is a step next to
    few patients, or all alike but for them, would be those patients' indicator.
    """
    step = next(step for step in recipe.steps if isinstance(step, DraftScore))
    cuts = [s.cutoff for s in recipe.steps if isinstance(s, Cut) and s.source == step.column and s.cutoff is not None]
    values = frame.matrix(step.names)
    for intercept, formula in zip(step.intercepts, step.coefficients, strict=True):
        score = logistic_function(intercept + values @ np.array(formula, dtype=np.float64))
        if float((4.0 * score * (1.0 - score)).sum()) < frame.n * LEAST_SPREAD:
            return False
        for cut in cuts:
            above = int(np.count_nonzero(score >= cut))
            if min(above, frame.n - above) < min_cell:
                return False
    return True


def complete_sets(study: Study) -> Iterator[tuple[frozenset[str], str]]:
    """The sets of complete cases that models with scores speak of, as (columns, endpoint)."""
    for model in study.models:
        for names in needed(study, model.name):
            yield names, model.endpoint
            # In training the out-of-fold scores are there already when the rest is completed.
            yield frozenset(name for name in names if not name.startswith("complete.")), model.endpoint
    for comparison in study.comparisons:
        if is_score(comparison.group):
            name = of_score(comparison.group)
            yield frozenset(), comparison.endpoint
            for model_name in candidates(study, name):
                yield from ((names, comparison.endpoint) for names in needed(study, model_name))
    for analysis in study.analyses:
        options = [
            [names for one in candidates(study, name) for names in needed(study, one)] for name in analysis.models
        ]
        for parts in product(*(option for option in options if option)):
            yield frozenset().union(*parts), analysis.endpoint or ""


def fixed_formula(model: Model, step: Score) -> bool:
    """Whether the score of a formula from elsewhere is that formula; True for fitted models."""
    fixed = model.fixed
    corrected = step.model != model.name
    return fixed is None or corrected or (step.intercept, step.coefficients) == (fixed.intercept, fixed.coefficients)


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)

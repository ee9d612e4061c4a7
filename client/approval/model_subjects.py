"""client/approval: what a study asks about models that are reduced to a score, and models on scores.

Fitted numbers are examples, as everywhere in a preview: which predictors a model will keep nobody knows before.
"""

from __future__ import annotations

from collections.abc import Iterator

from client.approval.subject import Subject
from client.release.harmonise_scope import HARMONISES
from client.release.model_scope import REDUCES
from client.release.network_scope import COLUMNS
from common.federation.query import Mode
from common.study.analyses import FOLDS
from common.study.coding import coded_columns
from common.study.expressed import Genes
from common.study.harmonisation import MIN_PATIENTS, Combat
from common.study.harmonised import harmonised_columns
from common.study.protocol import Model, Study
from common.study.ranges import filled_range, plausible_range
from common.study.recipe import (
    Complete,
    Cut,
    DraftScore,
    Fold,
    Impute,
    Made,
    ModelColumns,
    Outside,
    Recipe,
    Resample,
    Score,
    Select,
)
from common.study.scores import (
    candidates,
    covariate_columns,
    named_model,
    named_network,
    needed_columns,
    of_score,
    plain_columns,
    score_column,
    score_terms,
    source_column,
)
from common.study.scoring import Link, Parts, read_twice
from common.study.terms import Term

_MODEL = "0" * 64
_COEFFICIENT = 0.01
_CUTOFF = 0.5
_MOMENTS, _RANKS, _FITS = "query.deviations", "query.score_counts", "query.logistic"


def reduced_model(study: Study, model: Model) -> Iterator[Subject]:
    """The development of a model with a reduction: on everybody, without each fold, on each bootstrap set."""
    part, endpoint = f"model {model.name}", model.endpoint
    columns = coded_columns(study, model.predictors)
    names = tuple(column.name for column in columns)
    ranges = tuple(plausible_range(study, column) for column in columns)
    if model.harmonise is not None:
        yield harmonisation(study, model, Recipe((ModelColumns(model.name), base_recipe(study, model).steps[-1])))
    base, questions = base_recipe(study, model), REDUCES | {_MOMENTS, _FITS}
    few = len(names) if len(names) <= _reduced(model) else _reduced(model)
    parts = [base, base.then(Fold(FOLDS, endpoint), Outside(0))]
    parts += [base.then(Resample(1, endpoint))] if model.optimism else []
    for recipe in parts:
        marginal = questions - _ON_FEW - _TWICE
        yield Subject(part, model.cohort, marginal, recipe, names, endpoint, ranges=ranges, modes=(Mode.TOTAL,))
        yield Subject(
            part, model.cohort, _ON_FEW, recipe.then(Fold(FOLDS, endpoint)), names[:few], endpoint,
            ranges=ranges[:few], modes=(Mode.TOTAL,),
        )  # fmt: skip
        if study.is_read_twice(model):
            yield Subject(part, model.cohort, _TWICE, read_twice(recipe), names, ranges=ranges, modes=(Mode.TOTAL,))
    for recipe in (draft_recipe(study, model), *([_replicate(model, base)] if model.optimism else ())):
        yield Subject(
            part, model.cohort, frozenset({_RANKS}), recipe, (f"score.{model.name}",), endpoint, ranges=((0.0, 1.0),),
            modes=(Mode.TOTAL,),
        )  # fmt: skip


_TWICE = frozenset({"query.site_agreement"})
_ON_FEW = frozenset(
    {"query.cross_products", "query.endpoint_products", "query.set_moments", "query.penalised", "query.held_out"}
)
"""What is asked of the predictors only that have passed the steps before."""


def _reduced(model: Model) -> int:
    return model.reduction.count if model.reduction is not None else 0


def _replicate(model: Model, base: Recipe) -> Recipe:
    """The score of one bootstrap set's model."""
    return base.then(DraftScore(model.name, model.endpoint, (), ((),), (0.0,), 1))


def base_recipe(study: Study, model: Model) -> Recipe:
    """The patients of whom all predictors of a reduced model are known, harmonised if they are."""
    read = ModelColumns(model.name)
    return Recipe((read, *harmonising(study, model), Complete((read.complete,), (model.endpoint,))))


def harmonisation(study: Study, model: Model, recipe: Recipe) -> Subject:
    """What is asked to fit how a model's features are harmonised."""
    columns, covariates = harmonised_columns(study, model), covariate_columns(study, model)
    return Subject(
        f"model {model.name}", model.cohort, HARMONISES, recipe, tuple(column.name for column in columns),
        ranges=tuple(plausible_range(study, column) for column in columns), modes=(Mode.TOTAL,),
        covariates=tuple(column.name for column in covariates),
    )  # fmt: skip


def harmonising(study: Study, model: Model) -> tuple[Combat, ...]:
    """What harmonises a model's columns, with example numbers: covariates without effect."""
    columns, covariates = harmonised_columns(study, model), covariate_columns(study, model)
    if not columns:
        return ()
    ends = [plausible_range(study, column) for column in columns]
    none = tuple((0.0,) * len(columns) for _ in covariates)
    return (
        Combat(
            tuple(c.name for c in columns), tuple(c.name for c in covariates), tuple((a + b) / 2 for a, b in ends),
            tuple((b - a) / 4 for a, b in ends), none, eb=len(columns) > 1, parametric=True, mean_only=False,
            reference="", min_patients=MIN_PATIENTS, bounded=True, model=model.name,
            training=model.cohort,
        ),
    )  # fmt: skip


def draft_recipe(study: Study, model: Model) -> Recipe:
    """The out-of-fold scores of a reduced model."""
    first = coded_columns(study, model.predictors)[0].name
    draft = DraftScore(
        model.name, model.endpoint, (first,), tuple((_COEFFICIENT * (k + 1),) for k in range(FOLDS)), (0.0,) * FOLDS
    )
    return base_recipe(study, model).then(Fold(FOLDS, model.endpoint), draft)


def training_frame(study: Study, model: Model) -> Recipe:
    """The frame on which a model on scores is fitted."""
    plain = needed_columns(study, model)
    recipe = Recipe((Select(plain),) if plain else ())
    known = [column.name for column in plain]
    cuts = []
    drafts: list[Model] = []
    for term in score_terms(model):
        network = named_network(study, of_score(term.variable))
        source, reduced = _first(study, term)
        if network is not None:
            recipe = recipe.then(Made(_MODEL, network.name, COLUMNS))
            known.append(source)
        elif reduced is not None and reduced not in drafts:
            drafts.append(reduced)
        cuts += _cut(study, term, source)
    recipe = recipe.then(*(ModelColumns(reduced.name) for reduced in drafts))
    recipe = recipe.then(*(step for part in (model, *drafts) for step in harmonising(study, part)))
    for reduced in drafts:
        rest = (s for s in draft_recipe(study, reduced).steps if not isinstance(s, ModelColumns | Combat))
        recipe = recipe.then(*rest)
    return recipe.then(*dict.fromkeys(cuts), *_filling(study, model), Complete(tuple(known), (model.endpoint,)))


def parts_of(study: Study, model: Model) -> Parts:
    """What makes a model's score anywhere, with example numbers."""
    columns = coded_columns(study, model.predictors)
    if model.reduction is not None:
        read = ModelColumns(model.name)
        score = (_score(model, (columns[0].name,)),)
        return Parts((), (read,), (), (read.complete,), score, harmonising(study, model))
    plain, steps = needed_columns(study, model), list(harmonising(study, model))
    reads: list[ModelColumns | Made | Genes] = []
    known: list[str] = [column.name for column in plain]
    chain: list[Link] = []
    for term in score_terms(model):
        network = named_network(study, of_score(term.variable))
        source, reduced = _first(study, term)
        if network is not None:
            reads.append(Made(_MODEL, network.name, COLUMNS))
            known.append(source)
        elif reduced is not None:
            own = parts_of(study, reduced)
            reads += own.reads
            known += own.known
            chain += own.chain
            steps += own.harmonising
        chain += _cut(study, term, source)
    names = tuple(column.name for column in columns)
    whole = (*chain, _score(model, names))
    names_known, harmonised = tuple(dict.fromkeys(known)), tuple(dict.fromkeys(steps))
    return Parts(plain, tuple(dict.fromkeys(reads)), _filling(study, model), names_known, whole, harmonised)


def group_parts(study: Study, name: str) -> tuple[Parts, str]:
    """What makes the score that forms groups, and its column."""
    network = named_network(study, name)
    if network is not None:
        column = source_column(network)
        return Parts((), (Made(_MODEL, network.name, COLUMNS),), (), (column,), ()), column
    model = named_model(study, candidates(study, name)[0])
    if model is None:
        raise KeyError(name)
    return parts_of(study, model), f"score.{model.name}"


def is_computed(parts: Parts) -> bool:
    """Whether a frame can be made before anything is asked: scores of networks are not there yet."""
    return not any(isinstance(step, Made) for step in parts.reads)


def _score(model: Model, names: tuple[str, ...]) -> Score:
    fixed = model.fixed
    if fixed is not None:
        return Score(model.name, model.endpoint, names, fixed.coefficients, fixed.intercept)
    return Score(model.name, model.endpoint, names, tuple(_COEFFICIENT * (i + 1) for i in range(len(names))), 0.0)


def _first(study: Study, term: Term) -> tuple[str, Model | None]:
    """The column of a score, and the first model whose score it may be; None where it is a network's."""
    name = of_score(term.variable)
    network = named_network(study, name)
    if network is not None:
        return source_column(network), None
    model = named_model(study, next(iter(candidates(study, name)), ""))
    return f"score.{model.name}" if model is not None else "", model


def _cut(study: Study, term: Term, source: str) -> list[Cut]:
    name = score_column(study, term)
    if term.coding == "above":
        return [Cut(source, name, term.cutoff if term.cutoff is not None else _CUTOFF)]
    return [] if name == source else [Cut(source, name)]


def _filling(study: Study, model: Model) -> tuple[Impute, ...]:
    plain = plain_columns(study, model)
    if model.missing == "complete-case" or not plain:
        return ()
    middles = []
    for column in plain:
        low, high = filled_range(study, column)
        finite = [end for end in (low, high) if abs(end) < float("inf")]
        middles.append(sum(finite) / len(finite) if finite else 0.0)
    return (Impute(tuple(column.name for column in plain), tuple(middles)),)

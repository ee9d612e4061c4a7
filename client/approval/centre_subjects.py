"""client/approval: what a study asks about models by hospital, and about models that are developed without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from client.approval.subject import Subject
from client.release.centre_scope import DEVELOPS
from common.federation.query import Mode
from common.study.centres import Only, Without, centre_models, cut_at, network_cohorts, shift_models
from common.study.coding import coded_columns
from common.study.networks import Network
from common.study.protocol import Model, Study
from common.study.recipe import DraftScore, Outside, Recipe, Resample, Score
from common.study.scores import source_column

_CUTOFF = 0.5
_COEFFICIENT = 0.01


def centre_subjects(study: Study, model: Model, subjects: Iterable[Subject]) -> Iterator[Subject]:
    """What [shift] asks about a model by hospital, from what the study asks about the model anyhow."""
    if model.name not in shift_models(study):
        return
    part = f"hospitals compared by model {model.name}"
    for subject in subjects:
        if subject.recipe.steps and isinstance(subject.recipe.steps[-1], Score):
            yield from _scored(study, model, replace(subject, part=part))
        elif model.name in centre_models(study, subject.cohort):
            yield from _developed(study, model, replace(subject, part=part))
    if model.name in centre_models(study, model.cohort):
        yield from _measured(study, model, part)


def network_at_cutoff(study: Study, network: Network, subject: Subject) -> Subject:
    """What a study asks about a network by hospital, and of its fall, from what it asks about its score anyhow."""
    column = source_column(network)
    summed = subject.cohort in network_cohorts(study, network)
    return replace(
        subject,
        questions=frozenset({"query.centre_alone", "query.risk_counts"} if summed else {"query.case_mix_alone"}),
        recipe=subject.recipe.then(cut_at(network.name, column, _CUTOFF)),
        columns=(column,),
    )


def _scored(study: Study, model: Model, subject: Subject) -> Iterator[Subject]:
    """Its frozen score at each hospital, and what its fall is made of."""
    poolable = len(study.cohort(subject.cohort).sites) >= study.limits.min_sites
    cut = replace(subject, recipe=subject.recipe.then(cut_at(model.name, f"score.{model.name}", _CUTOFF)))
    if subject.cohort in model.evaluate:
        further = "query.risk_counts" if poolable else "query.case_mix_alone"
        yield replace(cut, questions=frozenset({"query.centre_alone", further}))
    if poolable:
        yield replace(cut, questions=frozenset({"query.threshold_counts"}), thresholds=(_CUTOFF,))


def _developed(study: Study, model: Model, subject: Subject) -> Iterator[Subject]:
    """Its development without another hospital: of the first two, one at least is another one anywhere."""
    whole = set(subject.columns) == {column.name for column in coded_columns(study, model.predictors)}
    questions = subject.questions & DEVELOPS - (frozenset() if whole else {"query.logistic"})
    if not questions or any(isinstance(step, Outside | Resample | DraftScore) for step in subject.recipe.steps):
        return
    for site in sorted(study.cohort(subject.cohort).sites)[:2]:
        recipe = Recipe((Without(site), *subject.recipe.steps))
        yield replace(subject, questions=questions, recipe=recipe, modes=(Mode.TOTAL,))


def _measured(study: Study, model: Model, part: str) -> Iterator[Subject]:
    """The area at each hospital of the model without it; the formula is an example, and is not tried."""
    from client.approval.model_subjects import parts_of

    recipe = parts_of(study, model).recipe(study.endpoint(model.endpoint).keys)
    first = coded_columns(study, model.predictors)[0].name
    draft = DraftScore(model.name, model.endpoint, (first,), ((_COEFFICIENT,),), (0.0,))
    if model.fixed is not None:
        names = tuple(column.name for column in coded_columns(study, model.predictors))
        fixed = model.fixed
        draft = replace(draft, names=names, coefficients=(fixed.coefficients,), intercepts=(fixed.intercept,))
    for site in sorted(study.cohort(model.cohort).sites):
        steps = (Only(site), *(step for step in recipe.steps if not isinstance(step, Score)), draft)
        yield Subject(
            part, model.cohort, frozenset({"query.roc_alone"}), Recipe(steps), (draft.column,), model.endpoint,
            ranges=((0.0, 1.0),), computed=False,
        )  # fmt: skip

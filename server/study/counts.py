"""server/study: step: asks for patient flow, endpoint classes and missing values, before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.query import Query
from common.federation.runner import Conclusion, attempt, together
from common.statistics.counts import Classes, Flow, Missing, SiteCounts, counted
from common.study.coding import CodedColumn
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.recipe import Recipe, Select
from server.study.suppression import Key


def flow_keys(study: Study) -> list[tuple[str, Key]]:
    """The rows of a flow, in order: what each is called, and what it counts."""
    rules: list[tuple[str, Key]] = [(f"excluded by {name}", ("rule", name)) for name in study.exclusions()]
    return [
        ("patients in the table", ("start",)),
        *rules,
        ("other label", ("label",)),
        ("other role", ("role",)),
        ("in the cohort", ("n",)),
    ]


@dataclass(frozen=True)
class Counted:
    """All counts of a study: flows and missing values by cohort, endpoint classes by (cohort, endpoint)."""

    flows: dict[str, SiteCounts]
    classes: dict[tuple[str, str], SiteCounts]
    missing: dict[str, SiteCounts | FedmviError]
    variables: dict[str, tuple[str, ...]]


def count(study: Study) -> Conclusion[Counted]:
    """Ask every cohort for its flow, its endpoint classes and, in training, its missing values; one round.

    A cohort of fewer than `min_sites` sites has no total; its sites' own guarded counts are asked by `each`.
    """
    steps, cell = tuple(name for name, _ in flow_keys(study)[1:-1]), study.limits.min_cell
    flows, classes, missing = [], [], []
    names = [cohort.name for cohort in study.cohorts]
    pairs = [(name, endpoint.name) for name in names for endpoint in study.endpoints]
    trained = sorted({model.cohort for model in study.models})
    for name in names:
        flow = (name, Recipe(), steps, cell)
        flows.append(_counted(study, name, Flow(*flow, guarded=False), Flow(*flow, guarded=True), "flow"))
    for name, endpoint in pairs:
        ask = (name, Recipe(), endpoint, cell)
        classes.append(_counted(study, name, Classes(*ask, guarded=False), Classes(*ask, guarded=True), "classes"))
    for name in trained:
        used = variables_of(study, name)
        recipe = Recipe().then(Select(tuple(CodedColumn(v, v, "known") for v in used)))
        query = (name, recipe, used, cell)
        pooled, alone = Missing(*query, guarded=False), Missing(*query, guarded=True)
        missing.append(attempt(_counted(study, name, pooled, alone, "missing")))
    answers = yield from together(*flows, *classes, *missing)
    first, second = len(names), len(names) + len(pairs)
    return Counted(
        dict(zip(names, answers[:first], strict=True)),
        dict(zip(pairs, answers[first:second], strict=True)),
        dict(zip(trained, answers[second:], strict=True)),
        {name: variables_of(study, name) for name in trained},
    )


def _counted(study: Study, cohort: str, pooled: Query, per_site: Query, block: str) -> Conclusion[SiteCounts]:
    poolable = len(study.cohort(cohort).sites) >= study.limits.min_sites
    return (yield from counted(pooled if poolable else None, per_site, block))


def variables_of(study: Study, cohort: str) -> tuple[str, ...]:
    """The variables of all models trained in a cohort, in order of first use."""
    used = [term.variable for model in study.models if model.cohort == cohort for term in model.predictors]
    used = [name for name in used if not is_score(name)]
    return tuple(dict.fromkeys(used))

"""server/study: step: patient flow, endpoint counts and sample size, before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.federation.runner import Conclusion, together
from common.statistics.counts import HIDDEN, Classes, Flow, Missing, SiteCounts, counted, hide_in_table
from common.study.protocol import Cohort, Endpoint, Model, Study
from common.study.recipe import CodedColumn, Recipe, Select, coded_columns
from server.study.results import Count, Estimate, Result
from server.study.sample_size import SampleSize, sample_size

_STEPS_AFTER_RULES = ("other label", "other role")


def flow_steps(study: Study) -> tuple[str, ...]:
    """The steps at which patients may leave on the way into a cohort, in order."""
    return (*(f"excluded by {name}" for name, _ in study.eligibility.rules()), *_STEPS_AFTER_RULES)


@dataclass(frozen=True)
class Counted:
    """All counts of a study: flows by cohort, endpoint classes by (cohort, endpoint), missing values by cohort."""

    flows: dict[str, SiteCounts]
    classes: dict[tuple[str, str], SiteCounts]


def count(study: Study) -> Conclusion[Counted]:
    """Ask every cohort for its flow and its endpoint classes; one round.

    A cohort of fewer than `min_sites` sites has no total; its sites' own guarded counts are asked by `each`.
    """
    steps, cell = flow_steps(study), study.limits.min_cell
    flows, classes = [], []
    pairs = [(cohort.name, endpoint.name) for cohort in study.cohorts for endpoint in study.endpoints]
    for cohort in study.cohorts:
        query = (cohort.name, Recipe(), steps, cell)
        flows.append(_counted(study, cohort, Flow(*query, guarded=False), Flow(*query, guarded=True), "flow"))
    for cohort_name, endpoint in pairs:
        ask = (cohort_name, Recipe(), endpoint, cell)
        classes.append(
            _counted(
                study, study.cohort(cohort_name), Classes(*ask, guarded=False), Classes(*ask, guarded=True), "classes"
            )
        )
    answers = yield from together(*flows, *classes)
    names = [cohort.name for cohort in study.cohorts]
    return Counted(
        dict(zip(names, answers[: len(names)], strict=True)), dict(zip(pairs, answers[len(names) :], strict=True))
    )


def _counted(
    study: Study, cohort: Cohort, pooled: Flow | Classes | Missing, per_site: Flow | Classes | Missing, block: str
) -> Conclusion[SiteCounts]:
    poolable = len(cohort.sites) >= study.limits.min_sites
    return (yield from counted(pooled if poolable else None, per_site, block))


def publish(study: Study, counts: Counted) -> list[Result]:
    """Patient flow and endpoint counts by site, small cells hidden; sample size for every model's cohort."""
    results = [_flow_result(study, cohort, counts.flows[cohort.name]) for cohort in study.cohorts]
    for cohort in study.cohorts:
        for endpoint in study.endpoints:
            results.append(_classes_result(study, cohort, endpoint, counts.classes[cohort.name, endpoint.name]))
    return results + [_sample_size_result(study, model, counts) for model in study.models]


def _flow_result(study: Study, cohort: Cohort, answer: SiteCounts) -> Result:
    names = ["patients in the table", *flow_steps(study), "in the cohort"]
    rows = table_counts(names, answer, study.limits.min_cell)
    return Result(
        id=f"flow.{cohort.name}",
        statistic="patient-flow",
        title=f"Patient flow, cohort {cohort.name}",
        cohort=cohort.name,
        sites=list(answer.sites),
        n=rows[-1].pooled,
        how="exact" if answer.pooled is not None else "site-alone",
        counts=rows,
    )


def class_names(endpoint: Endpoint) -> list[str]:
    """What the three counts of `Classes` are called."""
    if endpoint.kind == "survival":
        return ["without event", "with event", "unknown"]
    return [f"{endpoint.title} absent", f"{endpoint.title} present", "unknown"]


def _classes_result(study: Study, cohort: Cohort, endpoint: Endpoint, answer: SiteCounts) -> Result:
    rows = table_counts(class_names(endpoint), answer, study.limits.min_cell)
    known = None if rows[0].pooled is None or rows[1].pooled is None else rows[0].pooled + rows[1].pooled
    return Result(
        id=f"classes.{cohort.name}.{endpoint.name}",
        statistic="endpoint-counts",
        title=f"{endpoint.title}, cohort {cohort.name}",
        cohort=cohort.name,
        sites=list(answer.sites),
        n=known,
        events=rows[1].pooled,
        how="exact" if answer.pooled is not None else "site-alone",
        counts=rows,
    )


def table_counts(names: list[str], answer: SiteCounts, min_cell: int) -> list[Count]:
    """Rows of a published table: counts by site and pooled, `None` where hidden."""
    by_site = hide_in_table(answer.by_site.T, min_cell) if answer.pooled is not None else answer.by_site.T
    rows = []
    for i, name in enumerate(names):
        shown = {site: None if v == HIDDEN else int(v) for site, v in zip(answer.sites, by_site[i], strict=True)}
        pooled = None if answer.pooled is None else int(answer.pooled[i])
        if answer.pooled is None and None not in shown.values():
            pooled = sum(v for v in shown.values() if v is not None)
        if pooled is not None and 0 < pooled < min_cell:
            pooled = None
        rows.append(Count(name=name, by_site=shown, pooled=pooled))
    return rows


def _sample_size_result(study: Study, model: Model, counts: Counted) -> Result:
    classes = counts.classes[model.cohort, model.endpoint]
    parameters = len(coded_columns(study, model.predictors))
    rows = table_counts(["absent", "present", "unknown"], classes, study.limits.min_cell)
    absent, present = rows[0].pooled, rows[1].pooled
    base = {
        "id": f"model.{model.name}.sample-size",
        "statistic": "sample-size",
        "title": f"Sample size for {model.title}",
        "cohort": model.cohort,
        "sites": list(classes.sites),
        "how": "exact",
    }
    if not absent or not present:
        note = "The endpoint has too few patients in a class."
        return Result.model_validate({**base, "status": "not-estimable", "note": note})
    size = sample_size(absent + present, present, parameters)
    return Result.model_validate(
        {**base, "n": absent + present, "events": present, "note": size.verdict, "estimates": _size_estimates(size)}
    )


def _size_estimates(size: SampleSize) -> list[Estimate]:
    return [
        Estimate(name="candidate_parameters", value=float(size.parameters)),
        Estimate(name="events_per_parameter", value=size.events_per_parameter),
        Estimate(name="needed_for_shrinkage", value=float(size.for_shrinkage)),
        Estimate(name="needed_for_optimism", value=float(size.for_optimism)),
        Estimate(name="needed_for_prevalence", value=float(size.for_prevalence)),
        Estimate(name="needed", value=float(size.needed)),
    ]


def missing(study: Study) -> Conclusion[dict[str, SiteCounts]]:
    """Missing values of every model variable in each training cohort; one round, answers by cohort."""
    cohorts = sorted({model.cohort for model in study.models})
    conclusions = []
    for name in cohorts:
        used = variables_of(study, name)
        recipe = Recipe().then(Select(tuple(CodedColumn(v, v, "known") for v in used)))
        ask = (name, recipe, used, study.limits.min_cell)
        conclusions.append(
            _counted(study, study.cohort(name), Missing(*ask, guarded=False), Missing(*ask, guarded=True), "missing")
        )
    answers = yield from together(*conclusions)
    return dict(zip(cohorts, answers, strict=True))


def variables_of(study: Study, cohort: str) -> tuple[str, ...]:
    """The variables of all models trained in a cohort, in order of first use."""
    used = [term.variable for model in study.models if model.cohort == cohort for term in model.predictors]
    return tuple(dict.fromkeys(used))


def publish_missing(study: Study, answers: dict[str, SiteCounts], counts: Counted) -> list[Result]:
    """Missing values by variable and site."""
    results = []
    for cohort, answer in answers.items():
        names = [study.variable(v).title for v in variables_of(study, cohort)]
        pooled = counts.flows[cohort].pooled
        results.append(
            Result(
                id=f"missing.{cohort}",
                statistic="missing-values",
                title=f"Missing values, cohort {cohort}",
                cohort=cohort,
                sites=list(answer.sites),
                n=None if pooled is None else int(np.asarray(pooled)[-1]),
                how="exact" if answer.pooled is not None else "site-alone",
                counts=table_counts(names, answer, study.limits.min_cell),
            )
        )
    return results

"""server/study: step: publishes patient flow, endpoint counts, sample size and missing values."""

from __future__ import annotations

from typing import Any

from common.errors import FedmviError
from common.published.results import Count, Estimate, Result
from common.statistics.counts import SiteCounts
from common.study.coding import coded_columns
from common.study.protocol import Cohort, Endpoint, Model, Study
from server.study.counts import Counted, flow_keys
from server.study.models import refusal
from server.study.published import Published
from server.study.sample_size import SampleSize, sample_size

EVALUATION_EVENTS = 100


def publish(study: Study, counts: Counted, shown: Published) -> list[Result]:
    """Patient flow, endpoint counts, sample size and missing values, small counts and their complements hidden."""
    results = [_flow_result(study, cohort, shown) for cohort in study.cohorts]
    for cohort in study.cohorts:
        results += [_classes_result(study, cohort, endpoint, shown) for endpoint in study.endpoints]
    for model in study.models:
        if model.fixed is None:  # a formula from elsewhere needs no patients to be fitted on
            results.append(_sample_size_result(study, model, shown))
        results += [_evaluation_size(study, model, name, shown) for name in model.evaluate]
    return results + [
        _missing_result(study, name, answer, counts.variables[name], shown) for name, answer in counts.missing.items()
    ]


def _result(study: Study, cohort: str, rows: list[Count], **facts: Any) -> Result:
    sites = sorted(study.cohort(cohort).sites)
    pooled = len(sites) >= study.limits.min_sites
    return Result(cohort=cohort, sites=sites, counts=rows, how="exact" if pooled else "site-alone", **facts)


def _flow_result(study: Study, cohort: Cohort, shown: Published) -> Result:
    rows = [shown.row(cohort.name, name, quantity) for name, quantity in flow_keys(study)]
    facts = {"id": f"flow.{cohort.name}", "statistic": "patient-flow", "title": f"Patient flow, cohort {cohort.name}"}
    return _result(study, cohort.name, rows, n=rows[-1].pooled, **facts)


def class_names(endpoint: Endpoint) -> list[str]:
    """What the three counts of `Classes` are called."""
    if endpoint.kind == "survival":
        return ["without event", "with event", "unknown"]
    if endpoint.kind == "competing":
        return ["without event of interest", "with event of interest", "unknown"]
    if endpoint.kind == "ordinal":
        return [f"{endpoint.title}: {endpoint.level_names[0]}", f"{endpoint.title}: higher", "unknown"]
    return [f"{endpoint.title} absent", f"{endpoint.title} present", "unknown"]


def _class_rows(cohort: str, endpoint: Endpoint, shown: Published) -> list[Count]:
    names = class_names(endpoint)
    return [shown.row(cohort, names[i], ("class", endpoint.name, str(i))) for i in range(3)]


def _known(rows: list[Count]) -> int | None:
    return None if rows[0].pooled is None or rows[1].pooled is None else rows[0].pooled + rows[1].pooled


def _classes_result(study: Study, cohort: Cohort, endpoint: Endpoint, shown: Published) -> Result:
    rows = _class_rows(cohort.name, endpoint, shown)
    return _result(
        study,
        cohort.name,
        rows,
        id=f"classes.{cohort.name}.{endpoint.name}",
        statistic="endpoint-counts",
        title=f"{endpoint.title}, cohort {cohort.name}",
        n=_known(rows),
        events=rows[1].pooled,
    )


def _sample_size_result(study: Study, model: Model, shown: Published) -> Result:
    rows = _class_rows(model.cohort, study.endpoint(model.endpoint), shown)
    facts: dict[str, Any] = {
        "id": f"model.{model.name}.sample-size",
        "statistic": "sample-size",
        "title": f"Sample size for {model.title}",
    }
    n, events = _known(rows), rows[1].pooled
    if not n or not events or events == n:
        note = "The endpoint has too few patients in a class."
        return _result(study, model.cohort, [], status="not-estimable", note=note, **facts)
    size = sample_size(n, events, len(coded_columns(study, model.predictors)))
    facts |= {"n": n, "events": events, "note": size.verdict, "estimates": _size_estimates(size)}
    return _result(study, model.cohort, [], **facts)


def _evaluation_size(study: Study, model: Model, cohort: str, shown: Published) -> Result:
    """Patients and events that a model is evaluated in, by the rule of 100 events and 100 others.

    (Vergouwe et al., J Clin Epidemiol 2005;58:475; Collins, Ogundimu & Altman, Stat Med 2016;35:214.)
    """
    rows = _class_rows(cohort, study.endpoint(model.endpoint), shown)
    n, events = _known(rows), rows[1].pooled
    facts: dict[str, Any] = {
        "id": f"model.{model.name}.sample-size.{cohort}",
        "statistic": "evaluation-size",
        "title": f"Sample size for evaluating {model.title} in {cohort}",
    }
    if n is None or events is None:
        return _result(
            study,
            cohort,
            [],
            note="A count that this needs is hidden: it is small, or would give a small one away.",
            **facts,
        )
    parameters = len(coded_columns(study, model.predictors))
    found = f"{events} with and {n - events} without"
    enough = min(events, n - events) >= EVALUATION_EVENTS
    advised = f"the {EVALUATION_EVENTS} of each that are advised"
    facts |= {
        "n": n,
        "events": events,
        "note": f"{found} meet {advised}." if enough else f"Underpowered: {found} fall short of {advised}.",
        "estimates": [Estimate(name="events_per_parameter", value=events / parameters)],
    }
    return _result(study, cohort, [], **facts)


def _missing_result(
    study: Study, cohort: str, answer: SiteCounts | FedmviError, variables: tuple[str, ...], shown: Published
) -> Result:
    facts: dict[str, Any] = {
        "id": f"missing.{cohort}",
        "statistic": "missing-values",
        "title": f"Missing values, cohort {cohort}",
    }
    if isinstance(answer, FedmviError):
        status, note = refusal(answer)
        return _result(study, cohort, [], status=status, note=note, **facts)
    rows = [shown.row(cohort, study.variable(v).title, ("missing", v)) for v in variables]
    return _result(study, cohort, rows, n=shown.row(cohort, "", ("n",)).pooled, **facts)


def _size_estimates(size: SampleSize) -> list[Estimate]:
    return [
        Estimate(name="candidate_parameters", value=float(size.parameters)),
        Estimate(name="events_per_parameter", value=size.events_per_parameter),
        Estimate(name="needed_for_shrinkage", value=float(size.for_shrinkage)),
        Estimate(name="needed_for_optimism", value=float(size.for_optimism)),
        Estimate(name="needed_for_prevalence", value=float(size.for_prevalence)),
        Estimate(name="needed", value=float(size.needed)),
    ]

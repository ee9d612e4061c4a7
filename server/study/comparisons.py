"""server/study: step: survival by groups: Kaplan-Meier curves with numbers at risk and the log-rank test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import HIDDEN, Summary, each
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Curve, Estimate, Result
from common.statistics.distributions import chi2_p
from common.statistics.survival import KaplanMeier, SurvivalAlone, SurvivalResult, survival
from common.study.modelling import is_score
from common.study.protocol import Comparison, Endpoint, Study
from common.study.recipe import Complete, Group, Recipe
from common.study.scores import candidates, named_model, named_network, of_score
from common.study.scoring import Parts, frozen_prefixes, grouped
from common.study.table import FloatArray
from server.study.evaluation import alone_base
from server.study.models import FittedModel, ScoredModel, refusal
from server.study.score_inputs import Scores

PUBLISHED_POINTS = 121
YEARLY = 12
"""Every so many points the patients at risk are told: monthly ones would tell monthly events by their differences."""


Groups = Mapping[str, Recipe | FedmviError]
"""By comparison: the recipe of its groups, or why there are none."""


def groups_of(study: Study, fitted: Sequence[ScoredModel], scores: Scores) -> Groups:
    """The recipes of all comparisons' groups: by what the tables say, or by frozen scores and cut-offs."""
    return {c.name: _grouping(study, c, fitted, scores) for c in study.comparisons}


def frozen_groups(groups: Groups) -> set[str]:
    """Digests of the recipes whose groups are formed by scores, each up to a score or cut-off."""
    return {digest for one in groups.values() if isinstance(one, Recipe) for digest in frozen_prefixes(one)}


def _grouping(
    study: Study, comparison: Comparison, fitted: Sequence[ScoredModel], scores: Scores
) -> Recipe | FedmviError:
    if not is_score(comparison.group):
        return comparison_recipe(study, comparison)
    scored = frozen_score(study, comparison.group, fitted, scores)
    return scored if isinstance(scored, FedmviError) else grouped(*scored, study.endpoint(comparison.endpoint).keys)


def frozen_score(
    study: Study, group: str, fitted: Sequence[ScoredModel], scores: Scores
) -> tuple[Parts, str, float] | FedmviError:
    """What makes the score of a model or network anywhere, its column, and its frozen cut-off; or why there is none."""
    name = of_score(group)
    if named_network(study, name) is not None:
        return scores.network_scored(name)
    model = next((one for one in fitted if one.model.name == scores.chosen.get(name, name)), None)
    fit = model.fit if isinstance(model, FittedModel) else None
    if isinstance(fit, FedmviError):
        return fit
    if model is None or model.parts is None or model.score is None or model.cutoff is None:
        return FedmviError(659, model=name)
    if isinstance(model.cutoff, FedmviError):
        return model.cutoff
    return model.parts, model.score.column, model.cutoff


def compare(study: Study, grouping: Groups) -> Conclusion[list[Result]]:
    """All comparisons of the study, in lock-step."""
    groups: list[list[Result]] = yield from together(*(_one(study, c, grouping[c.name]) for c in study.comparisons))
    return [result for group in groups for result in group]


def group_labels(study: Study, group: str) -> tuple[str, ...]:
    """What the groups of an endpoint or variable are called, in the order of the column `group`."""
    if is_score(group):
        title = study.variable(group).title
        return f"{title}: low score", f"{title}: high score"
    endpoint = next((e for e in study.endpoints if e.name == group), None)
    by = study.variable(group) if endpoint is None else endpoint
    return tuple(f"{by.title}: {level}" for level in by.level_names)


def published_times(endpoint: Endpoint) -> FloatArray:
    """Where a published curve is given: months up to ten years, or to the endpoint's maximum."""
    times = np.arange(PUBLISHED_POINTS, dtype=np.float64) * endpoint.month
    kept: FloatArray = times[times <= endpoint.horizon]
    return kept


def comparison_recipe(study: Study, comparison: Comparison) -> Recipe:
    """Groups, then patients with group and endpoint known."""
    known = study.endpoint(comparison.endpoint).keys
    return Recipe().then(Group(comparison.group, group_labels(study, comparison.group)), Complete(("group",), known))


def _one(study: Study, comparison: Comparison, recipe: Recipe | FedmviError) -> Conclusion[list[Result]]:
    endpoint = study.endpoint(comparison.endpoint)
    cohort = study.cohort(comparison.cohort)
    groups = len(group_labels(study, comparison.group))
    base: dict[str, Any] = {
        "id": f"comparison.{comparison.name}",
        "statistic": "survival",
        "title": title_of(study, comparison),
        "cohort": cohort.name,
        "sites": sorted(cohort.sites),
        "how": "exact",
        "note": score_note(study, comparison),
    }
    if isinstance(recipe, FedmviError):
        status, note = refusal(recipe)
        return [Result.model_validate({**base, "status": status, "note": note})]
    grid = (endpoint.precision, endpoint.grid_points)
    if len(cohort.sites) < study.limits.min_sites:
        times = (*comparison.times, *published_times(endpoint).tolist())
        query = SurvivalAlone(cohort.name, recipe, endpoint.name, groups, *grid, times, min_cell=study.limits.min_cell)
        parts: dict[str, Summary | FedmviError] = yield each(query)
        return [_alone_result(study, comparison, site, parts[site], base) for site in sorted(parts)]
    answer = yield from attempt(survival(cohort.name, recipe, endpoint.name, groups, *grid, comparison.horizon))
    if isinstance(answer, FedmviError):
        status, note = refusal(answer)
        return [Result.model_validate({**base, "status": status, "note": note})]
    return [_pooled_result(study, comparison, answer, base)]


def title_of(study: Study, comparison: Comparison) -> str:
    """What is compared, for readers."""
    endpoint = study.endpoint(comparison.endpoint)
    return f"{endpoint.title}{_until(endpoint, comparison)} by {_group_title(study, comparison)}"


def _until(endpoint: Endpoint, comparison: Comparison) -> str:
    return "" if comparison.horizon is None else f" up to {comparison.horizon:g} {endpoint.unit}"


def score_note(study: Study, comparison: Comparison) -> str:
    """What a reader must know of groups by a score."""
    if not is_score(comparison.group):
        return ""
    name = of_score(comparison.group)
    network, first = named_network(study, name), next(iter(candidates(study, name)), "")
    model = named_model(study, first)
    trained = network.cohort if network is not None else model.cohort if model is not None else ""
    note = "High: a score at or above the cut-off that was chosen on training patients and frozen."
    cohort, training = study.cohort(comparison.cohort), study.cohort(trained)
    if set(cohort.sites) & set(training.sites) and (cohort.label is None or cohort.label == training.label):
        note += (
            " Patients on whom the model was trained may be among these; the model scores them better than others, "
            "and their survival was not used."
        )
    return note


def _group_title(study: Study, comparison: Comparison) -> str:
    if is_score(comparison.group):
        return f"score of {study.variable(comparison.group).title}"
    for endpoint in study.endpoints:
        if endpoint.name == comparison.group:
            return endpoint.title
    return study.variable(comparison.group).title


def _pooled_result(study: Study, comparison: Comparison, answer: SurvivalResult, base: dict[str, Any]) -> Result:
    endpoint, cell = study.endpoint(comparison.endpoint), study.limits.min_cell
    estimates: list[Estimate] = []
    curves: list[Curve] = []
    events = sum(curve.n_events_ for curve in answer.curves_)
    few = any(0 < curve.n_ < cell or 0 < curve.n_events_ < cell for curve in answer.curves_)
    for label, curve in zip(group_labels(study, comparison.group), answer.curves_, strict=True):
        estimates += _group_estimates(label, curve, endpoint, comparison.times, cell)
        curves.append(_published_curve(label, curve, endpoint, cell))
    if math.isfinite(answer.chi2_):
        term = f"df={answer.degrees_}"
        estimates.append(Estimate(name="log_rank_chi2", term=term, value=answer.chi2_, p=answer.p_))
    n = sum(curve.n_ for curve in answer.curves_)
    # With one small group the total would give it away.
    shown = {"n": None if few else n, "events": None if few else events}
    return Result.model_validate({**base, **shown, "estimates": estimates, "curves": curves})


def _group_estimates(
    label: str, curve: KaplanMeier, endpoint: Endpoint, times: tuple[float, ...], cell: int
) -> list[Estimate]:
    unit = endpoint.unit or ""
    shown_n = float(curve.n_) if curve.n_ >= cell or curve.n_ == 0 else None
    shown_events = float(curve.n_events_) if curve.n_events_ >= cell or curve.n_events_ == 0 else None
    estimates = [
        Estimate(name="patients", term=label, value=shown_n),
        Estimate(name="events", term=label, value=shown_events),
        _median_estimate(label, *curve.median, unit=unit),
    ]
    if times:
        at = curve.at(np.array(times))
        for i, time in enumerate(times):
            estimates.append(_survival_estimate(label, time, at[:, i], unit, cell))
    return estimates


def _median_estimate(label: str, value: float, low: float, high: float, *, unit: str) -> Estimate:
    def shown(x: float) -> float | None:
        return x if math.isfinite(x) and x >= 0 else None

    note = "" if shown(value) is not None else "not reached"
    return Estimate(
        name="median", term=label, value=shown(value), low=shown(low), high=shown(high), unit=unit, note=note
    )


def _survival_estimate(label: str, time: float, at: FloatArray, unit: str, cell: int) -> Estimate:
    term = f"{label} at {time:g} {unit}"
    if at[3] < cell:
        return Estimate(name="survival", term=term, value=None, note=f"fewer than {cell} patients at risk")
    return Estimate(name="survival", term=term, value=float(at[0]), low=float(at[1]), high=float(at[2]))


def _published_curve(label: str, curve: KaplanMeier, endpoint: Endpoint, cell: int) -> Curve:
    times = published_times(endpoint)
    return _curve_of(label, times, curve.at(times), endpoint, cell)


def _curve_of(label: str, times: FloatArray, at: FloatArray, endpoint: Endpoint, cell: int) -> Curve:
    """The curve until fewer than `cell` patients are at risk."""
    few = np.flatnonzero(at[3] < cell)
    end = int(few[0]) if few.size else times.size
    return Curve(
        name=label,
        x=times[:end].tolist(),
        y=at[0, :end].tolist(),
        low=at[1, :end].tolist(),
        high=at[2, :end].tolist(),
        at_risk=[int(v) if i % YEARLY == 0 else None for i, v in enumerate(at[3, :end])],
        unit=endpoint.unit or "",
    )


def _alone_result(
    study: Study, comparison: Comparison, site: str, summary: Summary | FedmviError, base: dict[str, Any]
) -> Result:
    endpoint, cell = study.endpoint(comparison.endpoint), study.limits.min_cell
    alone = alone_base(base, site)
    if isinstance(summary, FedmviError):
        status, why = refusal(summary)
        return Result.model_validate({**alone, "status": status, "note": why})
    patients, events = summary["patients"], summary["events"]
    shown = {
        **alone,
        "n": None if HIDDEN in patients else int(patients.sum()),
        "events": None if HIDDEN in events else int(events.sum()),
    }
    if not int(summary["estimable"]):
        note = f"Not estimable: fewer than {cell} events in a group."
        return Result.model_validate({**shown, "status": "not-estimable", "note": note})
    estimates, curves = [], []
    asked = len(comparison.times)
    for i, label in enumerate(group_labels(study, comparison.group)):
        unit = endpoint.unit or ""
        estimates += [
            Estimate(name="patients", term=label, value=_count(patients[i])),
            Estimate(name="events", term=label, value=_count(events[i])),
            _median_estimate(label, *(float(m) for m in summary["median"][i]), unit=unit),
        ]
        for j, time in enumerate(comparison.times):
            estimates.append(_survival_estimate(label, time, summary["curve"][i, :, j], unit, cell))
        times = published_times(endpoint)
        curves.append(_curve_of(label, times, summary["curve"][i, :, asked:], endpoint, cell))
    chi2, degrees = (float(v) for v in summary["test"])
    p = chi2_p(chi2, int(degrees))
    estimates.append(Estimate(name="log_rank_chi2", term=f"df={degrees:g}", value=chi2, p=p))
    note = f"Numbers at risk are rounded down to a multiple of {cell}. {base['note']}".strip()
    return Result.model_validate({**shown, "estimates": estimates, "curves": curves, "note": note})


def _count(value: int) -> float | None:
    return None if value == HIDDEN else float(value)

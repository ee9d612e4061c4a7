"""server/study: step: Cox regressions of survival by the frozen groups, alone and beside preoperative covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Result
from common.statistics.cox import CoxResult, cox
from common.statistics.life_table import LifeTable, life_table
from common.statistics.proportional_hazards import (
    ProportionalHazards,
    TimeTransform,
    proportional_hazards,
    transformed,
)
from common.study.hazards import designs, hazards_by_score, hazards_by_table
from common.study.modelling import is_score
from common.study.protocol import Comparison, Study
from common.study.recipe import Recipe
from common.study.scores import GROUP
from common.study.table import FloatArray
from server.study import comparisons
from server.study.comparisons import Groups, frozen_score, group_labels, score_note, title_of
from server.study.models import ScoredModel, refusal
from server.study.score_inputs import Scores
from server.study.subject import estimates

KINDS = ("univariable", "multivariable")
"""A result of each: the group alone, and the group beside its covariates."""


def groups_of(study: Study, fitted: Sequence[ScoredModel], scores: Scores) -> tuple[Groups, Groups]:
    """The groups of all comparisons, and, of those with `cox`, the same with all covariates known."""
    regressed = {c.name: _grouping(study, c, fitted, scores) for c in study.comparisons if c.cox is not None}
    return comparisons.groups_of(study, fitted, scores), regressed


def _grouping(
    study: Study, comparison: Comparison, fitted: Sequence[ScoredModel], scores: Scores
) -> Recipe | FedmviError:
    if not is_score(comparison.group):
        return hazards_by_table(study, comparison, group_labels(study, comparison.group))
    scored = frozen_score(study, comparison.group, fitted, scores)
    return scored if isinstance(scored, FedmviError) else hazards_by_score(study, comparison, *scored)


def compare_survival(study: Study, groups: Groups, regressed: Groups) -> Conclusion[list[Result]]:
    """All comparisons of the study and their regressions, in lock-step; the groups as `groups_of` has them."""
    asked = [c for c in study.comparisons if c.cox is not None]
    curves, *fits = yield from together(
        comparisons.compare(study, groups), *(_one(study, c, groups[c.name], regressed[c.name]) for c in asked)
    )
    return [*curves, *(result for results in fits for result in results)]


@dataclass(frozen=True)
class _Curves:
    """What the life table of a comparison's groups tells of them.

    Attributes
    ----------
    n, events
        Patients and events, whatever covariate is unknown.
    fewest
        Events of the group that has fewest.
    weights
        (grid,) one less the Kaplan-Meier curve of all: the time along which hazard ratios may change.
    """

    n: int
    events: int
    fewest: int
    weights: FloatArray


def _one(
    study: Study, comparison: Comparison, groups: Recipe | FedmviError, recipe: Recipe | FedmviError
) -> Conclusion[list[Result]]:
    kinds = list(zip(KINDS, designs(study, comparison), strict=False))
    if isinstance(groups, FedmviError):
        return [_nothing(study, comparison, kind, *refusal(groups)) for kind, _ in kinds]
    if isinstance(recipe, FedmviError):
        return [_nothing(study, comparison, kind, *refusal(recipe)) for kind, _ in kinds]
    curves: _Curves | FedmviError = yield from attempt(_curves(study, comparison, groups))
    if isinstance(curves, FedmviError):
        return [_nothing(study, comparison, kind, *refusal(curves)) for kind, _ in kinds]
    cell = study.limits.min_cell
    if curves.fewest < cell:
        why = f"Not estimable: fewer than {cell} events in a group."
        return [_nothing(study, comparison, kind, "not-estimable", why) for kind, _ in kinds]
    fits: list[tuple[CoxResult, ProportionalHazards] | FedmviError] = yield from together(
        *(attempt(_fit(study, comparison, recipe, columns, curves.weights)) for _, columns in kinds)
    )
    return [
        _nothing(study, comparison, kind, *refusal(fit))
        if isinstance(fit, FedmviError)
        else _result(study, comparison, kind, *fit, curves)
        for (kind, _), fit in zip(kinds, fits, strict=True)
    ]


def _curves(study: Study, comparison: Comparison, groups: Recipe) -> Conclusion[_Curves]:
    """From the very question of the Kaplan-Meier curves, which is asked once."""
    endpoint = study.endpoint(comparison.endpoint)
    grid = (endpoint.precision, endpoint.grid_points)
    table = LifeTable(comparison.cohort, groups, endpoint.name, 2, *grid, comparison.horizon)
    events, censored = yield from life_table(table)
    weights = transformed(TimeTransform.KM, events.sum(axis=0), censored.sum(axis=0))
    by_group = events.sum(axis=1)
    return _Curves(int((events + censored).sum()), int(by_group.sum()), int(by_group.min()), weights)


def _fit(
    study: Study, comparison: Comparison, recipe: Recipe, columns: tuple[str, ...], weights: FloatArray
) -> Conclusion[tuple[CoxResult, ProportionalHazards]]:
    endpoint = study.endpoint(comparison.endpoint)
    asked = (comparison.cohort, recipe, endpoint.name, columns)
    fit, test = yield from together(
        cox(*asked, model=comparison.name, horizon=comparison.horizon),
        proportional_hazards(
            *asked, endpoint.precision, endpoint.grid_points, model=comparison.name, horizon=comparison.horizon,
            time_weights=weights,
        ),
    )  # fmt: skip
    return fit, test


def _result(
    study: Study, comparison: Comparison, kind: str, fit: CoxResult, test: ProportionalHazards, curves: _Curves
) -> Result:
    group = group_labels(study, comparison.group)[1]
    found = estimates(_named(fit.summary, group), "hazard_ratio", "hazard_ratio")
    tests = _named(test.summary, group)
    # Of one column the test of all is that of the column.
    found += estimates(tests[:1] if len(fit.columns) == 1 else tests, "proportional_hazards_chi2", "chi2")
    note = " ".join(filter(None, (_note(study, comparison, kind, fit), score_note(study, comparison))))
    shown = {**_counts(fit, curves, study.limits.min_cell), "estimates": found, "note": note}
    return Result.model_validate({**_base(study, comparison, kind), **shown})


def _named(rows: Sequence[Mapping[str, Any]], group: str) -> list[dict[str, Any]]:
    """The rows of a summary, with the group called by what it is."""
    return [{**row, "term": group if row["term"] == GROUP else row["term"]} for row in rows]


def _counts(fit: CoxResult, curves: _Curves, cell: int) -> dict[str, int | None]:
    """Patients and events; neither where it would tell, less those of the curves, of few who lack a covariate."""
    lacking, events = curves.n - fit.n_, curves.events - fit.events_
    few = any(0 < count < cell for count in (lacking, events, lacking - events))
    return {"n": None if few else fit.n_, "events": None if few else fit.events_}


def _note(study: Study, comparison: Comparison, kind: str, fit: CoxResult) -> str:
    low, high = (label.rpartition(": ")[2] for label in group_labels(study, comparison.group))
    said = [f"Hazard of {high} over {low}; a baseline hazard for each hospital, ties as Efron."]
    if kind == KINDS[1]:
        said.append("Each hazard ratio is adjusted for all others.")
    if comparison.cox:
        said.append("Patients of whom all covariates are known.")
    if fit.separated_:
        said.append("Some combination of columns puts the events in order, so that no finite estimate exists.")
    return " ".join(said)


def _nothing(study: Study, comparison: Comparison, kind: str, status: str, note: str) -> Result:
    return Result.model_validate({**_base(study, comparison, kind), "status": status, "note": note})


def _base(study: Study, comparison: Comparison, kind: str) -> dict[str, Any]:
    return {
        "id": f"comparison.{comparison.name}.cox-{kind}",
        "statistic": "cox-regression",
        "kind": kind,
        "title": f"{title_of(study, comparison)}: {kind} Cox regression",
        "cohort": comparison.cohort,
        "sites": sorted(study.cohort(comparison.cohort).sites),
        "how": "exact",
    }

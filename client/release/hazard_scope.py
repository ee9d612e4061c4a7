"""client/release: the scope of `cox` under `[[comparisons]]`: what is asked of survival by groups beside covariates.

In closed cohorts endpoints are offered beside frozen scores and groups only; here they are beside a comparison's
covariates, and to its regressions only: one frame a comparison, of all whose covariates are known, two designs, and the
comparison's horizon. No curve and no rank is told of these patients: less those of the groups it would be of the few
who lack a covariate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from client.release.model_scope import is_score_of
from common.errors import FedmviError
from common.federation.query import Query
from common.statistics.censoring import survival_outcome
from common.statistics.cox import StratifiedCox
from common.study.coding import CodedColumn
from common.study.fingerprint import canonical_json
from common.study.hazards import PARAMETERS_AN_EVENT, covariates_of, designs
from common.study.modelling import is_score
from common.study.protocol import Comparison, Limits, Study
from common.study.ranges import Range, plausible_range
from common.study.recipe import Complete, Cut, Frame, Group, Recipe, Select, Standardise
from common.study.scores import GROUP, candidates, named_network, needed, of_score

MOMENTS = "query.deviations"
REGRESSES = frozenset({"query.cox", "query.cox_residuals", "query.schoenfeld", MOMENTS})
"""What a comparison's regressions ask: moments, Newton's steps, residuals, and the test of proportional hazards."""


def regressed(query: Query, study: Study) -> Comparison | None:
    """The comparison whose regression asks this; None where none does."""
    if query.name not in REGRESSES:
        return None
    return next((c for c in study.comparisons if c.cox is not None and _asks(c, query, study)), None)


def _asks(comparison: Comparison, query: Query, study: Study) -> bool:
    if query.cohort != comparison.cohort or getattr(query, "columns", ()) not in designs(study, comparison):
        return False
    if isinstance(query, StratifiedCox) and (query.endpoint, query.horizon) != (
        comparison.endpoint,
        comparison.horizon,
    ):
        return False
    whole = [step for step in query.recipe.steps if isinstance(step, Complete)]
    read = {column for step in query.recipe.steps if isinstance(step, Select) for column in step.columns}
    if not whole or whole[-1].endpoints != study.endpoint(comparison.endpoint).keys:
        return False
    names = {column.name for column in covariates_of(study, comparison)}
    complete = set(covariates_of(study, comparison)) <= read and names <= set(whole[-1].columns)
    return complete and any(_groups(step, comparison, study) for step in query.recipe.steps)


def _groups(step: object, comparison: Comparison, study: Study) -> bool:
    """Whether a step forms the groups of a comparison; that its cut-off is frozen is seen to elsewhere."""
    if isinstance(step, Cut):
        return step.name == GROUP and is_score_of(study, comparison.group, step.source)
    return isinstance(step, Group) and step.by == comparison.group


def hazard_columns(query: Query, study: Study) -> dict[CodedColumn, Range]:
    """The covariates that a regression reads, each with its range; nothing for another question."""
    comparison = regressed(query, study)
    columns = () if comparison is None else covariates_of(study, comparison)
    return {column: plausible_range(study, column) for column in columns}


def hazard_patients(query: Query, study: Study) -> set[tuple[frozenset[str], frozenset[str]]]:
    """The complete cases that a regression is about, as (columns, endpoint columns)."""
    comparison = regressed(query, study)
    if comparison is None:
        return set()
    beside = frozenset(column.name for column in covariates_of(study, comparison))
    keys = frozenset(study.endpoint(comparison.endpoint).keys)
    return {(names | beside, keys) for names in _grouped(comparison, study)}


def _grouped(comparison: Comparison, study: Study) -> Iterator[frozenset[str]]:
    """What must be known of a patient to be in a group; one set for each way in which choices may turn out."""
    name = of_score(comparison.group)
    if not is_score(comparison.group):
        yield frozenset({GROUP})
    elif named_network(study, name) is not None:
        yield frozenset()
    for model in candidates(study, name) if is_score(comparison.group) else ():
        yield from needed(study, model)


def offered_columns(query: Query, study: Study) -> frozenset[str]:
    """The covariates beside which a closed cohort's endpoints are offered to this question."""
    comparison = regressed(query, study)
    return frozenset() if comparison is None else frozenset(c.name for c in covariates_of(study, comparison))


def hazard_values(query: Query, study: Study) -> Iterator[tuple[str, str, int]]:
    """For `once`: of each comparison one frame is regressed in a run, but for how its columns are standardised."""
    comparison = regressed(query, study)
    if comparison is not None:
        recipe = Recipe(tuple(step for step in query.recipe.steps if not isinstance(step, Standardise)))
        yield canonical_json(["regression", comparison.name]), recipe.digest, 1


def refuse_few_events(query: Query, frame: Frame, study: Study, limits: Limits, whole: float) -> None:
    """Refuse a regression with too few events.

    Parameters
    ----------
    whole
        How many patients the sum is of for each patient of the frame: 1 where our part is seen by itself. Of a masked
        sum only the total is seen, and events elsewhere are taken to be as many as here.

    Raises
    ------
    FedmviError
        439 fewer than ten events a coefficient, or some events of a group but fewer than a cell.
    """
    comparison = regressed(query, study)
    if comparison is None or not isinstance(query, StratifiedCox):
        return
    facts: dict[str, Any] = {"cohort": query.cohort, "endpoint": query.endpoint, "limit": limits.min_cell}
    event = survival_outcome(frame, query.endpoint, query.horizon)[1]
    if query.parameters > PARAMETERS_AN_EVENT * whole * float(event.sum()):
        raise FedmviError(439, "events a coefficient", **facts)
    # Standardising keeps the order of the two groups.
    high = frame.columns[GROUP] == np.max(frame.columns[GROUP], initial=-np.inf)
    for events in (float(event[high].sum()), float(event[~high].sum())):
        if 0.0 < events * whole < limits.min_cell:
            raise FedmviError(439, "events of a group", **facts)


def grouping(query: Query) -> list[str]:
    """By what the patients are grouped, for numbers that are set once for each grouping."""
    by = [step.by for step in query.recipe.steps if isinstance(step, Group)]
    by += [step.source for step in query.recipe.steps if isinstance(step, Cut) and step.name == GROUP]
    horizon = getattr(query, "horizon", None)
    return [f"by {name}" for name in by] + ([] if horizon is None else [f"to {horizon:g}"])

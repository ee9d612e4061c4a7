"""client/release: the scope of `[[recalibrations]]`: what may be asked of a frozen score where it is corrected, and of
it and the corrected one where both are evaluated.

In the cohort of a recalibration the endpoint is offered beside the frozen score, and beside the model's own columns
only where closed testing may end in a refit. A correction by the prevalence is made without outcomes.
"""

from __future__ import annotations

from common.federation.query import Query
from common.statistics.calibration import RecalibrationSums
from common.statistics.recalibration import Rule
from common.statistics.recalibration_alone import RecalibrationAlone
from common.study.correcting import recalibrations_in
from common.study.protocol import Study
from common.study.recipe import Recipe, Score
from common.study.scores import named_model
from common.study.shifting import Recalibration

FITS = frozenset({"query.recalibration", "query.recalibration_alone"})
GUARANTEES = frozenset({"query.threshold_counts", "query.guaranteed_alone"})
COUNTS = frozenset({"query.predicted_positives"})
EVALUATES = frozenset(
    {"query.recalibration", "query.binned_risks", "query.threshold_counts", "query.risk_quality_alone"}
)
"""Of a cohort in which the model is evaluated; areas are asked in every study."""


def recalibration_declares(query: Query, study: Study) -> bool:
    """Whether a recalibration of the study asks this: of its frozen or corrected score, in one of its cohorts."""
    # A straight line is asked for: bends of a server's choice could be around one patient.
    bent = isinstance(query, RecalibrationSums) and query.knots.size > 0
    return not bent and any(_asks(one, query, study) for one in study.recalibrations)


def _asks(one: Recalibration, query: Query, study: Study) -> bool:
    model = named_model(study, one.model)
    if model is None or getattr(query, "endpoint", model.endpoint) != model.endpoint:
        return False
    base, corrected = f"score.{one.model}", f"score.{one.name}"
    named = {*getattr(query, "columns", ()), *((query.column,) if hasattr(query, "column") else ())}
    if query.cohort in model.evaluate and query.name in EVALUATES:
        return bool(named) and named <= {base, corrected}
    if query.cohort == one.cohort and query.name in FITS:
        return one.method != "prior" and _fits(one, query, study)
    if query.cohort == one.cohort and query.name in GUARANTEES:
        target = getattr(query, "target", one.sensitivity)
        return one.sensitivity is not None and named == {base} and target == one.sensitivity
    if one.method != "prior" or named != {base}:
        return False
    # The training cohort tells what a high score means, the other one how many have it.
    counted = query.cohort == one.cohort and query.name in COUNTS
    return counted or (query.cohort == model.cohort and query.name == "query.threshold_counts")


def _fits(one: Recalibration, query: Query, study: Study) -> bool:
    """One site that fits a correction itself fits the declared one, and refits no other columns than the model's."""
    if getattr(query, "column", "") != f"score.{one.model}":
        return False
    if not isinstance(query, RecalibrationAlone):
        return True
    own = refitted_columns(study, one.cohort, query.recipe)
    return query.rule == Rule(one.method) and (not query.refitted or set(query.refitted) == own)


def refitted_columns(study: Study, cohort: str, recipe: Recipe) -> frozenset[str]:
    """The columns of a frozen score beside which endpoints are offered, because a refit may be found by them."""
    refitted = {one.model for one in recalibrations_in(study, cohort) if one.method == "closed-testing"}
    scores = [step for step in recipe.steps if isinstance(step, Score)]
    return frozenset(name for step in scores[-1:] if step.model in refitted for name in step.names)


def opens_endpoints(one: Recalibration) -> bool:
    """Whether a recalibration needs the outcomes of its cohort."""
    return one.method != "prior" or one.sensitivity is not None

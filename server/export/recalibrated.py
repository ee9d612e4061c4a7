"""server/export: a recalibrated model as a file: the model that was corrected, with the corrected coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.errors import FedmviError
from common.models.logistic import FrozenModel, Measure, Performance
from common.published.results import Result, Results
from common.study.shifting import Recalibration
from server.report.contents import estimate
from server.study.recalibration_results import AFTER


def recalibrated_model(results: Results, declared: Recalibration, base: FrozenModel) -> FrozenModel:
    """The frozen model with the coefficients that the run froze for a recalibration.

    It has no interval of the probability: the correction is an estimate too, and shrunk.

    Raises
    ------
    FedmviError
        780 nothing was corrected.
    """
    fit = next((result for result in results.results if result.id == f"recalibration.{declared.name}"), None)
    if fit is None or fit.status != "estimated":
        raise FedmviError(780, fit.note if fit is not None else "", model=declared.name, known=base.name)
    changed = fit.verdict != "none"
    cutoff = estimate(fit, "guaranteed_sensitivity", "")
    chosen = cutoff.value if cutoff is not None else None
    rule = ""
    if chosen is not None and declared.sensitivity is not None:
        rule = f"sensitivity of at least {declared.sensitivity:.0%} with 95 % confidence, cohort {fit.cohort}"
    update: dict[str, Any] = {
        "name": declared.name,
        "title": declared.title if not changed else f"{declared.title}, recalibrated from {base.title}",
        "coefficients": _coefficients(fit, base),
        "covariance": None if changed else base.covariance,
        "cutoff": chosen,
        "cutoff_rule": rule,
        "performance": tuple(_performance(results, declared)),
    }
    if fit.verdict == "refit":
        facts = {"cohort": fit.cohort, "sites": tuple(fit.sites), "n": fit.n, "events": fit.events, "how": fit.how}
        update["origin"] = base.origin.model_copy(update=facts)
    return base.model_copy(update=update)


def _coefficients(fit: Result, base: FrozenModel) -> tuple[float, ...]:
    """Computed as at the sites: `Correction.score`. A reduced model has 0 for what its reduction left out."""
    if fit.verdict == "refit":
        of_term = {e.term: e.value for e in fit.estimates if e.name == "coef" and e.value is not None}
        return (of_term["intercept"], *(of_term.get(term, 0.0) for term in base.terms))
    told = [estimate(fit, name, "") for name in ("intercept", "slope")]
    intercept, slope = (one.value if one is not None and one.value is not None else 0.0 for one in told)
    first, *others = base.coefficients
    return (intercept + slope * first, *(slope * coefficient for coefficient in others))


def _performance(results: Results, declared: Recalibration) -> Iterator[Performance]:
    """Of the corrected risks, in every cohort in which they were evaluated."""
    for result in results.results:
        if not result.id.startswith(f"recalibration.{declared.name}."):
            continue
        told = [e for e in result.estimates if e.term == AFTER]
        yield Performance(
            statistic=result.statistic,
            cohort=result.cohort,
            role=next(c.role for c in results.cohorts if c.name == result.cohort),
            sites=tuple(result.sites),
            how=result.how,
            status=result.status,
            n=result.n,
            events=result.events,
            measures=tuple(Measure(name=e.name, value=e.value, low=e.low, high=e.high) for e in told),
            note=result.note,
        )

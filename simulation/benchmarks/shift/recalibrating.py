"""simulation: benchmarks: shift: what a few patients of the target with known outcomes do to a frozen model's risks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, conclude
from common.statistics.calibration import Calibration, calibration
from common.statistics.recalibration import Method, RecalibrationResult, Rule, recalibrate
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.sites import CALIBRATION, ENDPOINT, TEST, Hospital, port_to

MANY, FEW = 300, 30
"""Patients with known outcomes."""
CLOSED, WITHOUT_REFIT, INTERCEPT, SLOPE = "closed-testing", "closed-testing without refit", "intercept", "slope"
RULES = {MANY: (CLOSED, WITHOUT_REFIT, INTERCEPT, SLOPE), FEW: (CLOSED, INTERCEPT)}
"""How the correction is chosen, by patients. As in a study, closed testing may refit the model's own coefficients."""


@dataclass(frozen=True)
class Recalibrated:
    """One correction, and what it did in the target's other patients.

    Attributes
    ----------
    action
        What was done before, without outcomes.
    n, rule
        Patients, and one of `RULES`.
    method
        What is corrected; or the error for which nothing was, and risks stay as they are.
    error
        |logit O - logit E| before and after, E being the mean risk.
    slope
        Calibration slope before and after; None where it is not looked at or has no estimate.
    """

    action: str
    n: int
    rule: str
    method: str
    error: tuple[float, float]
    slope: tuple[float | None, float | None]


def recalibrated(
    action: str, model: Developed, target: Hospital, rules: Sequence[str], *, slopes: bool
) -> list[Recalibrated]:
    """Correct a model's risks by each of some `RULES`, in lock-step.

    Parameters
    ----------
    action
        The model's, see `ACTIONS`.
    target
        With its cohort `CALIBRATION`, by which risks are corrected, and `TEST`, in which they are looked at.
    slopes
        Whether the calibration slope is looked at.
    """
    frame = target.prepared(TEST, model.recipe)
    risk = frame.columns[model.score.column]
    found = conclude(port_to({"target": target}), [attempt(_recalibrate(model, rule)) for rule in rules])
    risks = [risk, *(risk if isinstance(one, FedmviError) else _applied(one, frame, model, risk) for one in found)]
    slope = _slopes(frame, risks) if slopes else [None] * len(risks)
    observed = logit(float(frame.endpoints[ENDPOINT].mean()))
    errors = [abs(observed - logit(float(r.mean()))) for r in risks]
    n = target.cohorts[CALIBRATION].n
    return [
        Recalibrated(
            action, n, rule, f"error {one.number}" if isinstance(one, FedmviError) else str(one.method_),
            (errors[0], errors[k]), (slope[0], slope[k]),
        )
        for k, (rule, one) in enumerate(zip(rules, found, strict=True), 1)
    ]  # fmt: skip


def _recalibrate(model: Developed, rule: str) -> Conclusion[RecalibrationResult]:
    columns = model.score.names if rule == CLOSED else ()
    chosen = Rule.CLOSED_TESTING if rule == WITHOUT_REFIT else Rule(rule)
    return recalibrate(CALIBRATION, model.recipe, ENDPOINT, model.score.column, columns, chosen)


def _applied(found: RecalibrationResult, frame: Frame, model: Developed, risk: FloatArray) -> FloatArray:
    if found.method_ is not Method.REFIT or found.refit_ is None:
        return found.apply(risk)
    coef = found.refit_.coef_
    return logistic_function(coef[0] + frame.matrix(model.score.names) @ coef[1:])


def _slopes(frame: Frame, risks: Sequence[FloatArray]) -> list[float | None]:
    """Calibration slope of each; None where it has no estimate."""
    names = [f"risk-{k}" for k in range(len(risks))]
    seen = Frame(dict(zip(names, risks, strict=True)), frame.endpoints, frame.n, frame.keys)
    port = port_to({"target": Hospital({TEST: seen})})
    found = conclude(port, [attempt(calibration(TEST, Recipe(), ENDPOINT, name)) for name in names])
    return [one.slope_ if isinstance(one, Calibration) else None for one in found]


def logit(share: float) -> float:
    """Log odds of a share, which is kept off 0 and 1 by one in a million."""
    kept = float(np.clip(share, 1e-6, 1.0 - 1e-6))
    return float(np.log(kept / (1.0 - kept)))


def draws_of(labelled: Frame, n: int) -> list[Frame]:
    """Disjoint parts of n patients."""
    parts = []
    for at in range(0, labelled.n - n + 1, n):
        rows = np.zeros(labelled.n, dtype=bool)
        rows[at : at + n] = True
        parts.append(labelled.keep(rows))
    return parts

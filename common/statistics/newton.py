"""common/statistics: Newton's method on sums: the loop that fits by pooled scores and information.

A query answers, at broadcast coefficients, `score` (p,), `information` (p(p+1)/2,) and `log_likelihood` (); their sums
over sites are those of the pooled rows, so each step is the pooled step (Wu et al., J Am Med Inform Assoc
2012;19:758).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.query import Query, Summary, total
from common.federation.runner import Conclusion
from common.study.table import FloatArray

MAX_ROUNDS = 25
STEP_TOLERANCE = 1e-10
# Separation, on the standardised scale: a finite fit takes full Newton steps below 1e-6
# well before this round; a separated one drifts on by about one unit a round.
SEPARATION_ROUND = 15
SEPARATION_STEP = 1e-6
SEPARATION_EIGENVALUE = 1e-9
COLLINEAR_EIGENVALUE = 1e-11
VANISHING_WEIGHT = 416
PERFECT_FIT = 0.02
"""Loss per patient below which the classes are told apart almost without error."""


@dataclass(frozen=True)
class Ascent:
    """Where Newton's method ended.

    Attributes
    ----------
    coef
        (p,) the maximum, or the last point where `separated`.
    information
        (p, p) at the maximum, without the penalty.
    log_likelihood
        At the maximum, without the penalty.
    first_log_likelihood
        At the start.
    sums
        The last sums, with whatever else the query answers.
    """

    coef: FloatArray
    information: FloatArray
    log_likelihood: float
    first_log_likelihood: float
    sums: Summary
    rounds: int
    separated: bool


def symmetric(lower: FloatArray, p: int) -> FloatArray:
    """(..., p, p) symmetric matrices of their (..., p(p+1)/2) lower triangles."""
    full = np.zeros((*lower.shape[:-1], p, p))
    rows, columns = np.tril_indices(p)
    full[..., rows, columns] = lower
    full[..., columns, rows] = lower
    return full


def ascend(
    question: Callable[[FloatArray], Query],
    start: FloatArray,
    patients: Callable[[Summary], int],
    *,
    penalty: FloatArray | None = None,
    model: str = "",
) -> Conclusion[Ascent]:
    """Maximise log-likelihood - 0.5 sum(penalty * coef^2) by Newton's method with step halving.

    Predictors are to be standardised, so that steps and eigenvalues have a common scale. Stops where the largest step
    is below 1e-10.

    Parameters
    ----------
    question
        The query at given coefficients.
    start
        (p,).
    patients
        Checks the sums, and says over how many patients they are.
    penalty
        (p,) of the square of each coefficient; with it a maximum exists whatever the data.

    Raises
    ------
    FedmviError
        603 linearly dependent predictors, 604 no convergence.
    """
    coef, step, weight = start, np.zeros_like(start), np.zeros_like(start) if penalty is None else penalty
    best, loss, first, n, rounds = -np.inf, 0.0, 0.0, 0, 0
    information, sums = np.zeros((start.size, start.size)), Summary()
    while True:
        try:
            sums = yield total(question(coef))
        except FedmviError as error:
            # A site refuses coefficients under which hardly one of its patients has weight. Separation leads there
            # for the pooled patients too; otherwise it is the refusal of a site whose patients are extreme.
            perfect = n > 0 and -loss / n < PERFECT_FIT
            if error.number != VANISHING_WEIGHT or penalty is not None or not perfect:
                raise
            return Ascent(coef, information, loss, first, sums, rounds, separated=True)
        rounds, n = rounds + 1, patients(sums)
        log_likelihood = float(sums["log_likelihood"])
        objective = log_likelihood - 0.5 * float(weight @ np.square(coef))
        information = symmetric(sums["information"], start.size)
        curvature = information + np.diag(weight)
        smallest = float(np.linalg.eigvalsh(curvature)[0]) / n
        if rounds == 1:
            first = log_likelihood
            if smallest < COLLINEAR_EIGENVALUE:
                raise FedmviError(603, model=model)
        if objective < best - 1e-9 * (1.0 + abs(best)):
            step = step / 2.0
            coef = coef - step
            if rounds >= MAX_ROUNDS:
                raise FedmviError(604, model=model)
            continue
        best, loss = objective, log_likelihood
        separated = penalty is None and smallest < SEPARATION_EIGENVALUE
        if not separated:
            step = np.linalg.solve(curvature, sums["score"] - weight * coef)
            largest = float(np.max(np.abs(step)))
            if largest < STEP_TOLERANCE:
                return Ascent(coef + step, information, loss, first, sums, rounds, separated=False)
            separated = penalty is None and rounds >= SEPARATION_ROUND and largest > SEPARATION_STEP
        if separated:
            return Ascent(coef, information, loss, first, sums, rounds, separated=True)
        if rounds >= MAX_ROUNDS:
            raise FedmviError(604, model=model)
        coef = coef + step

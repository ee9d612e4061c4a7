"""common/statistics: backward elimination by Akaike's information criterion.

Of each step all refits without one term advance in lock-step, from a point that the last fit gives: about four rounds
a step, however many terms there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion
from common.statistics.distributions import chi2_p
from common.statistics.logistic import own_scale
from common.statistics.logistic_stack import LogisticStack
from common.statistics.moments import Moments, moments
from common.statistics.newton import (
    COLLINEAR_EIGENVALUE,
    MAX_ROUNDS,
    PERFECT_FIT,
    SEPARATION_EIGENVALUE,
    SEPARATION_ROUND,
    SEPARATION_STEP,
    STEP_TOLERANCE,
    VANISHING_WEIGHT,
    symmetric,
)
from common.study.recipe import Recipe
from common.study.table import FloatArray

TIE = 1e-8
"""Two criteria that are closer than this are equal, and the term declared first goes; none goes that gains no more."""

Terms = tuple[tuple[str, ...], ...]
"""What is eliminated together: the columns of one variable."""


@dataclass(frozen=True)
class Elimination:
    """One step.

    Attributes
    ----------
    terms
        In the model before the step.
    aic_
        Of the model before the step.
    without_
        (terms,) AIC of the model without each term.
    chi2_, degrees_
        (terms,) likelihood-ratio statistics of each term, and their degrees of freedom.
    dropped
        The term that went; empty in the last step, where none did.
    """

    terms: Terms
    aic_: float
    without_: FloatArray
    chi2_: FloatArray
    degrees_: NDArray[np.int64]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class SelectionResult:
    """A backward elimination.

    Attributes
    ----------
    steps_
        In order; the last one drops nothing, unless no term is left.
    terms
        Those that stay, in the declared order.
    columns
        Parameters of the final model, `intercept` first.
    coef_, std_err_
        (p,) of the final model on the predictors' own scale. Their intervals and p values take no notice of the
        selection, and are too good (Heinze, Wallisch & Dunkler, Biom J 2018;60:431).
    aic_, log_likelihood_, rounds_
        Of the final model; and Newton rounds of all.
    """

    steps_: tuple[Elimination, ...]
    terms: Terms
    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    aic_: float
    log_likelihood_: float
    n_: int
    events_: int
    rounds_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a step and term that could go: its likelihood-ratio test, the AIC without it, and whether it went."""
        return [
            {
                "step": i + 1,
                "term": ", ".join(term),
                "aic": step.aic_,
                "aic_without": float(without),
                "chi2": float(chi2),
                "degrees": int(degrees),
                "p": chi2_p(float(chi2), int(degrees)),
                "dropped": term == step.dropped,
            }
            for i, step in enumerate(self.steps_)
            for term, without, chi2, degrees in zip(step.terms, step.without_, step.chi2_, step.degrees_, strict=True)
        ]


@dataclass(frozen=True)
class _Maxima:
    """(sets,) log-likelihoods, (sets, p) coefficients and (sets, p, p) informations of refits; Newton rounds."""

    value: FloatArray
    coef: FloatArray
    information: FloatArray
    n: int
    events: int
    rounds: int


def backward_elimination(
    cohort: str, recipe: Recipe, endpoint: str, terms: Terms, model: str = ""
) -> Conclusion[SelectionResult]:
    """Drop term after term from a logistic regression while that lowers its AIC.

    In each step the term goes whose loss gives the lowest AIC, if that is below the present one; as R's step() with
    direction "backward". The recipe must leave complete cases of all terms.

    Raises
    ------
    FedmviError
        602 one class only, 603 linearly dependent predictors, 604 no convergence, 622 the predictors separate the
        classes; 601 no patients.
    """
    columns = tuple(column for term in terms for column in term)
    scale = yield from moments(cohort, recipe, columns)
    scale.require_spread(model)
    standard = recipe.then(scale.standardising)
    place = {column: i + 1 for i, column in enumerate(columns)}
    ask = LogisticStack(cohort, standard, endpoint, columns, np.zeros((1, len(columns) + 1)))
    fit = yield from _refit(ask, np.zeros((1, len(columns) + 1)), np.ones((1, len(columns) + 1), dtype=bool), model)
    present, steps, rounds = terms, [], fit.rounds
    free = np.ones(len(columns) + 1, dtype=bool)
    while present:
        frees = np.tile(free, (len(present), 1))
        for i, term in enumerate(present):
            frees[i, [place[column] for column in term]] = False
        refits = yield from _refit(ask, _held_starts(fit, free, frees), frees, model)
        rounds += refits.rounds
        aic = 2.0 * int(free.sum()) - 2.0 * float(fit.value[0])
        without = 2.0 * frees.sum(axis=1) - 2.0 * refits.value
        best = int(np.flatnonzero(without <= without.min() + TIE)[0])
        stays = bool(without[best] >= aic - TIE)
        steps.append(
            Elimination(
                terms=present,
                aic_=aic,
                without_=without,
                chi2_=np.maximum(2.0 * (fit.value[0] - refits.value), 0.0),
                degrees_=(free.sum() - frees.sum(axis=1)).astype(np.int64),
                dropped=() if stays else present[best],
            )
        )
        if stays:
            break
        present, free = tuple(term for term in present if term != present[best]), frees[best]
        fit = _Maxima(
            refits.value[[best]], refits.coef[[best]], refits.information[[best]], fit.n, fit.events, refits.rounds
        )
    return _result(columns, scale, fit, free, present, tuple(steps), rounds)


def _result(
    columns: tuple[str, ...],
    scale: Moments,
    fit: _Maxima,
    free: NDArray[np.bool_],
    terms: Terms,
    steps: tuple[Elimination, ...],
    rounds: int,
) -> SelectionResult:
    """The final fit on the predictors' own scale."""
    kept = np.flatnonzero(free)
    back = own_scale(scale)[:, kept]
    covariance = back @ np.linalg.inv(fit.information[0][np.ix_(kept, kept)]) @ back.T
    return SelectionResult(
        steps_=steps,
        terms=terms,
        columns=tuple(("intercept", *columns)[i] for i in kept),
        coef_=(back @ fit.coef[0][kept])[kept],
        std_err_=np.sqrt(np.diag(covariance))[kept],
        aic_=2.0 * kept.size - 2.0 * float(fit.value[0]),
        log_likelihood_=float(fit.value[0]),
        n_=fit.n,
        events_=fit.events,
        rounds_=rounds,
    )


def _held_starts(fit: _Maxima, free: NDArray[np.bool_], frees: NDArray[np.bool_]) -> FloatArray:
    """(sets, p) maxima of the quadratic that the last fit gives, with what goes held at zero."""
    starts = np.zeros(frees.shape)
    for i, stay in enumerate(frees):
        going = np.flatnonzero(free & ~stay)
        block = fit.information[0][np.ix_(stay, going)] @ fit.coef[0][going]
        starts[i, stay] = fit.coef[0][stay] + np.linalg.solve(fit.information[0][np.ix_(stay, stay)], block)
    return starts


def _refit(ask: LogisticStack, starts: FloatArray, frees: NDArray[np.bool_], model: str) -> Conclusion[_Maxima]:
    """Newton's method with step halving for all sets together, the coefficients not in `frees` held at zero."""
    sets, p = starts.shape
    coef, step, best = starts.copy(), np.zeros((sets, p)), np.full(sets, -np.inf)
    information, active, n, events = np.zeros((sets, p, p)), np.ones(sets, dtype=bool), 0, 0
    for rounds in range(1, MAX_ROUNDS + 1):
        at = np.flatnonzero(active)
        question = LogisticStack(ask.cohort, ask.recipe, ask.endpoint, ask.columns, coef[at])
        try:
            sums = yield total(question)
        except FedmviError as error:
            if error.number == VANISHING_WEIGHT and n > 0 and float(np.max(-best[at])) / n < PERFECT_FIT:
                raise FedmviError(622, model=model) from error
            raise
        n, events = int(sums["n"]), int(sums["events"])
        if events in (0, n):
            raise FedmviError(602, endpoint=ask.endpoint, cohort=ask.cohort)
        value, curvature = sums["log_likelihood"], symmetric(sums["information"], p)
        for k, i in enumerate(at):
            if value[k] < best[i] - 1e-9 * (1.0 + abs(best[i])):
                step[i] /= 2.0
                coef[i] -= step[i]
                continue
            best[i], information[i], free = value[k], curvature[k], frees[i]
            inner = curvature[k][np.ix_(free, free)]
            smallest = float(np.linalg.eigvalsh(inner)[0]) / n
            if rounds == 1 and smallest < COLLINEAR_EIGENVALUE:
                raise FedmviError(603, model=model)
            step[i, free] = np.linalg.solve(inner, sums["score"][k][free])
            coef[i] += step[i]
            largest = float(np.max(np.abs(step[i])))
            if smallest < SEPARATION_EIGENVALUE or (rounds >= SEPARATION_ROUND and largest > SEPARATION_STEP):
                raise FedmviError(622, model=model)
            active[i] = largest >= STEP_TOLERANCE
        if not active.any():
            return _Maxima(best, coef, information, n, events, rounds)
    raise FedmviError(604, model=model)

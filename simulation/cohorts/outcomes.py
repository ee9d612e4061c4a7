"""simulation/cohorts: follow-up: recurrence, visits, death and loss, with the published figures as population limits.

The model is Markov: recurrence with hazard r, death before recurrence with hazard a, death after it with hazard
4 a (assumed), all constant in time and by MVI. Overall survival, with b = 4 a, is

    S(t) = exp(-(r + a) t) + r / (r + a - b) (exp(-b t) - exp(-(r + a) t)).

A complete follow-up of 60 months with 64 deaths among 321 patients contradicts a median overall survival of 59.5
months: were all 64 deaths among the 149 patients of the year with complete follow-up, at least 57 % of these would
still be alive. Hence two presets:

- `rates`: 101 recurrences and 64 deaths of 321 within 60 months. The hazard ratios of MVI, 2.0 of recurrence and 1.5
  of death before it (and so of death after it), are assumed.
- `medians`: overall survival of 59.5 months, 54.7 with MVI; recurrence-free survival of 50.4, 32.5 with MVI, not
  reached without. With recurrence so much more frequent with MVI, and overall survival so little shorter, death before
  recurrence then has a slightly *higher* hazard without MVI.

`rfs` ends with recurrence only, and a death before it censors. The published medians allow no composite of constant
hazard: one with medians of 32.5 with MVI and 50.4 overall leaves 72 % of the patients without MVI alive and free of
recurrence at 50.4 months and 67 % at 59.5, when overall survival leaves 55 % of them alive. The composite that is
standard in the field is written as `dfs`: recurrence or death.

Recurrence is found at the first visit after it, or at death or the end of follow-up where these come first; where a
patient is lost before that visit it is never found. Published medians are those of recorded times, and so are ours:
the hazards are solved for what a Kaplan-Meier estimate converges to, delay by visits included (`recorded_survival`).

The hazards are solved with the published share of MVI, 185 of 321, and belong to patients with and without MVI. In a
consortium with another share, figures over all patients differ from the published ones; figures by MVI do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson, simpson
from scipy.optimize import root
from scipy.special import exprel

from simulation.cohorts.consortium import Preset, Survival
from simulation.cohorts.published import (
    ABSENT,
    DEATHS,
    FOLLOW_UP_MONTHS,
    MEDIAN_OS,
    MEDIAN_OS_PRESENT,
    MEDIAN_RFS,
    MEDIAN_RFS_PRESENT,
    PRESENT,
    RECURRENCES,
)

DAYS_PER_MONTH = 30.4375
DEATH_RATIO = 4.0
"""Hazard of death after recurrence over that before it; assumed."""
HAZARD_RATIOS = (2.0, 1.5)
"""MVI's effect on recurrence and on death in the preset `rates`; assumed."""

_SHARES = (ABSENT / (ABSENT + PRESENT), PRESENT / (ABSENT + PRESENT))
_STEP = 0.01  # months, of numerical integrals
_Floats = NDArray[np.float64]
Visits = tuple[float, float] | None
"""Shortest and longest months between visits; None where recurrence is found at once."""


@dataclass(frozen=True)
class Hazards:
    """Constant hazards a month of patients of one group.

    Attributes
    ----------
    recurrence
        Of the first recurrence.
    death
        Of death before recurrence; after it, `DEATH_RATIO` times as high.
    """

    recurrence: float
    death: float

    @property
    def leaving(self) -> float:
        """Hazard of either event in a patient alive without recurrence."""
        return self.recurrence + self.death

    def overall_survival(self, months: float) -> float:
        """Probability of being alive after so many months."""
        after = DEATH_RATIO * self.death
        # exprel(x) = (exp(x) - 1) / x, without the singularity at 0.
        recurred = self.recurrence * months * math.exp(-after * months) * exprel((after - self.leaving) * months)
        return float(math.exp(-self.leaving * months) + recurred)

    def recurred(self, months: float) -> float:
        """Probability of a recurrence within so many months, death being a competing event."""
        return self.recurrence / self.leaving * -math.expm1(-self.leaving * months)


@dataclass(frozen=True)
class FollowUp:
    """Follow-up of n patients by endpoint `rfs`, `dfs` and `os`.

    Attributes
    ----------
    days
        Whole days since surgery, rounded up, at least 1, each (n,); rfs and dfs never after os.
    events
        1 where the endpoint was observed, 0 where the patient is censored, each (n,).
    """

    days: Mapping[str, NDArray[np.int64]]
    events: Mapping[str, NDArray[np.int64]]


def endpoints_of(survival: Survival) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Endpoints to be written, each once, and warnings about what was declared."""
    names = tuple(dict.fromkeys("rfs" if name == "pfs" else name for name in survival.endpoints))
    if "pfs" not in survival.endpoints:
        return names, ()
    return names, (
        "Progression-free survival (pfs) is not defined after a resection with curative intent: recurrence-free "
        "survival (rfs) is written in its place.",
    )


def follow_up(survival: Survival, present: NDArray[np.bool_], rng: np.random.Generator) -> FollowUp:
    """Follow patients with (True) and without MVI from surgery to death, loss or the end of follow-up.

    Parameters
    ----------
    survival
        What is declared; every endpoint is returned, whichever are.
    present
        (n,).
    rng
        Source of every draw.
    """
    n = len(present)
    absent_hazards, present_hazards = solved_hazards(survival.preset, survival.visits_months)
    r = np.where(present, present_hazards.recurrence, absent_hazards.recurrence)
    a = np.where(present, present_hazards.death, absent_hazards.death)
    waits = rng.standard_exponential((n, 4))
    recurrence, death = waits[:, 0] / r, waits[:, 1] / a
    recurs = recurrence < death
    death = np.where(recurs, recurrence + waits[:, 2] / (DEATH_RATIO * a), death)
    lost = waits[:, 3] / survival.loss_per_month if survival.loss_per_month else np.full(n, np.inf)
    # The last day of follow-up is a whole one: 1826 for 60 months.
    end = math.floor(survival.follow_up_months * DAYS_PER_MONTH) / DAYS_PER_MONTH
    found = np.where(recurs, _first_visit(recurrence, survival, rng), np.inf)
    # A patient seen at death or at the end is examined then.
    examined = np.minimum(death, end)
    found = np.where(recurs & (recurrence <= examined), np.minimum(found, examined), np.inf)
    last = np.minimum(lost, examined)
    died = death <= last
    recorded = found <= last
    first = np.where(recorded, found, last)
    days = {name: np.maximum(np.ceil(months * DAYS_PER_MONTH - 1e-9), 1).astype(np.int64)
            for name, months in (("rfs", first), ("dfs", first), ("os", last))}  # fmt: skip
    events = {
        name: event.astype(np.int64) for name, event in (("rfs", recorded), ("dfs", recorded | died), ("os", died))
    }
    return FollowUp(days, events)


def _first_visit(recurrence: _Floats, survival: Survival, rng: np.random.Generator) -> _Floats:
    """The first visit at or after each time in months, (n,); infinite after the last visit."""
    if survival.visits_months is None:
        return recurrence
    shortest, longest = survival.visits_months
    count = math.ceil(survival.follow_up_months / shortest)
    visits = rng.uniform(shortest, longest, (len(recurrence), count)).cumsum(axis=1)
    first: _Floats = np.where(visits >= recurrence[:, None], visits, np.inf).min(axis=1)
    return first


@lru_cache
def solved_hazards(preset: Preset, visits_months: Visits) -> tuple[Hazards, Hazards]:
    """Hazards of patients without and with MVI at which the population limits equal the published figures.

    Raises
    ------
    ArithmeticError
        Where no hazards give the published medians, as with visits many months apart.
    """
    if preset == "rates":
        absent = _solve(lambda h: _rates_missed(h, _scaled(h)))
        return absent, _scaled(absent)

    def missed(groups: tuple[Hazards, ...], shares: tuple[float, ...], rfs: float, os: float) -> tuple[float, float]:
        alive = sum(w * h.overall_survival(os) for w, h in zip(shares, groups, strict=True))
        return recorded_survival(groups, shares, visits_months, rfs) - 0.5, alive - 0.5

    present = _solve(lambda h: missed((h,), (1.0,), MEDIAN_RFS_PRESENT, MEDIAN_OS_PRESENT))
    absent = _solve(lambda h: missed((h, present), _SHARES, MEDIAN_RFS, MEDIAN_OS))
    return absent, present


def recorded_survival(
    groups: tuple[Hazards, ...], shares: tuple[float, ...], visits_months: Visits, months: float
) -> float:
    """What a Kaplan-Meier estimate of recurrence-free survival over groups converges to at a time.

    At risk are patients alive with no recurrence found: U(t) = exp(-(r + a) t) without one, and with one that awaits a
    visit U(t) c(t), where c(t) = r * integral from 0 to t of exp((r + a - b) d) G(d), and G(d) is the probability of no
    visit for d months. Events in a group, per time, are what its number at risk falls by, less the deaths without
    recurrence a U(t), which censor. Groups add up, weighted by who is still at risk; loss thins every term alike.

    G is that of a renewal process long after its start (the residual life), so the limit is accurate a year or more
    after surgery, and less so the less visits vary: with equal distances a survival curve has steps.

    Parameters
    ----------
    groups, shares
        Hazards of each group, and its share of patients at surgery.
    visits_months
        Shortest and longest time between visits.
    months
        Time since surgery.
    """
    t = np.linspace(0, months, math.ceil(months / _STEP) + 1)
    unseen = _no_visit(visits_months, t)
    at_risk, events = np.zeros_like(t), np.zeros_like(t)
    for h, share in zip(groups, shares, strict=True):
        free = share * np.exp(-h.leaving * t)
        waiting = h.recurrence * np.exp((h.leaving - DEATH_RATIO * h.death) * t) * unseen
        risk = free * (1 + cumulative_simpson(waiting, x=t, initial=0))
        at_risk += risk
        events += h.leaving * risk - free * waiting - h.death * free
    return math.exp(-float(simpson(events / at_risk, x=t)))


def _no_visit(visits_months: Visits, months: _Floats) -> _Floats:
    """Probability that no visit falls in the next months, with visits at uniform distances that began long ago."""
    if visits_months is None:
        return np.zeros_like(months)
    shortest, longest = visits_months
    beyond = np.maximum(longest - np.maximum(months, shortest), 0) ** 2
    spread = beyond / (2 * (longest - shortest)) if longest > shortest else 0.0
    return (np.maximum(shortest - months, 0) + spread) / ((shortest + longest) / 2)


def _scaled(absent: Hazards) -> Hazards:
    return Hazards(absent.recurrence * HAZARD_RATIOS[0], absent.death * HAZARD_RATIOS[1])


def _solve(missed: Callable[[Hazards], tuple[float, float]]) -> Hazards:
    """The hazards by which nothing is missed; logarithms keep them positive."""
    found = root(lambda logs: missed(Hazards(*np.exp(logs))), np.log([0.01, 0.004]), tol=1e-12)
    if np.abs(found.fun).max() > 1e-8:
        raise ArithmeticError("no constant hazards give the published medians with these visits")
    recurrence, death = np.exp(found.x).tolist()
    return Hazards(recurrence, death)


def _rates_missed(absent: Hazards, present: Hazards) -> tuple[float, float]:
    end = math.floor(FOLLOW_UP_MONTHS * DAYS_PER_MONTH) / DAYS_PER_MONTH
    recurred = sum(w * h.recurred(end) for w, h in zip(_SHARES, (absent, present), strict=True))
    died = sum(w * (1 - h.overall_survival(end)) for w, h in zip(_SHARES, (absent, present), strict=True))
    total = ABSENT + PRESENT
    return recurred - RECURRENCES / total, died - DEATHS / total

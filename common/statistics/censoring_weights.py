"""common/statistics: inverse probability of censoring weights, from the pooled life table on the grid of times.

The weight of an event at a time T is 1 / G(T), with G the Kaplan-Meier curve of censoring, read as in scikit-survival:
events at a time leave before the censorings at it, and G is that just after T. (Others take G just before T; on a
grid of days the two differ little.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion
from common.statistics.life_table import Counts, LifeTable, remaining
from common.study.recipe import Recipe
from common.study.table import FloatArray

Points = NDArray[np.int64]


def last_points(times: tuple[float, ...], precision: float) -> Points:
    """(times,) the last grid point not after each time."""
    return np.floor(np.array(times, dtype=np.float64) / precision + 1e-9).astype(np.int64)


def ascending(times: tuple[float, ...], precision: float, grid_points: int) -> bool:
    """Whether the times lie on the grid's range, each later than the one before."""
    if not times or not precision > 0:
        return False
    points = last_points(times, precision)
    return bool(np.all(np.diff(points) > 0)) and int(points[0]) >= 0 and int(points[-1]) < grid_points


def sound(weights: FloatArray, times: tuple[float, ...], precision: float) -> bool:
    """Whether weights up to the last time can be inverse probabilities: from 1 upwards, never falling."""
    if weights.shape != (int(last_points(times, precision)[-1]) + 1,):
        return False
    return bool(weights[0] >= 1.0) and bool(np.all(np.diff(weights) >= 0.0))


def relative_weights(point: Points, weights: FloatArray, until: Points) -> FloatArray:
    """(times, n) how much each patient counts at each time, relative to the largest weight there."""
    reached = np.minimum(point, until[:, np.newaxis])
    return np.asarray(weights[reached] / weights[until][:, np.newaxis])


def censoring_survival(events: Counts, censored: Counts) -> FloatArray:
    """(grid,) the probability of not being censored up to and with each grid point, from (grid,) counts."""
    at_risk = (remaining(events + censored) - events).astype(np.float64)
    return np.asarray(np.cumprod(1.0 - censored / np.where(at_risk > 0, at_risk, 1.0)), dtype=np.float64)


@dataclass(frozen=True)
class Censoring:
    """What weights need, of a cohort and at some times.

    Attributes
    ----------
    points
        (times,) grid points.
    weights
        (last point + 1,) 1 / G.
    patients
        All patients.
    cases, controls
        (times,) patients with the event up to the time, and followed beyond it.
    weighted_cases
        (times,) sum of the cases' weights.
    survival
        (times,) Kaplan-Meier survival.
    """

    points: Points
    weights: FloatArray
    patients: int
    cases: Counts
    controls: Counts
    weighted_cases: FloatArray
    survival: FloatArray

    @property
    def free(self) -> FloatArray:
        """(times,) probability of not being censored up to each time."""
        return 1.0 / self.weights[self.points]


def censoring(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    precision: float,
    grid_points: int,
    times: tuple[float, ...],
    reference: tuple[str, Recipe] | None,
) -> Conclusion[Censoring]:
    """Weights of a cohort's patients at ascending times; one round.

    `reference` is the cohort, with its recipe, in which censoring is estimated; the cohort itself by default.

    Raises
    ------
    FedmviError
        601 no patients, 656 times that do not ascend, or nobody is followed beyond one of them.
    """
    if not ascending(times, precision, grid_points):
        raise FedmviError(656, endpoint=endpoint, time=times[0] if times else "")
    of = (cohort, recipe)
    ours, theirs = yield tuple(
        total(LifeTable(*where, endpoint, 1, precision, grid_points)) for where in (of, reference or of)
    )
    events, censored = ours["events"][0], ours["censored"][0]
    if int(events.sum() + censored.sum()) == 0:
        raise FedmviError(601, cohort=cohort)
    points = last_points(times, precision)
    at_risk, known = (remaining(t["events"][0] + t["censored"][0]) for t in (ours, theirs))
    free = censoring_survival(theirs["events"][0], theirs["censored"][0])[: points[-1] + 1]
    followed = np.append(at_risk[1:], 0)[points], known[points]
    for time, beyond, at, left in zip(times, *followed, free[points], strict=True):
        if beyond == 0 or at == 0 or left <= 0.0:
            raise FedmviError(656, endpoint=endpoint, time=time)
    weights = 1.0 / free
    hazard = events / np.where(at_risk > 0, at_risk, 1)
    return Censoring(
        points=points,
        weights=weights,
        patients=int(events.sum() + censored.sum()),
        cases=np.cumsum(events)[points],
        controls=followed[0],
        weighted_cases=np.cumsum(events[: weights.size] * weights)[points],
        survival=np.cumprod(1.0 - hazard)[points],
    )

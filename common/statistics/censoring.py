"""common/statistics: survival outcomes as a site reads them: the time grid, administrative censoring, competing causes.

An endpoint `os` is two columns of a frame: `os.time`, from surgery in the endpoint's unit, and `os.event`: 0 censored,
1 the event (the cause of interest), 2 a competing event. What is done here is done inside the site, before anything is
counted, so a life table, a log-rank test and a Cox regression use it alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.study.recipe import Frame
from common.study.table import FloatArray

CENSORED, OF_INTEREST, COMPETING = 0, 1, 2
"""What an event column holds."""

_LAST_DIGITS = 1e-9
"""Times recorded to a tenth are not exact in binary: a time this much over the horizon is at it."""


def censor_at(time: FloatArray, event: FloatArray, horizon: float | None) -> tuple[FloatArray, FloatArray]:
    """Administrative censoring: who is still followed after the horizon is censored at it; (n,) each.

    An event at the horizon itself counts. `None` leaves all as they are.
    """
    if horizon is None:
        return time, event
    late = time > horizon + _LAST_DIGITS * max(1.0, abs(horizon))
    return np.where(late, horizon, time), np.where(late, float(CENSORED), event)


def cause_specific(event: FloatArray, cause: int) -> FloatArray:
    """(n,) 1 for an event of this cause, 0 for a censoring and for an event of the other cause.

    With it a cause-specific hazard is an ordinary one, in a life table as in a Cox regression (Prentice et al.,
    Biometrics 1978;34:541).
    """
    return np.where(event == float(cause), 1.0, 0.0)


def survival_outcome(
    frame: Frame, endpoint: str, horizon: float | None = None, cause: int = OF_INTEREST
) -> tuple[FloatArray, FloatArray]:
    """(n,) times and (n,) events 0 or 1 of a cause, administratively censored at the horizon.

    Raises
    ------
    FedmviError
        655 a time or event is missing, negative or has no meaning.
    """
    time, event = _checked(frame, endpoint)
    time, event = censor_at(time, event, horizon)
    return time, cause_specific(event, cause)


def on_grid(
    frame: Frame, endpoint: str, precision: float, grid_points: int, horizon: float | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) grid points of the times, 0 to `grid_points` - 1, and (n,) event codes, as recorded, after the horizon 0.

    Raises
    ------
    FedmviError
        312 a time beyond the grid, 655 a time or event is missing, negative or has no meaning.
    """
    time, event = _checked(frame, endpoint)
    if time.size and int(np.rint(time.max() / precision)) >= grid_points:
        maximum = precision * (grid_points - 1)
        raise FedmviError(312, endpoint=endpoint, maximum=maximum, unit="units")
    time, event = censor_at(time, event, horizon)
    point = np.rint(time / precision).astype(np.int64)
    if horizon is not None:
        # A horizon between two grid points is the one before it.
        point = np.minimum(point, int(np.floor(horizon / precision + _LAST_DIGITS)))
    return point, event.astype(np.int64)


def group_of(frame: Frame, groups: int) -> NDArray[np.int64]:
    """(n,) each patient's group, the column `group`; where there is one group only, no column is needed.

    Raises
    ------
    FedmviError
        655 a group is missing or not one of them.
    """
    if groups == 1:
        return np.zeros(frame.n, dtype=np.int64)
    group = frame.columns["group"]
    if not bool(np.all(np.isin(group, np.arange(groups)))):
        raise FedmviError(655, endpoint="group")
    return group.astype(np.int64)


def _checked(frame: Frame, endpoint: str) -> tuple[FloatArray, FloatArray]:
    time, event = frame.endpoints[f"{endpoint}.time"], frame.endpoints[f"{endpoint}.event"]
    known = bool(np.all(time >= 0) & np.all(np.isfinite(time)))
    if not known or not bool(np.all(np.isin(event, (CENSORED, OF_INTEREST, COMPETING)))):
        raise FedmviError(655, endpoint=endpoint)
    return time, event

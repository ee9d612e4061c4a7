"""client/describing: endpoints in each cohort: classes, or events, follow-up and the Kaplan-Meier curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.cohort.units import Flags
from common.statistics.censoring import COMPETING, OF_INTEREST
from common.statistics.life_table import KaplanMeier, kaplan_meier, tally
from common.study.protocol import Endpoint
from common.study.table import SiteTable


@dataclass(frozen=True)
class Followed:
    """A survival endpoint among some patients.

    Attributes
    ----------
    n, missing
        Patients with a time and an event cell, and without.
    events, competing
        Events of interest, and those that prevent it.
    median, followed, longest
        In the endpoint's unit: median survival and median follow-up (infinite where not reached), and the longest time.
    curve
        Kaplan-Meier; a competing event counts as a censoring.
    """

    n: int
    missing: int
    events: int
    competing: int
    median: float
    followed: float
    longest: float
    curve: KaplanMeier


def followed(table: SiteTable, endpoint: Endpoint, rows: Flags) -> Followed:
    """The endpoint of the patients in `rows` (n,).

    Median follow-up is that of the reverse Kaplan-Meier curve (Schemper & Smith, Control Clin Trials 1996;17:343).
    """
    time, event = (table.endpoints[key][rows] for key in endpoint.keys)
    known = ~np.isnan(time)
    point = np.rint(time[known] / endpoint.precision).astype(np.int64)
    happened = event[known] == OF_INTEREST
    shape = (endpoint.grid_points,)
    events, censored = tally(shape, point[happened]), tally(shape, point[~happened])
    curve = kaplan_meier(events, censored, endpoint.precision)
    reverse = kaplan_meier(censored, events, endpoint.precision)
    return Followed(
        n=int(point.size),
        missing=int(time.size - point.size),
        events=int(np.count_nonzero(happened)),
        competing=int(np.count_nonzero(event[known] == COMPETING)),
        median=curve.median[0],
        followed=reverse.median[0],
        longest=float(curve.time_[-1]) if curve.time_.size else 0.0,
        curve=curve,
    )


def classes(table: SiteTable, endpoint: Endpoint, rows: Flags) -> tuple[int, ...]:
    """Patients of each class, lowest first, and last those of whom it is not known."""
    values = table.endpoints[endpoint.name][rows]
    found = [int(np.count_nonzero(values == code)) for code in range(len(endpoint.codes))]
    return (*found, int(np.count_nonzero(np.isnan(values))))

"""common/statistics: what a site tells when it concludes over itself, and cannot: its counts, and an error's number."""

from __future__ import annotations

import numpy as np

from common.errors import CATALOGUE, Fact, FedmviError
from common.federation.alone import Alone
from common.federation.query import Summary
from common.federation.totals import zeros
from common.statistics.counts import hide_in_row
from common.statistics.recalibration import NO_SLOPE, SLOPE_CLASS, SLOPE_PATIENTS
from common.study.recipe import Frame

TOO_FEW = 405
"""Stands for too few patients of a class to conclude alone."""

_NOT_KNOWN = 501


def alone_error(number: int, *, column: str, cohort: str, endpoint: str, min_class: int) -> FedmviError:
    """The error of that number with the names of the question."""
    limit = SLOPE_CLASS if number == NO_SLOPE else min_class
    facts: dict[str, Fact] = {"column": column, "model": column, "cohort": cohort, "endpoint": endpoint, "limit": limit}
    return FedmviError.reported(number if number in CATALOGUE else _NOT_KNOWN, "", facts | {"patients": SLOPE_PATIENTS})


def counted_alone(query: Alone, frame: Frame, endpoint: str, min_class: int) -> Summary:
    """What a question is answered with whose blocks have `classes` and `error`, before anything is concluded: zeros,
    the patients by class, small counts hidden, and `TOO_FEW` where a class has fewer than `min_class`."""
    events = int(np.nansum(frame.endpoints[endpoint]))
    classes = np.array([frame.n - events, events, 0], dtype=np.int64)
    few = min(events, frame.n - events) < min_class
    return {
        **zeros(query),
        "classes": hide_in_row(classes, query.min_cell),
        "error": np.array(TOO_FEW if few else 0, dtype=np.int64),
    }

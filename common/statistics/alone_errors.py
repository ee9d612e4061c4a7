"""common/statistics: the error that a site met when it concluded over itself: its number travels, and nothing else."""

from __future__ import annotations

from common.errors import CATALOGUE, Fact, FedmviError
from common.statistics.recalibration import NO_SLOPE, SLOPE_CLASS, SLOPE_PATIENTS

TOO_FEW = 405
"""Stands for too few patients of a class to conclude alone."""

_NOT_KNOWN = 501


def alone_error(number: int, *, column: str, cohort: str, endpoint: str, min_class: int) -> FedmviError:
    """The error of that number with the names of the question."""
    limit = SLOPE_CLASS if number == NO_SLOPE else min_class
    facts: dict[str, Fact] = {"column": column, "model": column, "cohort": cohort, "endpoint": endpoint, "limit": limit}
    return FedmviError.reported(number if number in CATALOGUE else _NOT_KNOWN, "", facts | {"patients": SLOPE_PATIENTS})

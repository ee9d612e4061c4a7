"""server/study: which errors of a network stop the run until a hospital has mended something, and which are results."""

from __future__ import annotations

from common.errors import FedmviError
from common.federation.runner import Conclusion, R

MENDABLE = frozenset({212, 377, 390, 392, 394, 503, 508, 511})
"""A store that is not prepared, a disk that is full, stacks or memory that lack, a site that is away, lost work."""


def attempt_unless_mendable(conclusion: Conclusion[R]) -> Conclusion[R | FedmviError]:
    """The conclusion's result or the error that it met, which is a result too: a refusal, or too few patients.

    Raises
    ------
    FedmviError
        One of `MENDABLE`. Days of training would otherwise end as a finished run without a network; when it is mended
        the run goes on from its checkpoints.
    """
    try:
        return (yield from conclusion)
    except FedmviError as error:
        if error.number in MENDABLE:
            raise
        return error

"""client/node: whether this machine's clock is near enough to the hub's, which looks at the time that a node signs."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from common.errors import FedmviError

AHEAD_SECONDS, BEHIND_SECONDS = 5, 305
"""How far ahead of the hub's clock, and how far behind, Flower accepts the time that a node signs."""
_DRIFT_SECONDS = 5
"""Flower's allowance for drift, which is in both."""
_HALF_SECOND = 0.5
"""The hub tells whole seconds: on average half a second has passed since."""


def seconds_ahead(told: str, here: float) -> float:
    """Seconds by which this machine's clock is ahead of the hub's.

    Parameters
    ----------
    told
        The `Date` header of an answer of the hub.
    here
        What the clock here said then, in seconds since 1970.

    Raises
    ------
    ValueError
        No date was told.
    """
    return here - (parsedate_to_datetime(told).timestamp() + _HALF_SECOND)


def refuse_wrong_clock(ahead: float) -> None:
    """Error 778 if the hub refuses what is signed with a clock that is so many seconds ahead of its own."""
    if not -BEHIND_SECONDS - _HALF_SECOND < ahead < AHEAD_SECONDS + _HALF_SECOND:
        direction = "ahead of" if ahead > 0 else "behind"
        behind = BEHIND_SECONDS - _DRIFT_SECONDS
        raise FedmviError(778, seconds=abs(round(ahead)), direction=direction, ahead=AHEAD_SECONDS, behind=behind)

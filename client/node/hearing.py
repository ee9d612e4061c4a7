"""client/node: whether a node is connected, as far as what it told last, and how long ago, can say."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from client.node.folder import Health, NodeState
from common.observing.metrics import moment

QUIET_SECONDS = 45.0
"""An answer of the hub that is older than this is no sign of a connection: Flower asks for one every 21 to 27 s, even
while a message is worked on, waits 5 s for it, and it is noted at once."""


def seconds_since_heard(health: Health | None) -> int | None:
    """How long ago the hub answered last; None if it never did. Of this machine's clock, and never negative."""
    heard = None if health is None else moment(health.heard)
    return None if heard is None else max(0, round(datetime.now(UTC).timestamp() - heard))


def connection(health: Health | None) -> tuple[bool, str]:
    """Whether the node is connected, and how it is, in words for a person."""
    if health is None:
        return False, "never started"
    if health.state is NodeState.STOPPED or not _lives(health.supervisor):
        return False, "not running"
    if health.state is not NodeState.READY:
        return False, _not_ready(health)
    seconds = seconds_since_heard(health)
    if seconds is None or seconds > QUIET_SECONDS:
        return False, "running, and the hub has not answered lately"
    return True, "connected"


def _not_ready(health: Health) -> str:
    if health.trouble:
        return f"running, and the hub refuses it. {health.trouble}"
    if health.state is NodeState.STARTING:
        return "running, not connected yet"
    return "running, and the hub does not answer it or refuses it"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's: it is there
        return True
    return pid > 0

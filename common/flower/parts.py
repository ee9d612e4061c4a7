"""common/flower: how soon a part of a message is asked for again that is not there yet.

Flower tells of a message before it hands over the parts, so that who asks at once finds some of them missing; it then
waits for one second, for two, for four, although nearly all are there after some milliseconds.
"""

from __future__ import annotations

from functools import partial

from common.flower.replacing import PrivateName

FIRST_PAUSE_SECONDS = 0.05
"""The first pause; each later one is twice as long, up to Flower's own limit."""

_PARAMETERS = (
    *("object_ids", "pull_object_fn", "max_concurrent_pulls", "max_time", "max_tries_per_object"),
    *("initial_backoff", "backoff_cap"),
)
AT_NODE = PrivateName("flwr.supernode.start_client_internal", "pull_objects", _PARAMETERS)
AT_HUB = PrivateName("flwr.superlink.grid.http_grid", "pull_objects", _PARAMETERS)


def ask_again_soon(place: PrivateName) -> None:
    """Let Flower ask so in this process."""
    place.put(partial(place.get(), initial_backoff=FIRST_PAUSE_SECONDS))

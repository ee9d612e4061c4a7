"""server: the transport over Flower's grid: one message to each named site, and every answer or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.records import MESSAGE_TYPE, NAME_TYPE, from_records, to_records

POLL_SECONDS = 0.1
WAIT_SECONDS = 120.0
"""How long a site that is not connected is waited for, unless the run says otherwise."""

NAME_SECONDS = 120.0


class SiteNames(StrEnum):
    """How nodes are told apart.

    `registered`: by the name under which the coordinator registered the node's key; the only way in a
    deployment. `reported`: by what the node says, where nodes are not registered (simulation, tests).
    """

    REGISTERED = "registered"
    REPORTED = "reported"


class FlowerTransport:
    """Sites behind a Flower grid, addressed by name; others that are connected are never asked."""

    def __init__(self, grid: Grid, nodes: Mapping[str, int]) -> None:
        self._grid = grid
        self._nodes = nodes

    @classmethod
    def connect(
        cls, grid: Grid, sites: tuple[str, ...], names: SiteNames, wait_seconds: float = WAIT_SECONDS
    ) -> FlowerTransport:
        """Wait until every named site is connected.

        Raises
        ------
        FedmviError
            508 a site is missing after `wait_seconds`, 210 two nodes with one name.
        """
        limit = time.monotonic() + wait_seconds
        known: dict[int, str] = {}
        while True:
            if names is SiteNames.REGISTERED:
                # Asked afresh each time: a node that has left must not count as connected.
                known = {node.node_id: node.name for node in grid.get_nodes()}
            else:
                known.update(_reported(grid, [n for n in grid.get_node_ids() if n not in known]))
            by_name: dict[str, int] = {}
            for node_id, name in known.items():
                if name in by_name and name in sites:
                    raise FedmviError(210, site=name)
                by_name[name] = node_id
            missing = [site for site in sites if site not in by_name]
            if not missing:
                return cls(grid, {site: by_name[site] for site in sites})
            if time.monotonic() > limit:
                raise FedmviError(508, site=missing[0])
            time.sleep(POLL_SECONDS)

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`; error 503 for a site that fails to answer in time."""
        sites = {self._nodes[site]: site for site in messages}
        contents = ((node, to_records(messages[site])) for node, site in sites.items())
        for node, content in _exchange(self._grid, MESSAGE_TYPE, contents, seconds, self._unanswered):
            yield sites[node], from_records(content)

    def _unanswered(self, node_id: int, why: str) -> FedmviError:
        site = next(site for site, node in self._nodes.items() if node == node_id)
        return FedmviError(503, why, site=site)


def _exchange(
    grid: Grid,
    message_type: str,
    contents: Iterable[tuple[int, RecordDict]],
    seconds: float,
    failure: Callable[[int, str], FedmviError],
) -> Iterator[tuple[int, RecordDict]]:
    """Send a message to each node and give every answer as it comes; the reason of a failure stays local.

    One message at a time is handed over and fetched, so memory does not grow with the number of sites. Answers are
    found by the message they reply to: when a node has died, Flower itself answers in its place.
    """
    waiting: dict[str, int] = {}
    for node, content in contents:
        pushed = list(grid.push_messages([Message(content, dst_node_id=node, message_type=message_type, ttl=seconds)]))
        # Flower returns an empty name for a node that has just left, and no name at all if a message is too large.
        if not pushed or not pushed[0]:
            raise failure(node, "Flower did not accept the message")
        waiting[pushed[0]] = node
    limit = time.monotonic() + seconds
    while waiting:
        for message_id in list(waiting):
            for reply in grid.pull_messages([message_id]):
                node = waiting.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    raise failure(node, f"Flower error {reply.error.code}")
                yield node, reply.content
        if waiting and time.monotonic() > limit:
            raise failure(next(iter(waiting.values())), f"no answer in {seconds:g} seconds")
        if waiting:
            time.sleep(POLL_SECONDS)


def _reported(grid: Grid, nodes: list[int]) -> dict[int, str]:
    def failure(node: int, why: str) -> FedmviError:
        return FedmviError(508, why, site=str(node))

    names: dict[int, str] = {}
    asked = ((node, RecordDict()) for node in nodes)
    for node, content in _exchange(grid, NAME_TYPE, asked, NAME_SECONDS, failure):
        told = content.config_records["name"]
        if "site" not in told:
            raise FedmviError(201, f"node {node} reports error {told.get('error')!r}")
        names[node] = str(told["site"])
    return names

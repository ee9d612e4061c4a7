"""server: the transport over Flower's grid: one message to each named site, and every answer or none.

A site that is lost is waited for, and asked the same again when it is back: it answers with the same bytes. So is a
connected one that stays silent, because a message may have got lost on the way.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.envelope import failure_of, reported_error
from common.federation.records import (
    MESSAGE_TYPE,
    NAME_TYPE,
    Wire,
    from_records,
    read_ledger,
    signed_records,
    to_wire,
    wire_records,
)
from common.federation.signatures import Signer
from common.flower.pace import Pace
from common.observing.context import subject
from server.ledgers import LedgerHeads
from server.study.missing import AwayError

POLL_SECONDS = 0.1
SLOWEST_POLL_SECONDS = 1.0
TOGETHER = 8
"""Messages of one request to the SuperLink: a request costs it milliseconds, and all that comes back is in memory."""

IN_FLIGHT = 64
"""Sites that are asked at once. What is on its way lies in the SuperLink's memory, which shall not grow with sites."""

IN_FLIGHT_BY_PROCESSOR = 8
"""The same in a simulation, for each processor of the machine: one is busy with one of them."""

SEARCH_SECONDS = 1.0
"""How often a lost site is looked for."""

AGAIN_SECONDS = 60.0
"""After how long a silent site is asked again, for the first time; each later time after twice as long."""

WAIT_SECONDS = 120.0
"""How long a site that is not connected is waited for, unless the run says otherwise."""

NAME_SECONDS = 600.0
"""How long a simulated node may take to say its name: Ray starts in that time, minutes on a busy machine."""

LOST = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE)
"""With these Flower itself answers in place of a node that was lost, or for a message that was."""

DISK_FULL = 516
FULL_SECONDS = 30.0
"""The number by which a site says that its disk is full, and how long it is then left alone."""

MOST_WORDS = 200
"""Characters of what is wrong with a site's answer that are repeated."""

MOST_CRASHES = 3
"""How often the process that answers at a site may crash over one message before the run stops."""


Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """The items in order, so many at a time."""
    rest = iter(items)
    while some := tuple(islice(rest, size)):
        yield some


class SiteNames(StrEnum):
    """How nodes are told apart.

    `registered`: by the name under which the coordinator registered the node's key; the only way in a
    deployment. `reported`: by what the node says, where nodes are not registered (simulation, tests).
    """

    REGISTERED = "registered"
    REPORTED = "reported"


class _Nodes:
    """Which node each connected site has now."""

    def __init__(self, grid: Grid, names: SiteNames) -> None:
        self._grid, self._names = grid, names
        self._reported: dict[int, str] = {}

    def of(self, sites: tuple[str, ...]) -> dict[str, int]:
        """The nodes of those sites that are connected; error 210 for two nodes with one name."""
        if self._names is SiteNames.REGISTERED:
            # Asked afresh each time: a node that has left must not count as connected.
            known = {node.node_id: node.name for node in self._grid.get_nodes()}
        else:
            connected = list(self._grid.get_node_ids())
            self._reported |= _reported(self._grid, [node for node in connected if node not in self._reported])
            known = {node: self._reported[node] for node in connected}
        found: dict[str, int] = {}
        for node, name in known.items():
            if name in found and name in sites:
                raise FedmviError(210, site=name)
            found[name] = node
        return {site: found[site] for site in sites if site in found}


class FlowerTransport:
    """Sites behind a Flower grid, addressed by name; others that are connected are never asked.

    Parameters
    ----------
    nodes
        The node of each site.
    find
        Finds the nodes of those of the named sites that are connected; without it, a lost site is not waited for.
    wait_seconds
        How long a lost site is waited for.
    signer, ledgers
        Signs the messages, and keeps the heads of the sites' ledgers; None where sites are not enrolled.
    simulated
        Whether the sites are simulated: fewer are asked at once, and they are looked at more often.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        find: Callable[[tuple[str, ...]], Mapping[str, int]] | None = None,
        wait_seconds: float = 0.0,
        signer: Signer | None = None,
        ledgers: LedgerHeads | None = None,
        *,
        simulated: bool = False,
    ) -> None:
        self._grid, self._nodes, self._find, self._wait = grid, dict(nodes), find, wait_seconds
        self._signer, self._ledgers = signer, ledgers
        few = IN_FLIGHT_BY_PROCESSOR * (os.cpu_count() or 1)
        self._most = min(IN_FLIGHT, few) if simulated else IN_FLIGHT
        # In a simulation sites and grid are on one machine, and looking costs next to nothing.
        self._slowest = POLL_SECONDS if simulated else SLOWEST_POLL_SECONDS

    @classmethod
    def connect(
        cls,
        grid: Grid,
        sites: tuple[str, ...],
        names: SiteNames,
        wait_seconds: float = WAIT_SECONDS,
        *,
        signer: Signer | None = None,
        ledgers: LedgerHeads | None = None,
    ) -> FlowerTransport:
        """Wait until every named site is connected.

        Raises
        ------
        FedmviError
            508 a site is missing after `wait_seconds`, 210 two nodes with one name.
        """
        find = _Nodes(grid, names).of
        begun = time.monotonic()
        there: set[str] = set()
        while True:
            nodes = find(sites)
            there |= set(nodes)
            missing = [site for site in sites if site not in nodes]
            if not missing:
                return cls(grid, nodes, find, wait_seconds, signer, ledgers, simulated=names is SiteNames.REPORTED)
            if time.monotonic() > begun + wait_seconds:
                never = tuple(site for site in missing if site not in there)
                why = f"{', '.join(missing)}: not there after {wait_seconds:g} seconds"
                raise AwayError(508, why, never or tuple(missing), others=len(never) < len(missing))
            time.sleep(POLL_SECONDS)

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`; error 503 for a site that fails to answer in time, 508 for one that stays away."""
        wires: dict[int, Wire] = {}  # sites that are asked the same share one message
        for packed in messages.values():
            if id(packed) not in wires:
                wires[id(packed)] = to_wire(packed)
        waiting = deque((site, wires[id(packed)]) for site, packed in messages.items())
        open_: dict[str, _Exchange] = {}
        searched, pace = time.monotonic(), Pace(POLL_SECONDS, self._slowest, time.monotonic)
        while open_ or waiting:
            self._ask_next(waiting, open_, seconds)
            for site, content in self._pull(list(open_.values())):
                answer = self._received(site, content)
                if self._find is not None and failure_of(answer) == DISK_FULL:
                    open_[site].lost(f"FEDMVI-{DISK_FULL}", pause=FULL_SECONDS)
                    continue
                del open_[site]
                yield site, answer
            if waiting and _answering(open_) < self._most:
                continue
            if not open_:
                return
            now = time.monotonic()
            if now - searched >= SEARCH_SECONDS:
                searched = now
                self._search([e for e in open_.values() if e.lost_since is not None and now >= e.not_before])
            self._watch(list(open_.values()), now)
            time.sleep(pace.seconds())

    def _ask_next(self, waiting: deque[tuple[str, Wire]], open_: dict[str, _Exchange], seconds: float) -> None:
        """Ask the next sites, as many as may be asked at once beside those that are yet to answer."""
        new = []
        while waiting and _answering(open_) < self._most:
            site, wire = waiting.popleft()
            open_[site] = _Exchange(site, wire, seconds, time.monotonic())
            new.append(open_[site])
        self._push(new)

    def _push(self, exchanges: Sequence[_Exchange]) -> None:
        """Hand messages over; of a node that has just left, its site counts as lost."""
        for some in batched(exchanges, TOGETHER):
            messages = [
                Message(
                    self._records(exchange.site, exchange.wire),
                    dst_node_id=self._nodes[exchange.site],
                    message_type=MESSAGE_TYPE,
                    ttl=exchange.seconds,
                )
                for exchange in some
            ]
            pushed = list(self._grid.push_messages(messages))
            if not pushed:  # no name at all
                raise FedmviError(518, ", ".join(exchange.site for exchange in some))
            for exchange, name in zip(some, pushed, strict=True):
                if name:
                    exchange.pushed(name)
                else:
                    exchange.lost("its node has left")

    def _records(self, site: str, wire: Wire) -> RecordDict:
        number = int(subject().get("round", 0))  # as this hub's own log has it
        if self._signer is None:
            return wire_records(wire, number)
        return signed_records(wire, site, self._signer, self._ledgers.last(site) if self._ledgers else None, number)

    def _pull(self, exchanges: Sequence[_Exchange]) -> Iterator[tuple[str, RecordDict]]:
        """Sites with their answers, if there are any to the messages that asked for them; one for each site."""
        asked = {name: exchange for exchange in exchanges for name in exchange.messages}
        answered: set[str] = set()
        for some in batched(asked, TOGETHER):
            for reply in self._grid.pull_messages(some):
                message_id = reply.metadata.reply_to_message_id
                exchange = asked.get(message_id)
                # A SuperLink that is not ours may send anything; and who was asked twice may answer twice.
                if exchange is None or exchange.site in answered:
                    continue
                if reply.has_error():
                    self._failed(exchange, message_id, reply.error)
                else:
                    answered.add(exchange.site)
                    yield exchange.site, reply.content

    def _failed(self, exchange: _Exchange, message_id: str, error: Error) -> None:
        """Flower, or the site's node, has no answer to a message: the site counts as lost where that may mend."""
        exchange.messages.discard(message_id)
        crashed = error.code == ErrorCode.CLIENT_APP_CRASHED
        exchange.crashes += crashed
        if exchange.messages:
            return  # another one may still bring the answer
        if self._find is None or exchange.crashes > MOST_CRASHES or not (crashed or error.code in LOST):
            raise _told(error, exchange.site)
        exchange.lost(f"Flower error {error.code}")

    def _search(self, lost: list[_Exchange]) -> None:
        """Ask those lost sites again that are back."""
        if not lost or self._find is None:
            return
        found = self._find(tuple(exchange.site for exchange in lost))
        self._nodes |= found
        self._push([exchange for exchange in lost if exchange.site in found])

    def _watch(self, open_: Sequence[_Exchange], now: float) -> None:
        """Error 508 for sites that were away too long, 503 for silent ones; a silent one is asked again before."""
        lost = [exchange for exchange in open_ if exchange.lost_since is not None]
        if gone := [exchange for exchange in lost if self._find is None or exchange.away_until(now) > self._wait]:
            raise AwayError(508, gone[0].why, tuple(e.site for e in gone), others=len(gone) < len(lost))
        there = [exchange for exchange in open_ if exchange.lost_since is None]
        if silent := [exchange for exchange in there if now - exchange.asked - exchange.away > exchange.seconds]:
            why = f"no answer in {silent[0].seconds:g} seconds"
            raise AwayError(503, why, tuple(e.site for e in silent), others=bool(lost))
        for exchange in there:
            if self._find is not None and now >= exchange.again:
                exchange.patience *= 2
                self._push([exchange])

    def _received(self, site: str, content: RecordDict) -> Packed:
        """The answer, once what came beside it of the site's ledger is on disk."""
        try:
            packed, state = from_records(content), read_ledger(content)
        except FedmviError as error:
            # Whoever mends it must know whose it was, and a terminal obeys what a hostile site may have written.
            local = "".join(c if c.isprintable() else "?" for c in error.local[:MOST_WORDS])
            raise FedmviError.reported(error.number, f"site {site}: {local}", error.facts, site) from error
        if self._ledgers is not None and state is not None:
            self._ledgers.take(site, state)
        return packed


@dataclass
class _Exchange:
    """One site's question of a round, until it is answered.

    Attributes
    ----------
    messages
        Flower's names of the messages that may still bring the answer.
    asked, again
        When it was asked first, and when it is to be asked again.
    lost_since, away, why
        Since when the site is away, None if it is not; for how many seconds it was away before that; how that was seen.
    not_before
        Until then a lost site is not asked again.
    """

    site: str
    wire: Wire
    seconds: float
    asked: float
    messages: set[str] = field(default_factory=set)
    again: float = 0.0
    patience: float = AGAIN_SECONDS
    crashes: int = 0
    lost_since: float | None = None
    away: float = 0.0
    not_before: float = 0.0
    why: str = ""

    def pushed(self, message_id: str) -> None:
        """The message is on its way."""
        now = time.monotonic()
        if self.lost_since is not None:
            self.away, self.lost_since, self.patience = self.away_until(now), None, AGAIN_SECONDS
        self.messages.add(message_id)
        self.again = now + self.patience

    def lost(self, why: str, pause: float = SEARCH_SECONDS) -> None:
        """The site is away, with all that was on its way to it; it is not looked for during the pause."""
        self.not_before = time.monotonic() + pause
        self.messages.clear()
        if self.lost_since is None:
            self.lost_since = time.monotonic()
        self.why = why

    def away_until(self, now: float) -> float:
        """For how many seconds the site has been away, over all times that it was lost."""
        return self.away + (0.0 if self.lost_since is None else now - self.lost_since)


def _answering(open_: Mapping[str, _Exchange]) -> int:
    """How many sites are asked and there: whoever is away does not keep others from being asked."""
    return sum(exchange.lost_since is None for exchange in open_.values())


def _told(error: Error, site: str) -> FedmviError:
    """What a site's node, or Flower in its place, says instead of an answer; of a node's own text only a number."""
    named = re.fullmatch(r"FEDMVI-(\d{3})", error.reason or "")
    if named is not None:
        return reported_error(int(named[1]), {"site": site}, site)
    return FedmviError(503, f"Flower error {error.code}", site=site)


def _reported(grid: Grid, nodes: list[int]) -> dict[int, str]:
    """What nodes say that they are called; error 508 for one that does not say it, 201 for one that cannot."""
    names: dict[int, str] = {}
    for some in batched(nodes, IN_FLIGHT):
        names |= _reported_at_once(grid, some)
    return names


def _reported_at_once(grid: Grid, nodes: Sequence[int]) -> dict[int, str]:
    waiting: dict[str, int] = {}
    for node in nodes:
        asked = Message(RecordDict(), dst_node_id=node, message_type=NAME_TYPE, ttl=NAME_SECONDS)
        pushed = list(grid.push_messages([asked]))
        if pushed and pushed[0]:  # else it has just left
            waiting[pushed[0]] = node
    limit = time.monotonic() + NAME_SECONDS
    names: dict[int, str] = {}
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            node = waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                raise FedmviError(508, f"Flower error {reply.error.code}", site=str(node))
            told = reply.content.config_records["name"]
            if "site" not in told:
                raise FedmviError(201, f"node {node} reports error {told.get('error')!r}")
            names[node] = str(told["site"])
        if waiting and time.monotonic() > limit:
            raise FedmviError(508, f"no answer in {NAME_SECONDS:g} seconds", site=str(next(iter(waiting.values()))))
        if waiting:
            time.sleep(POLL_SECONDS)
    return names

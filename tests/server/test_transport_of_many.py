"""server: what a message to one of many sites costs the transport does not grow with how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Message

from common.federation.codec import pack
from common.federation.records import to_records
from server import transport
from server.transport import IN_FLIGHT, IN_FLIGHT_BY_PROCESSOR, TOGETHER, FlowerTransport
from tests.server.test_transport import Nodes, says

ANSWER = pack({"sums": np.arange(10_000.0)})
LOOKS = 3
"""Every site's answer is there at the third look for it."""


@dataclass
class Counting(Nodes):
    """Nodes that count what they are asked, and what is on its way."""

    requests: int = 0
    looks: Counter[str] = field(default_factory=Counter)
    most: int = 0
    most_bytes: int = 0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.requests += 1
        return super().push_messages(messages)

    def pushed(self, message: Message) -> str:
        """As `Nodes`, where it is known which node is whose."""
        number, site = str(len(self.sent)), f"s{message.metadata.dst_node_id}"
        self.sent.append((site, self.clock, message))
        self.replies[number] = self.sites[site](self, 1)
        message.metadata.__dict__["_message_id"] = number
        self.most = max(self.most, len(self.replies))
        self.most_bytes = max(self.most_bytes, len(self.replies) * ANSWER.nbytes)
        return number

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.requests += 1
        asked = list(message_ids)
        self.looks.update(asked)
        ready = [number for number in asked if self.looks[number] >= LOOKS]
        found = list(super().pull_messages(ready))
        for number in ready:
            del self.replies[number]
        return found


def asked(monkeypatch: pytest.MonkeyPatch, count: int, *, simulated: bool) -> Counting:
    """Two rounds over so many sites."""
    nodes = Counting({f"s{i}": says(to_records(ANSWER)) for i in range(count)})

    def sleep(seconds: float) -> None:
        nodes.clock += seconds

    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: nodes.clock, sleep=sleep))
    for known in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(f"flwr.supercore.task_identity.TaskIdentity.{known}", 1)
    sent = FlowerTransport(nodes, {f"s{i}": i for i in range(count)}, simulated=simulated)
    question = pack({"question": np.arange(3.0)})
    for _ in range(2):
        assert len(dict(sent.send(dict.fromkeys(nodes.sites, question), 3600.0))) == count
    assert nodes.replies == {}
    return nodes


@pytest.mark.parametrize("simulated", [False, True])
def test_requests_looks_and_what_is_on_its_way_do_not_grow_with_the_sites(
    monkeypatch: pytest.MonkeyPatch, simulated: bool
) -> None:
    monkeypatch.setattr(transport.os, "cpu_count", lambda: 2)
    few, many = (asked(monkeypatch, count, simulated=simulated) for count in (100, 1000))
    for nodes in (few, many):
        messages = len(nodes.sent)
        assert messages == 2 * len(nodes.sites), "nobody was asked twice"
        assert nodes.looks.total() == LOOKS * messages, "no answer was looked for more often than it took to come"
        most = IN_FLIGHT_BY_PROCESSOR * 2 if simulated else IN_FLIGHT
        assert nodes.most == most and nodes.most_bytes == most * ANSWER.nbytes
        # Each wave is handed over, and looked at, in requests of at most eight messages.
        assert nodes.requests <= (1 + LOOKS) * messages / min(TOGETHER, most) * 1.3

"""server: a site that is lost is waited for and asked the same again; a silent one too; neither without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from common.errors import FedmviError
from common.federation.codec import Packed, pack
from common.federation.envelope import failure, write_answers
from common.federation.records import ToldLedger, from_records, read_proof, read_round, read_wire, to_records
from common.federation.signatures import Head, head_is_signed, message_is_signed
from common.observing.context import bound
from server import transport
from server.ledgers import LedgerHeads
from server.study.missing import AwayError
from server.transport import AGAIN_SECONDS, FULL_SECONDS, MOST_CRASHES, FlowerTransport, SiteNames
from tests.client.enrolled import signer

QUESTION = pack({"question": np.arange(3.0)})
Behaviour = Callable[["Nodes", int], "RecordDict | Error | None"]
"""What the n-th message to a site brings: an answer, Flower's error, or nothing for ever."""


@dataclass
class Nodes(Grid):
    """A grid of registered nodes, of which each site behaves as its function says. Its clock goes on by being asked."""

    sites: dict[str, Behaviour]
    offline: dict[str, tuple[float, float]] = field(default_factory=dict)
    clock: float = 0.0
    sent: list[tuple[str, float, Message]] = field(default_factory=list)
    replies: dict[str, RecordDict | Error | None] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def online(self, site: str) -> bool:
        begin, end = self.offline.get(site, (0.0, 0.0))
        return not begin <= self.clock < end

    def get_nodes(self) -> Iterable[Any]:
        number = {site: self.ids.get(site, 10 + i) for i, site in enumerate(self.sites)}
        return [SimpleNamespace(node_id=number[site], name=site) for site in self.sites if self.online(site)]

    def get_node_ids(self) -> Iterable[int]:
        raise AssertionError("registered nodes are not asked for their names")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self.pushed(message) for message in messages]

    def pushed(self, message: Message) -> str:
        known = {node.node_id: node.name for node in self.get_nodes()}
        site = known.get(message.metadata.dst_node_id)
        if site is None:
            return ""
        number = str(len(self.sent))
        self.sent.append((site, self.clock, message))
        self.replies[number] = self.sites[site](self, sum(1 for name, _, _ in self.sent if name == site))
        message.metadata.__dict__["_message_id"] = number
        return number

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = []
        for number in message_ids:
            content = self.replies[number]
            if content is not None:
                asked = self.sent[int(number)][2]
                found.append(Message(content, reply_to=asked))  # type: ignore[call-overload]
        return found

    run = property(lambda self: None)  # type: ignore[assignment]

    def set_run(self, run: object) -> None: ...

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise AssertionError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError

    def times(self, site: str) -> list[float]:
        return [when for name, when, _ in self.sent if name == site]


def answer(text: str = "answer", ledger: ToldLedger | None = None) -> RecordDict:
    return to_records(pack({"text": text}), ledger)


def says(*replies: RecordDict | Error | None) -> Behaviour:
    """The replies to the first messages; nothing comes of those after."""
    return lambda _, n: replies[n - 1] if n <= len(replies) else None


def flower(code: int, reason: str = "") -> Error:
    return Error(code, reason)


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlowerTransport]:
    """A transport over nodes, in whose time nobody waits."""
    for known in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(f"flwr.supercore.task_identity.TaskIdentity.{known}", 1)

    def connected(nodes: Nodes, wait_seconds: float = 1000.0, **more: Any) -> FlowerTransport:
        def sleep(seconds: float) -> None:
            nodes.clock += seconds

        monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: nodes.clock, sleep=sleep))
        return FlowerTransport.connect(nodes, tuple(nodes.sites), SiteNames.REGISTERED, wait_seconds, **more)

    return connected


def ask(sent: FlowerTransport, *sites: str, seconds: float = 3600.0) -> dict[str, Packed]:
    return dict(sent.send(dict.fromkeys(sites, QUESTION), seconds))


Over = Callable[..., FlowerTransport]
LOST = [ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE]


@pytest.mark.parametrize("code", [*LOST, ErrorCode.CLIENT_APP_CRASHED])
def test_a_site_that_is_lost_over_a_question_is_asked_the_same_again(over: Over, code: int) -> None:
    nodes = Nodes({"a": says(flower(code), answer("late")), "b": says(answer())})
    assert ask(over(nodes), "a", "b")["a"].text == '{"text":"late"}'
    first, second = (message.content for site, _, message in nodes.sent if site == "a")
    assert from_records(first).digest == from_records(second).digest == QUESTION.digest
    assert len(nodes.times("b")) == 1


def test_a_site_that_comes_back_with_another_node_is_found_by_its_name(over: Over) -> None:
    nodes = Nodes({"a": says(flower(ErrorCode.NODE_UNAVAILABLE), answer())})
    connected = over(nodes)
    nodes.offline["a"] = (0.05, 300.0)
    nodes.ids["a"] = 99
    assert ask(connected, "a")
    assert nodes.times("a")[-1] >= 300.0
    assert nodes.sent[-1][2].metadata.dst_node_id == 99


def test_a_site_that_stays_away_stops_the_run_after_the_time_that_it_is_waited_for(over: Over) -> None:
    nodes = Nodes({"a": says(flower(ErrorCode.NODE_UNAVAILABLE)), "b": says(answer())})
    connected = over(nodes, 1000.0)
    nodes.offline["a"] = (0.05, float("inf"))
    with pytest.raises(FedmviError, match="508") as met:
        ask(connected, "a", "b")
    assert met.value.facts == {"site": "a"}
    assert 1000.0 <= nodes.clock <= 1002.0


def full() -> RecordDict:
    """What a site answers whose disk is full."""
    return to_records(write_answers("run", [failure("", FedmviError(516))]))


def test_a_site_whose_disk_is_full_is_asked_again_until_there_is_room(over: Over) -> None:
    nodes = Nodes({"a": says(full(), full(), answer("at last")), "b": says(answer())})
    assert ask(over(nodes), "a", "b")["a"].text == '{"text":"at last"}'
    assert np.diff(nodes.times("a")) == pytest.approx([FULL_SECONDS] * 2, abs=2.0)


def test_a_site_that_is_lost_after_its_disk_was_full_is_asked_again(over: Over) -> None:
    """What it said of its disk is no answer: an error that comes afterwards counts."""
    nodes = Nodes({"a": says(full(), flower(ErrorCode.NODE_UNAVAILABLE), answer())})
    assert ask(over(nodes), "a")["a"].text == '{"text":"answer"}'
    assert nodes.times("a")[2] - nodes.times("a")[1] < 5.0, "not when a silent one would be"


def test_a_disk_that_stays_full_stops_the_run_and_is_named(over: Over) -> None:
    nodes = Nodes({"a": lambda *_: full()})
    with pytest.raises(FedmviError, match="508") as met:
        ask(over(nodes, 100.0), "a")
    assert "FEDMVI-516" in met.value.local


def test_a_site_that_comes_and_goes_is_not_waited_for_without_end(over: Over) -> None:
    """It is lost anew each time that it is asked: what counts is how long it was away in all."""
    nodes = Nodes({"a": lambda *_: flower(ErrorCode.NODE_UNAVAILABLE)})
    with pytest.raises(FedmviError, match="508"):
        ask(over(nodes, 60.0), "a")
    assert nodes.clock < 200.0


def test_no_more_sites_are_asked_at_once_than_the_hub_has_room_for_and_who_is_away_keeps_nobody_waiting(
    over: Over, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is away for a while; every other site answers at its second look."""
    monkeypatch.setattr(transport, "IN_FLIGHT", 3)
    open_: set[str] = set()
    most = 0

    def slowly(site: str) -> Behaviour:
        def asked(_: Nodes, n: int) -> RecordDict:
            nonlocal most
            if site != "s0":
                open_.add(site)
            most = max(most, len(open_))
            return answer(site)

        return asked

    sites = {f"s{i}": slowly(f"s{i}") for i in range(12)}
    nodes = Nodes(sites, offline={"s0": (0.05, 200.0)})
    sent = over(nodes, wait_seconds=1000.0)
    nodes.clock = 0.1
    found = {}
    for site, packed in sent.send(dict.fromkeys(sites, QUESTION), 3600.0):
        open_.discard(site)
        found[site] = (packed, nodes.clock)
    assert set(found) == set(sites)
    assert most == 3
    assert max(when for site, (_, when) in found.items() if site != "s0") < 100.0 < found["s0"][1]


def test_a_silent_site_is_asked_again_ever_more_rarely_and_stops_the_run_at_the_deadline(over: Over) -> None:
    nodes = Nodes({"a": says(None)})
    with pytest.raises(FedmviError, match="503"):
        ask(over(nodes), "a", seconds=600.0)
    gaps = np.diff(nodes.times("a"))
    assert gaps == pytest.approx([AGAIN_SECONDS * 2**i for i in range(len(gaps))], abs=0.5)
    assert len(gaps) == 3 and 600.0 <= nodes.clock <= 601.0


def test_an_answer_to_the_first_message_counts_although_a_second_was_sent(over: Over) -> None:
    nodes = Nodes({"a": says(None, None)})
    connected = over(nodes)
    exchange = connected.send({"a": QUESTION}, 600.0)
    original = nodes.pull_messages

    def pull(ids: Iterable[str]) -> Iterable[Message]:
        if nodes.clock > AGAIN_SECONDS + 5:
            nodes.replies["0"] = answer("of the first")
        return original(ids)

    nodes.pull_messages = pull  # type: ignore[method-assign]
    assert dict(exchange)["a"].text == '{"text":"of the first"}'
    assert len(nodes.times("a")) == 2


@pytest.mark.parametrize("order", ["01", "10"])
def test_an_error_for_one_of_two_messages_does_not_spoil_the_answer_to_the_other(over: Over, order: str) -> None:
    nodes = Nodes({"a": says(None, None)})
    connected = over(nodes)
    original = nodes.pull_messages

    def pull(ids: Iterable[str]) -> Iterable[Message]:
        if nodes.clock > AGAIN_SECONDS + 5:
            nodes.replies[order[0]], nodes.replies[order[1]] = answer(), flower(ErrorCode.CLIENT_APP_RAISED_EXCEPTION)
        return original(ids)

    nodes.pull_messages = pull  # type: ignore[method-assign]
    assert ask(connected, "a", seconds=600.0)["a"].text == '{"text":"answer"}'


def test_a_message_that_flower_does_not_take_is_no_hospitals_fault(over: Over) -> None:
    nodes = Nodes({"a": says(answer()), "b": says(answer())})
    connected = over(nodes)
    nodes.push_messages = lambda _: []  # type: ignore[method-assign]
    with pytest.raises(FedmviError, match="518") as caught:
        ask(connected, "a", "b")
    assert not isinstance(caught.value, AwayError) and caught.value.site == ""


def test_who_crashes_again_and_again_has_not_stayed_away(over: Over) -> None:
    nodes = Nodes({"a": lambda *_: flower(ErrorCode.CLIENT_APP_CRASHED), "b": says(answer())})
    with pytest.raises(FedmviError, match="503") as caught:
        ask(over(nodes, 86400.0), "a", "b")
    assert not isinstance(caught.value, AwayError)


def test_all_who_were_waited_for_as_long_are_named_and_whether_others_are_away_too(over: Over) -> None:
    nodes = Nodes({site: says(None) for site in "abc"})
    connected = over(nodes, 100.0)
    for site in "ab":
        nodes.sites[site] = lambda *_: flower(ErrorCode.NODE_UNAVAILABLE)
        nodes.offline[site] = (0.05, 10_000.0)
    with pytest.raises(AwayError) as caught:
        ask(connected, "a", "b", "c")
    assert (caught.value.number, set(caught.value.sites), caught.value.others) == (508, {"a", "b"}, False)


def test_it_is_told_that_others_are_away_for_a_shorter_time(over: Over) -> None:
    nodes = Nodes({"a": lambda *_: flower(ErrorCode.NODE_UNAVAILABLE), "b": says(None), "c": says(None)})
    connected = over(nodes, 100.0)
    nodes.offline["a"] = (0.05, 10_000.0)
    original = nodes.pull_messages

    def pull(ids: Iterable[str]) -> Iterable[Message]:
        if nodes.clock > 50:
            nodes.replies["1"] = flower(ErrorCode.NODE_UNAVAILABLE)
            nodes.offline["b"] = (50.0, 10_000.0)
        return original(ids)

    nodes.pull_messages = pull  # type: ignore[method-assign]
    with pytest.raises(AwayError) as caught:
        ask(connected, "a", "b", "c")
    assert (caught.value.sites, caught.value.others) == (("a",), True)


def test_the_time_that_a_site_is_away_does_not_count_against_its_deadline(over: Over) -> None:
    def slow(nodes: Nodes, n: int) -> RecordDict | Error | None:
        return flower(ErrorCode.NODE_UNAVAILABLE) if n == 1 else answer()

    nodes = Nodes({"a": slow})
    connected = over(nodes, 1000.0)
    nodes.offline["a"] = (0.05, 900.0)
    assert ask(connected, "a", seconds=60.0)


@pytest.mark.parametrize("code", [ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.INVALID_FAB])
def test_a_site_whose_program_refuses_is_not_asked_again(over: Over, code: int) -> None:
    nodes = Nodes({"a": says(flower(code, "secret detail"))})
    with pytest.raises(FedmviError, match="503") as met:
        ask(over(nodes), "a")
    assert len(nodes.sent) == 1 and "secret" not in str(met.value)


def test_a_process_that_crashes_over_a_message_again_and_again_stops_the_run(over: Over) -> None:
    nodes = Nodes({"a": lambda *_: flower(ErrorCode.CLIENT_APP_CRASHED)})
    with pytest.raises(FedmviError, match="503"):
        ask(over(nodes, 1e6), "a")
    assert len(nodes.sent) == 1 + MOST_CRASHES


@pytest.mark.parametrize(
    ("reason", "number"),
    [("FEDMVI-502", 502), ("FEDMVI-999", 506), ("FEDMVI-502 and what else", 503), ("x FEDMVI-502", 503), ("", 503)],
)
def test_of_what_a_node_itself_says_only_a_number_is_read(over: Over, reason: str, number: int) -> None:
    nodes = Nodes({"a": says(flower(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason))})
    with pytest.raises(FedmviError, match=str(number)) as met:
        ask(over(nodes), "a")
    assert met.value.site == "a" or met.value.facts["site"] == "a"


# ------------------------------------------------------------------------------------------------ signatures


def test_every_message_is_signed_for_its_site_alone_and_carries_the_head_that_it_told_last(
    over: Over, tmp_path: Path
) -> None:
    key, warned = signer(), []
    heads = [Head(n, f"{n:064x}") for n in (3, 5)]
    nodes = Nodes({
        "a": says(answer(ledger=ToldLedger(heads[0], True)), answer(ledger=ToldLedger(heads[1], True)), answer()),
        "b": says(answer(), answer(), answer()),
    })  # fmt: skip
    connected = over(nodes, signer=key, ledgers=LedgerHeads(tmp_path, key, warned.append))
    for number in (1, 2, 3):
        with bound(round_number=number):
            ask(connected, "a", "b")
    to_a = [message.content for site, _, message in nodes.sent if site == "a"]
    to_b = [message.content for site, _, message in nodes.sent if site == "b"]
    for sent, site, other in [*((m, "a", "b") for m in to_a), *((m, "b", "a") for m in to_b)]:
        signature = read_proof(sent).signature
        assert message_is_signed(key.public, site, read_wire(sent).digest, signature)
        assert not message_is_signed(key.public, other, read_wire(sent).digest, signature)
    assert [read_round(sent) for sent in to_a] == [read_round(sent) for sent in to_b] == [1, 2, 3], "as the log has it"
    countersigned = [read_proof(sent).countersigned for sent in to_a]
    assert countersigned[0] is None
    assert [signed.head for signed in countersigned[1:] if signed] == heads
    assert all(head_is_signed(key.public, "a", signed) for signed in countersigned[1:] if signed)
    assert all(read_proof(sent).countersigned is None for sent in to_b), "it tells nothing of its ledger"
    assert not warned


def test_without_a_key_nothing_is_signed(over: Over) -> None:
    nodes = Nodes({"a": says(answer())})
    ask(over(nodes), "a")
    assert set(nodes.sent[0][2].content) == {"message"}

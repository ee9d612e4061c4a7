"""common: one suite for the ports: in this process, over a Flower grid, and a journal that records and replays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from common.errors import FedmviError
from common.federation.ports import InProcess, Journal, SitesPort
from common.federation.query import Ask, each, total
from common.federation.records import from_records, to_records
from common.federation.runner import Conclusion, Port, Reply, attempt, conclude, together
from common.federation.totals import Total, encode_total, zeros
from common.statistics.counts import Missing
from common.statistics.logistic import logistic
from common.statistics.moments import Deviations, moments
from common.study.recipe import Recipe
from server import transport
from server.transport import FlowerTransport, SiteNames
from simulation.views import COHORT, federation_of

RNG = np.random.default_rng(5)
N = 200
COLUMNS = {"a": RNG.normal(size=N), "b": RNG.normal(size=N) * 50 + 1000}
ENDPOINTS = {"y": (RNG.random(N) < 0.4).astype(np.float64)}
SITE = RNG.integers(0, 4, N)


class Counting:
    """A port that counts rounds and questions."""

    def __init__(self, inner: Port) -> None:
        self.inner, self.rounds, self.questions = inner, 0, 0

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        self.rounds += 1
        self.questions += len(asks)
        return self.inner.ask(asks)


def sites() -> SitesPort:
    return federation_of(COLUMNS, ENDPOINTS, SITE)


class LocalGrid(Grid):
    """Flower's grid over real ClientApps in this process: every message passes through Flower's own records."""

    def __init__(self, apps: dict[int, ClientApp]) -> None:
        self.apps = apps
        self.replies: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = []
        for message in messages:
            number = str(len(self.replies))
            message.metadata.__dict__["_message_id"] = number
            node = message.metadata.dst_node_id
            context = Context(0, node, {}, RecordDict(), {})
            self.replies[number] = self.apps[node](message, context)
            pushed.append(number)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self.replies[number] for number in message_ids]

    run = property(lambda self: None)  # type: ignore[assignment]

    def set_run(self, run: object) -> None: ...

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise AssertionError("the transport does not use it")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("the transport does not use it")


def over_grid() -> SitesPort:
    """The same sites, each a ClientApp behind the grid, told apart by the name that each reports."""
    local = sites()
    assert isinstance(local.transport, InProcess)
    apps: dict[int, ClientApp] = {}
    for node, (site, handler) in enumerate(local.transport.sites.items(), start=100):
        app = ClientApp()

        @app.query("answer")
        def answer(message: Message, context: Context, handler: Any = handler) -> Message:
            return Message(to_records(handler(from_records(message.content))), reply_to=message)

        @app.query("name")
        def name(message: Message, context: Context, site: str = site) -> Message:
            return Message(RecordDict({"name": ConfigRecord({"site": site})}), reply_to=message)

        apps[node] = app
    grid = LocalGrid(apps)
    return SitesPort(FlowerTransport.connect(grid, tuple(local.transport.sites), SiteNames.REPORTED), local.ticket)


@pytest.fixture(params=["in-process", "flower", "recording", "replay"])
def port(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Port:
    if request.param == "in-process":
        return sites()
    if request.param == "flower":
        for name in ("_run_id", "_task_id", "_node_id"):  # Flower's own processes set these
            monkeypatch.setattr(TaskIdentity, name, 1)
        monkeypatch.setattr(transport, "IN_FLIGHT", 2)  # more sites than are asked at once, also for their names
        return over_grid()
    if request.param == "replay":
        recorder = Journal(tmp_path, sites())
        conclude(recorder, [moments(COHORT, Recipe(), ("a", "b")), logistic(COHORT, Recipe(), "y", ("a", "b"))])
        conclude(recorder, [_deviations("a"), _each_missing()])
        return Journal(tmp_path)
    return Journal(tmp_path, sites())


def _deviations(name: str) -> Conclusion[object]:
    reply = yield total(Deviations(COHORT, Recipe(), (name,), np.zeros(1)))
    return reply


def _each_missing() -> Conclusion[object]:
    reply = yield each(Missing(COHORT, Recipe(), ("a",), 5, guarded=True))
    return reply


def test_a_total_is_the_pooled_sum(port: Port) -> None:
    (reply,) = conclude(port, [_deviations("a")])
    assert int(reply["n"][0]) == N
    assert reply["sum"][0] == pytest.approx(COLUMNS["a"].sum(), abs=1e-12)


def test_each_gives_one_summary_a_site(port: Port) -> None:
    (reply,) = conclude(port, [_each_missing()])
    assert sorted(reply) == ["site-0", "site-1", "site-2", "site-3"]
    assert sum(int(part["n"]) for part in reply.values()) == N


def test_a_conclusion_gets_the_same_result_on_every_port(port: Port) -> None:
    fitted, m = conclude(port, [logistic(COHORT, Recipe(), "y", ("a", "b")), moments(COHORT, Recipe(), ("a", "b"))])
    (direct,) = conclude(sites(), [logistic(COHORT, Recipe(), "y", ("a", "b"))])
    assert fitted.coef_.tobytes() == direct.coef_.tobytes()
    assert m.mean_ == pytest.approx([COLUMNS["a"].mean(), COLUMNS["b"].mean()], rel=1e-14)


def test_lock_step_costs_the_rounds_of_the_slowest_and_asks_equal_questions_once() -> None:
    alone = Counting(sites())
    conclude(alone, [logistic(COHORT, Recipe(), "y", ("a",))])
    together_ = Counting(sites())
    conclude(together_, [logistic(COHORT, Recipe(), "y", ("a",)) for _ in range(5)])
    assert together_.rounds == alone.rounds
    assert together_.questions == alone.questions


def test_one_failure_leaves_the_others_alone() -> None:
    constant = {**COLUMNS, "c": np.ones(N)}
    port = federation_of(constant, ENDPOINTS, SITE)
    bad, good = conclude(
        port, [attempt(logistic(COHORT, Recipe(), "y", ("c",), "m")), logistic(COHORT, Recipe(), "y", ("a",))]
    )
    assert isinstance(bad, FedmviError)
    assert bad.number == 603
    assert good.n_ == N


def test_a_site_error_reaches_only_the_conclusion_that_asked() -> None:
    def absent() -> Conclusion[object]:
        return (yield total(Missing(COHORT, Recipe(), ("a",), 5, guarded=False)))

    def impossible() -> Conclusion[object]:
        from common.statistics.counts import Flow

        return (yield total(Flow(COHORT, Recipe(), (), 5, guarded=False)))

    failed, answered = conclude(sites(), [attempt(impossible()), absent()])
    assert isinstance(failed, FedmviError)
    assert int(answered["n"]) == N


def test_conclusions_nest() -> None:
    def outer() -> Conclusion[list[object]]:
        return (yield from together(_deviations("a"), together(_deviations("b"), _deviations("a"))))

    counting = Counting(sites())
    (result,) = conclude(counting, [outer()])
    assert counting.rounds == 1
    assert counting.questions == 2
    assert result[1][1]["sum"] == result[0]["sum"]


def test_a_journal_never_asks_twice_and_knows_what_it_lacks(tmp_path: Path) -> None:
    counting = Counting(sites())
    conclude(Journal(tmp_path, counting), [_deviations("a")])
    conclude(Journal(tmp_path, counting), [_deviations("a")])
    assert counting.rounds == 1
    with pytest.raises(FedmviError, match="509"):
        conclude(Journal(tmp_path), [_deviations("b")])


def test_a_damaged_journal_is_found(tmp_path: Path) -> None:
    conclude(Journal(tmp_path, sites()), [_deviations("a")])
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FedmviError, match="510"):
        Journal(tmp_path)


def test_journal_files_are_the_owners_only(tmp_path: Path) -> None:
    conclude(Journal(tmp_path / "journal", sites()), [_deviations("a")])
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert next((tmp_path / "journal").glob("*.npz")).stat().st_mode & 0o777 == 0o600


def test_a_sum_is_added_up_in_place_and_leaves_the_parts_as_they_came() -> None:
    """A part is a message's: it may be read again, or be memory that cannot be written."""
    query = Deviations(COHORT, Recipe(), ("a",), np.zeros(1))
    summary = {n: np.full(b.shape, 3 if b.dtype == np.int64 else 2.5, b.dtype) for n, b in zeros(query).items()}
    part = encode_total(query, summary, 3)
    for limbs in part.values():
        limbs.setflags(write=False)
    before = {name: limbs.copy() for name, limbs in part.items()}
    sum_ = Total(query, 3)
    for _ in range(3):
        sum_.add(part)
    assert all(np.array_equal(part[name], before[name]) for name in part)
    assert all(np.array_equal(value, 3 * summary[name]) for name, value in sum_.result().items())

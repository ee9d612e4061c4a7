"""server/hub: the steward makes Flower agree with the hub's folder, whenever it is killed and whatever Flower lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FedmviError
from server.hub import steward as module
from server.hub.control import FINISHED, Node, public_key
from server.hub.folder import Hub
from server.hub.orders import HubRun, State, submit
from server.hub.steward import MOST_INTERRUPTIONS, Steward
from server.provision.provisioning import revoke, rotate
from server.study.action import Action
from tests.consortium_kits import SITES, Kits, provisioned
from tests.server.hub.test_orders import STUDY, written


class Flower:
    """Stands for the SuperLink: what is registered, and which runs it counts as going on."""

    def __init__(self) -> None:
        self.registered: dict[str, Node] = {}
        self.runs: dict[int, str] = {}
        self.tickets: dict[str, int] = {}
        self.settings: list[dict[str, object]] = []
        self.dies_at_start = False

    def nodes(self) -> list[Node]:
        return list(self.registered.values())

    def register(self, site: str, key: bytes) -> None:
        self.registered[site] = Node(len(self.registered) + 1, site, key, "registered", "")

    def unregister(self, node: Node) -> None:
        del self.registered[node.site]

    def start(self, bundle: bytes, settings: dict[str, object]) -> int:
        number = len(self.runs) + 1
        self.runs[number] = "running"
        self.tickets[str(settings["attempt"])] = number
        self.settings.append(settings)
        if self.dies_at_start:
            raise FedmviError(745)
        return number

    def stop(self, number: int) -> None:
        self.runs[number] = FINISHED

    def status(self, number: int) -> str:
        return self.runs.get(number, FINISHED)

    def find(self, key: str, value: str) -> int:
        return self.tickets.get(value, 0)

    @property
    def going(self) -> list[int]:
        return [number for number, status in self.runs.items() if status != FINISHED]


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    return provisioned(tmp_path / "ours")


@pytest.fixture
def hub(tmp_path: Path, kits: Kits) -> Hub:
    hub = kits.install(tmp_path / "hub")
    hub.state.mkdir()
    return hub


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path, "tiny", STUDY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "packed_bundle", lambda: b"the code")
    return clock


def stewarding(hub: Hub, flower: Flower, start: str = "first") -> Steward:
    steward = Steward(hub.folder, start)
    steward._control = flower  # type: ignore[assignment]
    return steward


def looked(steward: Steward, times: int = 1) -> None:
    for _ in range(times):
        steward.look()


def interrupted(steward: Steward, flower: Flower, clock: Clock) -> None:
    """The run's process dies without a word, and Flower finds out."""
    for number in flower.going:
        flower.stop(number)
    looked(steward)
    clock.now += 61.0
    looked(steward)


def test_sites_are_registered_once_and_a_rotated_key_takes_the_place_of_the_old_one(hub: Hub, kits: Kits, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    looked(steward, 2)
    assert set(flower.registered) == set(SITES)
    before = flower.registered["hospital-b"].key
    rotate(kits.folder, "hospital-b", kits)
    kits.install(hub.folder)
    looked(steward)
    assert set(flower.registered) == set(SITES)
    assert flower.registered["hospital-b"].key == public_key("hospital-b", hub.site_keys["hospital-b"]) != before


def test_a_revoked_site_and_whoever_registered_past_the_hub_are_shut_out(hub: Hub, kits: Kits, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    looked(steward)
    flower.register("stranger", b"a key")
    flower.registered["hospital-a"] = Node(99, "hospital-a", b"another key", "online", "")
    revoke(kits.folder, "hospital-c", kits)
    kits.install(hub.folder)
    looked(steward)
    assert set(flower.registered) == {"hospital-a", "hospital-b"}
    assert flower.registered["hospital-a"].key != b"another key"


def test_a_damaged_key_of_one_site_keeps_no_other_site_out(hub: Hub, clock: Clock):
    hub.site_keys["hospital-a"].write_text("ssh-rsa AAAA", encoding="utf-8")
    flower = Flower()
    looked(stewarding(hub, flower))
    assert set(flower.registered) == {"hospital-b", "hospital-c"}


def test_a_key_that_cannot_be_read_now_shuts_nobody_out(hub: Hub, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """Flower never takes a key back: one failed read would cost a hospital a new kit."""
    flower = Flower()
    steward = stewarding(hub, flower)
    looked(steward)
    before = dict(flower.registered)

    def unreadable(site: str, path: Path) -> bytes:
        raise FedmviError(731, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(module, "public_key", unreadable)
        looked(steward)
    assert flower.registered == before


def test_one_run_is_handed_in_at_a_time_in_the_order_of_submission(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    first, second = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    looked(steward, 3)
    assert ([first.state, second.state], flower.going) == ([State.RUNNING, State.QUEUED], [1])
    first.run.results_file.write_text("{}", encoding="utf-8")
    flower.stop(1)
    looked(steward)
    assert ([first.state, second.state], flower.going) == ([State.FINISHED, State.RUNNING], [2])


def test_a_stopped_run_is_ended_in_flower_and_shows_no_error(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    run.stop()
    looked(steward)
    assert flower.going == []
    run.run.write_failure(FedmviError(755))
    looked(steward)
    assert (run.state, run.run.failure()) == (State.STOPPED, None)


def test_an_error_of_the_run_ends_it_and_resuming_hands_it_in_again(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    run.run.write_failure(FedmviError(508, site="hospital-a"))
    flower.stop(1)
    looked(steward, 3)
    assert (run.state, flower.going) == (State.FAILED, [])
    run.give(Action.RUN)
    looked(steward)
    assert (run.state, flower.going, run.run.failure()) == (State.RUNNING, [2], None)


@pytest.mark.parametrize("lost", [None, 755])
def test_an_interrupted_run_is_taken_up_again_by_itself(hub: Hub, study: Path, clock: Clock, lost: int | None):
    """Killed without a word, or cut off from the SuperLink."""
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    if lost is not None:
        run.run.write_failure(FedmviError(lost))
    interrupted(steward, flower, clock)
    assert (run.state, flower.going) == (State.RUNNING, [2])


def test_a_run_that_is_interrupted_again_and_again_without_getting_further_stops_in_the_end(
    hub: Hub, study: Path, clock: Clock
):
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    for number in range(MOST_INTERRUPTIONS + 1):
        assert run.state is State.RUNNING
        if number == 5:  # an answered round: it does get further
            run.run.journal.mkdir()
            (run.run.journal / "000000.npz").write_bytes(b"")
        interrupted(steward, flower, clock)
    assert run.state is State.RUNNING
    for _ in range(MOST_INTERRUPTIONS):
        interrupted(steward, flower, clock)
    failure = run.run.failure()
    assert (run.state, failure and failure.number, flower.going) == (State.FAILED, 754, [])


def test_a_process_that_died_unnoticed_by_flower_is_not_waited_for(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    with run.run.locked():  # somebody works on it
        clock.now += 100.0
        looked(steward, 2)
        assert flower.going == [1]
    looked(steward)
    clock.now += module.IDLE_SECONDS + 1
    looked(steward)
    assert flower.going == []
    interrupted(steward, flower, clock)
    assert flower.going == [2]


def test_what_waits_for_the_executor_is_left_alone(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    submit(hub, study, Action.RUN)
    looked(steward)
    flower.runs[1] = "pending"
    for _ in range(3):
        clock.now += 100.0
        looked(steward)
    assert flower.going == [1]


def test_a_hub_that_starts_again_takes_up_what_was_going_on_and_ends_what_is_left_of_it(
    hub: Hub, study: Path, clock: Clock
):
    flower = Flower()
    first, second = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    looked(stewarding(hub, flower))
    looked(stewarding(hub, flower, "second start"), 2)
    assert (first.state, second.state, flower.going) == (State.RUNNING, State.QUEUED, [2])
    attempt = first.attempt
    assert attempt is not None and attempt.interruptions == 0  # the run was not to blame


def test_killed_between_handing_in_and_noting_it_the_steward_finds_the_run_again(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    run = submit(hub, study, Action.RUN)
    flower.dies_at_start = True
    with pytest.raises(FedmviError):
        looked(stewarding(hub, flower))
    flower.dies_at_start = False
    looked(stewarding(hub, flower), 2)
    assert (run.state, flower.going) == (State.RUNNING, [1])


def test_a_database_that_was_lost_costs_no_run(hub: Hub, study: Path, clock: Clock):
    run = submit(hub, study, Action.RUN)
    looked(stewarding(hub, Flower()))
    flower = Flower()
    steward = stewarding(hub, flower)
    looked(steward)
    clock.now += 61.0
    looked(steward)
    assert (run.state, flower.going) == (State.RUNNING, [1])


def test_each_attempt_has_a_ticket_of_its_own_that_only_the_hub_can_read(hub: Hub, study: Path, clock: Clock):
    flower = Flower()
    steward = stewarding(hub, flower)
    run = submit(hub, study, Action.RUN)
    looked(steward)
    interrupted(steward, flower, clock)
    assert len({str(settings["attempt"]) for settings in flower.settings}) == 2
    assert (HubRun(run.run).run.folder / "attempt.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("ahead", [600.0, 365 * 86_400.0])
def test_a_pause_that_was_written_down_with_a_clock_that_was_ahead_does_not_hold_a_run_up(
    ahead: float, hub: Hub, study: Path, clock: Clock
):
    submit(hub, study, Action.RUN)
    flower = Flower()
    steward = stewarding(hub, flower)
    clock.now += ahead
    looked(steward)
    for number in flower.going:
        flower.stop(number)
    looked(steward)
    assert not flower.going, "it pauses"
    clock.now -= ahead  # and now the time is right
    looked(steward)
    assert len(flower.going) == 1

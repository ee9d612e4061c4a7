"""server/hub: what is wanted of a run, what the hub has done for it, and what follows: its state.

A run's directory is the truth; a run of Flower is only an attempt at it. Two files say the rest: `order.json`, which
commands write, and `attempt.json`, which only the hub's steward writes. So no two processes write one file, and
whatever is killed, the next look at the folder goes on from there.
"""

from __future__ import annotations

import fcntl
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from common.deployment.owner import refuse_root
from common.errors import FedmviError
from common.files import write_whole
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from common.study.protocol import Study
from server.hub.folder import Hub
from server.study.action import Action
from server.study.progress import Progress, read_progress
from server.study.run_directory import RunDirectory

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class State(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"
    PLANNED = "planned"


ENDED = frozenset({State.STOPPED, State.FAILED, State.FINISHED, State.PLANNED})


class Order(BaseModel):
    """What a person wants of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    given: str
    """When, to the microsecond: its place in the queue, and what tells this order from an earlier one."""
    stopped: bool = False


class Attempt(BaseModel):
    """The hub's latest attempt at an order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: str
    """`given` of the order."""
    hub_start: str
    """Which start of the hub handed it in: nothing of an earlier one is alive."""
    ticket: str
    """Known to the hub and to the run that it handed in."""
    state: Literal["running", "again", "over"] = "running"
    flower_run: int = 0
    bundle: str = ""
    code: str = ""
    """SHA-256 of the bundle that was handed in, and the fingerprint of the code in it."""
    begun: str = ""
    interruptions: int = 0
    """How often in a row an attempt ended without a result, an error or anything new in the journal."""
    reached: str = ""
    """What the journal held when the attempt began."""
    not_before: float = 0.0
    """Seconds since the epoch: it is not handed in again sooner."""


_Kept = TypeVar("_Kept", bound=BaseModel)


@dataclass(frozen=True)
class HubRun:
    """A run of a hub."""

    run: RunDirectory

    @property
    def name(self) -> str:
        """Its name: that of its folder."""
        return self.run.folder.name

    @property
    def order(self) -> Order | None:
        """What is wanted; None of a folder that nobody submitted."""
        return _read(self.run.folder / "order.json", Order)

    @property
    def attempt(self) -> Attempt | None:
        """What was done for the order that is there now; None if nothing was yet."""
        order, attempt = self.order, _read(self.run.folder / "attempt.json", Attempt)
        return attempt if order is not None and attempt is not None and attempt.order == order.given else None

    @property
    def last_attempt(self) -> Attempt | None:
        """The latest attempt, whichever order it was for."""
        return _read(self.run.folder / "attempt.json", Attempt)

    @property
    def progress(self) -> Progress | None:
        """How far it is, or was."""
        return read_progress(self.run.progress_file)

    def give(self, action: Action) -> None:
        """Want it done; it queues behind all that is wanted already."""
        self._write_order(Order(action=action, given=datetime.now(UTC).isoformat(timespec="microseconds")))

    def stop(self) -> None:
        """Want it no more, for now."""
        order = self.order
        if order is not None:
            self._write_order(order.model_copy(update={"stopped": True}))

    def write_attempt(self, attempt: Attempt) -> None:
        """Keep what was done; the steward's alone."""
        write_whole(self.run.folder / "attempt.json", attempt.model_dump_json(indent=1).encode() + b"\n")

    def new_attempt(self, order: Order, hub_start: str, bundle: str, code: str) -> Attempt:
        """The next attempt at an order, with this code; how often it was interrupted is counted on."""
        before = self.attempt
        return Attempt(
            order=order.given,
            hub_start=hub_start,
            ticket=secrets.token_hex(16),
            bundle=bundle,
            code=code,
            begun=datetime.now(UTC).isoformat(timespec="seconds"),
            interruptions=0 if before is None else before.interruptions,
            reached=self.reached(),
        )

    def reached(self) -> str:
        """How far the run is, as its journal and checkpoints tell; it changes whenever something is gained."""
        rounds = len(list(self.run.journal.glob("[0-9]*.npz")))
        latest = max((path.stat().st_mtime_ns for path in self.run.checkpoints.glob("*.npz")), default=0)
        return f"{rounds}:{latest}"

    def done(self) -> bool:
        """Whether what is wanted is there."""
        order = self.order
        wanted = self.run.plan_file if order is not None and order.action is Action.PLAN else self.run.results_file
        return wanted.exists()

    @property
    def state(self) -> State:
        """Where it is; of a folder that nobody submitted, whether it has results."""
        order, attempt = self.order, self.attempt
        if self.done():
            if attempt is not None and attempt.state == "running" and self.run.busy():
                return State.RUNNING  # its report is being written
            return State.PLANNED if order is not None and order.action is Action.PLAN else State.FINISHED
        if order is None or order.stopped:
            return State.STOPPED
        if attempt is None or attempt.state == "again":
            return State.QUEUED
        return State.RUNNING if attempt.state == "running" else State.FAILED

    def _write_order(self, order: Order) -> None:
        refuse_root(self.run.folder)
        write_whole(self.run.folder / "order.json", order.model_dump_json(indent=1).encode() + b"\n", 0o644)


def runs_of(hub: Hub) -> list[HubRun]:
    """All runs of a hub: the queue and what is running in its order, then the others by name."""
    folders = sorted(path for path in hub.runs.glob("*") if (path / "run.json").is_file())
    runs = [HubRun(RunDirectory(path)) for path in folders]
    return sorted(runs, key=lambda run: (run.state in ENDED, _given(run) if run.state not in ENDED else run.name))


def queue_of(hub: Hub) -> list[HubRun]:
    """Runs that wait for their turn, the next one first."""
    return [run for run in runs_of(hub) if run.state is State.QUEUED]


def run_named(hub: Hub, name: str) -> HubRun:
    """A run by its name; error 750 if there is none."""
    for run in runs_of(hub):
        if run.name == name:
            return run
    raise FedmviError(750, str(hub.runs), name=name)


def submit(hub: Hub, study_file: Path, action: Action, name: str = "") -> HubRun:
    """Want a study run, or planned; an unfinished run of the same study goes on from its journal.

    Without a name the run is called as its study is, or with a number behind if there is such a run already. A study
    that was planned is run where it was planned, and one whose plan has failed or was stopped is planned or run there.

    Raises
    ------
    FedmviError
        752 a name that no folder should have, 753 a site without enrolment, 751 a run of that name that goes on or is
        finished, 705 one of another study, 728 root in another user's folder; and those of `load_study`.
    """
    refuse_root(hub.folder)
    study = load_study(study_file)
    absent = [site for site in study.sites() if site not in hub.site_keys]
    if absent:
        raise FedmviError(753, site=absent[0])
    if name and not NAME.fullmatch(name):
        raise FedmviError(752, name=name)
    hub.runs.mkdir(mode=0o700, exist_ok=True)
    with (hub.runs / ".lock").open("w") as lock:
        # Whoever submits at the same moment gets another name.
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = HubRun(RunDirectory(hub.runs / name)) if name else _free(hub, study, action)
        if run.order is not None and run.state not in (State.PLANNED, State.STOPPED, State.FAILED):
            raise FedmviError(751, name=run.name, state=run.state.value, asked="submitted")
        RunDirectory.create(run.run.folder, study_file)
        run.give(action)
    return run


def _free(hub: Hub, study: Study, action: Action) -> HubRun:
    """The first of `name`, `name-2`, ... that is no run yet, or a plan of this very study that nobody waits for."""
    fingerprint, number = study_fingerprint(study), 1
    while True:
        name = study.study.name if number == 1 else f"{study.study.name[:58]}-{number}"
        run = HubRun(RunDirectory(hub.runs / name))
        if not run.run.folder.exists():
            return run
        if _is_plan_to_go_on_from(run, action) and run.run.facts().get("study") == fingerprint:
            return run
        number += 1


def _is_plan_to_go_on_from(run: HubRun, action: Action) -> bool:
    order = run.order
    if not run.run.run_file.exists() or order is None or order.action is not Action.PLAN:
        return False
    return run.state in (State.STOPPED, State.FAILED) or (run.state is State.PLANNED and action is Action.RUN)


def _given(run: HubRun) -> str:
    order = run.order
    return "" if order is None else order.given


def _read(path: Path, kind: type[_Kept]) -> _Kept | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

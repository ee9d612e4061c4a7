"""server/hub: what is known of a hub: its processes, its sites, its runs; read from its folder, and asked of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from common.deployment.ports import listens
from common.errors import FedmviError
from common.published.results import read_results
from common.study.taking_part import taking_part
from server.hub.control import Control, Node
from server.hub.folder import Hub
from server.hub.health import superlink_serves
from server.hub.orders import HubRun, State, queue_of, runs_of
from server.hub.start import looked_at, read_state
from server.hub.time_left import TimeLeft, rounds_by_step, time_left
from server.provision.expiry import expiring
from server.study.progress import Progress
from server.study.run_directory import RunDirectory
from server.study.steps import steps_of

FRESH_SECONDS = 10.0
"""A steward that has not found everything in order for longer than this is in trouble."""


class Health(BaseModel):
    """The processes of a hub. All are False where it does not run."""

    running: bool
    ready: bool
    superlink: bool
    proxy: bool
    executor: bool
    steward: bool

    @property
    def well(self) -> bool:
        """Whether all of it serves."""
        return self.ready and self.superlink and self.proxy and self.executor and self.steward


class Certificate(BaseModel):
    """A certificate that expires soon."""

    holder: str
    expires: str
    days: int
    do: str


class SiteStatus(BaseModel):
    """A site of the consortium."""

    site: str
    admitted: bool
    connection: str
    """`online`, `offline`, `registered` (never seen), or `unknown` where the hub does not answer."""
    since: str
    run: str = ""
    """The latest run in which it told what follows."""
    code: str = ""
    versions: dict[str, str] = {}
    ledger_lines: int | None = None
    ledger_told: str = ""
    ledger_troubles: int = 0
    patients: dict[str, int | None] = {}
    """By cohort, as counted last; None where the count is small or hidden with one that is."""
    counted_in: str = ""


class RunStatus(BaseModel):
    """A run."""

    run: str
    study: str
    action: str
    state: State
    position: int = 0
    """In the queue, from 1."""
    submitted: str = ""
    started: str = ""
    step: str = ""
    step_since: str = ""
    rounds: int = 0
    rounds_expected: int | None = None
    seconds_a_round: float | None = None
    seconds_left: float | None = None
    """By an earlier run of the same study; without one see `left`."""
    left: TimeLeft | None = None
    asked_since: str = ""
    waiting_for: list[str] = []
    finished: str = ""
    interruptions: int = 0
    error: str = ""
    message: str = ""
    left_out: list[str] = []
    """Sites that stayed away, and without which the run goes on."""
    ledgers: list[str] = []
    """Sites whose ledger was found to be another one than before."""


class HubStatus(BaseModel):
    """All that is known of a hub."""

    consortium: str
    host: str
    port: int
    folder: str
    time: str
    health: Health
    certificates: list[Certificate]
    sites: list[SiteStatus]
    runs: list[RunStatus]


def status_of(hub: Hub) -> HubStatus:
    """Look at a hub. Whether it runs or not, what stands in its folder is told."""
    runs = runs_of(hub)
    return HubStatus(
        consortium=hub.consortium,
        host=hub.host,
        port=hub.port,
        folder=str(hub.folder),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        health=health_of(hub),
        certificates=[
            Certificate(holder=e.holder, expires=e.expires.isoformat(), days=e.days, do=e.do) for e in expiring(hub)
        ],
        sites=_sites(hub, runs),
        runs=_runs(hub, runs),
    )


def health_of(hub: Hub) -> Health:
    """Whether a hub runs, and which of its processes serve."""
    state: dict[str, Any] = read_state(hub) or {}
    running, processes = bool(state), state.get("processes", {})
    return Health(
        running=running,
        ready=bool(state.get("ready")),
        superlink=running and superlink_serves(int(state["health_port"])),
        proxy=running and listens(hub.port),
        executor=running and "executor" in processes,
        steward=running and time.time() - looked_at(hub) < FRESH_SECONDS,
    )


def _sites(hub: Hub, runs: list[HubRun]) -> list[SiteStatus]:
    nodes = _nodes(hub)
    found = {
        site: SiteStatus(
            site=site,
            admitted=site in hub.site_keys,
            connection="unknown" if nodes is None else nodes[site].status if site in nodes else "not registered",
            since=nodes[site].since if nodes and site in nodes else "",
        )
        for site in sorted(hub.sites)
    }
    for run in sorted(runs, key=_last_changed):  # what a later run tells replaces what an earlier one did
        _add_receipts(found, run)
        _add_counts(found, run)
    for status in found.values():
        _add_ledger(hub, status)
    return list(found.values())


def _nodes(hub: Hub) -> dict[str, Node] | None:
    if read_state(hub) is None:
        return None
    try:
        with Control(hub) as control:
            return {node.site: node for node in control.nodes()}
    except FedmviError:
        return None


def _add_receipts(sites: dict[str, SiteStatus], run: HubRun) -> None:
    """Code and library versions, as the sites told when the run was opened."""
    for site, receipt in _facts(run.run).get("sites", {}).items():
        if site in sites:
            known = {name: str(receipt[name]) for name in ("flwr", "numpy", "pyarrow", "scipy") if name in receipt}
            sites[site].run, sites[site].code, sites[site].versions = run.name, str(receipt.get("code", "")), known


def _add_counts(sites: dict[str, SiteStatus], run: HubRun) -> None:
    """Prepared patients, as results and plans publish them: small ones are hidden there."""
    path = run.run.results_file if run.run.results_file.exists() else run.run.plan_file
    try:
        results = read_results(path)
    except (FedmviError, OSError):
        return
    flows = [result for result in results.results if result.statistic == "patient-flow" and result.counts]
    for site in {name for flow in flows for name in flow.sites} & set(sites):
        sites[site].patients = {
            flow.cohort: flow.counts[-1].by_site.get(site) for flow in flows if site in flow.sites
        }  # fmt: skip
        sites[site].counted_in = run.name


def _add_ledger(hub: Hub, status: SiteStatus) -> None:
    """How far the site's ledger is, as it told with its last answer."""
    try:
        told = json.loads((hub.folder / "ledgers" / f"{status.site}.json").read_text(encoding="utf-8"))
        status.ledger_lines, status.ledger_told = int(told["lines"]), str(told["time"])
        status.ledger_troubles = len(told["troubles"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def _runs(hub: Hub, runs: list[HubRun]) -> list[RunStatus]:
    queue = [run.name for run in queue_of(hub)]
    lengths = _lengths(runs)
    ended = (run.progress for run in runs if run.state is State.FINISHED)
    elsewhere = rounds_by_step(progress for progress in ended if progress is not None)
    return [_run(run, queue, lengths, elsewhere) for run in runs]


def _lengths(runs: Iterable[HubRun]) -> dict[str, int]:
    """How many rounds each study took that has been run before, by its fingerprint."""
    found = {}
    for run in runs:
        progress = run.progress
        if progress is not None and run.state is State.FINISHED:
            found[str(_facts(run.run).get("study"))] = progress.rounds_before + progress.rounds
    return found


def _run(run: HubRun, queue: list[str], lengths: dict[str, int], elsewhere: dict[str, tuple[int, int]]) -> RunStatus:
    facts, order, attempt, progress = _facts(run.run), run.order, run.attempt, run.progress
    status = RunStatus(
        run=run.name,
        study=str(facts.get("study", "")),
        action=order.action.value if order else "run",
        state=run.state,
        position=queue.index(run.name) + 1 if run.name in queue else 0,
        submitted=str(facts.get("submitted", "")),
        finished=str(facts.get("finished", "")),
        interruptions=attempt.interruptions if attempt else 0,
        left_out=[site for left in facts.get("left_out", ()) for site in left["sites"]],
        ledgers=sorted(facts.get("ledgers", {})),
    )
    if progress is not None:
        status.started, status.step, status.step_since = progress.started, progress.step, progress.step_since
        status.rounds = progress.rounds_before + progress.rounds
        status.seconds_a_round = round(progress.round_seconds / progress.rounds, 3) if progress.rounds else None
    if progress is not None and status.state is State.RUNNING:
        status.asked_since, status.waiting_for = progress.asked_since, list(progress.waiting_for)
        status.rounds_expected = lengths.get(status.study) if status.action == "run" else None
        if status.rounds_expected and status.seconds_a_round is not None:
            status.seconds_left = round(max(0, status.rounds_expected - status.rounds) * status.seconds_a_round, 1)
        elif status.action == "run":
            status.left = _first_time(run.run, progress, elsewhere)
    failure = run.run.failure() if status.state is State.FAILED else None
    if failure is not None:
        # Which site it was is often the first thing that a person needs; what it says of itself is not.
        status.error, status.message = failure.code, failure.what + failure.where
    return status


def _first_time(run: RunDirectory, progress: Progress, elsewhere: dict[str, tuple[int, int]]) -> TimeLeft | None:
    """What can be said of the time left where the study was never run before."""
    try:
        steps = steps_of(taking_part(run.study(), run.left_out))
    except FedmviError:
        return None  # the run itself says what is wrong with its protocol
    return time_left(steps, progress, elsewhere)


def _facts(run: RunDirectory) -> dict[str, Any]:
    try:
        return run.facts()
    except FedmviError:
        return {}


def _last_changed(run: HubRun) -> float:
    def changed(path: Path) -> float:
        return path.stat().st_mtime if path.exists() else 0.0

    return max(changed(run.run.results_file), changed(run.run.plan_file))

"""client/node: how the node of a site is, as the site's folder tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from client.approval.records import read_record
from client.cohort.site import ENROLMENT, Site
from client.node.enrolment import read_enrolment
from client.node.folder import Health, NodeFolder, NodeState
from client.node.hearing import connection, seconds_since_heard
from client.node.renewal import SOON_DAYS
from client.release.ledger import Ledger, ledger_file
from client.run import refuse_unapproved, run_folder
from common.errors import FedmviError
from common.federation.envelope import is_run_id


@dataclass(frozen=True)
class RunStatus:
    """A run that is open at the site: its questions would be answered. The hub tells nobody when a run has ended.

    Attributes
    ----------
    study
        The study's name where the hospital has recorded one, else the beginning of its fingerprint.
    lines
        Of the ledger, refusals and receipts included.
    last
        When something left last; ISO 8601, UTC.
    """

    run: str
    study: str
    lines: int
    last: str


@dataclass(frozen=True)
class NodeStatus:
    """What is known of a node from the site's folder alone; nobody is asked.

    Attributes
    ----------
    connected
        Whether its process is alive and the hub answered it just now; see `hearing.connection`.
    state
        In words, for a person.
    heard_seconds
        How long ago the hub answered last; None if it never did. What is older is not known here.
    expires
        The day on which the enrolment ends; empty where there is none.
    runs
        Those that are open, the one that was answered last first.
    """

    site: str
    connected: bool
    state: str
    started: str
    heard: str
    heard_seconds: int | None
    last_message: str
    expires: str
    days_left: int | None
    ledger_lines: int
    runs: tuple[RunStatus, ...] = ()

    @property
    def expires_soon(self) -> bool:
        """Whether it is time to ask for a new kit."""
        return self.days_left is not None and self.days_left <= SOON_DAYS


def status_of(site: Site) -> NodeStatus:
    """How the node of a site is."""
    health = NodeFolder(site).health()
    connected, words = connection(health)
    expires = _expires(site)
    left = None if expires is None else (expires - datetime.now(UTC).date()).days
    times = Health(NodeState.STOPPED, 0, 0, "") if health is None else health
    ledger = Ledger(ledger_file(site))
    return NodeStatus(
        site=site.name,
        connected=connected,
        state=words,
        started=times.started,
        heard=times.heard,
        heard_seconds=seconds_since_heard(health),
        last_message=times.last_message,
        expires="" if expires is None else expires.isoformat(),
        days_left=left,
        ledger_lines=len(ledger.lines()),
        runs=open_runs(site, ledger.entries()),
    )


def open_runs(site: Site, entries: Iterable[Mapping[str, object]]) -> tuple[RunStatus, ...]:
    """The runs of a ledger's lines that the site has opened, whose study it approves, and that it has not forgotten."""
    runs: dict[str, RunStatus] = {}
    studies: dict[str, str] = {}
    answered: set[str] = set()
    for entry in entries:
        run, study = str(entry.get("run_id", "")), str(entry.get("study", ""))
        known = runs.pop(run, RunStatus(run, "", 0, ""))
        runs[run] = replace(known, lines=known.lines + 1, last=str(entry.get("time", "")))
        studies[run] = study
        if entry.get("left") == "answer":
            answered.add(run)
    found = []
    for run, status in reversed(runs.items()):
        if _is_open(site, run, studies[run], answered=run in answered):
            record = read_record(site, studies[run])
            found.append(replace(status, study=record.name if record else studies[run][:12]))
    return tuple(found)


def _is_open(site: Site, run: str, study: str, *, answered: bool) -> bool:
    if not is_run_id(run) or not run_folder(site, run).is_dir():
        return False
    try:
        refuse_unapproved(site, study)
    except FedmviError:
        return False
    # Answers that cannot be repeated any more end a run (413): it was forgotten.
    return not answered or (run_folder(site, run) / "replies").is_dir()


def _expires(site: Site) -> date | None:
    try:
        return read_enrolment(site.folder / ENROLMENT).expires
    except FedmviError:
        return None

"""client/node: how the node of a site is, as the site's folder tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from client.cohort.site import Site
from client.node.enrolment import FOLDER, read_enrolment
from client.node.folder import Health, NodeFolder, NodeState
from client.node.hearing import connection, seconds_since_heard
from client.node.renewal import SOON_DAYS
from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError


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
        ledger_lines=len(Ledger(ledger_file(site)).lines()),
    )


def _expires(site: Site) -> date | None:
    try:
        return read_enrolment(site.folder / FOLDER).expires
    except FedmviError:
        return None

"""client/node: the commands by which a hospital watches its node: `fedmvi-site status` and `metrics`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from client.cohort.site import Site, load_site
from client.node.enrolment import FOLDER, read_enrolment
from client.node.folder import Health, NodeFolder, NodeState
from client.node.hearing import connection, seconds_since_heard
from client.node.metrics import SiteMetrics
from client.node.renewal import SOON_DAYS
from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError
from common.observing.logs import LogFormat, configure
from common.observing.metrics import METRICS_PORT, serve_until_ended
from common.terminal import EXIT_PROBLEMS, out, print_json

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


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


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-site`."""
    app.command(name="status", epilog="Example: fedmvi-site status --site hospital-a")(_status)
    app.command(name="metrics", epilog="Example: fedmvi-site metrics --site hospital-a --port 9464")(_metrics)


def _status(site: SiteFolder = Path(), json_: AsJson = False) -> None:
    """Say whether the node of this site is connected to the hub, from the site's folder alone. Exit code 1 if not."""
    status = status_of(load_site(site))
    if json_:
        print_json(asdict(status))
    else:
        colour = "green" if status.connected else "red"
        out.print(f"{escape(status.site)}: [bold {colour}]{status.state}[/]")
        soon = "" if status.days_left is None or status.days_left > SOON_DAYS else " [bold red]ask for a new kit[/]"
        rows = {
            "started": status.started,
            "the hub answered": f"{status.heard} ({status.heard_seconds} s ago)" if status.heard else "",
            "last message": status.last_message,
            "enrolment ends": f"{status.expires} (in {status.days_left} days){soon}"
            if status.expires
            else "not enrolled",
            "ledger": f"{status.ledger_lines} line(s)",
        }
        for name, value in rows.items():
            out.print(f"  {name:<18}{value or 'never'}")
    if not status.connected:
        raise typer.Exit(EXIT_PROBLEMS)


def _metrics(
    site: SiteFolder = Path(),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the loopback address.")] = METRICS_PORT,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How the log is written.")] = LogFormat.TEXT,
) -> None:
    """Answer Prometheus on the loopback address with what the site's folder tells, until the command is ended.

    Messages, bytes and days are counted, patients are not. It runs beside `fedmvi-site start`, as the same user.
    """
    known = load_site(site)
    configure(log_format, NodeFolder(known).local_log, part="metrics", site=known.name)
    serve_until_ended(SiteMetrics(known), port)

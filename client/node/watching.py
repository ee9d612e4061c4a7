"""client/node: the commands by which a hospital watches its node: `fedmvi-site status` and `metrics`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.observing.logs import LogFormat, configure
from common.observing.metrics import METRICS_PORT, serve_until_ended
from common.terminal import EXIT_PROBLEMS, out, print_json

MOST_RUNS = 5
"""How many open runs are shown to a person."""

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-site`."""
    app.command(name="status", epilog="Example: fedmvi-site status --site hospital-a")(_status)
    app.command(name="metrics", epilog="Example: fedmvi-site metrics --site hospital-a --port 9464")(_metrics)


def _status(site: SiteFolder = Path(), json_: AsJson = False) -> None:
    """Say whether the node of this site is connected to the hub, and which runs are open, from the site's folder alone.

    A run is open while its questions would be answered: the site has opened it, approves its study, and has not
    forgotten it (`fedmvi-site forget`). Exit code 1 if the node is not connected.
    """
    from client.cohort.site import load_site
    from client.node.status import status_of

    status = status_of(load_site(site))
    if json_:
        print_json(asdict(status))
    else:
        colour = "green" if status.connected else "red"
        out.print(f"{escape(status.site)}: [bold {colour}]{status.state}[/]")
        soon = " [bold red]ask for a new kit[/]" if status.expires_soon else ""
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
        for run in status.runs[:MOST_RUNS]:
            said = f"{run.study}: {run.lines} line(s), the last {run.last}"
            out.print(f"  {'open run':<18}{escape(run.run)} of {escape(said)}")
        if len(status.runs) > MOST_RUNS:
            out.print(f"  {'':<18}and {len(status.runs) - MOST_RUNS} more; --json has all")
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
    from client.cohort.site import load_site
    from client.node.folder import NodeFolder
    from client.node.metrics import SiteMetrics

    known = load_site(site)
    configure(log_format, NodeFolder(known).local_log, part="metrics", site=known.name)
    serve_until_ended(SiteMetrics(known), port)

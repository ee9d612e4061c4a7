"""server/hub: the command `fedmvi-server metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.observing.logs import LogFormat, configure
from common.observing.metrics import METRICS_PORT, serve_until_ended


def add_commands(app: typer.Typer) -> None:
    """Add the command to `fedmvi-server`."""
    app.command(name="metrics", epilog="Example: fedmvi-server metrics --hub /srv/fedmvi/hub --port 9464")(_metrics)


def _metrics(
    hub: Annotated[Path, typer.Option("--hub", envvar="FEDMVI_HUB", help="The hub's folder.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the loopback address.")] = METRICS_PORT,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How the log is written.")] = LogFormat.TEXT,
) -> None:
    """Answer Prometheus on the loopback address with how runs and sites are, until the command is ended.

    It runs beside `fedmvi-server start`, as the same user, whether or not that runs.
    """
    from server.hub.folder import load_hub
    from server.hub.metrics import HubMetrics

    known = load_hub(hub)
    configure(log_format, known.state / "log" / "local.log", part="metrics")
    serve_until_ended(HubMetrics(known), port)

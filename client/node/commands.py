"""client/node: the commands of the node: `fedmvi-site start`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.observing.logs import LogFormat


def add_commands(app: typer.Typer) -> None:
    """Add them to `fedmvi-site`."""

    @app.command(name="start", epilog="Example: fedmvi-site start --site hospital-a")
    def start_command(
        site: Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")] = Path(),
        log_format: Annotated[
            LogFormat | None, typer.Option("--log-format", help="How the log is written; default: as site.toml says.")
        ] = None,
    ) -> None:
        """Answer the hub for this site until the command is ended (Ctrl-C, SIGTERM). Exit code 0.

        It connects outwards only, runs only the code that is installed here, and starts again by itself what dies. A
        log line `ready` says that it is connected.
        """
        from client.node.start import start

        start(site, log_format)

"""server/hub: the executor: a warm process that does the hub's ServerApp tasks, one at a time, each in a fork."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import common.statistics  # noqa: F401 - loaded here, so that no fork has to
from common.flower.executor import serve_tasks
from common.observing.logs import LogFormat, configure
from server.hub.folder import load_hub
from server.hub.serverapp import check_flower, run_task

SERVER_APP = "flwr-serverapp"
"""Flower's name of the only kind of task that is taken."""


def main(folder: str, secret: str, style: str) -> None:
    """Serve until the process is ended."""
    hub = load_hub(Path(folder))
    configure(LogFormat(style), hub.state / "log" / "local.log", part="executor")
    check_flower()
    serve_tasks(
        f"127.0.0.1:{hub.superlink_port}",
        Path(secret).read_bytes(),
        [SERVER_APP],
        partial(run_task, hub),
        ca=hub.ca.read_bytes(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""server/hub: follows a run until it ends, and says where it is."""

from __future__ import annotations

import time

from rich.markup import escape

from common.errors import FedmviError
from common.terminal import err
from server.hub.folder import Hub
from server.hub.orders import HubRun, State, queue_of
from server.hub.start import read_state

POLL_SECONDS = 0.3
HUB_AWAY_SECONDS = 60.0


def follow(hub: Hub, run: HubRun) -> None:
    """Wait until a run has what was wanted, and print each of its steps.

    Raises
    ------
    FedmviError
        What the run met; 751 it was stopped, 745 the hub is away for a minute.
    """
    told = ""
    seen = time.monotonic()
    with err.status("") as line:
        while (state := run.state) in (State.QUEUED, State.RUNNING):
            words = _words(hub, run, state)
            if words != told:
                told = words
                line.update(escape(words))
                if not err.is_terminal:
                    err.print(escape(words))
            if read_state(hub) is not None:
                seen = time.monotonic()
            elif time.monotonic() - seen > HUB_AWAY_SECONDS:
                raise FedmviError(745, f"{hub.folder}; the run goes on when the hub does")
            time.sleep(POLL_SECONDS)
    if state is State.FAILED:
        raise run.run.failure() or FedmviError(703, str(run.run.log_file))
    if state is State.STOPPED:
        raise FedmviError(751, name=run.name, state=state.value, asked="waited for")


def _words(hub: Hub, run: HubRun, state: State) -> str:
    if state is State.QUEUED:
        names = [other.name for other in queue_of(hub)]
        return f"queued, number {names.index(run.name) + 1}" if run.name in names else "queued"
    progress = run.progress
    return progress.step if progress is not None and progress.step else "handed in"

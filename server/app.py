"""server: the Flower ServerApp: conducts the study of a run's directory over Flower's grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.ports import Transport
from common.federation.signatures import Signer
from common.observing.context import bound
from common.study.fingerprint import study_fingerprint
from server.ledgers import LedgerHeads
from server.study.action import Action
from server.study.deadlines import wait_seconds
from server.study.execution import PROGRESS_MARK, execute_over
from server.study.run_directory import RunDirectory
from server.transport import WAIT_SECONDS, FlowerTransport, SiteNames

_LOG = logging.getLogger("fedmvi.hub")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study where sites are not enrolled: in Flower's simulation.

    The run's configuration says where (`run-dir`), what (`action`) and how sites are named. A hub does not come here:
    see `server/hub/serverapp.py`.
    """
    run = RunDirectory(Path(str(context.run_config["run-dir"])))
    names = SiteNames(str(context.run_config["site-names"]))
    conduct_over(grid, run, Action(str(context.run_config["action"])), names)


def conduct_over(
    grid: Grid,
    run: RunDirectory,
    action: Action,
    names: SiteNames,
    *,
    signer: Signer | None = None,
    ledgers: LedgerHeads | None = None,
    finish: Callable[[Callable[[str], None]], None] | None = None,
) -> None:
    """Wait for the sites of the run's study, and conduct or plan it over Flower's grid; `finish` as in `execute_over`.

    How long is waited in a deployment, where nodes are registered, the study says.

    Raises
    ------
    FedmviError
        508 a site stays away, 755 the SuperLink cannot be reached; and what the run meets.
    """
    study = run.study()
    seconds = wait_seconds(study) if names is SiteNames.REGISTERED else WAIT_SECONDS

    def connect(tell: Callable[[str], None]) -> Transport:
        tell("wait until every site is connected")
        sites = run.ticket().roster("")
        with _reaching():
            return _Reached(FlowerTransport.connect(grid, sites, names, seconds, signer=signer, ledgers=ledgers))

    with bound(study=study_fingerprint(study)):
        execute_over(run, connect, action, _progress, finish)


class _Reached:
    """A transport whose failures to reach the SuperLink are an error with a number."""

    def __init__(self, inner: Transport) -> None:
        self._inner, self._round = inner, 0

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`."""
        self._round += 1
        with _reaching(), bound(round_number=self._round):
            _LOG.info("%d site(s) are asked", len(messages))
            yield from self._inner.send(messages, seconds)


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise FedmviError(755, f"{type(error).__name__}: {error}") from error


def _progress(step: str) -> None:
    _LOG.info("%s", step)
    print(f"{PROGRESS_MARK}{step}", flush=True)  # noqa: T201 - Flower's log of the run is read for it

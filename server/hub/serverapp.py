"""server/hub: does a ServerApp task of Flower's with the code that is installed here, and for runs of this hub alone.

Flower would unpack and import the bundle that came with the run. Nothing of it is: the names that Flower's function
takes from its module are replaced, in this process only, by functions that check and hand out what is installed. All
that depends on Flower's private names is in this file; `check_flower` finds out when they change.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid

from common.errors import FedmviError
from common.federation.signatures import Signer
from common.flower.parts import AT_HUB, ask_again_soon
from common.flower.replacing import PrivateName, refuse_other_flower
from common.observing.context import bound
from common.published.results import read_results
from common.study.fingerprint import code_fingerprint
from server.app import conduct_over
from server.hub.folder import Hub
from server.hub.orders import HubRun
from server.ledgers import LedgerHeads
from server.study.action import Action
from server.study.run_directory import RunDirectory
from server.transport import SiteNames

_MODULE = "flwr.superlink.runtime.run_serverapp"
REPLACED = (
    PrivateName(_MODULE, "install_from_fab", ("fab_file", "install_dir", "skip_prompt")),
    PrivateName(_MODULE, "get_fab_metadata", ("fab_file",)),
    PrivateName(_MODULE, "get_project_dir", ("fab_id", "fab_version", "fab_hash")),
    PrivateName(_MODULE, "get_project_config", ("project_dir",)),
    PrivateName(_MODULE, "get_fused_config_from_dir", ("project_dir", "override_config")),
    PrivateName(_MODULE, "run_", ("grid", "context", "server_app_dir", "server_app_attr", "loaded_server_app")),
)
"""The names by which Flower's function installs, reads and runs what was delivered."""

CALLED = PrivateName(
    _MODULE,
    "run_serverapp",
    (
        "runtime_api_address", "log_queue", "token", "insecure", "certificates", "parent_pid",
        "runtime_dependency_install",
    ),
)  # fmt: skip
"""Flower's function itself."""

CODE = code_fingerprint()
"""Of the code as this process has loaded it; files may be replaced while it runs."""

_LOG = logging.getLogger("fedmvi.hub")


def check_flower() -> None:
    """Error 721 unless this is the version of Flower that the names are known of."""
    refuse_other_flower([*REPLACED, CALLED, AT_HUB])


def run_task(hub: Hub, token: str) -> int:
    """Do one ServerApp task, given its token, and tell Flower how it ended."""
    delivered = _Delivered(hub)
    for private in REPLACED:
        private.put(getattr(delivered, private.name.rstrip("_")))
    ask_again_soon(AT_HUB)
    try:
        sys.modules[_MODULE].run_serverapp(
            runtime_api_address=f"127.0.0.1:{hub.superlink_port}",
            log_queue=Queue(),  # nothing is written to Flower's log: a run has its own
            token=token,
            insecure=False,
            certificates=hub.ca.read_bytes(),
            runtime_dependency_install=False,
        )
    except SystemExit as leaving:
        # This is how Flower's function always ends; it has told the SuperLink before.
        _LOG.info("the task has ended (%s)", leaving.code)
    return 0


class _Delivered:
    """Stands for the delivered bundle: is never unpacked, only compared."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._bundle = ""

    def install_from_fab(self, content: bytes, **_: Any) -> None:
        self._bundle = hashlib.sha256(content).hexdigest()

    def get_fab_metadata(self, _content: bytes) -> tuple[str, str]:
        return "fedmvi/fedmvi", "installed"

    def get_project_dir(self, *_: object) -> Path:
        return Path(__file__).resolve().parents[2]

    def get_project_config(self, _folder: str) -> dict[str, Any]:
        return {"tool": {"flwr": {"app": {"components": {"serverapp": "server.app:app"}}}}}

    def get_fused_config_from_dir(self, _folder: Path, override: Mapping[str, Any]) -> dict[str, Any]:
        return dict(override)

    def run(self, grid: Grid, context: Context, **_: object) -> Context:
        """In place of loading and calling a ServerApp."""
        try:
            run = _own_run(self._hub, context.run_config, self._bundle)
            with bound(run=run.folder.name):
                _log_to(run.log_file)
                _conduct(self._hub, run, Action(str(context.run_config["action"])), grid)
        except FedmviError as error:
            _LOG.error("the run has ended: %s", error)
            # What an exception says is stored by Flower.
            raise RuntimeError(error.code) from None
        return context


def _own_run(hub: Hub, config: Mapping[str, Any], bundle: str) -> RunDirectory:
    """The run's directory, if this hub has handed in this run, with the code that is installed.

    Raises
    ------
    FedmviError
        756 it has not, 757 the code is another.
    """
    folder = Path(str(config.get("run-dir", "")))
    run = HubRun(RunDirectory(folder))
    attempt = run.attempt if folder.parent == hub.runs and not folder.is_symlink() else None
    if attempt is None or attempt.state != "running":
        raise FedmviError(756, str(folder))
    if not hmac.compare_digest(attempt.ticket.encode(), str(config.get("attempt", "")).encode()):
        raise FedmviError(756, str(folder))
    if (attempt.bundle, attempt.code) != (bundle, CODE):
        error = FedmviError(757, str(folder))
        run.run.write_failure(error)
        raise error
    return run.run


def _conduct(hub: Hub, run: RunDirectory, action: Action, grid: Grid) -> None:
    signer = Signer.read(hub.coordinator_key)

    def warn(error: FedmviError) -> None:
        _LOG.error("%s", error)
        facts = run.facts()
        known = {**facts.get("ledgers", {}), str(error.facts.get("site", "")): error.code}
        run.write_facts({**facts, "ledgers": known})

    ledgers = LedgerHeads(hub.folder / "ledgers", signer, warn)
    finish = partial(_report, run) if action is Action.RUN else None
    conduct_over(grid, run, action, SiteNames.REGISTERED, signer=signer, ledgers=ledgers, finish=finish)


def _report(run: RunDirectory, tell: Callable[[str], None]) -> None:
    """Write the report; a run whose report cannot be written is finished all the same."""
    tell("write the report")
    try:
        # Loaded here, because a hub may be without the report's libraries.
        from server.report.page import write_report

        write_report(read_results(run.results_file), run.facts(), run.folder)
    except ImportError as error:
        _LOG.warning("no report is written, because %s is not installed", error.name)
    except Exception:  # noqa: BLE001 - whatever it is, the results are there
        _LOG.exception("the report cannot be written")


def _log_to(path: Path) -> None:
    """Let what this process prints go to the run's log."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)

"""server: submits a run to a Flower SuperLink and waits for its true end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import FedmviError
from server.bundle import stage_bundle
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from server.transport import WAIT_SECONDS, SiteNames

POLL_SECONDS = 2.0
COMMAND_SECONDS = 120.0
LOST_SECONDS = 60.0
"""How long the SuperLink may give no answer before a run counts as lost."""


def submit(
    run: RunDirectory, superlink: str, action: Action, names: SiteNames, wait_seconds: float = WAIT_SECONDS
) -> None:
    """Submit the code (never the study, never data) to a SuperLink on this machine, and wait for the run's end.

    `superlink` is a connection of Flower's configuration. The ServerApp reads and writes the run's directory.
    Exit codes of Flower's commands say nothing (a refused run exits with 0), so their JSON is read and the run's
    status is asked for. Ctrl-C stops the run; what was answered stays in the journal.

    Raises
    ------
    FedmviError
        703 Flower refused or lost the run, or what the run itself met.
    """
    run.failure_file.unlink(missing_ok=True)
    with TemporaryDirectory(prefix="fedmvi-bundle-") as folder:
        bundle = stage_bundle(Path(folder, "app"))
        settings = {
            "run-dir": str(run.folder.resolve()),
            "action": action.value,
            "site-names": names.value,
            "wait-seconds": float(wait_seconds),
        }
        overrides = Path(folder, "run-config.toml")
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()]
        overrides.write_text("".join(lines), encoding="utf-8")
        started = _flwr("run", str(bundle), superlink, "--run-config", str(overrides), "--format", "json")
        run_id = str(started["run-id"])
    try:
        status = _end_of(run_id, superlink)
    except KeyboardInterrupt:
        with suppress(FedmviError):
            _flwr("stop", run_id, superlink, "--format", "json")
        raise
    failure = run.failure()
    if failure is not None:
        raise failure
    wanted = run.results_file if action is Action.RUN else run.plan_file
    if status != "finished:completed" or not wanted.exists():
        raise FedmviError(703, f"Flower says {status}; `flwr log {run_id} {superlink}` tells more")


def _end_of(run_id: str, superlink: str) -> str:
    """Wait until the run has finished and return its status; error 703 if the SuperLink is gone for a minute."""
    heard = time.monotonic()
    while True:
        try:
            status = str(_flwr("ls", superlink, "--run-id", run_id, "--format", "json")["runs"][0]["status"])
            heard = time.monotonic()
        except (FedmviError, LookupError) as error:
            if time.monotonic() - heard > LOST_SECONDS:
                raise FedmviError(703, f"nothing is heard of run {run_id}: {error}") from error
            status = ""
        if status.startswith("finished"):
            return status
        time.sleep(POLL_SECONDS)


def _flwr(*arguments: str) -> dict[str, Any]:
    """Run Flower's command of this environment and read its JSON; error 703 unless it says that it succeeded."""
    command = Path(sys.executable).parent / "flwr"
    environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own environment's command, no shell
            [str(command), *arguments], env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))[0]
    except (ValueError, OSError, subprocess.TimeoutExpired) as error:
        raise FedmviError(703, f"`flwr {' '.join(arguments)}` gave no answer: {error}") from error
    if answer.get("success") is not True:
        raise FedmviError(703, f"`flwr {' '.join(arguments)}`: {str(answer.get('error-message', answer)).strip()}")
    return answer

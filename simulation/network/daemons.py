"""simulation/network: the daemons of a deployment below one folder: started with a log each, and ended all together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from common.deployment.ports import listens
from common.errors import FedmviError
from common.flower.environment import flower_environment
from simulation.network.census import MARK, below

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
KILL_SECONDS = 10.0
TAIL_LINES = 25


class Daemons:
    """Processes whose homes and logs lie in a folder; a context manager at whose end none of them lives.

    A watchdog ends them if this process is killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._started: list[subprocess.Popen[bytes]] = []
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemons:
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        self._watchdog = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "simulation.network.watchdog", str(self.folder)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            end_all(self.folder)
        finally:
            for process in self._started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(KILL_SECONDS)
            if self._watchdog is not None:
                self._watchdog.communicate()

    def environment(self, home: str) -> dict[str, str]:
        """What a party's process sees: a Flower home of its own, and no setting of whoever started the deployment."""
        environment = flower_environment(self.folder / "home" / home, **{MARK: str(self.folder)})
        # Without compiled modules every start takes twice as long.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment

    def start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a daemon in a session of its own; what it says is appended to its log."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                list(command), cwd=environment["FLWR_HOME"], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def log(self, name: str) -> Path:
        """Where a daemon's words go."""
        return self.folder / "log" / f"{name}.log"


def await_port(port: int, daemon: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    """Wait until somebody listens on a port of this machine; error 819 if the daemon ends or takes too long."""
    await_true(lambda: listens(port), daemon, seconds, log)


def await_true(condition: Callable[[], bool], daemon: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    """Wait for what a starting daemon makes true; error 819 with its last words if it ends or takes too long."""
    limit = time.monotonic() + seconds
    while not condition():
        if daemon.poll() is not None or time.monotonic() > limit:
            raise FedmviError(819, f"{log}:\n{tail(log)}", part=log.stem)
        time.sleep(POLL_SECONDS)


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])


def end_all(folder: Path) -> None:
    """End every process of the deployment in a folder: first by asking, then by force."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        limit = time.monotonic() + seconds
        asked: set[int] = set()
        while (living := set(below(folder))) and time.monotonic() < limit:
            for pid in living - asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            asked |= living
            time.sleep(POLL_SECONDS)

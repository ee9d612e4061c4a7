"""A hub as real processes, by the command that a coordinator types."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.flower.environment import flower_environment
from server.hub.folder import Hub
from server.hub.start import read_state

START_SECONDS = 90.0


def wait_for(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.1)


class RunningHub:
    """The processes of a hub; ended, all of them, by `close`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.log = hub.folder.parent / "start.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "start", "--hub", str(self.hub.folder)],
                env=self.environment, cwd=self.hub.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        process = self.process
        wait_for(lambda: self.state.get("ready") or process.poll() is not None, "the hub is not ready")
        assert process.poll() is None, self.log.read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments, "--hub", str(self.hub.folder)], env=self.environment, cwd=self.hub.folder,
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def program(self) -> str:
        return str(Path(sys.executable).parent / "fedmvi-server")

    @property
    def environment(self) -> dict[str, str]:
        return flower_environment(self.hub.folder.parent / "home", COLUMNS="200")

    @property
    def state(self) -> dict[str, Any]:
        return read_state(self.hub) or {}

    def pid(self, part: str) -> int:
        return int(self.state.get("processes", {}).get(part, 0))

    def kill(self, part: str) -> None:
        """SIGKILL a part, and wait until it has a successor."""
        before = self.pid(part)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.pid(part) not in (0, before), f"{part} is not started again")

    def living(self) -> set[int]:
        """Processes that name the hub's folder in their command or their environment."""
        mark, found = str(self.hub.folder).encode(), set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not zombie and mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.add(int(entry.name))
        return found - {os.getpid()}

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

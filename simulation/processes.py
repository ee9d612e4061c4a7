"""simulation: child processes of a simulated run: their environment, logs, and how they are ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from client.node.folder import SITES_VARIABLE

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TAIL_LINES = 25
_OBJECT_STORE_BYTES = 2**30


@dataclass(eq=False)
class FlowerRuntimeError(Exception):
    """The run could not be started or followed to its end. `message` says what happened and what to do."""

    message: str
    log: str = ""

    def __str__(self) -> str:
        return self.message


class FollowedLog:
    """A log file that a child process writes and that is read here as it grows, without terminal colours."""

    def __init__(self, path: Path, on_line: Callable[[str], None] | None, skip: str | None = None) -> None:
        self.path = path
        self._skip = skip
        self._on_line = on_line
        self._lines: list[str] = []
        self._rest = b""
        self._offset = 0

    def update(self, *, final: bool = False) -> None:
        """Take up what was written since the last call; `final` also takes an unfinished last line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            fresh = stream.read()
        self._offset += len(fresh)
        *complete, self._rest = (self._rest + fresh).split(b"\n")
        if final and self._rest:
            complete.append(self._rest)
            self._rest = b""
        for raw in complete:
            line = _ANSI.sub("", raw.decode("utf-8", errors="replace")).rstrip()
            if self._skip is not None and self._skip in line:
                continue
            self._lines.append(line)
            if self._on_line is not None:
                self._on_line(line)

    def restart(self) -> None:
        """Forget what was read, for a file that is written anew."""
        self.path.unlink(missing_ok=True)
        self._lines, self._rest, self._offset = [], b"", 0

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self._lines)

    @property
    def tail(self) -> str:
        """The last lines."""
        return "\n".join(self._lines[-_TAIL_LINES:])


RAY_AS_OTHERS = {"RAY_worker_niceness": "0"}
"""Ray puts its workers, which are the hospitals, behind all other programs (niceness 15): on a busy machine they starve
while the server waits for them."""


def child_environment(
    home: Path,
    ray_folder: Path,
    sites: list[Path],
    extra: Mapping[str, str],
    ray_address: str | None = None,
    commands: Path | None = None,
) -> dict[str, str]:
    """The environment of all processes of a run, into which no Flower or Ray setting of the caller leaks.

    Commands are looked for in `commands` first. With the address of a Ray cluster, what the caller has of its secret
    (`RAY_AUTH_*`) is kept.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "RAY_"))}
    environment = inherited | dict(extra)
    # Without compiled modules every start takes twice as long.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # Flower's HTTP client obeys proxy settings, also for this machine.
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = ",".join(filter(None, [environment.get(name, ""), "127.0.0.1", "localhost"]))
    folders = os.pathsep.join(str(site.resolve()) for site in sites)
    ray = _own_ray(ray_folder) if ray_address is None else _cluster(ray_address, folders)
    return environment | {
        # Flower's daemons start their helpers by bare name.
        "PATH": os.pathsep.join(
            [*([str(commands)] if commands else []), str(_scripts()), environment.get("PATH", os.defpath)]
        ),
        SITES_VARIABLE: folders,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PYTHONUNBUFFERED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Leave a GPU visible to the clients: all of them share it.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **ray,
    }


def _own_ray(ray_folder: Path) -> dict[str, str]:
    return {
        # Always a new Ray instance: without this Ray may attach to one that already runs on the machine.
        "RAY_ADDRESS": "local",
        "RAY_TMPDIR": str(ray_folder),
        "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(_OBJECT_STORE_BYTES),
        # Ray listens on all addresses of the machine, and who reaches it may run code: it asks for a secret.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **RAY_AS_OTHERS,
    }


def _cluster(address: str, folders: str) -> dict[str, str]:
    """For a Ray that is there already: its processes inherit nothing of ours, so they are told where sites lie."""
    told = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}
    job = {"runtime_env": {"env_vars": {SITES_VARIABLE: folders}}}
    return {**told, "RAY_ADDRESS": address, "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}


def _scripts() -> Path:
    """The folder of this environment's commands; not resolved, as a venv's python is a link out of it."""
    return Path(sys.executable).parent


def executable(name: str) -> str:
    """The path of one of this environment's commands."""
    path = _scripts() / name
    if not path.is_file():
        raise FlowerRuntimeError(
            f"The command {name} is missing from {_scripts()}; install FedMVI with its simulation extra."
        )
    return str(path)


def short_temporary_folder() -> Path:
    """Where Ray's session goes: the paths of its sockets must stay under about 100 characters."""
    short = Path("/tmp")  # noqa: S108  a folder that only we can read is made in it
    return short if short.is_dir() else Path(tempfile.gettempdir())


def private_folder(prefix: str, parent: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed at the end; a failure to remove it must not hide how the run ended."""
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)


def groups_of(home: Path) -> set[int]:
    """The process groups, other than ours, with a process whose Flower home is `home`; none where there is no /proc."""
    marker = f"FLWR_HOME={home}".encode()
    groups: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                groups.add(os.getpgid(int(entry.name)))
    return groups - {os.getpgrp()}


def start_watchdog(*folders: Path) -> subprocess.Popen[bytes]:
    """Start what ends the run and removes the folders when this process ends, even by SIGKILL; see `watchdog`."""
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", "simulation.watchdog", *map(str, folders)],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def signal_groups(groups: set[int], number: signal.Signals) -> None:
    """Send a signal to process groups; those that have ended or are not ours are passed over."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


@contextlib.contextmanager
def terminate_as_exception() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that a terminated run cleans up; a handler of the caller's is kept."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""server/hub: starts a hub: SuperLink, proxy, executor and steward under one supervisor in the foreground."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from common.deployment.owner import refuse_root
from common.deployment.ports import free_port, listens
from common.errors import FedmviError
from common.files import write_whole
from common.flower.environment import flower_environment
from common.flower.supervisor import Child, Supervisor
from common.observing.logs import LogFormat, configure
from common.observing.service import Notice, notify
from server.hub import proxy
from server.hub.expiry_warning import ExpiryWarning
from server.hub.folder import Hub, load_hub

START_SECONDS = 60.0
SECRET_BYTES = 32
LOCK_SECONDS = 1.0

_LOG = logging.getLogger("fedmvi.hub")


def start(folder: Path, style: LogFormat) -> None:
    """Run a hub until SIGTERM or SIGINT; on return none of its processes is left.

    Raises
    ------
    FedmviError
        739 the folder is no hub's, 728 it is another user's and this is root, 747 nginx is absent, 746 the hub runs
        already, 749 a port is taken.
    """
    hub = load_hub(folder)
    refuse_root(hub.folder)
    proxy.find_nginx()
    os.umask(0o077)  # database, logs and sockets are the hub's alone
    (hub.state / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
    configure(style, hub.state / "log" / "local.log", part="hub")
    with _locked(hub):
        for port in (hub.superlink_port, hub.port):
            if listens(port):
                raise FedmviError(749, port=port)
        proxy.write_configuration(hub)
        watch = _Watch(hub)
        supervisor = Supervisor(_children(hub, watch, style), watch=watch)
        _LOG.info("hub of %s for %d sites: starting", hub.consortium, len(hub.site_keys))
        try:
            supervisor.run()
        finally:
            (hub.state / "hub.json").unlink(missing_ok=True)
            _LOG.info("the hub has ended")


def read_state(hub: Hub) -> dict[str, object] | None:
    """What the running hub says of itself: `pid`, `started`, `ready`, `health_port`, `processes`; None if none runs."""
    try:
        state: dict[str, object] = json.loads((hub.state / "hub.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if _is_locked(hub) else None


def _children(hub: Hub, watch: _Watch, style: LogFormat) -> list[Child]:
    secret = hub.state / "executor.secret"
    write_whole(secret, secrets.token_bytes(SECRET_BYTES))
    home, log = hub.state / "flower", hub.state / "log"
    environment = flower_environment(home)
    # -P: the working directory is no place to look for code.
    python = [sys.executable, "-P", "-m"]
    superlink = [
        *(*python, "server.hub.superlink"),
        *("--host", "127.0.0.1", "--port", str(hub.superlink_port)),
        *("--ssl-ca-certfile", str(hub.ca)),
        *("--ssl-certfile", str(hub.server_certificate), "--ssl-keyfile", str(hub.server_key)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
        *("--database", str(hub.state / "superlink.db")),
        *("--health-server-address", f"127.0.0.1:{watch.health_port}"),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]
    # The SuperLink writes a line for each request of ours otherwise, and we ask twice a second.
    quiet = flower_environment(home, FLWR_LOG_LEVEL="WARNING")
    return [
        Child("superlink", superlink, quiet, log / "superlink.log"),
        # It ends its workers when it is asked to end, and not when it is killed.
        Child("proxy", proxy.command(hub), environment, log / "proxy.log", orphaned=signal.SIGTERM),
        Child("executor", [*python, "server.hub.executor", str(hub.folder), str(secret), style.value], environment),
        Child("steward", [*python, "server.hub.steward", str(hub.folder), watch.started, style.value], environment),
    ]


class _Watch:
    """Looks at the running hub: says when it is ready, tells others where it is, and takes up new certificates."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.started = datetime.now(UTC).isoformat(timespec="microseconds")
        self.health_port = free_port()
        self._begun, self._ready, self._late = time.time(), False, False
        self._warn_of_expiry = ExpiryWarning(hub.folder)
        self._written: dict[str, object] = {}
        self._versions = self._read_versions()

    def __call__(self, processes: Mapping[str, int]) -> None:
        """What the supervisor calls again and again."""
        if not self._ready:
            self._look_whether_ready()
        state: dict[str, object] = {
            "pid": os.getpid(),
            "started": self.started,
            "ready": self._ready,
            "health_port": self.health_port,
            "processes": dict(processes),
        }
        if state != self._written:
            write_whole(self._hub.state / "hub.json", (json.dumps(state, indent=1) + "\n").encode())
            self._written = state
        versions = self._read_versions()
        if versions != self._versions:
            self._take_up(versions, processes)
        self._warn_of_expiry()

    def _look_whether_ready(self) -> None:
        hub = self._hub
        # The steward finds everything in order only if the SuperLink answers it.
        parts = {"proxy": listens(hub.port), "SuperLink": looked_at(hub) > self._begun}
        if all(parts.values()):
            self._ready = True
            _LOG.info("ready: hospitals reach %s:%d", hub.host, hub.port)
            notify(Notice.READY)
        elif not self._late and time.time() - self._begun > START_SECONDS:
            self._late = True
            part = next(name for name, there in parts.items() if not there)
            _LOG.error("%s", FedmviError(748, str(hub.state / "log"), part=part))

    def _read_versions(self) -> dict[str, tuple[int, int]]:
        """When the files were changed that proxy and SuperLink read only when they start."""
        versions = {}
        for path in (self._hub.revocations, self._hub.ca, self._hub.server_certificate, self._hub.server_key):
            with suppress(FileNotFoundError):  # it is being replaced
                status = path.stat()
                versions[path.name] = (status.st_mtime_ns, status.st_ino)
        return versions

    def _take_up(self, versions: dict[str, tuple[int, int]], processes: Mapping[str, int]) -> None:
        """New revocations reach the proxy without a break; a new certificate of the server restarts the SuperLink."""
        changed = {name for name in versions if versions[name] != self._versions.get(name)}
        self._versions = versions
        _LOG.info("taken up: %s", ", ".join(sorted(changed)))
        if changed - {self._hub.revocations.name} and "superlink" in processes:
            os.kill(processes["superlink"], signal.SIGTERM)
        if "proxy" in processes:
            os.kill(processes["proxy"], signal.SIGHUP)


def looked_at(hub: Hub) -> float:
    """When the steward last found everything in order (seconds since the epoch); 0 if it never did."""
    try:
        return (hub.state / "steward").stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def _locked(hub: Hub) -> Iterator[None]:
    with (hub.state / ".lock").open("w") as lock:
        limit = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > limit:  # `read_state` has it for no longer than a moment
                    raise FedmviError(746, str(hub.folder)) from error
                time.sleep(0.05)
        yield


def _is_locked(hub: Hub) -> bool:
    try:
        with (hub.state / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

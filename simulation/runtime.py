"""simulation: one Flower run over Flower's simulation runtime, with a SuperLink that lives for this run only.

Why a SuperLink of our own. `flwr run` would otherwise use one that Flower manages for the user. It outlives
the run and keeps the folder it was first started in, from which the client processes import *before* they
look at the bundle: a second app with the same package names can silently run the first app's code. Here every
run has its own SuperLink, port, Flower home, Ray session and empty working directory, and nothing survives
it. Runs at the same time share nothing.

Which code runs. The bundle's, on both sides, also where FedMVI is installed, editable or not: Flower puts
the unpacked bundle first on `sys.path`, and Ray hands that path to its workers as `PYTHONPATH`. Only the
(empty) working directory, the folder of the commands and Ray's own folders come before it in a worker. The
finder of an editable install is asked last. The tests hold this; what a run relies on is the code fingerprint
that both sides exchange.

What differs from a deployment. A worker process lives for the whole run and serves several sites in turn, so
a client must keep nothing about a site in its modules. Nodes have no name, a random key and the status
"online"; a client knows its site by `context.node_config["partition-id"]`, an index into `FEDMVI_SITES`, and
the server learns which node that is only from a reply.

Details of Flower and Ray on which this file depends were observed with the pinned versions; tests hold them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.node.folder import SITES_VARIABLE
from common.deployment.ports import free_port
from simulation.engine import write_command
from simulation.processes import (
    FlowerRuntimeError,
    FollowedLog,
    child_environment,
    executable,
    groups_of,
    private_folder,
    short_temporary_folder,
    signal_groups,
    start_watchdog,
    terminate_as_exception,
)

CONNECTION = "simulation"

_READY = "Uvicorn running on"
_PORT_TAKEN = "address already in use"
_POLL_SECONDS = 0.05
_SUPERLINK_START_SECONDS = 120.0
_LIST_SECONDS = 120.0
_STOP_SECONDS = 3.0
_KILL_SECONDS = 5.0
_PORT_ATTEMPTS = 3
_ACCESS_LOG = "[uvicorn.access]"


@dataclass(frozen=True)
class FlowerRun:
    """How one run ended.

    `status` is Flower's own word: "finished:completed", "finished:failed" or "finished:stopped". "Completed"
    says only that the ServerApp returned; Flower says so too when every client failed. `startup_seconds` is
    about the part of `seconds` before Flower called the run running. The start of Ray comes after it and
    falls into the first round, because the ServerApp is running by then.
    """

    status: str
    seconds: float
    startup_seconds: float
    log: str


def run_on_flower(
    bundle: Path,
    run_config: dict[str, str | int | float | bool],
    *,
    sites: list[Path],
    workdir: Path,
    environment: dict[str, str] | None = None,
    cpus: int = 2,
    ray_address: str | None = None,
    timeout_s: float = 3600.0,
    on_line: Callable[[str], None] | None = None,
) -> FlowerRun:
    """Run the Flower app in `bundle` with one simulated SuperNode per entry of `sites`, and wait for its end.

    Node i has `partition-id` i and finds its folder as entry i of `FEDMVI_SITES`. `run_config` overrides keys
    that the bundle declares. At most `cpus` clients answer at a time. `environment` is added to that of every
    process. `on_line` receives each line of the run's log as it comes, in the calling thread.

    With `ray_address`, `HOST:PORT` of a Ray cluster, its machines answer instead, as many clients at a time as they
    have processors; they must see `workdir` and the sites under the same paths.

    Everything started here has ended when this returns or raises, also on Ctrl-C, SIGTERM and `timeout_s`.
    """
    if not sites:
        raise FlowerRuntimeError("A simulated run needs at least one site; name the sites' folders.")
    if any(os.pathsep in str(site.resolve()) for site in sites):
        raise FlowerRuntimeError(
            f"A site's folder has {os.pathsep!r} in its path, but that separates the folders in "
            f"{SITES_VARIABLE}; rename that folder."
        )
    begun = time.monotonic()
    deadline = begun + timeout_s
    workdir.mkdir(parents=True, exist_ok=True)
    with (
        terminate_as_exception(),
        private_folder("flower-", workdir.resolve()) as own,
        private_folder("fm-", short_temporary_folder()) as ray_folder,
    ):
        watchdog = start_watchdog(Path(own), Path(ray_folder))
        home, neutral = Path(own, "home"), Path(own, "cwd")
        home.mkdir()
        neutral.mkdir()
        commands = Path(own, "bin")
        write_command(commands)
        flower = _Flower(
            home=home,
            cwd=neutral,
            environment=child_environment(home, Path(ray_folder), sites, environment or {}, ray_address, commands),
            log=FollowedLog(Path(own, "run.log"), on_line),
            superlink_log=FollowedLog(Path(own, "superlink.log"), None, skip=_ACCESS_LOG),
            deadline=deadline,
            timeout_s=timeout_s,
        )
        try:
            flower.start_superlink()
            flower.run_app(bundle.resolve(), run_config, nodes=len(sites), cpus=None if ray_address else cpus)
            ended = time.monotonic()
            status, running_seconds = flower.outcome()
        finally:
            flower.stop()
            watchdog.communicate()
        return FlowerRun(
            status=status,
            seconds=time.monotonic() - begun,
            startup_seconds=max(0.0, ended - begun - running_seconds),
            log=flower.combined_log(),
        )


@dataclass
class _Flower:
    """The processes of one run: the SuperLink with all that it starts, and `flwr run` following the log."""

    home: Path
    cwd: Path
    environment: dict[str, str]
    log: FollowedLog
    superlink_log: FollowedLog
    deadline: float
    timeout_s: float
    superlink: subprocess.Popen[bytes] | None = None
    client: subprocess.Popen[bytes] | None = None

    def start_superlink(self) -> None:
        """Start the SuperLink and wait until it says that it listens.

        Its own word is awaited, not an open port: that could belong to the SuperLink of another run.
        """
        for _ in range(_PORT_ATTEMPTS):
            port = free_port()
            self.superlink_log.restart()
            self.superlink = self._spawn(
                self.superlink_log,
                "flower-superlink",
                "--simulation",
                "--insecure",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--disable-runtime-dependency-installation",
            )
            limit = min(self.deadline, time.monotonic() + _SUPERLINK_START_SECONDS)
            while self.superlink.poll() is None:
                self.superlink_log.update()
                if _READY in self.superlink_log.text:
                    self._write_connection(port)
                    return
                if time.monotonic() > limit:
                    raise self._failure(
                        "Flower's SuperLink did not start in time; look at the log below and try again."
                    )
                time.sleep(_POLL_SECONDS)
            self.superlink_log.update(final=True)
            if _PORT_TAKEN not in self.superlink_log.text:
                break
        raise self._failure(
            "Flower's SuperLink ended before it was ready; check that flwr[simulation] is installed in this "
            "environment and look at the log below."
        )

    def run_app(
        self, bundle: Path, run_config: Mapping[str, str | int | float | bool], *, nodes: int, cpus: int | None
    ) -> None:
        """Let `flwr run` pack and submit the bundle, and pass the run's log on until the run has ended.

        Streaming costs less than asking for the status again and again, which starts a process each time. The
        exit code of `flwr run` says nothing about the run and is not read.
        """
        overrides = self.home / "run-config.toml"
        overrides.write_text(
            "".join(f"{key} = {_toml(value)}\n" for key, value in run_config.items()), encoding="utf-8"
        )
        federation = {"num-supernodes": nodes, "client-resources-num-cpus": 1}
        if cpus is not None:  # a cluster that is there already has as many as it has
            federation["init-args-num-cpus"] = cpus
        self.client = client = self._spawn(
            self.log,
            "flwr",
            "run",
            str(bundle),
            CONNECTION,
            "--federation-config",
            " ".join(f"{key}={value}" for key, value in federation.items()),
            "--run-config",
            str(overrides),
            "--stream",
        )
        while client.poll() is None:
            self.log.update()
            self._check_alive()
            time.sleep(_POLL_SECONDS)
        self.log.update(final=True)

    def outcome(self) -> tuple[str, float]:
        """The run's true status and the seconds it was running, as the SuperLink knows them.

        The SuperLink has this one run only. If the stream broke off early, wait here until the run has ended.
        """
        while True:
            self._check_alive()
            run = self._list_run()
            if run is None:
                raise self._failure(
                    "Flower did not accept the app, so nothing was run; mend what the log below objects to "
                    "and run again."
                )
            status = str(run["status"])
            if status.startswith("finished"):
                self.log.update(final=True)
                return status, float(str(run["elapsed"]))
            time.sleep(1.0)

    def stop(self) -> None:
        """End every process that carries this run's Flower home: first by asking, then by force.

        Flower starts its helpers in a session of their own, in which Ray's processes stay, so the SuperLink's
        own group is not enough. Where the system has no /proc, they notice that the SuperLink has ended.
        """
        groups = self._groups()
        try:
            signal_groups(groups, signal.SIGTERM)
            self._wait_for_end(_STOP_SECONDS)
        finally:
            signal_groups(groups | self._groups(), signal.SIGKILL)
            self._wait_for_end(_KILL_SECONDS)
            self.superlink_log.update(final=True)

    def combined_log(self) -> str:
        return f"{self.log.text}\n\n--- SuperLink ---\n{self.superlink_log.text}\n"

    def _wait_for_end(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while self._groups() and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)

    def _groups(self) -> set[int]:
        """The process groups of this run, never our own: of our children, and of all with its Flower home."""
        children = (self.client, self.superlink)
        own = {child.pid for child in children if child is not None and child.poll() is None}
        return (own | groups_of(self.home)) - {os.getpgrp()}

    def _check_alive(self) -> None:
        if time.monotonic() > self.deadline:
            raise self._failure(
                f"The run did not end within {self.timeout_s:g} seconds and was stopped; allow more time or "
                "look at the log below for what it was waiting for."
            )
        if self.superlink is not None and self.superlink.poll() is not None:
            raise self._failure(
                "Flower's SuperLink ended while the run was going on, so the run is lost; the log below is "
                "what it last said. Look there for the cause, often too little memory, and run again."
            )

    def _list_run(self) -> dict[str, object] | None:
        """What `flwr ls` says about the run, or None when there is none."""
        said = ""
        try:
            answer = subprocess.run(  # noqa: S603  our own executable, no shell
                [executable("flwr"), "ls", CONNECTION, "--format", "json"],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LIST_SECONDS,
                check=False,
            )
            said = (answer.stdout + answer.stderr).strip()
            runs = json.loads(answer.stdout)["runs"]
        except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
            raise self._failure(
                "Flower did not say how the run ended: `flwr ls` gave no list of runs but "
                f"{said[-500:]!r}. Run again; if it stays so, check that the pinned flwr is installed."
            ) from error
        return dict(runs[0]) if runs else None

    def _spawn(self, log: FollowedLog, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        with log.path.open("wb") as stream:
            return subprocess.Popen(  # noqa: S603  our own executable, no shell
                [executable(command), *arguments],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _write_connection(self, port: int) -> None:
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n'
            f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
            encoding="utf-8",
        )

    def _failure(self, message: str) -> FlowerRuntimeError:
        for log in (self.log, self.superlink_log):
            log.update(final=True)
        tails = [
            f"--- last lines of {name} ---\n{log.tail}"
            for name, log in (("the SuperLink", self.superlink_log), ("flwr run", self.log))
            if log.tail
        ]
        return FlowerRuntimeError("\n".join([message, *tails]), self.combined_log())


def _toml(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)

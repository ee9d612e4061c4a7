"""simulation/network: a deployment on this machine: a hub and its sites, by the commands that people type.

`Network` does what a coordinator and data managers do, one command after another, each in a process of its own:
provision, install, start, enrol, submit. Only who restarts a daemon that was killed differs: a service manager at a
hospital, `start_hub` and `start_site` here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from client.node.connection import State as Step
from common.deployment.ports import free_ports
from common.errors import FedmviError
from server.hub.folder import load_hub
from server.hub.orders import ENDED, HubRun, State, run_named
from simulation.network import parts
from simulation.network.census import below, processes
from simulation.network.daemons import KILL_SECONDS, POLL_SECONDS, Daemons, await_true
from simulation.processes import executable

CONSORTIUM = "one-machine"
HUB = "hub"
COMMAND_SECONDS = 300.0
READY_SECONDS = 150.0
"""Flower refuses a node for about a minute after it was killed."""
STOP_SECONDS = 30.0
Progress = Callable[[str], None]


def silent(_step: str) -> None:
    """Progress that nobody reads."""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What a command with `--json` printed."""
        return json.loads(self.out)


class Network:
    """A hub and sites as processes of this machine; a context manager at whose end none of them lives.

    Entering provisions, enrols and starts everything. `provision`, `start_hub`, `enrol` and `start_site` do the steps
    one by one, for whoever enters `daemons` instead.

    Parameters
    ----------
    folder
        New or empty; everything but the sites is kept in it, and stays.
    sites
        Folders of sites by their names. Each gets an enrolment.
    progress
        Told what happens, in words.

    Attributes
    ----------
    hub
        The hub's folder.
    port, superlink_port
        Of the proxy and of the SuperLink.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Path], progress: Progress = silent) -> None:
        self.folder = folder.resolve()
        self.sites = {name: path.resolve() for name, path in sites.items()}
        self.hub = self.folder / HUB
        self.kits = self.folder / "kits"
        self.passphrases = self.folder / "passphrases.txt"
        self.daemons = Daemons(self.folder)
        self.port, self.superlink_port = free_ports(2)
        self._progress = progress
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Network:
        if self.folder.exists() and any(self.folder.iterdir()):
            raise FedmviError(213, str(self.folder))
        self.daemons.__enter__()
        try:
            self.provision()
            self.start_hub()
            for name in self.sites:
                self.enrol(name)
            self.start_sites()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End sites and hub as their service manager would, then whatever is left."""
        try:
            for name in [*self.sites, HUB]:
                self.ask_to_stop(name)
            for name in [*self.sites, HUB]:
                self.stop(name)
        finally:
            self.daemons.__exit__(None, None, None)

    # --------------------------------------------------------------------------------------------------- commands

    def command(self, program: str, *arguments: str, seconds: float = COMMAND_SECONDS) -> Said:
        """Run one of our commands as a person at this machine does, and wait for its end."""
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            [executable(program), *arguments], env=self.daemons.environment("person"), cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def expect(self, program: str, *arguments: str) -> Said:
        """The same; error 821 unless it ends with 0."""
        said = self.command(program, *arguments)
        if said.code != 0:
            raise FedmviError(821, f"exit code {said.code}\n{said.out}{said.err}", command=f"{program} {arguments[0]}")
        return said

    def provision(self) -> None:
        """A kit for every participant, and the hub's folder from its kit."""
        declared = self.folder / "consortium.toml"
        declared.write_text(_consortium(self.port, self.superlink_port, list(self.sites)), encoding="utf-8")
        kits = ("--out", str(self.kits), "--passphrases", str(self.passphrases))
        self.expect("fedmvi-server", "provision", str(declared), *kits)
        self._progress(f"provisioned: an authority, a kit for the hub and for each of {len(self.sites)} sites")
        self.install()
        self._progress("the hub has installed its kit")

    def install(self) -> None:
        """Install the hub's newest kit."""
        phrase = ("--passphrase-file", str(self.passphrases))
        self.expect("fedmvi-server", "install", str(self.kits / "hub.kit"), "--hub", str(self.hub), *phrase)

    def enrol(self, name: str) -> None:
        """Install a site's kit and test its connection to the hub, step by step."""
        kit, site = str(self.kits / f"{name}.kit"), str(self.sites[name])
        phrase = ("--passphrase-file", str(self.passphrases))
        said = self.expect("fedmvi-site", "enrol", kit, "--site", site, *phrase, "--json").json()
        self._progress(f"{name} is enrolled: {_steps(said)}")

    # ------------------------------------------------------------------------------------------------- daemons

    def start_hub(self, code: Path | None = None) -> None:
        """Start the hub and wait until it is ready; error 819 if it does not get so.

        `code` is a folder with other packages than the installed ones, for a hub that runs those.
        """
        self._start(HUB, "fedmvi-server", "start", "--hub", str(self.hub), code=code)
        self._await_ready(HUB)
        self._progress(f"the hub is ready: port {self.port} for hospitals, {self.superlink_port} for itself alone")

    def start_site(self, name: str) -> None:
        """Start a site's node and wait until it is connected; error 819 if it does not get so."""
        self._start(name, "fedmvi-site", "start", "--site", str(self.sites[name]))
        self._await_ready(name)
        self._progress(f"{name} is connected")

    def start_sites(self) -> None:
        """Start all sites at once."""
        for name, folder in self.sites.items():
            self._start(name, "fedmvi-site", "start", "--site", str(folder))
        for name in self.sites:
            self._await_ready(name)
        self._progress(f"{len(self.sites)} sites are connected")

    def ask_to_stop(self, name: str) -> None:
        """SIGTERM for the hub or a site."""
        daemon = self._supervisors.get(name)
        if daemon is not None and daemon.poll() is None:
            daemon.terminate()

    def stop(self, name: str) -> None:
        """End the hub or a site as a service manager does, and wait for it."""
        self.ask_to_stop(name)
        daemon = self._supervisors.pop(name, None)
        if daemon is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_SECONDS)

    def log(self, name: str) -> Path:
        """The log of the hub or of a site."""
        return self.daemons.log(name)

    def _start(self, name: str, program: str, *arguments: str, code: Path | None = None) -> None:
        command, environment = [executable(program), *arguments], self._environment(name)
        if code is not None:
            environment["PYTHONPATH"] = str(code)
        self._supervisors[name] = self.daemons.start(name, command, environment)

    def _environment(self, name: str) -> dict[str, str]:
        """What a daemon's process sees."""
        return self.daemons.environment(name)

    def _await_ready(self, name: str) -> None:
        daemon, log = self._supervisors[name], self.log(name)

        def ready() -> bool:
            if name == HUB:
                return parts.hub_is_ready(self.hub, daemon.pid)
            return parts.site_is_ready(self.sites[name], daemon.pid)

        await_true(ready, daemon, READY_SECONDS, log)

    # ------------------------------------------------------------------------------------------------- the parts

    def pids(self, part: str) -> list[int]:
        """The processes of a part, as `parts` names them; none while it is not there."""
        kind, _, site = part.partition(":")
        daemon = self._supervisors.get(site or HUB)
        return [] if daemon is None else parts.find(processes(), daemon.pid, kind)

    def living(self) -> set[int]:
        """All processes of the deployment."""
        return set(below(self.folder))

    def await_part(self, part: str, seconds: float = READY_SECONDS) -> int:
        """The process of a part as soon as there is one; error 819 if none comes."""
        limit = time.monotonic() + seconds
        while not (found := self.pids(part)):
            if time.monotonic() > limit:
                raise FedmviError(819, f"no process in {seconds:g} s", part=part)
            time.sleep(POLL_SECONDS)
        return found[0]

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> list[int]:
        """SIGKILL every process of a part at once, and wait until they are dead; returns which they were."""
        found = self.pids(part)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        limit = time.monotonic() + KILL_SECONDS
        while number == signal.SIGKILL and time.monotonic() < limit:
            everyone = processes()
            if all(pid not in everyone or everyone[pid].zombie for pid in found):
                break
            time.sleep(POLL_SECONDS)
        return found

    def restart_if_killed(self) -> list[str]:
        """Start the hub and the sites whose supervisor has ended, as a service manager does; says which."""
        started = []
        for name, daemon in list(self._supervisors.items()):
            if daemon.poll() is not None:
                daemon.wait(KILL_SECONDS)
                self.start_hub() if name == HUB else self.start_site(name)
                started.append(name)
        return started

    # ------------------------------------------------------------------------------------------------- studies

    def submit(self, study: Path, name: str = "") -> HubRun:
        """Submit a study by the command; returns its run."""
        # The command runs in a folder of its own.
        words = (str(study.resolve()), "--hub", str(self.hub), *(("--name", name) if name else ()))
        said = self.expect("fedmvi-server", "submit", *words, "--json").json()
        return self.run(str(said["run"]))

    def run(self, name: str) -> HubRun:
        """A run of the hub by its name."""
        return run_named(load_hub(self.hub), name)

    def await_end(self, run: HubRun, seconds: float, on_step: Progress = silent) -> State:
        """Wait until a run has ended and say how; error 819 if it has not after so many seconds."""
        limit, step = time.monotonic() + seconds, ""
        while (state := run.state) not in ENDED:
            progress = run.progress
            if progress is not None and progress.step not in ("", step):
                step = progress.step
                on_step(step)
            if time.monotonic() > limit:
                raise FedmviError(819, f"run {run.name} is {state.value} after {seconds:g} s; {progress}", part="run")
            time.sleep(POLL_SECONDS)
        return state

    def status(self) -> Any:
        """What `fedmvi-server status --json` says."""
        return self.command("fedmvi-server", "status", "--hub", str(self.hub), "--json").json()


def _steps(said: dict[str, Any]) -> str:
    """How the connection test went, in words."""
    passed = [step["step"] for step in said["steps"] if step["state"] == Step.PASSED]
    noted = [f"{step['step']}: {step['words']}" for step in said["steps"] if step["state"] == Step.NOTED]
    return "; ".join([f"{len(passed)} checks passed ({', '.join(passed)})", *noted])


def _consortium(port: int, superlink_port: int, sites: list[str]) -> str:
    head = f'[consortium]\nname = "{CONSORTIUM}"\ncontact = "whoever runs this"\nhost = "127.0.0.1"\n'
    ports = f"port = {port}\nsuperlink_port = {superlink_port}\n"
    return head + ports + "".join(f'\n[[sites]]\nname = "{name}"\ncontact = "{name}"\n' for name in sites)

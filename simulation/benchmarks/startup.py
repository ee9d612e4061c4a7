"""simulation: benchmarks: how long the programs take to start, beside bare Flower and a bare interpreter.

Three things are started, again and again, each in a process of its own: a command that prints its help; the process
that answers messages, up to the point where it could take one; and a hospital's node, up to its first attempt to reach
the hub, at whose port somebody listens and never answers. Modules are compiled once, before anything is timed, as the
installation of a wheel does it.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from client.cohort.site import load_site
from client.cohort.template import init_site
from client.node.enrolment import load_enrolment
from common.errors import FedmviError
from simulation.benchmarks.measuring import Benchmark, Timed
from simulation.network.census import descendants, processes
from simulation.network.daemons import end_all, tail
from simulation.network.deployment import Network
from simulation.processes import executable

PYTHON, SITE, SERVER, SIMULATE = "python", "fedmvi-site", "fedmvi-server", "fedmvi-simulate"
BARE_MESSAGE, OUR_MESSAGE, OUR_EXECUTOR = "bare Flower, a message", "ours, a message", "ours, the executor"
BARE_NODE, OUR_NODE = "bare Flower's node", "our node"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
_SECONDS = 120.0
_RUNTIME = "import flwr.supernode.runtime.run_clientapp"
_LOADS = {
    # What Flower starts for a message with an app of its own, and with ours (in simulations, and under a stock node).
    BARE_MESSAGE: f"{_RUNTIME}; from simulation.benchmarks.baselines.bare_flower.client_app import app",
    OUR_MESSAGE: f"{_RUNTIME}; from client.app import app",
    # What our daemon loads once, until it asks for messages, which are then answered in forks of it.
    OUR_EXECUTOR: f"{_RUNTIME}; from client.node import executor",
}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Spent:
    """What one start took.

    Attributes
    ----------
    wall, processor
        Seconds; those of processors are of the process and of all below it.
    """

    wall: float
    processor: float


@dataclass(frozen=True)
class Startup:
    """Every start by what was started."""

    spent: Mapping[str, Sequence[Spent]]

    def wall(self, name: str) -> float:
        """Median seconds."""
        return statistics.median(one.wall for one in self.spent[name])

    def processor(self, name: str) -> float:
        """Median seconds of processors."""
        return statistics.median(one.processor for one in self.spent[name])

    @property
    def differences(self) -> dict[str, float]:
        """Seconds that ours takes longer than bare Flower, by median."""
        pairs = {OUR_MESSAGE: BARE_MESSAGE, OUR_EXECUTOR: BARE_MESSAGE, OUR_NODE: BARE_NODE}
        return {ours: self.wall(ours) - self.wall(bare) for ours, bare in pairs.items()}

    def report(self) -> dict[str, Any]:
        """The standard form, of the process for a message; with every start and the differences beside it."""
        timed = {name: Timed(name, tuple(one.wall for one in found)) for name, found in self.spent.items()}
        done = Benchmark("startup", timed[OUR_MESSAGE], (timed[BARE_MESSAGE],), True, ("flwr",))
        started = {name: {"wall_s": self.wall(name), "processor_s": self.processor(name)} for name in self.spent}
        return done.report() | {"started": started, "differences_s": self.differences}


def benchmark_startup(repeats: int, progress: Progress) -> Startup:
    """Start everything so many times, in turn.

    Raises
    ------
    FedmviError
        819 something does not start, 821 a site could not be enrolled.
    """
    with TemporaryDirectory(prefix="fedmvi-startup-") as name:
        folder = Path(name).resolve()
        network = Network(folder / "network", {name: folder / "sites" / name for name in HOSPITALS})
        with network.daemons:
            compiled = {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}
            environment = network.daemons.environment("started") | compiled
            progress("make a site and enrol it")
            starts = _commands(environment) | _nodes(network, environment)
            spent: dict[str, list[Spent]] = {key: [] for key in starts}
            for repeat in range(repeats + 1):
                progress("compile all modules" if repeat == 0 else f"repeat {repeat} of {repeats}")
                for key, start in starts.items():
                    found = start()
                    if repeat > 0:
                        spent[key].append(found)
    return Startup(spent)


def _commands(environment: Mapping[str, str]) -> dict[str, Callable[[], Spent]]:
    """Starts that end by themselves."""
    commands = {PYTHON: [sys.executable, "-c", "pass"]}
    commands |= {f"{name} --help": [executable(name), "--help"] for name in (SITE, SERVER, SIMULATE)}
    commands |= {name: [sys.executable, "-c", f"{loads}; import os; os._exit(0)"] for name, loads in _LOADS.items()}

    def starting(command: list[str]) -> Callable[[], Spent]:
        return lambda: _ended(command, environment)

    return {name: starting(command) for name, command in commands.items()}


def _ended(command: Sequence[str], environment: Mapping[str, str]) -> Spent:
    """Run a command to its end."""
    begun = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise FedmviError(819, f"{command}: exit code {process.returncode}", part=Path(command[0]).name)
    return Spent(wall, used.ru_utime + used.ru_stime)


def _nodes(network: Network, environment: dict[str, str]) -> dict[str, Callable[[], Spent]]:
    """Starts of a hospital's node, Flower's own and ours, with the same keys."""
    for name, site in network.sites.items():
        init_site(site, name)
    network.provision()
    name = HOSPITALS[0]
    site, kit = network.sites[name], network.kits / f"{name}.kit"
    phrase = ("--passphrase-file", str(network.passphrases))
    network.expect("fedmvi-site", "enrol", str(kit), "--site", str(site), *phrase, "--offline")
    keys = load_enrolment(load_site(site))
    bare = [
        *(executable("flower-supernode"), "--superlink", f"127.0.0.1:{network.port}"),
        *("--root-certificates", str(keys.ca), "--auth-supernode-private-key", str(keys.node_key)),
        *("--host", "127.0.0.1", "--port", str(network.superlink_port)),
    ]
    ours = [executable(SITE), "start", "--site", str(site)]

    def starting(name: str, command: list[str]) -> Callable[[], Spent]:
        return lambda: _reached(network, name, command, environment)

    return {BARE_NODE: starting("bare", bare), OUR_NODE: starting("ours", ours)}


def _reached(network: Network, name: str, command: list[str], environment: dict[str, str]) -> Spent:
    """Start a daemon, see when it first tries to reach the hub, and end it."""
    with closing(socket.create_server(("127.0.0.1", network.port))) as hub:
        hub.settimeout(_SECONDS)
        begun = time.perf_counter()
        daemon = network.daemons.start(name, command, environment)
        try:
            hub.accept()[0].close()
        except TimeoutError as error:
            raise FedmviError(819, tail(network.daemons.log(name)), part=name) from error
        wall = time.perf_counter() - begun
        everyone = processes()
        used = sum(everyone[pid].seconds for pid in descendants(everyone, [daemon.pid]))
    end_all(network.folder)
    return Spent(wall, used)

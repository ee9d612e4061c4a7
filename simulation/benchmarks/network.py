"""simulation: benchmarks: a round of a deployed study beside a round of a bare Flower app, on the same machine.

Three deployments of three sites: Flower's own with an app whose messages are empty; ours; and ours with Flower's stock
node, which stands for a hospital that does not want our launcher. Bytes are counted by relays on the way of each site,
processor time and memory by the system. Ours does a real study: its rounds compute, are masked, recorded and journaled.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from client.cohort.site import load_site
from client.node.enrolment import load_enrolment
from client.node.folder import SITES_VARIABLE, NodeFolder
from client.preparation.prepare import prepare
from common.deployment.ports import free_port
from common.errors import FedmviError
from common.files import write_whole
from common.study.loader import load_study
from server.hub.folder import load_hub
from server.hub.orders import HubRun, State
from server.study.execution import Action
from simulation.benchmarks.baselines.stock_flower import Keys, StockFlower, stock_flower
from simulation.benchmarks.measuring import Benchmark, Timed
from simulation.network import parts
from simulation.network.census import Process, descendants, processes
from simulation.network.costs import Kinds, Rounds, follow, memory, together
from simulation.network.daemons import await_port
from simulation.network.deployment import HUB, STOP_SECONDS, Network
from simulation.network.example import make_example_hospitals, write_example_study
from simulation.network.relay import Relay
from simulation.processes import executable
from simulation.running import Simulation

OURS, STOCK_NODE, BARE = "ours", "ours with Flower's node", "bare Flower"
RUN_SECONDS = 900.0
IDLE_SECONDS = 5.0
"""How long deployments that have worked are left alone before their memory is looked at."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class NetworkBenchmark:
    """A finished benchmark.

    Attributes
    ----------
    rounds
        Costs by deployment.
    idle
        Resident MiB by kind of process, of one idle site and of the hub.
    repeats
        How often each deployment was timed.
    equal
        Whether every deployed study gave the bytes of one process.
    """

    rounds: Mapping[str, Rounds]
    idle: Mapping[str, Mapping[str, float]]
    repeats: int
    equal: bool

    @property
    def ratios(self) -> dict[str, float]:
        """How many rounds of ours fit into one of bare Flower."""
        return {name: self.rounds[BARE].median / self.rounds[name].median for name in (OURS, STOCK_NODE)}

    def report(self) -> dict[str, Any]:
        """The standard form; `ratio` and `ratios` are of bare Flower over ours."""
        timed = {name: Timed(name, rounds.seconds, rounds.facts()) for name, rounds in self.rounds.items()}
        done = Benchmark("network", timed[OURS], (timed[BARE], timed[STOCK_NODE]), self.equal, ("flwr",))
        return done.report() | {
            "ratio": self.ratios[OURS],
            "ratios": self.ratios,
            "repeats": self.repeats,
            "idle_mib": {name: dict(kinds) for name, kinds in self.idle.items()},
        }


def benchmark_network(rounds: int, repeats: int, progress: Progress) -> NetworkBenchmark:
    """Time rounds of the three deployments in turn.

    Raises
    ------
    FedmviError
        819 and 821 where a deployment fails.
    """
    with TemporaryDirectory(prefix="fedmvi-network-") as folder:
        return _Bench(Path(folder).resolve(), rounds, repeats, progress).run()


class _Bench:
    def __init__(self, folder: Path, rounds: int, repeats: int, progress: Progress) -> None:
        self._folder, self._rounds, self._repeats, self._progress = folder, rounds, repeats, progress
        self._study = write_example_study(folder / "study.toml", "benchmark", models=True)
        sites = make_example_hospitals(folder / "sites")
        for site in sites.values():
            prepare(load_site(site), load_study(self._study))
        shutil.copytree(folder / "sites", folder / "one-process")
        self._expected, self._study_rounds = self._in_process()
        self._network = Network(folder / "ours", sites, progress)
        self._runs: list[HubRun] = []

    def run(self) -> NetworkBenchmark:
        measured: dict[str, list[Rounds]] = {OURS: [], BARE: [], STOCK_NODE: []}
        idle: dict[str, dict[str, float]] = {}
        with ExitStack() as stack:
            network = stack.enter_context(self._network)
            relays = self._relayed(stack)
            bare, bare_relays = self._bare(stack)
            for number in range(1, self._repeats + 1):
                self._progress(f"repeat {number} of {self._repeats}: {BARE}")
                measured[BARE].append(self._bare_rounds(bare, bare_relays))
                self._progress(f"repeat {number} of {self._repeats}: {OURS}")
                measured[OURS].append(self._study_once(relays, self._kinds_of_ours))
                if number == self._repeats:
                    time.sleep(IDLE_SECONDS)
                    idle = self._idle(bare)
                self._progress(f"repeat {number} of {self._repeats}: {STOCK_NODE}")
                with self._stock_nodes() as (nodes, node_relays):
                    measured[STOCK_NODE].append(self._study_once(node_relays, partial(self._kinds_with, nodes)))
                if number < self._repeats:
                    network.start_sites()
            equal = all(run.run.results_file.read_bytes() == self._expected for run in self._runs)
        costs = {name: together(found) for name, found in measured.items()}
        return NetworkBenchmark(costs, idle, self._repeats, equal)

    def _in_process(self) -> tuple[bytes, int]:
        out = self._folder / "run-in-process"
        simulation = Simulation.of(self._study, self._folder / "one-process", out, in_process=True)
        simulation.conduct(Action.RUN, lambda _: None)
        return simulation.run.results_file.read_bytes(), int(simulation.run.facts()["rounds"])

    # ---------------------------------------------------------------------------------------------- deployments

    def _relayed(self, stack: ExitStack) -> list[Relay]:
        """Lead every site to the hub over a relay; their nodes are started anew."""
        relays = []
        for name, site in self._network.sites.items():
            relay = stack.enter_context(Relay(self._network.port))
            self._network.stop(name)
            file = site / "enrolment" / "enrolment.toml"
            told = file.read_text(encoding="utf-8")
            write_whole(file, told.replace(f"port = {self._network.port}", f"port = {relay.port}").encode(), 0o644)
            relays.append(relay)
        self._network.start_sites()
        return relays

    def _keys(self) -> Keys:
        hub = load_hub(self._network.hub)
        enrolments = {name: load_enrolment(load_site(site)) for name, site in self._network.sites.items()}
        pairs = {name: (each.node_key, each.node_public_key) for name, each in enrolments.items()}
        return Keys(hub.ca, hub.server_certificate, hub.server_key, pairs)

    def _bare(self, stack: ExitStack) -> tuple[StockFlower, list[Relay]]:
        bare = stack.enter_context(stock_flower(self._folder / "bare", self._keys()))
        relays = []
        for name in bare.keys.nodes:
            relays.append(stack.enter_context(Relay(bare.port)))
            bare.start_node(name, relays[-1].port)
        return bare, relays

    @contextmanager
    def _stock_nodes(self) -> Iterator[tuple[dict[str, list[subprocess.Popen[bytes]]], list[Relay]]]:
        """Flower's SuperNode and our executor at each site, in place of our supervisor and its children.

        Without a certificate for the proxy a stock node reaches the SuperLink itself, as only this machine can.
        """
        network, keys, started = self._network, self._keys(), {}
        for name in network.sites:
            network.stop(name)
        with ExitStack() as stack:
            relays = []
            for name, folder in network.sites.items():
                site, port = load_site(folder), free_port()
                relays.append(stack.enter_context(Relay(network.superlink_port)))
                node = NodeFolder(site)
                write_whole(node.address, f"127.0.0.1:{port}".encode())
                environment = network.daemons.environment(f"stock-{name}") | {SITES_VARIABLE: str(site.folder)}
                link = ("--superlink", f"127.0.0.1:{relays[-1].port}", "--root-certificates", str(keys.ca))
                stock = network.daemons.start(
                    f"stock-node-{name}",
                    [
                        *(executable("flower-supernode"), *link),
                        *("--auth-supernode-private-key", str(keys.nodes[name][0])),
                        *("--isolation", "process", "--superexec-auth-secret-file", str(node.secret)),
                        *("--host", "127.0.0.1", "--port", str(port)),
                    ],
                    environment,
                )
                await_port(port, stock, RUN_SECONDS, network.daemons.log(f"stock-node-{name}"))
                ours = [sys.executable, "-P", "-m", "client.node.executor", str(site.folder), "text"]
                started[name] = [stock, network.daemons.start(f"executor-{name}", ours, environment)]
            yield started, relays
            for daemons in started.values():
                for daemon in daemons:
                    daemon.terminate()
            for daemons in started.values():
                for daemon in daemons:
                    with suppress(subprocess.TimeoutExpired):
                        daemon.wait(STOP_SECONDS)

    # -------------------------------------------------------------------------------------------- what is measured

    def _study_once(self, relays: list[Relay], kinds: Callable[[], Kinds]) -> Rounds:
        """The study once; the end of a round is when the journal has it."""
        run = self._network.submit(self._study, f"benchmark-{len(self._runs) + 1}")
        self._runs.append(run)

        def done() -> list[float]:
            failure = run.run.failure()
            if failure is not None:
                raise failure
            return [path.stat().st_mtime for path in sorted(run.run.journal.glob("[0-9]*.npz"))]

        costs = follow(done, kinds, relays, self._study_rounds, RUN_SECONDS)
        if (state := self._network.await_end(run, RUN_SECONDS)) is not State.FINISHED:
            raise FedmviError(819, f"the run is {state.value}; see {run.run.log_file}", part="run")
        return costs

    def _bare_rounds(self, bare: StockFlower, relays: list[Relay]) -> Rounds:
        """So many rounds of the bare app, after one that is not counted."""
        file = bare.submit(self._rounds + 1)

        def done() -> list[float]:
            total, ends = 0.0, []
            for line in file.read_text(encoding="utf-8").splitlines():
                total += float(line)
                ends.append(total)
            return ends

        return follow(done, lambda: _kinds_of_bare(bare), relays, self._rounds + 1, RUN_SECONDS)

    def _kinds_of_ours(self) -> dict[str, list[Process]]:
        everyone = processes()
        kinds = _named("hub", parts.by_kind(everyone, self._network.pids(HUB)[0]))
        for name in self._network.sites:
            for kind, found in parts.by_kind(everyone, self._network.pids(f"site:{name}")[0]).items():
                kinds.setdefault(f"site {kind}", []).extend(found)
        return kinds

    def _kinds_with(self, nodes: Mapping[str, list[subprocess.Popen[bytes]]]) -> dict[str, list[Process]]:
        everyone = processes()
        kinds = _named("hub", parts.by_kind(everyone, self._network.pids(HUB)[0]))
        for node, executor in nodes.values():
            for kind, daemon in (("node", node), ("executor", executor)):
                found = [everyone[pid] for pid in descendants(everyone, [daemon.pid])]
                kinds.setdefault(f"site {kind}", []).extend(found)
        return kinds

    def _idle(self, bare: StockFlower) -> dict[str, dict[str, float]]:
        """Resident memory of the first site and of the hub, of ours and of bare Flower."""
        everyone, network = processes(), self._network
        first = next(iter(network.sites))
        stock = {
            "node": [everyone[bare.nodes[first].pid]],
            "executor": [p for p in everyone.values() if p.parent == bare.nodes[first].pid],
        }
        link = [] if bare.link is None else [everyone[pid] for pid in descendants(everyone, [bare.link.pid])]
        return {
            "our site": memory(parts.by_kind(everyone, network.pids(f"site:{first}")[0])),
            "our hub": memory(parts.by_kind(everyone, network.pids(HUB)[0])),
            "bare site": memory(stock),
            "bare hub": memory({"superlink": link}),
        }


def _kinds_of_bare(bare: StockFlower) -> dict[str, list[Process]]:
    """SuperLink and SuperNodes, and below each the process that starts one for every message."""
    everyone = processes()
    kinds: dict[str, list[Process]] = {}
    daemons = [("hub superlink", bare.link), *(("site node", node) for node in bare.nodes.values())]
    for kind, daemon in daemons:
        if daemon is None or daemon.pid not in everyone:
            continue
        kinds.setdefault(kind, []).append(everyone[daemon.pid])
        below = descendants(everyone, [daemon.pid]) - {daemon.pid}
        kinds.setdefault(f"{kind.split()[0]} executor", []).extend(everyone[pid] for pid in below)
    return kinds


def _named(party: str, kinds: Mapping[str, list[Process]]) -> dict[str, list[Process]]:
    return {f"{party} {kind}": list(found) for kind, found in kinds.items()}

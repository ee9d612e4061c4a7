"""simulation/scale: runs a study over ever more hospitals on Flower's simulation runtime, and says what each cost."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from client.preparation.prepare import prepare
from common.errors import FedmviError
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from simulation.benchmarks.measuring import machine, versions
from simulation.processes import short_temporary_folder
from simulation.running import Simulation
from simulation.scale.hospitals import make_sites
from simulation.scale.kinds import Kind
from simulation.scale.memory import watching
from simulation.scale.space import megabytes_in, refuse_without_room

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Cost:
    """What a study over so many hospitals cost.

    Attributes
    ----------
    seconds
        From the start of Flower to its end: hospitals were made and prepared before.
    rounds, messages
        Each round is a message to every hospital; messages to all of them together.
    bytes_to_sites, bytes_from_sites
        Of all rounds and hospitals.
    server_peak_mib
        ServerApp and SuperLink together.
    server_cpu_seconds, sites_cpu_seconds
        Processor time of both, and of all hospitals together; 0 where these are on a cluster's machines.
    serverapp_cpu_seconds
        Part of the server's: our ServerApp's thread, beside which Flower's engine works in the same process.
    preparing_seconds
        What making and preparing the hospitals took.
    disk_mib
        What lay on disk in the end: hospitals' stores, ledgers and replies, and the run.
    """

    study: str
    sites: int
    seconds: float
    rounds: int
    messages: int
    bytes_to_sites: int
    bytes_from_sites: int
    server_peak_mib: float
    server_cpu_seconds: float
    sites_cpu_seconds: float
    serverapp_cpu_seconds: float
    preparing_seconds: float
    disk_mib: float

    @property
    def server_ms_a_message(self) -> float:
        """Processor time of the server for one message to one hospital and its answer, start-up counted in."""
        return 1000.0 * self.server_cpu_seconds / self.messages

    @property
    def serverapp_ms_a_message(self) -> float:
        """Of `server_ms_a_message`, what our ServerApp took."""
        return 1000.0 * self.serverapp_cpu_seconds / self.messages

    @property
    def site_ms_a_message(self) -> float | None:
        """Processor time of a hospital for one message, start-up of the processes counted in; None if not seen."""
        return 1000.0 * self.sites_cpu_seconds / self.messages if self.sites_cpu_seconds else None


def measure(
    kinds: Sequence[Kind], counts: Sequence[int], progress: Progress, ray_address: str | None = None
) -> Iterator[Cost]:
    """The cost of every study over every number of hospitals, each as it is known; `ray_address` as in `Simulation`.

    Raises
    ------
    FedmviError
        830 there is no room for the most hospitals, before anything begins; and what a run met, whose log is then kept.
    """
    parent = short_temporary_folder()
    for kind in kinds:
        refuse_without_room(kind, max(counts), parent)
    for kind in kinds:
        for count in counts:
            with TemporaryDirectory(prefix="fm-", dir=parent) as name:
                try:
                    cost = _one(kind, count, Path(name), progress, ray_address)
                except FedmviError:
                    _keep_log(RunDirectory(Path(name, "run")).log_file, progress)
                    raise
            progress(f"{kind.value}, {count} hospitals: {cost.seconds:.0f} s, server {cost.server_peak_mib:.0f} MiB")
            yield cost


def _keep_log(log: Path, progress: Progress) -> None:
    """Save the log of a run that failed from the folder that is removed with it."""
    if log.exists():
        handle, kept = tempfile.mkstemp(prefix="fedmvi-scale-", suffix=".log")
        os.close(handle)
        shutil.copyfile(log, kept)
        progress(f"the log of the run that failed is kept: {kept}")


def _one(kind: Kind, count: int, folder: Path, progress: Progress, ray_address: str | None) -> Cost:
    begun = time.monotonic()
    progress(f"{kind.value}: make and prepare {count} hospitals")
    # Short names: the paths of all hospitals are handed over in one variable.
    study_file = make_sites(kind, count, folder / "h")
    simulation = Simulation.of(
        study_file, folder / "h" / "sites", folder / "run", in_process=False, ray_address=ray_address
    )
    if kind is Kind.STATISTICS:
        study = simulation.run.study()
        for site in simulation.sites.values():
            prepare(site, study)
    ready = time.monotonic()
    with watching(folder / "run") as seen:
        simulation.conduct(Action.RUN, lambda step: progress(f"{kind.value}, {count} hospitals: {step}"))
    facts = simulation.run.facts()
    return Cost(
        study=kind.value,
        sites=count,
        seconds=time.monotonic() - ready,
        rounds=int(facts["messages"]) // count,
        messages=int(facts["messages"]),
        bytes_to_sites=int(facts["bytes_to_sites"]),
        bytes_from_sites=int(facts["bytes_from_sites"]),
        server_peak_mib=seen.peak_mib,
        server_cpu_seconds=seen.cpu_seconds,
        sites_cpu_seconds=seen.sites_cpu_seconds,
        serverapp_cpu_seconds=float(facts["conducting_cpu_seconds"]),
        preparing_seconds=ready - begun,
        disk_mib=megabytes_in(folder),
    )


def report(costs: Sequence[Cost]) -> dict[str, Any]:
    """For programs: every cost, and by study how memory and work of the largest compare with those of the smallest."""
    studies = list(dict.fromkeys(cost.study for cost in costs))
    return {
        "name": "scale",
        "machine": machine(),
        "versions": versions("flwr", "ray", "numpy"),
        "server_peak_mib": {s: {str(c.sites): c.server_peak_mib for c in costs if c.study == s} for s in studies},
        "memory_ratio": {s: _ratio([c.server_peak_mib for c in costs if c.study == s]) for s in studies},
        "work_ratio": {s: _ratio([c.server_ms_a_message for c in costs if c.study == s]) for s in studies},
        "costs": [row(cost) for cost in costs],
    }


def row(cost: Cost) -> dict[str, Any]:
    """A cost for programs."""
    return {
        **asdict(cost),
        "server_ms_a_message": cost.server_ms_a_message,
        "serverapp_ms_a_message": cost.serverapp_ms_a_message,
        "site_ms_a_message": cost.site_ms_a_message,
    }


def _ratio(values: Sequence[float]) -> float:
    """The last, of most hospitals, over the first."""
    return values[-1] / values[0]

"""simulation/network: shows a deployment, from made-up hospitals to results, beside the same study in one process."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError
from common.study.loader import load_study
from server.hub.orders import HubRun, State
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.network.deployment import Network, Progress
from simulation.running import (
    RECORDS,
    Simulation,
    find_sites,
    refuse_made_up_patients,
    sites_of_study,
)

SEED = 1
RUN_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Shown:
    """What a deployment did.

    Attributes
    ----------
    exchange_seconds
        Mean seconds of a round: a message to every site and every answer.
    releases
        Lines of the ledgers, by site.
    whole
        Whether the chain of every ledger is unbroken.
    """

    study: str
    run: Path
    network: Path
    sites: Path
    rounds: int
    exchange_seconds: float
    seconds: float
    releases: dict[str, int]
    whole: bool


def show_network(study_file: Path, sites: Path | None, out: Path, progress: Progress) -> Shown:
    """Do everything that a consortium does, with real processes on this machine, and compare with one process.

    Parameters
    ----------
    study_file
        The protocol.
    sites
        Folder of simulated sites, which are copied; without it the hospitals of the demonstration are made.
    out
        New or empty folder; everything stays in it.
    progress
        Told what happens, in words.

    Raises
    ------
    FedmviError
        213 `out` is not empty, 818 a site is not simulated, 819 to 821, and what the study meets.
    """
    if out.exists() and any(out.iterdir()):
        raise FedmviError(213, str(out))
    begun = time.monotonic()
    study = load_study(study_file)
    folder, beside = out / "sites", out / "one-process" / "sites"
    if sites is None:
        progress("making the hospitals of the demonstration")
        make_hospitals(load_consortium("demo"), folder, SEED)
    else:
        _copy_simulated(sites, folder)
    refuse_made_up_patients(folder, study)
    found = sites_of_study(study, find_sites(folder))
    shutil.copytree(folder, beside)
    for site in found.values():
        _approve_nothing_yet(site.folder / "site.toml")
    with Network(out / "network", {name: site.folder for name, site in found.items()}, progress) as network:
        for name, site in found.items():
            _agree(network, study_file, site.folder)
            progress(f"{name} has approved and prepared the study")
        run = network.submit(study_file)
        progress(f"submitted: the study is run {run.name}")
        state = network.await_end(run, RUN_SECONDS, progress)
        _raise_unless_finished(run, state)
    progress("everything has ended; the same study in one process")
    simulated = Simulation.of(study_file, beside, out / "one-process" / "run", in_process=True)
    simulated.conduct(Action.RUN, lambda _: None)
    if run.run.results_file.read_bytes() != simulated.run.results_file.read_bytes():
        raise FedmviError(820, f"{run.run.results_file} and {simulated.run.results_file}", study=study.study.name)
    progress("results.json is the same, byte for byte")
    facts = run.run.facts()
    ledgers = {name: Ledger(ledger_file(site)).verify() for name, site in found.items()}
    return Shown(
        study.study.name,
        run.run.folder,
        out / "network",
        folder,
        int(facts["rounds"]),
        float(facts["seconds"]) / max(int(facts["rounds"]), 1),
        time.monotonic() - begun,
        {name: state.lines for name, state in ledgers.items()},
        not any(state.broken_at for state in ledgers.values()),
    )


def _copy_simulated(sites: Path, folder: Path) -> None:
    """Copy sites and the record of how they were made; error 818 for one that is not simulated."""
    for name, site in find_sites(sites).items():
        if not site.site.simulated:
            raise FedmviError(818, str(site.folder), site=name)
    folder.mkdir(parents=True)
    for name, site in find_sites(sites).items():
        shutil.copytree(site.folder, folder / name, ignore=shutil.ignore_patterns("enrolment*"))
    for record in RECORDS:
        if (sites / record).exists():
            shutil.copyfile(sites / record, folder / record)


def _approve_nothing_yet(file: Path) -> None:
    """Simulated sites come approving any study; in a deployment each decides."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('approved_studies = ["any"]', "approved_studies = []"), encoding="utf-8")


def _agree(network: Network, study: Path, site: Path) -> None:
    """What a data manager does before a study may run."""
    network.expect("fedmvi-site", "approve", str(study.resolve()), "--site", str(site), "--yes")
    network.expect("fedmvi-site", "prepare", str(study.resolve()), "--site", str(site))


def _raise_unless_finished(run: HubRun, state: State) -> None:
    failure = run.run.failure()
    if state is not State.FINISHED:
        raise failure or FedmviError(819, f"the run is {state.value}; see {run.run.log_file}", part="run")

"""simulation/chaos: a campaign: a study again and again while faults happen, and what became of each of them."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError
from common.study.loader import load_study
from server.hub.orders import ENDED, HubRun, State
from server.study.execution import Action
from simulation.chaos.disturbing import DisturbedNetwork
from simulation.chaos.faults import Cause, Fault, draw, skipped
from simulation.chaos.isolation import slowed_by
from simulation.network.daemons import POLL_SECONDS
from simulation.running import Simulation, find_sites, refuse_made_up_patients, sites_of_study

RECOVER_SECONDS = 420.0
RUN_SECONDS = 3600.0
LOOK_SECONDS = 1.0
SPREAD_SECONDS = 8.0
"""Faults come within so many seconds after the deployment has recovered from the one before."""

DECLARED = frozenset({419, 501, 504, 505})
"""How a run ends when a site's answer was spoilt on the way: it stops, and goes on when a person resumes it.

419 is what the other sites say of the signature with which a run is opened.
"""

Progress = Callable[[str], None]


@dataclass
class Happened:
    """What became of one fault.

    Attributes
    ----------
    step, rounds
        Where its run was: the step, and how many rounds were answered.
    seconds
        Until every part was there again and the run was further; None if that did not happen.
    number
        Of the error that the run stopped with, 0 if it went on.
    """

    kind: str
    site: str
    run: str
    step: str
    rounds: int
    seconds: float | None = None
    number: int = 0
    survived: bool = False


@dataclass
class Ended:
    """How one run ended: whether its results are those of the undisturbed run, byte for byte."""

    name: str
    state: str
    same: bool
    resumed: int
    number: int = 0


@dataclass
class Campaign:
    """What a campaign found; it was survived if every fault and every run was, and nothing was left or broken.

    `slowed_by` is how links were made slow, as `isolation.slowed_by` says; "" where none was.
    """

    study: str
    seed: int
    faults: list[Happened] = field(default_factory=list)
    runs: list[Ended] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    slowed_by: str = ""
    ledgers: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def survived(self) -> bool:
        """Whether all of it was."""
        whole = not self.broken and not self.left
        tried = bool(self.faults)  # where no fault could be injected, nothing was shown
        return tried and whole and all(fault.survived for fault in self.faults) and all(run.same for run in self.runs)

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Faults injected and survived by kind, and the median and most seconds until all was well again."""
        table = {}
        for kind in sorted({fault.kind for fault in self.faults}):
            mine = [fault for fault in self.faults if fault.kind == kind]
            took = [fault.seconds for fault in mine if fault.seconds is not None]
            table[kind] = {
                "injected": len(mine),
                "survived": sum(fault.survived for fault in mine),
                "median_seconds": round(statistics.median(took), 1) if took else None,
                "most_seconds": round(max(took), 1) if took else None,
            }
        return table

    def report(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "survived": self.survived, "by_kind": self.by_kind()}


def run_campaign(
    study_file: Path, sites: Path, out: Path, count: int, seed: int, progress: Progress, chosen: Sequence[str] = ()
) -> Campaign:
    """Inject faults into a deployment of simulated sites until all are done.

    Parameters
    ----------
    sites
        Folder of simulated sites; they are copied.
    out
        New folder; everything stays in it.
    chosen
        Kinds of faults, see `faults.kinds`; all if empty.

    Raises
    ------
    FedmviError
        213 `out` is not empty, 822 an unknown kind, 823 the study fails without faults; those of `Network`.
    """
    if out.exists() and any(out.iterdir()):
        raise FedmviError(213, str(out))
    begun = time.monotonic()
    study = load_study(study_file)
    refuse_made_up_patients(sites, study)
    found = sites_of_study(study, find_sites(sites))
    faults = draw(count, seed, list(found), chosen)
    expected = _undisturbed(study_file, sites, out / "undisturbed")
    progress("the study without faults, in one process: done")
    folders = {name: out / "sites" / name for name in found}
    for name, site in found.items():
        shutil.copytree(site.folder, folders[name], ignore=shutil.ignore_patterns("enrolment*", "store"))
        prepare(load_site(folders[name]), study)
    slowed = slowed_by() if any(fault.cause is Cause.SLOW for fault in faults) else ""
    campaign = Campaign(study.study.name, seed, skipped=skipped(), slowed_by=slowed)
    network = DisturbedNetwork(out / "network", folders, progress)
    try:
        with network:
            _Conduct(network, study_file, expected, campaign, progress).all(faults)
    finally:
        campaign.left = sorted(network.living())
        for name, folder in folders.items():
            state = Ledger(ledger_file(load_site(folder))).verify()
            campaign.ledgers[name] = state.lines
            if state.broken_at:
                campaign.broken.append(f"{name}: line {state.broken_at}")
        campaign.seconds = round(time.monotonic() - begun, 1)
    return campaign


def _undisturbed(study_file: Path, sites: Path, folder: Path) -> bytes:
    shutil.copytree(sites, folder / "sites", ignore=shutil.ignore_patterns("enrolment*", "store"))
    simulation = Simulation.of(study_file, folder / "sites", folder / "run", in_process=True)
    try:
        simulation.conduct(Action.RUN, lambda _: None)
    except FedmviError as error:
        raise FedmviError(823, str(error)) from error
    return simulation.run.results_file.read_bytes()


class _Conduct:
    """Submits runs, injects the faults in their order, and judges."""

    def __init__(
        self, network: DisturbedNetwork, study: Path, expected: bytes, campaign: Campaign, progress: Progress
    ) -> None:
        self._network, self._study, self._expected = network, study, expected
        self._campaign, self._progress = campaign, progress
        self._resumed: Counter[str] = Counter()
        self._run: HubRun | None = None
        self._looked, self._whole = 0.0, False

    def all(self, faults: Sequence[Fault]) -> None:
        """Every fault, and the end of the last run."""
        for number, fault in enumerate(faults, start=1):
            happened = self._one(fault)
            self._campaign.faults.append(happened)
            became = f"recovered in {happened.seconds:.0f} s" if happened.seconds is not None else "did not recover"
            if happened.number:
                became += f", stopped by FEDMVI-{happened.number} and resumed"
            if not happened.survived:
                became += " (not survived)"
            self._progress(f"{number} of {len(faults)}: {happened.kind} {happened.site}: {became}")
        if self._run is not None:
            self._finish(self._run)

    def _one(self, fault: Fault) -> Happened:
        """Do a fault, in the next run if this one ends too soon for it."""
        while True:
            self._going()
            time.sleep(fault.moment * SPREAD_SECONDS)
            run = self._going()
            step = run.progress.step if run.progress is not None else ""
            happened = Happened(fault.kind, fault.site, run.name, step, _rounds(run))
            began = time.monotonic()
            if self._network.disturb(fault, lambda: self._goes_on(run)):  # noqa: B023 - called before the next turn
                break
        self._recover(run, happened, began)
        expected = happened.number in DECLARED if fault.cause is Cause.CORRUPTED else happened.number == 0
        happened.survived = happened.seconds is not None and expected
        return happened

    def _goes_on(self, run: HubRun) -> bool:
        """Whether a run is not over. What a service manager would start is started meanwhile."""
        self._look()
        return run.state not in ENDED

    def _look(self) -> bool:
        """Whether the deployment was whole at the last look, which is a second ago at most."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked, self._whole = time.monotonic(), self._network.whole()
        return self._whole

    def _recover(self, run: HubRun, happened: Happened, began: float) -> None:
        """Wait until all parts are there and the run is further, or over; a run that stopped is resumed."""
        self._looked = 0.0
        further, limit = happened.rounds + 1, time.monotonic() + RECOVER_SECONDS
        while time.monotonic() < limit:
            if run.state is State.FAILED:
                failure = run.run.failure()
                self._progress(f"{happened.kind} {happened.site}: {failure}")
                if happened.number:
                    return  # resumed, and stopped again
                happened.number = failure.number if failure is not None else 703
                self._resume(run)
            moved = run.state is State.FINISHED or _rounds(run) >= further
            if self._look() and moved:
                happened.seconds = round(time.monotonic() - began, 1)
                return
            time.sleep(POLL_SECONDS)

    def _resume(self, run: HubRun) -> None:
        self._resumed[run.name] += 1
        self._network.expect("fedmvi-server", "resume", run.name, "--hub", str(self._network.hub))

    def _going(self) -> HubRun:
        """The run that faults happen to; when it is over, a new one."""
        if self._run is not None and self._run.state not in ENDED:
            return self._run
        if self._run is not None:
            self._finish(self._run)
        self._run = self._network.submit(self._study, f"run-{len(self._campaign.runs) + 1:03d}")
        return self._run

    def _finish(self, run: HubRun) -> None:
        """Wait for the end of a run and compare its results with those of the undisturbed one."""
        limit = time.monotonic() + RUN_SECONDS
        while run.state not in ENDED and time.monotonic() < limit:
            self._look()
            time.sleep(POLL_SECONDS)
        file, failure = run.run.results_file, run.run.failure()
        same = file.exists() and file.read_bytes() == self._expected
        number = failure.number if failure is not None and run.state is not State.FINISHED else 0
        self._campaign.runs.append(Ended(run.name, run.state.value, same, self._resumed[run.name], number))
        self._progress(f"{run.name} {run.state.value}; " + ("the same bytes" if same else "OTHER RESULTS"))


def _rounds(run: HubRun) -> int:
    return len(list(run.run.journal.glob("[0-9]*.npz")))

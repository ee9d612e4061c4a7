"""simulation: runs a study over site folders of this machine, over Flower's simulation runtime or in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from client.answering import answer_message
from client.cohort.site import Site, load_site
from client.cohort.store import store_folder
from client.preparation.prepare import UnfitDataError, prepare
from common.errors import FedmviError, Severity
from common.federation.codec import Packed
from common.federation.ports import InProcess
from common.study.loader import load_study
from common.study.protocol import Study
from server.bundle import stage_bundle
from server.study.execution import PROGRESS_MARK, Action, execute
from server.study.run_directory import RunDirectory
from simulation.processes import FlowerRuntimeError
from simulation.runtime import run_on_flower

Progress = Callable[[str], None]
MADE_UP = "cohort.json"
"""What stands beside sites whose patients are made up."""
DRAWN = "drawn.json"
"""What lies in a prepared store whose ROI stacks were drawn: there are no images to prepare it from."""
RECORDS = ("import.json", MADE_UP)
"""What importers and generators leave beside the sites that they made."""
FEW = 5
"""Smaller counts of repaired cells are not printed."""
LONGEST_SECONDS, SECONDS_A_SITE = 3600.0, 60.0
"""After how long a run over Flower is given up: an hour, or longer where there are many sites."""


def find_sites(folder: Path) -> dict[str, Site]:
    """All sites in the sub-folders of a folder, by name.

    Raises
    ------
    FedmviError
        802 there is none, 210 two have one name, and those of `load_site`.
    """
    found: dict[str, Site] = {}
    for path in sorted(folder.glob("*/site.toml")):
        site = load_site(path.parent)
        if site.name in found:
            raise FedmviError(210, f"{found[site.name].folder} and {site.folder}", site=site.name)
        found[site.name] = site
    if not found:
        raise FedmviError(802, str(folder))
    return found


def sites_of_study(study: Study, sites: dict[str, Site]) -> dict[str, Site]:
    """The study's sites; error 805 if one has no folder."""
    for name in study.sites():
        if name not in sites:
            raise FedmviError(805, f"there are {', '.join(sorted(sites))}", site=name)
    return {name: sites[name] for name in study.sites()}


def refuse_made_up_patients(folder: Path, study: Study) -> None:
    """A study of made-up patients must say so, or its report would not.

    Raises
    ------
    FedmviError
        814
    """
    if (folder / MADE_UP).exists() and not study.study.simulated:
        raise FedmviError(814, str(folder), study=study.study.name)


def origin_of(folder: Path) -> list[str]:
    """How the folder's sites were made, in sentences, as the importer recorded it beside them; none for real sites.

    Raises
    ------
    FedmviError
        806 a record that cannot be read.
    """
    sentences: list[str] = []
    for path in (folder / name for name in RECORDS if (folder / name).exists()):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            sentences += [f"{s['name']}: {' '.join(s['members'])}" for s in record["sites"] if s["members"]]
            for rule in record["rules"]:
                if rule["count"]:
                    count = rule["count"] if rule["count"] >= FEW else f"fewer than {FEW}"
                    sentences.append(f"{rule['variable']}: {rule['action']} ({count}): {rule['text']}")
            sentences += record["notes"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FedmviError(806, str(path)) from error
    return sentences


@dataclass(frozen=True)
class Simulation:
    """A study over the sites of a folder.

    Attributes
    ----------
    in_process
        Without Flower: the same questions, gate, encoding and journal in this process. Quicker to start.
    ignored
        Sites of the folder that the study does not name.
    ray_address
        Of a Ray cluster whose machines answer for the sites; None: Ray is started on this machine for the run.
    """

    run: RunDirectory
    sites: dict[str, Site]
    in_process: bool
    ignored: tuple[str, ...] = ()
    ray_address: str | None = None

    @classmethod
    def of(
        cls, study_file: Path, sites: Path, out: Path, *, in_process: bool, ray_address: str | None = None
    ) -> Simulation:
        """Check study and sites and make (or find) the run's directory."""
        found = find_sites(sites)
        refuse_made_up_patients(sites, load_study(study_file))
        run = RunDirectory.create(out, study_file)
        chosen = sites_of_study(run.study(), found)
        run.write_facts({**run.facts(), "origin": origin_of(sites)})
        return cls(run, chosen, in_process, tuple(name for name in found if name not in chosen), ray_address)

    def conduct(self, action: Action, progress: Progress) -> None:
        """Prepare every site and run the study; an interrupted run goes on where it stopped.

        Raises
        ------
        FedmviError
            What a site, the study or the run met; 803 if Flower itself failed.
        """
        study = self.run.study()
        for name in self.ignored:
            progress(f"{name} is not in the study and is left out")
        for site in self.sites.values():
            if (store_folder(site, study) / DRAWN).exists():
                continue
            progress(f"prepare {site.name}")
            try:
                prepared = prepare(site, study)
                for problem in prepared.problems:
                    if problem.severity is Severity.WARNING:
                        progress(f"{site.name}: {problem.code} {problem.what}")
            except UnfitDataError as error:
                many = f"{len(error.problems)} problem(s), the worst: " if len(error.problems) > 1 else ""
                command = f"fedmvi-site check --site {site.folder} --study {self.run.study_file}"
                local = f"site {site.name}: {many}{error.local}; all of them: {command}"
                raise FedmviError.reported(error.number, local, error.facts) from error
        if self.in_process:
            with _sites_log_to(self.run.log_file):
                execute(self.run, InProcess({n: _handler(s.folder) for n, s in self.sites.items()}), action, progress)
        else:
            self._over_flower(action, progress)

    def _over_flower(self, action: Action, progress: Progress) -> None:
        progress("start Flower's simulation runtime")
        self.run.failure_file.unlink(missing_ok=True)

        def on_line(line: str) -> None:
            if PROGRESS_MARK in line:
                progress(line.split(PROGRESS_MARK, 1)[1])

        with TemporaryDirectory(prefix="fedmvi-bundle-") as bundle:
            config = {
                "run-dir": str(self.run.folder.resolve()),
                "action": action.value,
                "site-names": "reported",
            }
            try:
                ended = run_on_flower(
                    stage_bundle(Path(bundle, "app")),
                    dict(config),
                    sites=[site.folder for site in self.sites.values()],
                    workdir=self.run.folder,
                    on_line=on_line,
                    ray_address=self.ray_address,
                    timeout_s=max(LONGEST_SECONDS, SECONDS_A_SITE * len(self.sites)),
                )
            except FlowerRuntimeError as error:
                self.run.log_file.write_text(error.log, encoding="utf-8")
                raise FedmviError(803, f"{self.run.log_file}: {error.message}") from error
        self.run.log_file.write_text(ended.log, encoding="utf-8")
        failure = self.run.failure()
        if failure is not None:
            raise failure
        wanted = self.run.results_file if action is Action.RUN else self.run.plan_file
        if ended.status != "finished:completed" or not wanted.exists():
            raise FedmviError(803, f"{ended.status}; see {self.run.log_file}")


@contextmanager
def _sites_log_to(path: Path) -> Iterator[None]:
    """What sites log for their own people goes to a file, not between the lines of progress."""
    log = logging.getLogger("fedmvi.site")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.propagate = propagate


def _handler(folder: Path) -> Callable[[Packed], Packed]:
    return lambda message: answer_message(folder, message)

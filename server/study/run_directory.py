"""server/study: a run's directory: where a study, its journal, its results and the facts of its run are kept."""

from __future__ import annotations

import fcntl
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.files import write_whole
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from common.study.protocol import Study
from common.study.taking_part import taking_part
from server.study.gene_sets import Sets, declared_sets, parse_sets, read_bytes

LOCK_SECONDS = 1.0


@dataclass(frozen=True)
class RunDirectory:
    """A run at `folder`: study.toml, run.json, journal/, results.json, tables/, figures/, report.html."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, study_file: Path) -> RunDirectory:
        """Make the directory of a new run, or find that of an unfinished run of the same study, to resume it.

        Raises
        ------
        FedmviError
            213 the folder holds something else, 701 a finished run, 705 one of another study; and those of
            `load_study` and of gene sets, which are kept with the run.
        """
        study = load_study(study_file)
        run = cls(folder)
        if run.run_file.exists():
            facts = run.facts()
            if run.results_file.exists() and run.report_file.exists():
                raise FedmviError(701, str(folder))
            if facts.get("study") != study_fingerprint(study):
                raise FedmviError(705, str(folder))
            return run
        if folder.exists() and any(folder.iterdir()):
            raise FedmviError(213, str(folder))
        declared = declared_sets(study)
        sets = None if declared is None else read_bytes(study_file.parent / declared.file, declared)
        if study.genomics is not None and sets is not None:
            parse_sets(sets, study.genomics)  # what cannot be read is told before anybody is asked
        folder.mkdir(parents=True, exist_ok=True)
        if sets is not None:
            write_whole(run.sets_file, sets, 0o644)
        write_whole(run.study_file, study_file.read_bytes(), 0o644)
        run.write_facts({"run_id": _new_id(), "study": study_fingerprint(study), "submitted": _now()})
        return run

    @property
    def study_file(self) -> Path:
        """The protocol as submitted."""
        return self.folder / "study.toml"

    @property
    def sets_file(self) -> Path:
        """The gene sets that the protocol names, as submitted."""
        return self.folder / "gene_sets.gmt"

    @property
    def run_file(self) -> Path:
        """Facts of the run: times, bytes, hosts; nothing scientific."""
        return self.folder / "run.json"

    @property
    def results_file(self) -> Path:
        """The results."""
        return self.folder / "results.json"

    @property
    def report_file(self) -> Path:
        """The report; a run whose results are there without it was interrupted at its very end."""
        return self.folder / "report.html"

    @property
    def plan_file(self) -> Path:
        """Counts and sample sizes of a planned study."""
        return self.folder / "plan.json"

    @property
    def failure_file(self) -> Path:
        """Why the last attempt failed."""
        return self.folder / "failure.json"

    @property
    def progress_file(self) -> Path:
        """How far the run is."""
        return self.folder / "progress.json"

    @property
    def journal(self) -> Path:
        """Answered rounds: the inner circle's, never copied out."""
        return self.folder / self._of_attempt("journal")

    @property
    def checkpoints(self) -> Path:
        """How far each training of a network is: the inner circle's, never copied out."""
        return self.folder / self._of_attempt("checkpoints")

    @property
    def models(self) -> Path:
        """The networks that are used: `<network>/<sequences>/seed<k>.safetensors`."""
        return self.folder / "models"

    @property
    def log_file(self) -> Path:
        """What the programs said."""
        return self.folder / "log.txt"

    def _of_attempt(self, name: str) -> str:
        """What was answered with a site that is left out now stays where it was, and is not used."""
        return f"{name}-{self.facts()['run_id']}" if self.left_out else name

    def study(self) -> Study:
        """The protocol."""
        return load_study(self.study_file)

    def gene_sets(self) -> Sets | None:
        """The gene sets of the protocol, if it names a file of them; errors 130 to 132."""
        study = self.study()
        declared = declared_sets(study)
        if study.genomics is None or declared is None:
            return None
        return parse_sets(read_bytes(self.sets_file, declared), study.genomics)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sites of the protocol that stayed away, and without which the run goes on."""
        facts = self.facts() if self.run_file.exists() else {}
        return tuple(site for left in facts.get("left_out", ()) for site in left["sites"])

    def leave_out(self, sites: Sequence[str], why: str) -> None:
        """Begin anew without some sites: under another id, because sites answer a question of a run once."""
        facts = self.facts()
        left = {"sites": list(sites), "why": why, "run_id": facts["run_id"], "at": _now()}
        self.write_facts({**facts, "run_id": _new_id(), "left_out": [*facts.get("left_out", ()), left]})

    def take_back(self) -> bool:
        """Return to the run before sites were left out last; False if none were, or several rounds were answered since.

        In the first round some questions may have been answered while others were refused.
        """
        facts = self.facts()
        *before, last = facts.get("left_out", ()) or (None,)
        if last is None or len(list(self.journal.glob("[0-9]*"))) > 1:
            return False
        self.write_facts({**facts, "run_id": last["run_id"], "left_out": before, "taken_back": last["sites"]})
        return True

    def facts(self) -> dict[str, Any]:
        """The content of run.json; error 702 if there is none."""
        try:
            facts: dict[str, Any] = json.loads(self.run_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FedmviError(702, str(self.folder)) from error
        return facts

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Replace run.json."""
        write_whole(self.run_file, (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode(), 0o644)

    def write_failure(self, error: FedmviError) -> None:
        """Keep an error for whoever started the run: number, public facts, and local detail of this machine."""
        content = {**error.public(), "local": error.local, "site": error.site}
        write_whole(self.failure_file, json.dumps(content).encode())

    def failure(self) -> FedmviError | None:
        """The error of the last attempt."""
        if not self.failure_file.exists():
            return None
        content = json.loads(self.failure_file.read_text(encoding="utf-8"))
        return FedmviError.reported(
            int(content["number"]), str(content["local"]), content["facts"], str(content.get("site", ""))
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; the lock ends with the process, however it ends.

        Error 706 while another has it, unless that lets go of it in a moment: `busy` looks for no longer.
        """
        with (self.folder / ".lock").open("w") as lock:
            limit = time.monotonic() + LOCK_SECONDS
            while not _taken(lock):
                if time.monotonic() > limit:
                    raise FedmviError(706, str(self.folder))
                time.sleep(0.02)
            yield

    def busy(self) -> bool:
        """Whether a process works on the run now."""
        with (self.folder / ".lock").open("w") as lock:
            return not _taken(lock)

    def ticket(self) -> Ticket:
        """What every message of the run says about it: the protocol, and the sites that take part."""
        protocol = self.study()
        study = taking_part(protocol, self.left_out)
        rosters = {cohort.name: tuple(sorted(cohort.sites)) for cohort in study.cohorts}
        return Ticket(str(self.facts()["run_id"]), study_fingerprint(protocol), rosters)


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _new_id() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(4)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""client/approval: a patient withdraws his consent: he leaves everything that is kept, and never comes back.

The order makes it safe to end the command at any moment. First the list that every reader honours (`withdrawn.csv`),
so that nothing is answered of him from then on; then a note of what is to be removed; then the removal, each part of
which may be done twice; last the prepared data are made again without him. The same command completes what was begun.

What left before cannot be taken back. Whoever has a sum with the patient and gets the same sum without him has his
part by subtraction: the record of whose sums left (`release/differencing.py`) is therefore kept, and stops the second.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from client.approval.holdings import PREPARED, Holdings, has_rows, holdings, holds, opened, tasks_of, trained_on
from client.approval.records import approved_protocols
from client.cohort.membership import site_secret
from client.cohort.site import Site, alone, refuse_root_at
from client.cohort.store import locked
from client.cohort.withdrawn import FILE, withdraw_consent
from client.learning.work import Works, work_folder
from client.node.folder import NodeFolder
from client.preparation.prepare import UnfitDataError, prepare
from client.preparation.steps import STEPS
from client.release.ledger import Ledger, ledger_file
from client.run import run_folder
from common.errors import FedmviError
from common.files import sync_folder, write_whole
from common.study.fingerprint import canonical_json, preparation_fingerprint
from common.study.protocol import Study

NOTE = "withdrawing.json"
KIND = "withdrawal"

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Note:
    """What a withdrawal has to remove, noted before anything is removed."""

    patient: str
    prepared: tuple[str, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Withdrawn:
    """What a withdrawal did.

    Attributes
    ----------
    runs
        Runs that cannot go on here: their data changed.
    prepared
        Names of studies whose prepared data were made again without the patient.
    unprepared
        Prepared stores that were removed and could not be made again, with the reason, one line each.
    """

    runs: tuple[str, ...]
    prepared: tuple[str, ...]
    unprepared: tuple[str, ...]


def withdraw(site: Site, patient: str, say: Say = lambda _: None) -> Withdrawn:
    """Remove a patient from everything that the site keeps, and keep him out; a second call removes what is left.

    `say` is told every step before it is done.

    Raises
    ------
    FedmviError
        764 nobody here knows the patient, 763 the list of withdrawals is damaged, 322 no site.secret, 728 root in
        another user's folder.
    """
    refuse_root_at(site)
    site_secret(site)
    unfinished = _read(site)
    if unfinished is not None and unfinished.patient != patient:
        _complete(site, unfinished, say)
    with alone(site):
        found = holdings(site, patient)
        if not found.anything:
            raise FedmviError(764)
        say("enter the patient into withdrawn.csv")
        withdraw_consent(site, patient, date.today())
        say("note what is to be removed")
        note = _noted(site, patient, found)
    return _complete(site, note, say)


def _noted(site: Site, patient: str, found: Holdings) -> _Note:
    """What was found, with what an earlier call had found and may have removed already."""
    earlier = _read(site) or _Note(patient, (), ())
    note = _Note(
        patient,
        tuple(sorted({*earlier.prepared, *found.prepared})),
        tuple(sorted({*earlier.runs, *found.runs})),
    )
    content = {"patient": note.patient, "prepared": list(note.prepared), "runs": list(note.runs)}
    write_whole(site.store / NOTE, canonical_json(content).encode())
    return note


def _read(site: Site) -> _Note | None:
    try:
        note = json.loads((site.store / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return _Note(note["patient"], tuple(note["prepared"]), tuple(note["runs"]))


def _complete(site: Site, note: _Note, say: Say) -> Withdrawn:
    with alone(site):
        say("write a line into the ledger")
        _record(site, note.patient)
        for run in note.runs:
            say(f"remove the stored answers and the rows of run {run}")
            _clean_run(site, run, note.patient)
        say("remove the steps of the patient's images")
        _remove(site.store / STEPS / note.patient)
        for name in note.prepared:
            say(f"remove the prepared data {name[:12]}")
            _remove_prepared(site, name, note.patient)
        say("remove what an interrupted preparation left, and empty the local log")
        _remove_leftovers(site)
    prepared, unprepared = _prepare_again(site, note.prepared, say)
    say("done")
    # What a killed writer left beside the note and the list has the patient's id in it, too.
    for leftover in (*site.store.glob(f".{NOTE}.*.tmp"), *site.folder.glob(f".{FILE}.*.tmp"), site.store / NOTE):
        leftover.unlink(missing_ok=True)
    sync_folder(site.store)
    return Withdrawn(note.runs, prepared, unprepared)


def _record(site: Site, patient: str) -> None:
    """One line, which names the patient to nobody who has no site.secret."""
    ledger = Ledger(ledger_file(site))
    name = hmac.digest(site_secret(site), f"{KIND}|{patient}".encode(), hashlib.sha256).hex()
    if any(entry.get("kind") == KIND and entry.get("patient") == name for entry in ledger.entries()):
        return
    words = "a patient withdrew his consent; his data were removed here, and no answer counts him from now on"
    ledger.append(
        {"kind": KIND, "patient": name, "words": words, "query": KIND, "left": "nothing", "run_id": "-", "study": "",
         "mode": "-", "alone": False, "cohort": "", "roster": [], "bytes": 0, "question": "", "answer": "",
         "repeat": False}
    )  # fmt: skip


def _clean_run(site: Site, run: str, patient: str) -> None:
    """The run cannot go on (410), so its stored answers, which count the patient, are of no use to anybody."""
    _remove(run_folder(site, run) / "replies")
    work = work_folder(site, run)
    for leftover in (*work.glob(".*.old"), *work.glob(".*.new")):
        shutil.rmtree(leftover)
    works = Works(work)
    for folder, kind, patients in list(tasks_of(site, run)):
        if has_rows(kind, patients, patient):
            _remove(folder)
        elif trained_on(kind, patients, patient):
            # The state of the layers stays: an export needs it, and it has no row of anybody.
            works.strip(folder.name, but_local=True)
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            facts["patients"] = [other for other in patients if other != patient]
            write_whole(folder / "facts.json", canonical_json(facts).encode())


def _remove_prepared(site: Site, name: str, patient: str) -> None:
    """Remove a prepared store as a whole: its pictures and tables show everybody beside everybody else."""
    parent = site.store / PREPARED
    if not parent.is_dir():
        return
    with locked(parent):
        folder = parent / name
        if folder.is_dir() and holds(folder, patient):
            _remove(folder)


def _remove_leftovers(site: Site) -> None:
    """What a killed preparation left beside the stores, and the log that may name patients."""
    parent = site.store / PREPARED
    if parent.is_dir():
        with locked(parent):  # which removes them
            pass
    for path in NodeFolder(site).local_log.parent.glob("local.log*"):
        # Emptied and not removed: a daemon that runs goes on writing to it.
        os.truncate(path, 0)


def _remove(folder: Path) -> None:
    """Remove a folder; what is left of one whose removal was cut short is hidden, and is removed first."""
    hidden = folder.with_name(f".{folder.name}.old")
    if hidden.exists():
        shutil.rmtree(hidden)
    if folder.exists():
        folder.rename(hidden)
        sync_folder(folder.parent)
        shutil.rmtree(hidden)


def _prepare_again(site: Site, names: tuple[str, ...], say: Say) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the removed stores again from the hospital's files, for the studies that runs and approvals know."""
    studies: dict[str, Study] = {}
    for study in (*(study for _, study in opened(site)), *approved_protocols(site)):
        studies.setdefault(preparation_fingerprint(study), study)
    done: list[str] = []
    failed: list[str] = []
    for name in names:
        known = studies.get(name)
        if known is None:
            failed.append(f"{name[:12]}: no run or approval here knows its study: run `fedmvi-site prepare STUDY`")
            continue
        say(f"prepare {known.study.name} again without the patient")
        try:
            prepare(site, known)
            done.append(known.study.name)
        except UnfitDataError as error:
            failed.append(f"{known.study.name}: {len(error.problems)} problem(s), the worst: {error.problems[0]}")
        except FedmviError as error:
            failed.append(f"{known.study.name}: {error}")
    return tuple(done), tuple(failed)

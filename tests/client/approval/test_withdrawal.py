"""client/approval: a patient who withdraws leaves everything that is kept and never comes back, whatever is killed."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from client.approval.withdrawal import KIND, NOTE, withdraw
from client.cli import app
from client.cohort.site import load_site
from client.cohort.store import load_prepared, store_digest, store_folder
from client.cohort.withdrawn import withdrawn
from client.learning.work import Works, work_folder
from client.preparation.prepare import prepare
from client.release.ledger import Ledger
from common.errors import FedmviError
from common.federation.query import Query, each, total
from common.statistics.counts import Flow
from common.statistics.moments import Deviations
from common.study.recipe import Recipe, Select
from tests.disclosure.consortium import Consortium, columns, make, names

GONE = "a-007"
OTHER = "a-008"
RUN = "run1"


def flow(made: Consortium) -> Query:
    return Flow("train", Recipe(), ("other label", "other role"), made.study.limits.min_cell, guarded=True)


def means(made: Consortium, model: str = "clinical") -> Query:
    shown = names(made.study, model)
    return Deviations("train", Recipe((Select(columns(made.study, model)),)), shown, np.zeros(len(shown)))


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    """A run that is open and has been answered, with work of a network in it."""
    consortium = make(tmp_path).open()
    assert consortium.number("a", total(means(consortium))) == 0
    works = Works(work_folder(load_site(consortium.folders["a"]), RUN))
    ids = list(consortium.table("a").patients)
    made = {"mean": np.linspace(0, 1, len(ids))}
    works.keep(digest_of("1"), {"task": "task.score-patients", "cohort": "train", "patients": ids}, made)
    works.keep(digest_of("2"), {"task": "task.explain-patients", "cohort": "train"}, {}, add=_picture)
    works.keep(digest_of("3"), {"task": "task.train-round", "patients": ids}, made, {"mean": np.zeros(3)})
    step = consortium.folders["a"] / "store" / "steps" / GONE / "register" / "x"
    step.mkdir(parents=True)
    (step / "result.json").write_text(json.dumps({"patient": GONE}))
    return consortium


def _picture(folder: Path) -> None:
    (folder / "explained.html").write_text(f"<p>{GONE}</p>")


def digest_of(letter: str) -> str:
    return letter * 64


def traces(folder: Path, patient: str) -> Iterator[Path]:
    """Files that FedMVI keeps, whose name or content has a patient's id, but for the list of withdrawals."""
    for path in sorted((folder / "store").rglob("*")):
        if patient in str(path.relative_to(folder)) or (path.is_file() and patient.encode() in path.read_bytes()):
            yield path


def assert_gone(made: Consortium, patient: str = GONE) -> None:
    site = load_site(made.folders["a"])
    assert list(traces(made.folders["a"], patient)) == []
    assert patient in withdrawn(site)
    assert patient not in load_prepared(site, made.study).patients
    assert load_prepared(site, made.study).n == 59
    lines = [entry for entry in Ledger(site.store / "ledger.jsonl").entries() if entry.get("kind") == KIND]
    assert len(lines) == 1
    assert Ledger(site.store / "ledger.jsonl").verify().broken_at == 0


def test_a_patient_is_removed_from_everything_that_is_kept(made: Consortium):
    folder = made.folders["a"]
    assert len(list(traces(folder, GONE))) >= 5  # else this test would find nothing to remove
    done = withdraw(load_site(folder), GONE)
    assert (done.runs, done.prepared, done.unprepared) == ((RUN,), ("small",), ())
    assert_gone(made)
    assert (folder / "withdrawn.csv").stat().st_mode & 0o777 == 0o600
    assert not (folder / "store" / "runs" / RUN / "replies").exists()
    works = Works(work_folder(load_site(folder), RUN))
    assert not works.done(digest_of("1")) and not works.done(digest_of("2"))
    # What an export needs stays, and names the others only.
    assert works.local(digest_of("3"))["mean"].size == 3
    assert GONE not in works.facts(digest_of("3"))["patients"] and OTHER in works.facts(digest_of("3"))["patients"]


def test_traces_are_found_though_the_data_were_prepared_again_without_the_patient(made: Consortium):
    """The clerk deletes the row, prepares, and only then withdraws; a killed preparation and the log name him too."""
    folder = made.folders["a"]
    table = folder / "patients.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if GONE not in line))
    shutil.rmtree(folder / "store" / "steps")
    prepare(load_site(folder), made.study)
    left = folder / "store" / "prepared" / ".interrupted.new"
    left.mkdir()
    (left / "table.txt").write_text(GONE)
    log = folder / "store" / "log" / "local.log"
    log.parent.mkdir(exist_ok=True)
    for path in (log, log.with_name("local.log.1")):
        path.write_text(f"row of {GONE}")
    done = withdraw(load_site(folder), GONE)
    assert done.runs == (RUN,)
    assert_gone(made)
    assert log.exists()


def test_an_id_that_nobody_knows_touches_nothing(made: Consortium):
    before = {path: path.read_bytes() for path in made.folders["a"].rglob("*") if path.is_file()}
    with pytest.raises(FedmviError) as error:
        withdraw(load_site(made.folders["a"]), "NOBODY")
    assert error.value.number == 764
    assert {path: path.read_bytes() for path in made.folders["a"].rglob("*") if path.is_file()} == before


def test_a_patient_who_withdrew_never_comes_back_though_the_table_has_him(made: Consortium):
    site = load_site(made.folders["a"])
    withdraw(site, GONE)
    assert GONE in (made.folders["a"] / "patients.csv").read_text()
    again = prepare(site, made.study)
    assert not again.fresh and again.patients == 59
    assert [(problem.number, problem.facts["count"]) for problem in again.problems if problem.number == 765]
    checked = CliRunner().invoke(app, ["check", "--site", str(site.folder), "--tables-only", "--json"])
    assert GONE not in checked.stdout


def test_an_open_run_stops_because_the_data_changed(made: Consortium):
    before = store_digest(load_site(made.folders["a"]), made.study)
    withdraw(load_site(made.folders["a"]), GONE)
    assert store_digest(load_site(made.folders["a"]), made.study) != before
    for question in (total(means(made)), total(means(made, "wide")), each(flow(made))):
        assert made.number("a", question) == 410
    assert made.number("b", total(means(made))) == 0


def test_a_new_run_over_one_patient_fewer_is_refused_until_the_hospital_decides(made: Consortium):
    """The old sum less the new one would be the patient who left."""
    folder = made.folders["a"]
    withdraw(load_site(folder), GONE)
    second = made.with_ticket(run_id="run2").open()
    assert second.number("a", total(means(second))) == 420
    text = (folder / "site.toml").read_text()
    (folder / "site.toml").write_text(text.replace("[policy]", f'[policy]\nallow_differences = ["{RUN}"]'))
    assert second.number("a", total(means(second))) == 0


def test_nobody_can_read_from_the_ledger_who_withdrew(made: Consortium):
    withdraw(load_site(made.folders["a"]), GONE)
    withdraw(load_site(made.folders["a"]), OTHER)
    text = (made.folders["a"] / "store" / "ledger.jsonl").read_text()
    assert GONE not in text and OTHER not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert len({line["patient"] for line in lines if line.get("kind") == KIND}) == 2
    shown = CliRunner().invoke(app, ["ledger", "show", "--site", str(made.folders["a"])])
    assert shown.exit_code == 0 and "withdrew" in shown.stdout


def test_a_second_withdrawal_does_nothing_more(made: Consortium):
    withdraw(load_site(made.folders["a"]), GONE)
    digest = store_digest(load_site(made.folders["a"]), made.study)
    done = withdraw(load_site(made.folders["a"]), GONE)
    assert done.prepared == done.runs == ()
    assert store_digest(load_site(made.folders["a"]), made.study) == digest
    assert_gone(made)


@pytest.mark.parametrize("patient", ["a-999", "../a-007", "", "x" * 80])
def test_a_patient_whom_nobody_knows_is_no_withdrawal(made: Consortium, patient: str):
    with pytest.raises(FedmviError) as refused:
        withdraw(load_site(made.folders["a"]), patient)
    assert refused.value.number == 764
    assert not (made.folders["a"] / "withdrawn.csv").exists()


def test_a_list_that_cannot_be_read_stops_everything(made: Consortium):
    withdraw(load_site(made.folders["a"]), GONE)
    (made.folders["a"] / "withdrawn.csv").write_text("patient_id,date\na-007,someday\n")
    site = load_site(made.folders["a"])
    with pytest.raises(FedmviError) as refused:
        load_prepared(site, made.study)
    assert refused.value.number == 763
    with pytest.raises(FedmviError) as unfit:
        prepare(site, made.study)
    assert unfit.value.number == 763


def test_data_that_cannot_be_prepared_again_are_removed_all_the_same(made: Consortium):
    folder = made.folders["a"]
    rows = list(csv.reader((folder / "patients.csv").open(newline="")))
    rows[3][rows[0].index("age")] = "old"
    with (folder / "patients.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = withdraw(load_site(folder), GONE)
    assert done.prepared == () and len(done.unprepared) == 1 and "FEDMVI-3" in done.unprepared[0]
    assert list(traces(folder, GONE)) == []
    assert not store_folder(load_site(folder), made.study).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from client.approval.withdrawal import withdraw
from client.cohort.site import load_site

left = int(sys.argv[2])

def say(step):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1

withdraw(load_site(Path(sys.argv[1])), sys.argv[3], say)
"""
STEPS = 9
REFUSED = (212, 410, 413, 766)
"""Not prepared, other data, lost answers, a withdrawal that was cut short."""


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_at_any_step_nothing_is_answered_of_him_and_the_same_command_completes_it(made: Consortium, step: int):
    folder = made.folders["a"]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(step), GONE], check=False)
    assert killed.returncode == -signal.SIGKILL
    site = load_site(folder)
    if step > 0:  # the list is written
        assert GONE in withdrawn(site)
        # Questions that were not answered before are not answered of him now.
        assert made.number("a", total(means(made, "wide"))) in REFUSED
        assert made.number("a", each(flow(made))) in REFUSED
    withdraw(site, GONE)
    assert_gone(made)
    assert not (site.store / NOTE).exists()
    assert made.number("a", total(means(made))) == 410


ANYWHERE = """
import os, signal, sys
from pathlib import Path
from client.approval.withdrawal import withdraw
from client.cohort.site import load_site

left, folder = int(sys.argv[2]), sys.argv[1]
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}

def hook(event, arguments):
    global left
    if event in CHANGES and str(arguments[0]).startswith(folder):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

site = load_site(Path(folder))
sys.addaudithook(hook)
withdraw(site, sys.argv[3])
"""


@pytest.mark.parametrize("change", [1, 2, 3, 5, 7, 9, 11, 13, 15, 17])
def test_killed_at_any_change_of_a_file_the_same_command_completes_it(made: Consortium, change: int):
    folder = made.folders["a"].resolve()
    killed = subprocess.run([sys.executable, "-c", ANYWHERE, str(folder), str(change), GONE], check=False)
    assert killed.returncode == -signal.SIGKILL
    withdraw(load_site(folder), GONE)
    assert_gone(made)
    assert not list((folder / "store").rglob("*.old"))


def test_the_steps_that_are_killed_are_all_there_are(made: Consortium):
    steps: list[str] = []
    withdraw(load_site(made.folders["a"]), GONE, steps.append)
    assert len(steps) == STEPS, steps


def test_another_withdrawal_completes_the_one_that_was_killed(made: Consortium):
    folder = made.folders["a"]
    subprocess.run([sys.executable, "-c", KILLED, str(folder), "3", OTHER], check=False)
    withdraw(load_site(folder), GONE)
    assert list(traces(folder, OTHER)) == [] and list(traces(folder, GONE)) == []
    assert load_prepared(load_site(folder), made.study).n == 58


def test_the_command_lists_first_and_removes_nothing(made: Consortium):
    folder = made.folders["a"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    listed = CliRunner().invoke(app, ["withdraw", GONE, "--site", str(folder)])
    assert listed.exit_code == 0, listed.output
    assert "1 store(s)" in listed.stdout and RUN in listed.stdout and "--yes" in listed.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_command_says_which_choice_the_hospital_has(made: Consortium):
    done = CliRunner().invoke(app, ["withdraw", GONE, "--site", str(made.folders["a"]), "--yes"])
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    for expected in ("FEDMVI-410", "FEDMVI-420", "allow_differences", "cannot be taken back", RUN):
        assert expected in words

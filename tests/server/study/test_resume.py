"""server: a run that is killed at any moment and resumed ends with the same results, byte for byte."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from client.release.ledger import Ledger
from common.errors import FedmviError
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation

ROOT = Path(__file__).parents[3]
STUDY = ROOT / "studies" / "demo.toml"

# Runs the study in a process of its own that kills itself in the middle of its n-th durable write, of any kind:
# a reply at a site, a line of a ledger, a round of the journal.
DOOMED = """
import os, signal, sys
from pathlib import Path
study, sites, out, fatal = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
real, count = os.fsync, 0
def fsync(handle):
    global count
    count += 1
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
from server.study.execution import Action
from simulation.running import Simulation
simulation = Simulation.of(study, sites, out, in_process=True)
os.fsync = fsync
simulation.conduct(Action.RUN, lambda step: None)
"""


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hospitals") / "sites"
    make_hospitals(load_consortium("demo"), out, 11)
    return out


@pytest.fixture(scope="module")
def undisturbed(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(hospitals, folder / "sites")
    simulation = Simulation.of(STUDY, folder / "sites", folder / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda step: None)
    return simulation.run.results_file.read_bytes()


@pytest.mark.parametrize("fatal", [30, 31, 32, 33, 400, 1501, 2602])
def test_killed_and_resumed_gives_the_same_bytes(
    hospitals: Path, undisturbed: bytes, tmp_path: Path, fatal: int
) -> None:
    sites, out = tmp_path / "sites", tmp_path / "run"
    shutil.copytree(hospitals, sites)
    command = [sys.executable, "-c", textwrap.dedent(DOOMED), str(STUDY), str(sites), str(out), str(fatal)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not (out / "results.json").exists()
    run_id = RunDirectory(out).facts()["run_id"]
    simulation = Simulation.of(STUDY, sites, out, in_process=True)
    simulation.conduct(Action.RUN, lambda step: None)
    assert simulation.run.results_file.read_bytes() == undisturbed
    assert simulation.run.facts()["run_id"] == run_id
    for ledger in sites.glob("*/store/ledger.jsonl"):
        answers: dict[tuple[str, str], set[str]] = {}
        for entry in Ledger(ledger).entries():
            answers.setdefault((entry["run_id"], entry["question"]), set()).add(entry["answer"])
        assert all(len(given) == 1 for given in answers.values()), "one question, two different answers"


def test_a_finished_run_is_not_written_over(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    Simulation.of(STUDY, sites, tmp_path / "run", in_process=True).conduct(Action.RUN, lambda step: None)
    (tmp_path / "run" / "report.html").write_text("a report")
    with pytest.raises(FedmviError, match="701"):
        Simulation.of(STUDY, sites, tmp_path / "run", in_process=True)


def test_a_site_that_does_not_answer_stops_the_run_and_says_which(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    simulation = Simulation.of(STUDY, sites, tmp_path / "run", in_process=True)
    simulation.sites["hospital-b"].folder.joinpath("site.toml").unlink()
    with pytest.raises(FedmviError, match=r"201.*hospital-b"):
        simulation.conduct(Action.RUN, lambda step: None)

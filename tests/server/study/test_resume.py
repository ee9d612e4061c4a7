"""server: a run that is killed at any moment and resumed ends with the same results, byte for byte."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from client.release.ledger import Ledger
from common.errors import FedmviError
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from tests.disclosure.consortium import STUDY as SMALL_STUDY
from tests.disclosure.consortium import make

ROOT = Path(__file__).parents[3]
STUDY = ROOT / "studies" / "demo.toml"

KINDS = {
    "journal": "/journal/", "bytes": "/replies/", "ledger": "/ledger.jsonl", "whose sums": "/differencing/",
    "once": "/once.txt", "opening": "/open.npz", "freeze": "/frozen.npz", "work": "/store/work/",
}  # fmt: skip
"""What is written durably, by what its temporary file's path has in it."""


class Undisturbed:
    """What a study gives that nobody kills, and how often it writes what."""

    def __init__(self, study: Path, sites: Path, folder: Path) -> None:
        self.study, self.sites = study, sites
        shutil.copytree(sites, folder / "sites")
        simulation = Simulation.of(study, folder / "sites", folder / "run", in_process=True)
        self.writes: Counter[str] = Counter()
        with counted(lambda kind: self.writes.update([kind])):
            simulation.conduct(Action.RUN, lambda step: None)
        self.results = simulation.run.results_file.read_bytes()


@contextmanager
def counted(told: Callable[[str], object]) -> Iterator[None]:
    """Tells the kind of everything that is about to be flushed."""
    real = os.fsync

    def fsync(handle: int) -> None:
        # A file's temporary name begins with a dot.
        path = str(Path(f"/proc/self/fd/{handle}").readlink()).replace("/.", "/")
        told(next((kind for kind, part in KINDS.items() if part in path), "other"))
        real(handle)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = real


def doomed(study: Path, sites: Path, out: Path, kind: str, fatal: int) -> None:
    """Conducts the study in a process that kills itself in the middle of its n-th write of the kind."""
    left = [fatal]

    def count(written: str) -> None:
        left[0] -= written == kind
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    with counted(count):
        Simulation.of(study, sites, out, in_process=True).conduct(Action.RUN, lambda step: None)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hospitals") / "sites"
    make_hospitals(load_consortium("demo"), out, 11)
    return out


@pytest.fixture(scope="module")
def demo(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(STUDY, hospitals, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("small")
    make(folder / "sites", masked=True)
    (folder / "small.toml").write_text(SMALL_STUDY)
    return Undisturbed(folder / "small.toml", folder / "sites", folder / "undisturbed")


@pytest.mark.parametrize(
    ("study", "kind", "share"),
    [
        ("demo", "journal", 0.3), ("demo", "bytes", 0.9), ("small", "opening", 0.9), ("small", "whose sums", 0.4),
        ("small", "once", 0.5), ("small", "bytes", 0.5), ("small", "ledger", 0.6), ("small", "journal", 0.7),
        ("small", "freeze", 0.8),
    ],
)  # fmt: skip
def test_killed_and_resumed_gives_the_same_bytes(
    request: pytest.FixtureRequest, tmp_path: Path, study: str, kind: str, share: float
) -> None:
    undisturbed: Undisturbed = request.getfixturevalue(study)
    sites, out = tmp_path / "sites", tmp_path / "run"
    shutil.copytree(undisturbed.sites, sites)
    fatal = math.ceil(share * undisturbed.writes[kind])
    assert fatal > 0, "nothing of the kind is written"
    process = get_context("fork").Process(target=doomed, args=(undisturbed.study, sites, out, kind, fatal))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    run_id = RunDirectory(out).facts()["run_id"]
    simulation = Simulation.of(undisturbed.study, sites, out, in_process=True)
    simulation.conduct(Action.RUN, lambda step: None)
    assert simulation.run.results_file.read_bytes() == undisturbed.results
    assert simulation.run.facts()["run_id"] == run_id
    for ledger in sites.glob("*/store/ledger.jsonl"):
        answers: dict[tuple[str, str], set[str]] = {}
        for entry in Ledger(ledger).entries():
            answers.setdefault((entry["run_id"], entry["question"]), set()).add(entry["answer"])
        assert all(len(given) == 1 for given in answers.values()), "one question, two different answers"


def test_a_finished_run_is_not_written_over(small: Undisturbed, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(small.sites, sites)
    Simulation.of(small.study, sites, tmp_path / "run", in_process=True).conduct(Action.RUN, lambda step: None)
    (tmp_path / "run" / "report.html").write_text("a report")
    with pytest.raises(FedmviError, match="701"):
        Simulation.of(small.study, sites, tmp_path / "run", in_process=True)


def test_a_site_that_does_not_answer_stops_the_run_and_says_which(hospitals: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(hospitals, sites)
    simulation = Simulation.of(STUDY, sites, tmp_path / "run", in_process=True)
    simulation.sites["hospital-b"].folder.joinpath("site.toml").unlink()
    with pytest.raises(FedmviError, match=r"201.*hospital-b"):
        simulation.conduct(Action.RUN, lambda step: None)

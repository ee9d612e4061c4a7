"""e2e: the demo over Flower's simulation runtime is the demo in one process, byte for byte."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from client.release.ledger import Ledger
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.network.example import make_example_hospitals, write_example_study
from simulation.pooled_and_alone import compare_run
from simulation.running import Simulation
from tests.docs.reader import DOCS, Reader, lacks, sections
from tests.docs.rounds import compare_rounds

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e")
    make_hospitals(load_consortium("demo"), folder / "sites-in-process", 1)
    command = [str(BIN / "fedmvi-simulate"), "demo", "--out", "run"]  # what `make demo` does
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stderr + done.stdout)
    return folder


def test_flower_and_one_process_give_the_same_bytes(folder: Path) -> None:
    local = Simulation.of(
        ROOT / "studies" / "demo.toml", folder / "sites-in-process", folder / "local", in_process=True
    )
    local.conduct(Action.RUN, lambda step: None)
    compare_run(local.run, folder / "sites-in-process", lambda step: None)  # the demo does, too
    assert (folder / "run" / "results.json").read_bytes() == local.run.results_file.read_bytes()


def test_results_follow_the_published_schema(folder: Path) -> None:
    schema = json.loads((ROOT / "docs" / "reference" / "results.schema.json").read_text())
    results = json.loads((folder / "run" / "results.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(results)
    assert len({result["id"] for result in results["results"]}) == len(results["results"])


def test_the_run_leaves_a_report_headlines_and_facts(folder: Path) -> None:
    said = (folder / "said.txt").read_text()
    assert "report.html" in said
    assert "AUC" in said
    assert "simulated" in (folder / "run" / "report.html").read_text().lower()
    facts = json.loads((folder / "run" / "run.json").read_text())
    compare_rounds("demo", facts)
    assert set(facts["sites"]) == {f"hospital-{x}" for x in "abcd"} | {"external-e", "external-f"}
    assert facts["external_openings"]["external-e"] == 1


def test_the_tutorial_shows_what_the_demonstration_says(folder: Path) -> None:
    page = (DOCS / "tutorial" / "first-federation.md").read_text(encoding="utf-8")
    shown = next(text for _, language, text in sections(page) if not language)
    said = (folder / "said.txt").read_text().replace("Report: run/", "Report: runs/demo/")
    assert not lacks(said, shown), lacks(said, shown)


def test_the_guide_to_the_report_has_every_section_of_it_and_no_other(folder: Path, monkeypatch) -> None:
    reader = Reader(folder, monkeypatch, {"runs/demo": "run"})
    reader.follow("tutorial/reading-a-report.md")
    page = (DOCS / "tutorial" / "reading-a-report.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^### (.*)$", page, re.MULTILINE))
    report = html.unescape((folder / "run" / "report.html").read_text(encoding="utf-8"))
    assert set(re.findall(r"<h2[^>]*>(.*?)</h2>", report)) - {"Contents"} <= explained
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "server" / "report").rglob("*.py"))
    assert [title for title in explained - {"Summary"} if f'"{title}"' not in source] == []


def test_every_site_has_a_whole_ledger(folder: Path) -> None:
    for site in (folder / "run-sites").glob("*/store/ledger.jsonl"):
        state = Ledger(site).verify()
        assert state.lines > 10
        assert state.broken_at == 0


def test_a_finished_run_is_refused_with_its_number_and_exit_code(folder: Path) -> None:
    command = [str(BIN / "fedmvi-simulate"), "run", "demo", "--sites", "run-sites", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "FEDMVI-701" in done.stderr
    assert "Traceback" not in done.stderr


def processes_below(folder: Path) -> list[str]:
    """Processes whose Flower home is in the folder; those that have ended and wait for their parent do not count."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLWR_HOME={folder}".encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_flower_run_that_is_killed_leaves_nothing_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    make_example_hospitals(tmp_path / "sites")
    shutil.copytree(tmp_path / "sites", tmp_path / "sites-in-process")
    study = write_example_study(tmp_path / "study.toml", "long", models=True)
    command = [str(BIN / "fedmvi-simulate"), "run", str(study), "--sites", "sites", "--out", "run"]
    with (tmp_path / "said.txt").open("w") as said:
        doomed = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)
    limit = time.monotonic() + 120
    while len(list((tmp_path / "run" / "journal").glob("0*.npz"))) < 3 and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    assert not (tmp_path / "run" / "results.json").exists()
    while (processes_below(tmp_path) or list((tmp_path / "run").glob("flower-*"))) and time.monotonic() < limit:
        time.sleep(0.2)
    assert processes_below(tmp_path) == []
    assert list((tmp_path / "run").glob("flower-*")) == []
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    local = Simulation.of(study, tmp_path / "sites-in-process", tmp_path / "local", in_process=True)
    local.conduct(Action.RUN, lambda step: None)
    assert (tmp_path / "run" / "results.json").read_bytes() == local.run.results_file.read_bytes()


def test_a_run_that_lacks_only_its_report_gets_it(folder: Path) -> None:
    (folder / "run" / "report.html").unlink()
    command = [str(BIN / "fedmvi-simulate"), "run", "demo", "--sites", "run-sites", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "report.html").exists()

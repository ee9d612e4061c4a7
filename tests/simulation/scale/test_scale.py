"""simulation/scale: what many hospitals cost is counted by the kernel, of the server's processes and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.study.loader import parse_study
from simulation.cli import app
from simulation.scale.hospitals import Kind, site_names, study_text
from simulation.scale.memory import watching

HOLDS = "import sys, time; held = bytearray({mib} * 2**20); print('ready', flush=True); sys.stdin.read()"


def process(folder: Path, name: str, mib: int, home: Path) -> subprocess.Popen[bytes]:
    """A program of that name that holds so much memory until its input ends."""
    program = folder / name
    program.write_text(HOLDS.format(mib=mib), encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "FLWR_HOME": str(home)},
    )
    assert started.stdout is not None and started.stdout.readline() == b"ready\n"
    return started


def test_the_servers_processes_of_one_run_are_counted_and_no_others(tmp_path: Path) -> None:
    for name in ("ours", "others"):
        (tmp_path / name / "home").mkdir(parents=True)
    mine, theirs = tmp_path / "ours" / "home", tmp_path / "others" / "home"
    started = []
    try:
        with watching(tmp_path / "ours") as seen:
            started = [
                process(tmp_path, "flower-superlink", 150, mine),
                process(tmp_path / "ours", "flwr-simulation", 100, mine),
                process(tmp_path / "ours", "flwr", 300, mine),
                process(tmp_path / "others", "flwr-simulation", 300, theirs),
            ]
            limit = time.monotonic() + 20
            while len(seen.peak_kib) < 2 and time.monotonic() < limit:
                time.sleep(0.1)
        assert sorted(seen.names.values()) == ["flower-superlink", "flwr-simulation"]
        assert 250 < seen.peak_mib < 330  # and what Python itself holds
        assert set(seen.seconds) == {started[0].pid, started[1].pid}
    finally:
        for one in started:
            one.communicate()


@pytest.mark.parametrize("kind", list(Kind))
def test_the_protocols_hold_for_any_number_of_hospitals(kind: Kind) -> None:
    study = parse_study(study_text(kind, 300))
    assert study.sites() == site_names(300)


@pytest.mark.parametrize("text", ["", "10,5", "2,10", "10,10", "ten", "10,4000"])
def test_numbers_of_hospitals_that_make_no_sense_are_refused(text: str) -> None:
    found = CliRunner().invoke(app, ["scale", "--sites", text])
    assert found.exit_code == 2
    assert "--sites" in found.output


def test_a_study_over_more_hospitals_says_what_each_number_of_them_cost() -> None:
    found = CliRunner().invoke(app, ["scale", "--sites", "3,6", "--study", "statistics", "--json"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    few, many = report["costs"]
    assert (few["sites"], many["sites"]) == (3, 6)
    assert many["messages"] == 2 * few["messages"], "as many rounds"
    assert set(report["server_peak_mib"]["statistics"]) == {"3", "6"}
    assert all(100 < mib < 5000 for mib in report["server_peak_mib"]["statistics"].values())
    assert 0.5 < report["memory_ratio"]["statistics"] < 2.0
    assert many["bytes_to_sites"] > few["bytes_to_sites"] > 0

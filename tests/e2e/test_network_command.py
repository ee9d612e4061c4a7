"""e2e: `fedmvi-simulate network` shows a whole deployment and leaves folders to look at, and no process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.network.census import below
from simulation.network.example import HOSPITALS, make_example_hospitals, write_example_study

BIN = Path(sys.executable).parent
SECONDS = 600.0

pytestmark = pytest.mark.xdist_group("network")


def test_the_command_says_what_happens_and_compares_the_results_with_one_process(tmp_path: Path):
    make_example_hospitals(tmp_path / "mine")
    study = write_example_study(tmp_path / "short.toml", "short")
    done = subprocess.run(
        [
            *(BIN / "fedmvi-simulate", "network", study, "--sites", tmp_path / "mine"),
            *("--out", tmp_path / "out", "--json"),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(done.stdout)
    assert shown["whole"]
    assert set(shown["releases"]) == set(HOSPITALS)
    assert all(lines >= shown["rounds"] for lines in shown["releases"].values())
    for words in ("provisioned", "hospital-a is enrolled", "3 sites are connected", "hospital-c has approved", "same"):
        assert words in done.stderr
    assert (Path(shown["run"]) / "report.html").exists()
    assert (tmp_path / "out" / "sites" / "hospital-a" / "enrolment" / "enrolment.toml").exists()
    assert not list((tmp_path / "mine").rglob("enrolment"))
    assert not below(tmp_path)

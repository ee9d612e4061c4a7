"""e2e: a short campaign of faults: everything is survived, and every run gives the bytes of one without faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.network.example import make_example_hospitals, write_example_study
from simulation.processes import private_folder, short_temporary_folder

# Kinds that need root are left out where the tests do not run as root; the campaign says so.
KINDS = ("kill serverapp", "kill clientapp", "kill executor", "kill whole-hub", "cut", "slow", "reply-duplicated")
SECONDS = 900.0

pytestmark = [
    pytest.mark.xdist_group("chaos"),
    pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None, reason="needs nginx"),
]


def test_a_short_campaign_is_survived() -> None:
    """In a process of its own, because it moves into namespaces of its own."""
    with private_folder("fedmvi-chaos-", short_temporary_folder()) as folder:
        hospitals, study = Path(folder, "hospitals"), write_example_study(Path(folder, "short.toml"), "short")
        make_example_hospitals(hospitals)
        chosen = [word for kind in KINDS for word in ("--kind", kind)]
        program = "from simulation.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, "chaos", str(study), "--sites", str(hospitals), "--faults", str(len(KINDS)),
             "--seed", "3", "--out", str(Path(folder, "out")), "--json", *chosen],
            env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        told = json.loads(done.stdout)
    possible = [kind for kind in KINDS if kind not in told["skipped"]]
    assert {fault["kind"] for fault in told["faults"]} == set(possible)
    assert all(fault["survived"] for fault in told["faults"])
    assert told["runs"] and all(run["same"] and not run["resumed"] for run in told["runs"]), "no run needed a person"
    assert not told["left"] and not told["broken"]
    assert all(lines > 0 for lines in told["ledgers"].values())

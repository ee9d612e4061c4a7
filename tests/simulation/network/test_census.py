"""simulation/network: a deployment knows its own processes, and leaves none behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulation.network.census import below, descendants, processes
from simulation.network.daemons import Daemons

ROOT = Path(__file__).parents[3]
SECONDS = 30.0
FORKING = "import os, time; os.fork(); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


def await_(condition) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_processes_belong_by_mark_home_working_directory_or_parent(tmp_path: Path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    plain = {key: value for key, value in os.environ.items() if key != "FLWR_HOME"}
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = {
        "home": subprocess.Popen(sleep, env=plain | {"FLWR_HOME": str(inside / "home")}, cwd=outside),
        "folder": subprocess.Popen(sleep, env=plain, cwd=inside),
        "neither": subprocess.Popen(sleep, env=plain | {"FLWR_HOME": f"{inside}-2"}, cwd=outside),
    }
    try:
        await_(lambda: {started["home"].pid, started["folder"].pid} <= set(below(inside)))
        assert started["neither"].pid not in below(inside)
        assert os.getpid() not in below(inside)
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def test_what_ended_children_used_counts_for_their_parent():
    work = "sum(i * i for i in range(3_000_000))"
    code = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', '{work}']); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        await_(lambda: len(descendants(processes(), [process.pid])) == 2)
        await_(lambda: len(descendants(processes(), [process.pid])) == 1)
        assert processes()[process.pid].seconds >= 0.1
    finally:
        process.kill()
        process.wait()


def test_daemons_that_fork_or_do_not_listen_are_ended_and_their_words_kept(tmp_path: Path):
    with Daemons(tmp_path) as daemons:
        environment = daemons.environment("home")
        daemons.start("forking", [sys.executable, "-c", FORKING], environment)
        daemons.start("stubborn", [sys.executable, "-c", STUBBORN], environment)
        await_(lambda: len(below(tmp_path)) == 3 and daemons.log("stubborn").read_text() == "deaf\n")
    assert not below(tmp_path)


@pytest.mark.parametrize("code", [FORKING, STUBBORN], ids=["forking", "stubborn"])
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, code: str):
    owner = (
        "import sys, time; from pathlib import Path; from simulation.network.daemons import Daemons\n"
        "with Daemons(Path(sys.argv[1])) as d:\n"
        "    d.start('it', [sys.executable, '-c', sys.argv[2]], d.environment('home')); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", owner, str(tmp_path), code], cwd=ROOT)
    await_(lambda: below(tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await_(lambda: not below(tmp_path))
    assert (tmp_path / "log" / "it.log").exists()

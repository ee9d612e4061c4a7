"""simulation/chaos: a party whose clock is wrong believes it in all of its processes, and measures time as always."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from client.node.clock import AHEAD_SECONDS, BEHIND_SECONDS
from simulation.chaos.clocks import environment_with, make_library, missing
from simulation.chaos.faults import CLOCKS, Cause

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CLOCK = """
import subprocess, sys, threading, time
from flwr.supercore.date import now
began = time.monotonic()
threading.Event().wait(0.2)
time.sleep(0.2)
lock = threading.Lock()
lock.acquire()
lock.acquire(timeout=0.2)
waited = time.monotonic() - began
told = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout
print(time.time(), now().timestamp(), told.strip(), time.monotonic(), waited)
"""


@pytest.mark.parametrize("seconds", [600.0, -600.0])
def test_python_flower_and_what_they_start_believe_it_and_wait_and_measure_as_always(
    seconds: float, tmp_path: Path
) -> None:
    environment = {**os.environ, **environment_with(make_library(tmp_path), seconds)}
    done = subprocess.run([sys.executable, "-c", CLOCK], env=environment, capture_output=True, text=True, check=True)
    *clocks, monotonic, waited = map(float, done.stdout.split())
    assert all(abs(told - time.time() - seconds) < 60 for told in clocks), clocks
    assert abs(monotonic - time.monotonic()) < 60, "it is not the time since the machine was started that is wrong"
    assert 0.6 <= waited < 60


@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed")
def test_the_proxy_tells_the_wrong_time_too(tmp_path: Path) -> None:
    """It is by the proxy's answers that a site finds out whose clock is wrong."""
    socket = tmp_path / "socket"
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; server {{ listen unix:{socket}; location / {{ return 403; }} }} }}\n"
    )
    nginx = str(shutil.which("nginx", path="/usr/sbin:/usr/bin"))
    proxy = subprocess.Popen(
        [nginx, "-p", str(tmp_path), "-c", "nginx.conf"],
        env={**os.environ, **environment_with(make_library(tmp_path), 600.0)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        limit = time.monotonic() + 30
        while not socket.exists():
            assert time.monotonic() < limit and proxy.poll() is None
            time.sleep(0.05)
        asked = [sys.executable, "-c", ASK, str(socket)]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    finally:
        proxy.terminate()
        proxy.wait(30)
    date = re.search(r"^Date: (.*?)\s*$", said, re.MULTILINE)
    assert date is not None and abs(parsedate_to_datetime(date[1]).timestamp() - time.time() - 600) < 60, said


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(sys.argv[1])
    asked.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(asked.makefile("rb").read().decode())
"""


def test_one_fault_is_within_what_the_hub_bears_and_the_others_are_not() -> None:
    assert -BEHIND_SECONDS < CLOCKS[Cause.CLOCK] < AHEAD_SECONDS
    others = [seconds for cause, seconds in CLOCKS.items() if cause is not Cause.CLOCK]
    assert len(others) == 4 and all(not -BEHIND_SECONDS < seconds < AHEAD_SECONDS for seconds in others)

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SUPERVISE = """
import sys
from pathlib import Path
from common.flower.supervisor import Child, Supervisor
folder, grace = Path(sys.argv[1]), float(sys.argv[2])
children = [
    Child(script.stem, [sys.executable, "-P", str(script), str(folder)], {}, folder / f"{script.stem}.log")
    for script in sorted(folder.glob("*.py"))
]
Supervisor(children, grace_seconds=grace).run()
print("ended")
"""
LIVES = """
import os, sys, time
with open(f"{sys.argv[1]}/NAME.pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""
HAS_A_CHILD = """
import os, sys, time
if os.fork() == 0:
    pass
with open(f"{sys.argv[1]}/NAME.pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""
IS_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LIVES
ENDS = """
import sys, time
with open(f"{sys.argv[1]}/NAME.pids", "a") as file:
    file.write(f"{time.monotonic()}\\n")
"""


def wait_until(what: Callable[[], object], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self, grace: float = 10.0, **scripts: str) -> None:
        for name, text in scripts.items():
            (self.folder / f"{name}.py").write_text(text.replace("NAME", name))
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(self.folder), str(grace)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def told(self, name: str) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.folder / f"{name}.pids").read_text().splitlines()
        return []

    def pids(self, name: str, count: int) -> list[int]:
        wait_until(lambda: len(self.told(name)) >= count)
        return [int(line) for line in self.told(name)]

    def end(self, number: signal.Signals) -> str:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)[0]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    if rig.process is not None and rig.process.poll() is None:
        rig.process.kill()
        rig.process.communicate()
    for path in tmp_path.glob("*.pids"):
        for line in path.read_text().splitlines():
            if "." not in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line), signal.SIGKILL)


def test_a_process_that_is_killed_is_started_again_without_what_it_had_started(rig: Rig) -> None:
    rig.start(one=HAS_A_CHILD, two=LIVES)
    first, (other,) = rig.pids("one", 2), rig.pids("two", 1)
    leader = next(pid for pid in first if os.getpgid(pid) == pid)
    os.kill(leader, signal.SIGKILL)
    assert len(rig.pids("one", 4)) == 4
    wait_until(lambda: not any(map(alive, first)))
    assert alive(other)
    assert rig.told("two") == [str(other)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it(rig: Rig, number: signal.Signals) -> None:
    rig.start(one=HAS_A_CHILD, two=LIVES)
    pids = rig.pids("one", 2) + rig.pids("two", 1)
    assert rig.end(number) == "ended\n"
    assert not any(map(alive, pids))


def test_a_process_that_does_not_listen_is_killed(rig: Rig) -> None:
    rig.start(grace=0.5, one=IS_DEAF)
    pids = rig.pids("one", 1)
    assert rig.end(signal.SIGTERM) == "ended\n"
    assert not any(map(alive, pids))


def test_no_process_outlives_a_supervisor_that_was_killed(rig: Rig) -> None:
    rig.start(one=LIVES, two=IS_DEAF)
    pids = rig.pids("one", 1) + rig.pids("two", 1)
    rig.end(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)))


def test_a_process_that_ends_at_once_is_started_with_growing_pauses(rig: Rig) -> None:
    rig.start(one=ENDS)
    wait_until(lambda: len(rig.told("one")) >= 4)
    times = [float(line) for line in rig.told("one")[:4]]
    pauses = [after - before for before, after in pairwise(times)]
    assert [round(pause) >= wanted for pause, wanted in zip(pauses, (1, 2, 4), strict=True)] == [True] * 3


def test_what_a_process_says_goes_to_its_own_file_which_others_cannot_read(rig: Rig) -> None:
    rig.start(one="print('a word', flush=True)\n" + LIVES)
    rig.pids("one", 1)
    log = rig.folder / "one.log"
    assert log.read_text() == "a word\n"
    assert log.stat().st_mode & 0o777 == 0o600

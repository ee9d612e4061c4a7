"""simulation/chaos: what root disturbs is the campaign's own: nobody else sees it, and nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.chaos.isolation import SLOW, cannot_slow, missing, slowed_by

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

PROGRAM = """
import select, socket, subprocess, sys, time
from pathlib import Path
from simulation.chaos.isolation import FarSite, SmallDisk, enter, slowed_by
enter()
far = FarSite()
folder = Path(sys.argv[1])
server = socket.create_server((far.host, 0))
def reached(seconds=2):
    text = f"import socket; socket.create_connection(('{far.host}', {server.getsockname()[1]}), timeout={seconds})"
    return subprocess.run([*far.prefix, sys.executable, "-c", text], capture_output=True).returncode == 0
assert reached(), "the far site reaches the hub"
far.cut()
assert not reached(), "a cut link"
far.join()
assert reached(), "mended"
def seconds(size=16_000):
    text = f"import socket; s = socket.create_connection(('{far.host}', {server.getsockname()[1]}));"
    text += f"s.sendall(bytes({size})); s.shutdown(1); s.recv(1)"
    while select.select([server], [], [], 0)[0]:
        server.accept()[0].close()
    begun, sender = time.monotonic(), subprocess.Popen([*far.prefix, sys.executable, "-c", text])
    taken, _ = server.accept()
    got = 0
    while part := taken.recv(65536):
        got += len(part)
    taken.close()
    assert (got, sender.wait()) == (size, 0)
    return time.monotonic() - begun
if slowed_by():
    usual = seconds()
    far.slow()
    slow = seconds()
    far.hasten()
    assert slow > usual + 0.5, (slowed_by(), usual, slow)
    assert seconds() < slow, "quick again"
(folder / "kept").write_text("kept")
disk = SmallDisk(folder, 4)
assert (folder / "kept").read_text() == "kept"
disk.fill()
try:
    (folder / "more").write_text("x" * 10)
    raise SystemExit("there was room")
except OSError as error:
    assert error.errno == 28, error
disk.free()
(folder / "more").write_text("x" * 10)
disk.release()
"""


def test_a_link_is_slowed_by_the_first_discipline_that_the_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here or elsewhere one of them may be missing; what is chosen is what was seen to work."""
    found = slowed_by()
    assert (found == "") == bool(cannot_slow())
    monkeypatch.setattr("simulation.chaos.isolation.SLOW", {"no-such": (), **SLOW})
    slowed_by.cache_clear()
    try:
        assert slowed_by() == found
        monkeypatch.setattr("simulation.chaos.isolation.SLOW", {"no-such": ()})
        slowed_by.cache_clear()
        assert cannot_slow() == "the kernel has no no-such"
    finally:
        slowed_by.cache_clear()


def test_a_link_is_cut_and_slowed_and_a_disk_filled_where_nobody_else_sees_it(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounts, links = Path("/proc/mounts").read_text(), Path("/proc/net/dev").read_text().count("\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"kept": "kept", "more": "x" * 10}
    assert Path("/proc/mounts").read_text() == mounts
    assert Path("/proc/net/dev").read_text().count("\n") == links
    assert not Path("/run/netns/far").exists()
    assert subprocess.run(["ip", "link", "show", "to-far"], capture_output=True, check=False).returncode != 0

"""simulation/chaos: what root disturbs is the campaign's own: nobody else sees it, and nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.chaos.isolation import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

PROGRAM = """
import socket, subprocess, sys, threading
from pathlib import Path
from simulation.chaos.isolation import FarSite, SmallDisk, enter, tool
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


def test_a_link_is_cut_and_a_disk_filled_where_nobody_else_sees_it(tmp_path: Path) -> None:
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

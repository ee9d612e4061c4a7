"""simulation/scale: memory and processor time of the server's processes of a simulated run, as the kernel counts them.

The processes of a run are found by the Flower home that all of them inherit. Of these the SuperLink, its executor, and
the one in which the ServerApp runs beside Flower's simulation engine are the server; Ray's actors stand for the
hospitals, and `flwr` is a person at a terminal.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulation.engine import MODULE

EVERY_SECONDS = 0.5
SERVER = ("flower-superlink", "flower-superexec", MODULE, "flwr-serverapp")
"""What the server's processes are called: the third is the engine, in which the ServerApp runs."""
SITE = "ray::ClientAppActor"
"""What the names of processes begin with that answer for hospitals, one after the other."""
_MIB = 1024.0


@dataclass
class Watched:
    """What was seen of the server's processes until now.

    Attributes
    ----------
    peak_kib
        The most memory that each process ever held, by pid (VmHWM).
    seconds
        Processor time of each, by pid.
    names
        What each is called, by pid.
    site_seconds
        Processor time of each process that answers for hospitals, by pid.
    """

    peak_kib: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    site_seconds: dict[int, float] = field(default_factory=dict)

    @property
    def peak_mib(self) -> float:
        """The sum of all processes' peaks: no less than what they held together at any time."""
        return sum(self.peak_kib.values()) / _MIB

    @property
    def cpu_seconds(self) -> float:
        """Of all of the server's."""
        return sum(self.seconds.values())

    @property
    def sites_cpu_seconds(self) -> float:
        """Of all that answer for hospitals; 0 where these are on other machines."""
        return sum(self.site_seconds.values())


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """Watch the processes of the run whose Flower home is somewhere in `folder`, until the block ends."""
    seen, done = Watched(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            _look(f"FLWR_HOME={folder.resolve()}{os.sep}".encode(), seen)
            done.wait(EVERY_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _look(marker: bytes, seen: Watched) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended, or is another user's
            environment = (entry / "environ").read_bytes()
            if not any(part.startswith(marker) for part in environment.split(b"\0")):
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if (name := _name(command)) not in SERVER and not name.startswith(SITE):
                continue
            pid = int(entry.name)
            status = (entry / "status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            times = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            seconds = (int(times[11]) + int(times[12])) / ticks
            if seen.names.get(int(times[1])) == name:
                continue  # a fork on its way to another program: its memory is its parent's
            if name in SERVER:
                seen.names[pid], seen.peak_kib[pid], seen.seconds[pid] = name, int(peak.split()[1]), seconds
            else:
                seen.site_seconds[pid] = seconds


def _name(command: str) -> str:
    """The program of a command line, without the interpreter before it."""
    words = [Path(word).name for word in command.split()]
    return next((word for word in words if not word.startswith(("python", "-"))), "")

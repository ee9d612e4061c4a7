"""simulation/scale: memory and processor time of the server's processes of a simulated run, as the kernel counts them.

The processes of a run are found by the Flower home that all of them inherit. Of these the SuperLink, its executor, and
the one in which the ServerApp runs beside Flower's simulation engine are the server; Ray's stand for the hospitals, and
`flwr` is a person at a terminal.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

EVERY_SECONDS = 0.5
SERVER = ("flower-superlink", "flower-superexec", "flwr-simulation", "flwr-serverapp")
"""What the server's processes are called."""
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
    """

    peak_kib: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def peak_mib(self) -> float:
        """The sum of all processes' peaks: no less than what they held together at any time."""
        return sum(self.peak_kib.values()) / _MIB

    @property
    def cpu_seconds(self) -> float:
        """Of all of them."""
        return sum(self.seconds.values())


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
            if (name := _name(command)) not in SERVER:
                continue
            pid = int(entry.name)
            status = (entry / "status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            times = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            seen.names[pid] = name
            seen.peak_kib[pid] = int(peak.split()[1])
            seen.seconds[pid] = (int(times[11]) + int(times[12])) / ticks


def _name(command: str) -> str:
    """The program of a command line, without the interpreter before it."""
    words = [Path(word).name for word in command.split()]
    return next((word for word in words if not word.startswith(("python", "-"))), "")

"""simulation/network: the processes of a deployment as the system counts them: whose they are, what they cost.

A process belongs to the deployment in a folder if its Flower home or its working directory lies in there, or if its
environment carries the folder's mark, or if its parent belongs. (nginx writes its title over its environment.)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "ONE_MACHINE_NETWORK"
"""Environment variable with the folder of the deployment; its name is not one of those that daemons drop."""

_TICKS = float(os.sysconf("SC_CLK_TCK"))
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process at one moment.

    Attributes
    ----------
    seconds
        Processor time of the process and of all children that have ended and were waited for.
    resident
        Bytes of memory, those that it shares with others included.
    zombie
        It has ended, and its parent has not asked how.
    """

    pid: int
    parent: int
    group: int
    command: tuple[str, ...]
    seconds: float
    resident: int
    zombie: bool


def processes() -> dict[int, Process]:
    """All processes of this machine that can be looked at, by number; empty where there is no /proc."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid = int(entry.name)
            # The name, in brackets, may hold anything. After it: state, parent, group, ...
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().decode("utf-8", errors="replace").strip("\0").split("\0")
            used = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
            resident = int(fields[21]) * _PAGE
            found[pid] = Process(
                pid, int(fields[1]), int(fields[2]), tuple(words), used, resident, fields[0] in ("Z", "X")
            )
    return found


def below(folder: Path) -> dict[int, Process]:
    """The processes of the deployment in `folder` that have not ended, never this one."""
    everyone = processes()
    marked = {pid for pid, process in everyone.items() if not process.zombie and _belongs(pid, folder)}
    family = descendants(everyone, marked) - {os.getpid()}
    return {pid: everyone[pid] for pid in family if not everyone[pid].zombie}


def descendants(everyone: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The given processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for process in everyone.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in everyone]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def _belongs(pid: int, folder: Path) -> bool:
    entry = Path("/proc", str(pid))
    with contextlib.suppress(OSError):
        own = str(folder)
        for word in (entry / "environ").read_bytes().decode("utf-8", errors="replace").split("\0"):
            name, _, value = word.partition("=")
            if name in (MARK, "FLWR_HOME") and _within(value, own):
                return True
        return _within(os.readlink(entry / "cwd"), own)  # noqa: PTH115 - a removed folder is read as it is
    return False


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)

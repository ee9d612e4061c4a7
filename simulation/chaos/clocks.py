"""simulation/chaos: a wrong clock, for all processes of a party: libfaketime answers them in the system's place.

What asks the C library for the time is told another one: Python, OpenSSL and nginx alike, and every process that they
start. How long something takes is measured as always (the monotonic clock), as on a machine whose date is wrong.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "faketime"
_PLACES = ("/usr/lib/*/faketime", "/usr/lib64/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"
_LEFT = ("faketime_shm_{pid}", "sem.faketime_sem_{pid}")


@cache
def library() -> str:
    """The path of the library (the one for programs with threads); "" where it is not installed."""
    found = (path for place in _PLACES for path in sorted(Path("/").glob(f"{place[1:]}/{_NAME}")))
    return str(next(found, ""))


def missing() -> str:
    """Why clocks cannot be set wrong here, or ""."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if library() else f"needs libfaketime (package `{PACKAGE}`)"


def environment_with(seconds: float) -> dict[str, str]:
    """What a process sees that believes that it is later by so many seconds."""
    return {"LD_PRELOAD": library(), "FAKETIME": f"{seconds:+.0f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def sweep(pid: int) -> None:
    """Remove what the library leaves behind of a process that was killed."""
    for path in _leavings(pid):
        with contextlib.suppress(OSError):
            path.unlink()


def _leavings(pid: int) -> Iterator[Path]:
    yield from (Path("/dev/shm", name.format(pid=pid)) for name in _LEFT)  # noqa: S108 - the library's own place

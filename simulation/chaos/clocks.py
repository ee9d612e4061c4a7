"""simulation/chaos: a wrong clock, for all processes of a party: a small library answers them in the system's place.

What asks the C library for the date is told another one: Python, OpenSSL and nginx alike, and every process that they
start. How long something takes is measured as always (the monotonic clock), as on a machine whose date is wrong.
libfaketime 0.9.10 does the same and cannot be used: with it `time.sleep` of Python 3.11 fails (EINVAL), or, where it
changes the monotonic clock too, locks are waited for without end.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common.errors import FedmviError
from simulation.chaos.isolation import tool

_VARIABLE = "WRONG_CLOCK_SECONDS"
_COMPILER = "cc"
_SOURCE = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    static long seconds;
    static int known;
    if (!known) {
        const char *told = getenv("WRONG_CLOCK_SECONDS");
        seconds = told ? atol(told) : 0;
        known = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *told)
{
    int failed = (int) syscall(SYS_clock_gettime, clock, told);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        told->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone)
{
    (void) zone;
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed) {
        told->tv_sec = now.tv_sec;
        told->tv_usec = now.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *told)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return (time_t) -1;
    if (told)
        *told = now.tv_sec;
    return now.tv_sec;
}
"""


def missing() -> str:
    """Why clocks cannot be set wrong here, or ""."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if tool(_COMPILER) else "needs a C compiler (`cc`)"


def make_library(folder: Path) -> Path:
    """Compile the library into a folder, where it is not there already; error 824 if that fails."""
    library = folder / "wrong-clock.so"
    if not library.exists():
        compiler = tool(_COMPILER)
        if compiler is None:
            raise FedmviError(824, missing(), command=_COMPILER)
        command = [compiler, "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        done = subprocess.run(command, input=_SOURCE, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
        if done.returncode:
            raise FedmviError(824, done.stderr, command=_COMPILER)
    return library


def environment_with(library: Path, seconds: float) -> dict[str, str]:
    """What a process sees that believes that it is later by so many seconds."""
    return {"LD_PRELOAD": str(library), _VARIABLE: f"{seconds:.0f}"}

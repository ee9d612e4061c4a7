"""common/flower: a process that ends when its parent does, whatever ended that."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
# Looked up once: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a signal when the parent ends; called by the child, with the parent's process id.

    Linux only. Flower watches for the parent's id instead, which a zombie of that id deceives.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), number)

"""common: the number of an error that nobody foresaw; its text may hold patients' data, so it is never told."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from types import TracebackType

from common.errors import FedmviError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OURS = ("client", "common")


def unforeseen(error: Exception) -> FedmviError:
    """516 for a full disk, which mends by making room; 901 for anything else."""
    full = isinstance(error, OSError) and error.errno in _FULL
    return FedmviError(516 if full else 901)


def failed_on(whose: str, error: Exception) -> FedmviError:
    """383: of somebody's images the program met what nobody foresaw; the others need not know.

    Parameters
    ----------
    whose
        Patient or folder, with which the local text begins.
    error
        Told by its type, where it was raised, and where the program asked for it.
    """
    ours = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _OURS
    ]
    raised = place(error.__traceback__)
    asked = f", asked for at {ours[-1]}" if ours and not raised.endswith(ours[-1]) else ""
    return FedmviError(383, f"{whose}: {type(error).__name__}{raised}{asked}")


def place(trace: TracebackType | None) -> str:
    """Where an exception was raised: file and line, which are ours or a library's, never data."""
    frames = traceback.extract_tb(trace)
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""

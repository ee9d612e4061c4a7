"""common/observing: the local log: a file for the daemon's user alone, which never grows without end."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from common.files import make_private

MOST_BYTES = 10_000_000
"""From this size on the file starts anew; what was in it is kept once, as `<name>.1`."""


class LocalFile:
    """The local log of one machine; any number of processes may write to it.

    Parameters
    ----------
    path
        Made for its owner only, with its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> int:
        """A handle that adds at the end of the file; OSError if that cannot be had."""
        make_private(self._path.parent)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(handle, 0o600)
        return handle

    def take_over(self, *descriptors: int) -> None:
        """Let what this process and its libraries write to these descriptors go into the file."""
        handle = self.open()
        for descriptor in descriptors:
            os.dup2(handle, descriptor)
        os.close(handle)

    def append(self, text: str) -> None:
        """Add a text as lines of its own."""
        handle = self.open()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_size > MOST_BYTES:
                self._begin_anew(handle)
            os.write(handle, text.encode("utf-8", errors="backslashreplace") + b"\n")
        finally:
            os.close(handle)

    def _begin_anew(self, handle: int) -> None:
        # Emptied rather than renamed: processes that hold the file as their standard error go on writing to it.
        earlier = self._path.with_name(self._path.name + ".1")
        shutil.copyfile(self._path, earlier)
        earlier.chmod(0o600)
        os.ftruncate(handle, 0)

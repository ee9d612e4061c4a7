"""common/deployment: keeps root from writing into a folder in which a daemon works as another user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from common.errors import FedmviError


def refuse_root(folder: Path) -> None:
    """Refuse to go on as root in the folder of another user, whose daemon could not read what root makes there.

    A folder that is not there yet is nobody's.

    Raises
    ------
    FedmviError
        728; `local` says as whom to type the command.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat().st_uid
    if owner != 0:
        raise FedmviError(728, f"{folder}: type it as its owner, with `sudo -u {_name(owner)}` before it")


def _name(owner: int) -> str:
    """A user's name; of one whom this machine does not know (a container's) the number, as sudo takes it."""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"'#{owner}'"

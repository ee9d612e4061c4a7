"""simulation/scale: room on disk for many hospitals: they keep what left, as every hospital does."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.errors import FedmviError
from simulation.scale.kinds import Kind

_MIB = 2**20
PER_HOSPITAL_MIB = {Kind.STATISTICS: (1.0, 0.012), Kind.NETWORK: (3.0, 0.002)}
"""Of one hospital: in any case, and for each hospital of the roster. The second are lines of the ledger, which name the
roster, and answers that grow with all patients. Measured with 10 to 1,000 (the network: 30), and rounded up."""


def needed_mib(kind: Kind, count: int) -> int:
    """Room for so many hospitals, in MiB, with a fifth to spare."""
    alone, each = PER_HOSPITAL_MIB[kind]
    return round(1.2 * count * (alone + each * count))


def refuse_without_room(kind: Kind, count: int, folder: Path) -> None:
    """Error 830 where a folder's disk has no room for so many hospitals: better now than after hours."""
    needed, free = needed_mib(kind, count), shutil.disk_usage(folder).free // _MIB
    if free < needed:
        raise FedmviError(830, str(folder), sites=count, needed=needed, free=free)


def megabytes_in(folder: Path) -> float:
    """MiB of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / _MIB

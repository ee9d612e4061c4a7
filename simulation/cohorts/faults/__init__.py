"""simulation/cohorts: deliberate faults by name, as consortium files list them under `flaws`.

Every fault damages one written site folder in one way, so that what is said of it can be traced to its cause. What
ought to be said is known (`Fault.tell`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from common.errors import FedmviError
from simulation.cohorts.consortium import Consortium
from simulation.cohorts.faults.fault import Fault
from simulation.cohorts.faults.images import IMAGE_FAULTS
from simulation.cohorts.faults.series import SERIES_FAULTS
from simulation.cohorts.faults.tables import TABLE_FAULTS

FAULTS: Mapping[str, Fault] = MappingProxyType({**TABLE_FAULTS, **IMAGE_FAULTS, **SERIES_FAULTS})
"""All faults by name: those of tables, of NIfTI images, of DICOM series."""


def check_faults(consortium: Consortium) -> None:
    """Refuse names that are none of a fault, and faults of images that the consortium does not write.

    Raises
    ------
    FedmviError
        809 with every problem.
    """
    problems = []
    for site in consortium.sites:
        written = "table" if consortium.imaging is None else consortium.formats(site)[0]
        for name in site.flaws:
            if name not in FAULTS:
                problems.append(f"{site.name}: there is no fault '{name}'; known: {', '.join(FAULTS)}")
            elif FAULTS[name].of not in ("table", written):
                problems.append(f"{site.name}: the fault '{name}' is one of {FAULTS[name].of} images")
    if problems:
        raise FedmviError(809, consortium.name, problems="; ".join(problems))


def apply_faults(folder: Path, names: Sequence[str], rng: np.random.Generator) -> None:
    """Damage a written site folder, one fault after the other.

    Parameters
    ----------
    folder
        The site's folder, with its table and, where it has images, `images` and `masks`.
    names
        Keys of `FAULTS`.
    rng
        Chooses the patients and cells.

    Raises
    ------
    FedmviError
        809 where there is no such fault (before anything is changed), or where the site lacks what a fault needs,
        such as a second phase.
    """
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        problem = f"there is no fault '{unknown[0]}'; known: {', '.join(FAULTS)}"
        raise FedmviError(809, str(folder), problems=problem)
    for name in names:
        FAULTS[name].apply(folder, rng)

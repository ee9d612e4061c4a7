"""client/cohort: `withdrawn.csv`: the patients who withdrew their consent, whatever the table of patients still says.

The file is in the site's folder, readable by its owner only, and stays there. It is the first thing that a withdrawal
writes: from then on no table that is read, and no prepared store that is opened, may have these patients.
"""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

from client.cohort.site import Site
from common.errors import FedmviError
from common.files import write_whole

FILE = "withdrawn.csv"
_HEADER = ["patient_id", "date"]


def withdrawn(site: Site) -> dict[str, date]:
    """The day of each withdrawal by the patient's id, earliest first; nobody where there is no file.

    Raises
    ------
    FedmviError
        763 the file cannot be read: nothing is answered rather than that somebody comes back.
    """
    path = _path(site)
    if not path.exists():
        return {}
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True))
        if rows[:1] != [_HEADER]:
            raise ValueError("no header `patient_id,date`")
        found = {patient: date.fromisoformat(day) for patient, day in rows[1:]}
        if "" in found:
            raise ValueError("an empty id")
    except (OSError, ValueError, csv.Error) as error:
        raise FedmviError(763, f"{path}: {error}") from error
    return found


def withdraw_consent(site: Site, patient: str, day: date) -> None:
    """Add a patient; on return it is on disk. One who is listed keeps his day."""
    listed = withdrawn(site)
    if patient in listed:
        return
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows([name, when.isoformat()] for name, when in [*listed.items(), (patient, day)])
    write_whole(_path(site), out.getvalue().encode())


def _path(site: Site) -> Path:
    return site.folder / FILE

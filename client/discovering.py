"""client: what `fedmvi-site discover` does around the search: ids, progress, and a table of what was found."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from client.cohort.columns import Columns
from client.cohort.problems import Problems, worst_first
from client.cohort.reading import read_patients
from client.cohort.sheet import read_sheet
from client.cohort.site import Site, load_site
from client.images.finding.discover import Discovered, discover
from client.images.finding.discover import Progress as Report
from client.images.finding.finding import ids_near
from client.images.finding.manifest import KNOWN_PHASES, Line, write_manifest
from common.errors import FedmviError, Severity
from common.terminal import err

_ROWS = 40
_LISTED = 5


def propose_manifest(
    folder: Path, out: Path | None, site_folder: Path | None, key: Path | None, workers: int | None = None
) -> tuple[Path, Discovered]:
    """Look through an export and write the manifest; gives back its path and what was found.

    Parameters
    ----------
    folder
        The export.
    out
        The manifest's file; without it the site's, or `manifest.csv` here.
    site_folder
        Folder of the site whose table of patients the ids are held against, and from which paths go.
    key
        Table with the columns `original` and `assigned`, as `check --assign-ids` writes it: PatientIDs and the ids
        that the table of patients has instead.

    workers
        Processes; as many as there are processors where None.

    Raises
    ------
    FedmviError
        201 to 203 of site.toml, 321 a key file that is none, 330 a folder that cannot be read, 358 a manifest that is
        there already, 377 one that cannot be written, 388 no such folder, or nothing in it for a manifest.
    """
    site = load_site(site_folder) if site_folder else None
    path = out or (site.folder / site.images.manifest if site else Path("manifest.csv"))
    if path.exists():
        raise FedmviError(358, str(path))
    if not os.access(path.absolute().parent, os.W_OK):
        raise FedmviError(377, f"{path}: its folder is not there, or cannot be written")
    ids = _read_key(key) if key else {}
    with _progress() as report:
        found = discover(folder, site.folder if site else path.parent, ids=ids, workers=workers, progress=report)
    if not found.lines:
        raise _nothing_in(folder, found.problems)
    write_manifest(path, found.lines)
    problems = [*found.problems, *(_unlisted(site, found.lines) if site else [])]
    return path, replace(found, problems=tuple(worst_first(problems)))


def _nothing_in(folder: Path, problems: Sequence[FedmviError]) -> FedmviError:
    """388 with what is in the folder instead of images in DICOM."""
    files = [name.lower() for _, _, names in os.walk(folder, followlinks=True) for name in names if name[0] != "."]
    others = sum(name.endswith((".nii", ".nii.gz", ".nrrd")) for name in files)
    if not files:
        return FedmviError(388, f"{folder}: there is no file in this folder")
    told = [f"{folder}: no image of CT or MR and no mask in DICOM among its files ({len(files)})"]
    if others:
        told.append(f"NIfTI or NRRD ({others}) is not read here, only DICOM")
    return FedmviError(388, "; ".join([*told, *(problem.local for problem in problems[:_LISTED])]))


def _read_key(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FedmviError(321, f"{path}: {error}") from error
    pairs = [row for row in rows if row]
    if header != ["original", "assigned"] or any(len(pair) != 2 for pair in pairs):
        raise FedmviError(321, f"{path}: the header or a row is not `original,assigned`")
    return {original.strip(): assigned.strip() for original, assigned in pairs}


def _unlisted(site: Site, lines: Iterable[Line]) -> list[FedmviError]:
    """354 for patients whom the table does not have; nothing where there is no table yet."""
    problems = Problems()
    sheet = read_sheet(site, problems)
    if sheet is None:
        return []
    known = read_patients(Columns(site, None, sheet, problems), sheet, problems)
    strange = {line.patient_id: line.path for line in reversed(list(lines)) if line.patient_id not in set(known)}
    return [
        FedmviError(354, f"{patient}: {path}: not in the table of patients{ids_near(patient, known)}",
                    severity=Severity.WARNING)
        for patient, path in sorted(strange.items())
    ]  # fmt: skip


@contextmanager
def _progress() -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("folders"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Reading headers", total=None)

        def report(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=f"Reading headers {escape(name)}")

        yield report


def found_table(found: Discovered) -> Table:
    """Patients by phases: yes where a volume is in use, ? where a person must look at one; the unsettled first."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    unknown = Counter(line.patient_id for line in found.undecided)
    for line in found.lines:
        of = cells[line.patient_id]
        if line.kind == "mask":
            if line.use == "yes":
                of[line.region] = "yes"
        elif line.use == "yes" or line.phase:
            of[line.phase] = "yes" if "yes" in (of.get(line.phase), line.use) else "?"
    phases = [phase for phase in KNOWN_PHASES if any(phase in of for of in cells.values())]
    regions = sorted({name for of in cells.values() for name in of} - set(KNOWN_PHASES))
    table = Table(Column("patient", overflow="fold", min_width=16), *phases, *regions, "unknown volumes")
    doubtful = sorted(cells, key=lambda name: (-unknown[name], -list(cells[name].values()).count("?"), name))
    for name in doubtful[:_ROWS]:
        marks = [cells[name].get(column, "") for column in (*phases, *regions)]
        table.add_row(escape(name or "no id"), *marks, str(unknown[name] or ""))
    if len(cells) > _ROWS:
        table.caption = f"and {len(cells) - _ROWS} patients more"
    return table


def counted(lines: Sequence[Line]) -> str:
    """A sentence of what a manifest holds."""
    images = [line for line in lines if line.kind == "image"]
    used = sum(line.use == "yes" for line in lines)
    patients = len({line.patient_id for line in lines})
    return f"{patients} patients, {len(images)} volumes, {len(lines) - len(images)} masks; {used} rows are in use"

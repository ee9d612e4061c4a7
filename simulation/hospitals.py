"""simulation: makes the hospitals that a consortium file declares: tables, images, expression, and the truth beside.

**Everything written here is simulated.** What comes out, beside one folder a site:

    cohort.json                        how the sites were made; reports print its notes
    truth/consortium.json              what was declared, the seed, the best attainable AUC, the true genes
    truth/patients.csv                 grade and latent scores of every patient
    truth/typing-errors.csv            every mistyped cell, what is true and what is written
    truth/<site>/<patient>/motion-*    the true displacement between phases

No site folder holds any of the truth.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.parallel import in_processes
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, ImageFormat, Imaging, MaskFormat, Site
from simulation.cohorts.expression import draw_expression, gene_truth, write_expression
from simulation.cohorts.faults import apply_faults, check_faults
from simulation.cohorts.flaws import Recorded, as_recorded
from simulation.cohorts.outcomes import endpoints_of
from simulation.cohorts.patients import GRADES, Patients
from simulation.cohorts.streams import entropy, stream
from simulation.cohorts.truth import attainable
from simulation.imaging.findings import Findings, findings_of
from simulation.importers.folder import ImportReport, SiteRows, refuse_filled, write_sites
from simulation.importers.source import expect_files
from simulation.running import MADE_UP

if TYPE_CHECKING:
    from simulation.imaging.headers import Acquisition

ASSUMED = (
    "Assumed in every consortium: spread and correlation of laboratory values, differences between hospitals, the "
    "share of M2, intervals between imaging, surgery and visits, and that patients die four times as often after "
    "recurrence."
)
ASSUMED_IMAGES = (
    "Assumed of images: anatomy, contrast medium, motion, scanners, readers, and how MVI shows; sizes of effects are "
    "in truth/consortium.json."
)
ASSUMED_EXPRESSION = "Assumed of expression: which genes differ with MVI, by how much, and all that varies besides."
Progress = Callable[[int, int], None]
"""Told how many patients have been pictured, of how many."""


@dataclass(frozen=True)
class Appointment:
    """One patient to be examined: everything that decides the pictures.

    Attributes
    ----------
    consortium
        Its name.
    seed
        The seed of all.
    site
        The hospital, with its scanner.
    imaging
        What is acquired.
    formats
        How images and masks are written.
    findings
        What the pictures show.
    age, female
        For headers.
    """

    consortium: str
    seed: int
    site: Site
    imaging: Imaging
    formats: tuple[ImageFormat, MaskFormat]
    findings: Findings
    age: int
    female: bool

    def stream(self) -> np.random.SeedSequence:
        """The patient's own randomness; it depends on the seed, the site and the pseudonym only."""
        return np.random.SeedSequence(
            entropy(self.consortium, self.seed, self.site.name, f"images of {self.findings.patient}")
        )

    def acquisition(self) -> Acquisition:
        """What headers say."""
        from simulation.imaging.headers import Acquisition

        return Acquisition(
            site=self.site.name,
            scanner=f"{self.imaging.modality.upper()} {self.site.name}",
            sex="F" if self.female else "M",
            age=self.age,
            seed=f"{self.consortium}/{self.seed}",
            kernel=f"FWHM {self.site.scanner.kernel_mm:g} mm",
            tesla=self.site.scanner.tesla,
            kilovolt=self.site.scanner.kilovolt,
            vendor=self.site.scanner.vendor,
        )


def make_hospitals(
    consortium: Consortium, out: Path, seed: int, *, workers: int | None = None, progress: Progress | None = None
) -> ImportReport:
    """Write a consortium's hospitals as site folders; the same seed gives the same bytes.

    Parameters
    ----------
    consortium
        What is declared.
    out
        Folder for the sites; absent or empty. It appears when all is done.
    seed
        Any non-negative integer.
    workers
        Processes that make images.
    progress
        Called after every pictured patient.

    Raises
    ------
    FedmviError
        213 where `out` is not empty; 809 where the consortium contradicts itself; 810 and 811 where its images cannot
        be made.
    """
    refuse_filled(out)
    check_faults(consortium)
    drawn = [draw_site(consortium, site, seed) for site in consortium.sites]
    recorded = [as_recorded(consortium, patients, seed) for patients in drawn]

    def fill(folder: Path) -> None:
        _write_truth(folder / "truth", consortium, seed, drawn, recorded)
        if consortium.imaging is not None:
            _write_images(folder, appointments(consortium, seed, drawn), workers, progress)
        for site, patients in zip(consortium.sites, drawn, strict=True):
            if consortium.expression is not None:
                table = draw_expression(consortium, patients, seed)
                if table.patients:
                    write_expression(folder / site.name, table)
            apply_faults(folder / site.name, site.flaws, stream(consortium.name, seed, site.name, "faults"))

    return write_sites(
        out,
        f"{consortium.name}/{seed}",
        [_rows(site, record.cells) for site, record in zip(consortium.sites, recorded, strict=True)],
        about="A simulated hospital: no row and no picture is a patient.",
        # The bytes of the images depend on the scan.
        sources=expect_files(scan.parent, [scan.name]) if (scan := _liver_mask(consortium)) else (),
        notes=notes_of(consortium, seed),
        record=MADE_UP,
        fill=fill,
    )


def notes_of(consortium: Consortium, seed: int) -> tuple[str, ...]:
    """What a reader of any report on these sites must know, in sentences."""
    traits = [
        f"{name}: {trait.absent:.0%} without MVI, odds ratio {trait.odds_ratio:g} "
        f"({'assumed' if trait.assumed else trait.source})"
        for name, trait in consortium.clinical.traits.items()
    ]
    _, warnings = endpoints_of(consortium.survival)
    return (
        f"All patients are simulated: consortium {consortium.name}, seed {seed}. {consortium.title.rstrip('.')}.",
        ASSUMED,
        *([ASSUMED_IMAGES] if consortium.imaging is not None else []),
        *([f"Livers have the shape of a real scan's: {scan.name}."] if (scan := _liver_mask(consortium)) else []),
        *([ASSUMED_EXPRESSION] if consortium.expression is not None else []),
        *(f"Followed: {source.rstrip('.')}." for source in consortium.sources),
        *consortium.assumptions,
        *([f"Imaging traits: {'; '.join(traits)}."] if traits else []),
        *warnings,
    )


def appointments(consortium: Consortium, seed: int, drawn: Iterable[Patients]) -> list[Appointment]:
    """Everybody who is to be examined; nobody where the consortium has no images."""
    if consortium.imaging is None:
        return []
    sites = {site.name: site for site in consortium.sites}
    return [
        _appointment(consortium, seed, sites[patients.site], patients, index)
        for patients in drawn
        for index in range(len(patients))
    ]


def _appointment(consortium: Consortium, seed: int, site: Site, patients: Patients, index: int) -> Appointment:
    return Appointment(
        consortium=consortium.name,
        seed=seed,
        site=site,
        imaging=consortium.imaging or Imaging(),
        formats=consortium.formats(site),
        findings=findings_of(patients, index),
        age=int(patients.values["age"][index]),
        female=bool(patients.values["sex_female"][index]),
    )


def _liver_mask(consortium: Consortium) -> Path | None:
    """The real scan whose liver is drawn, if any."""
    named = consortium.imaging is not None and consortium.imaging.liver_mask
    return Path(named) if named else None


def _rows(site: Site, cells: Mapping[str, Sequence[str]]) -> SiteRows:
    classes = {level: list(cells["mvi"]).count(level) for level in ("absent", "present")}
    rows = tuple(zip(*cells.values(), strict=True))
    return SiteRows(site.name, tuple(cells), rows, classes=classes, min_patients=site.min_patients)


def _write_images(folder: Path, booked: Sequence[Appointment], workers: int | None, progress: Progress | None) -> None:
    tasks = [(str(folder), appointment) for appointment in booked]
    for done, _ in enumerate(in_processes(_picture, tasks, workers), start=1):
        if progress is not None:
            progress(done, len(tasks))


def _picture(task: tuple[str, Appointment]) -> None:
    """Examine one patient and write what comes of it (in a process of its own)."""
    # Loaded here: consortia without images do without these libraries.
    from simulation.imaging.examine import examine
    from simulation.imaging.files import write_examination, write_motion

    folder, booked = Path(task[0]), task[1]
    examination = examine(booked.findings, booked.imaging, booked.site.scanner, booked.stream())
    site = folder / booked.site.name
    write_examination(site, examination, *booked.formats, booked.acquisition())
    write_motion(folder / "truth" / booked.site.name, examination)


def _write_truth(
    folder: Path, consortium: Consortium, seed: int, drawn: Sequence[Patients], recorded: Sequence[Recorded]
) -> None:
    folder.mkdir()
    declared = consortium.model_dump(mode="json")
    if consortium.imaging is not None:
        # Where the file lies on this machine is no part of the truth.
        declared["imaging"]["liver_mask"] = Path(consortium.imaging.liver_mask).name
    facts = {
        "consortium": declared,
        "seed": seed,
        "attainable_auc": attainable(consortium, drawn, seed).as_dict(),
        "genes": None if consortium.expression is None else gene_truth(consortium, seed).as_json(),
    }
    text = json.dumps(facts, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "consortium.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    names = list(drawn[0].scores)
    rows = [
        (p.site, p.ids[i], p.labels[i], GRADES[p.grade[i]], *(f"{p.scores[name][i]:.6f}" for name in names))
        for p in drawn
        for i in range(len(p))
    ]
    _write_csv(folder / "patients.csv", ("site", "patient_id", "cohort", "mvi_grade", *names), rows)
    errors = [
        (patients.site, error.patient, error.column, error.true, error.written)
        for patients, record in zip(drawn, recorded, strict=True)
        for error in record.typing_errors
    ]
    _write_csv(folder / "typing-errors.csv", ("site", "patient_id", "column", "true", "written"), errors)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream_:
        writer = csv.writer(stream_, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

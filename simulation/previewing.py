"""simulation: which patients of a consortium are shown on its contact sheet, and with what truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium
from simulation.cohorts.patients import GRADES, Patients
from simulation.hospitals import Appointment, appointments, notes_of
from simulation.imaging.examine import examine
from simulation.imaging.preview import Sheet, write_preview

HOSPITALS = 3
"""Hospitals that are shown: the first ones. Of each, one patient of every grade."""


def preview_consortium(consortium: Consortium, path: Path, seed: int) -> None:
    """Write the contact sheet of a consortium with images; the patients are those that this seed makes.

    Parameters
    ----------
    consortium, seed
        What is declared, and which draw of it.
    path
        The HTML file.
    """
    title = f"{consortium.title} ({consortium.name})"
    write_preview(path, title, seed, _sheets(consortium, seed), notes_of(consortium, seed))


def _sheets(consortium: Consortium, seed: int) -> Iterator[Sheet]:
    for site in consortium.sites[:HOSPITALS]:
        patients = draw_site(consortium, site, seed)
        booked = appointments(consortium, seed, [patients])
        for grade in range(len(GRADES)):
            found = [i for i in range(len(patients)) if patients.grade[i] == grade]
            if found:
                yield _sheet(patients, found[0], booked[found[0]])


def _sheet(patients: Patients, index: int, booked: Appointment) -> Sheet:
    truth = {
        "Group": patients.labels[index] or "none",
        "Age, years": str(booked.age),
        "Sex": "female" if booked.female else "male",
        "Factor on the signal here": f"{booked.site.signal:g}",
    }
    return Sheet(
        site=patients.site,
        grade=GRADES[patients.grade[index]],
        findings=booked.findings,
        scanner=booked.site.scanner,
        examination=examine(booked.findings, booked.imaging, booked.site.scanner, booked.stream()),
        truth=truth,
    )

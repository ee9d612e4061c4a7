"""tests/e2e: the hospitals of `demo-imaging`, and features that were measured once in the CT of all their patients.

`python -m tests.e2e.imaging_hospitals` makes the CT in DICOM, prepares it and writes the features anew, which takes
some five minutes on two processors. The tests take them from the file, and measure a few patients again.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest import MonkeyPatch

from client.cohort.site import load_site
from client.preparation.patient import Job, Outcome
from client.preparation.prepare import Prepared, prepare
from common.study.loader import parse_study
from common.study.protocol import Study
from simulation import hospitals
from simulation.cohorts.consortium import load_consortium
from simulation.cohorts.patients import Patients
from simulation.hospitals import make_hospitals

MEASURED = Path(__file__).with_name("demo-imaging.csv")
SEED = 1
RADIOMICS = ("peritumour-subtraction", "all-blocks")
LEFT_OUT = ("tumour-registered", "peritumour-registered", "tumour-subtraction")
"""The radiomics models of the shipped study, those that are tested and those that are not."""
SCANNERS = {
    "hospital-a": ("Siemens", "over 110 to 130 kV"),
    "hospital-b": ("GE", "over 110 to 130 kV"),
    "hospital-c": ("Philips", "over 90 to 110 kV"),
    "hospital-d": ("Siemens", "over 110 to 130 kV"),
    "external-e": ("Canon or Toshiba", "over 90 to 110 kV"),
    "external-f": ("GE", "over 110 to 130 kV"),
    "external-g": ("United Imaging", "over 110 to 130 kV"),
}
"""Vendor and tube voltage of every hospital's scanner, as levels."""
_STUDY = Path(__file__).parents[2] / "studies" / "demo-imaging.toml"
_FILES = ("images/{}/arterial", "images/{}/portal", "masks/{}/tumour", "masks/{}/liver")
_CLASSES = 'classes = ["firstorder", "shape", "glcm"]'
_SETS = "optimism = 10"


def protocol() -> str:
    """The shipped study with fewer features, bootstrap sets and radiomics models, so that it is soon done."""
    text = _STUDY.read_text(encoding="utf-8")
    assert text.count(_CLASSES) == 1
    assert text.count(_SETS) == 2
    text = text.replace(_CLASSES, 'classes = ["firstorder"]').replace(_SETS, "optimism = 2")
    for model in LEFT_OUT:
        text, tables = re.subn(rf'\[\[models\]\]\nname = "{model}"\n(?:.+\n)+\n', "", text)
        text, mentions = re.subn(rf'  "{model}",\n', "", text)
        assert (tables, mentions) == (1, 1), model
    return text


def study() -> Study:
    """The same, read."""
    return parse_study(protocol())


def make(folder: Path, examined: Collection[str] | None = None) -> list[str]:
    """Make all hospitals, with CT of these patients only (None: of all); the hospitals' names."""
    all_appointments = hospitals.appointments

    def some(consortium: Any, seed: int, drawn: Sequence[Patients]) -> list[hospitals.Appointment]:
        booked = all_appointments(consortium, seed, drawn)
        return booked if examined is None else [one for one in booked if one.findings.patient in examined]

    consortium = load_consortium("demo-imaging")
    with MonkeyPatch.context() as patched:
        patched.setattr(hospitals, "appointments", some)
        make_hospitals(consortium, folder, SEED)
    return [site.name for site in consortium.sites]


def touch_images(folder: Path, patients: Sequence[str]) -> None:
    """Files of a hospital that nobody reads, where images would be."""
    for path in (folder / f"{file.format(patient)}.nii.gz" for patient in patients for file in _FILES):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def measured() -> dict[str, dict[str, float]]:
    """By patient, the features in the file."""
    with MEASURED.open(newline="", encoding="utf-8") as file:
        return {row.pop("patient_id"): {k: float(v) for k, v in row.items()} for row in csv.DictReader(file)}


def acquired(patient: str) -> dict[str, str]:
    """How a patient's CT was acquired, but for times, which differ between patients of a hospital."""
    vendor, voltage = SCANNERS[patient.rpartition("-")[0]]
    return {
        "scanner_vendor": vendor, "tube_voltage": voltage, "slice_spacing": "over 5 mm", "pixel_spacing": "over 1 mm",
    }  # fmt: skip


def as_measured(known: Mapping[str, dict[str, float]]) -> Any:
    """What takes the place of `prepare_patients`: outcomes with these features."""

    def outcomes(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
        patients = (job.case.patient for job in jobs)
        return tuple(Outcome(p, features={1: known[p]}, acquisition=acquired(p)) for p in patients)

    return outcomes


def features_of(done: Prepared) -> dict[str, dict[str, float]]:
    """By patient, the features that a preparation gave; nobody may have failed."""
    assert done.images is not None
    assert not done.images.failed
    return {outcome.patient: dict(outcome.features[1]) for outcome in done.images.outcomes}


def main() -> None:
    """Write the file."""
    names = study().preparation
    assert names is not None
    columns = names.feature_names()
    with TemporaryDirectory() as folder, MEASURED.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["patient_id", *columns])
        for site in make(Path(folder, "sites")):
            found = features_of(prepare(load_site(Path(folder, "sites", site)), study()))
            for patient, values in found.items():
                assert all(math.isfinite(values[column]) for column in columns), patient
                lines.writerow([patient, *(f"{values[column]:.5g}" for column in columns)])


if __name__ == "__main__":
    main()

"""tests/client/preparation: how images were acquired, from headers to the table, as levels and nothing else."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset

from client.approval.telling import _uses
from client.cohort.check import inspect
from client.cohort.site import Site
from client.cohort.store import load_prepared
from client.images.case import Acquisition, ImageSource, ReadImage, Scan
from client.images.reading.read import read_image
from client.preparation import images as preparing
from client.preparation.acquisition import acquired
from client.preparation.patient import Job, Outcome
from client.preparation.prepare import prepare
from common.study.acquisition import LEVELS, acquisition_facts
from common.study.loader import parse_study
from common.study.preparation import Preparation
from common.study.protocol import Study
from common.study.table import SiteTable
from tests.client.images.dicom_files import picture, write_series
from tests.client.preparation.sites import STUDY, MakeSite

FACTS = acquisition_facts(parse_study(STUDY).preparation)
MR = Preparation.model_validate({"modality": "mr", "phases": ("t1", "t1a", "t1v"), "reference": "t1v", "stacks": {}})
CANARIES = ("Canary Imaging", "CANARY-SN-77", "Canary Hospital", "CanaryScan 9000", "CANARYSTATION")


TWO_VENDORS = """
[[variables]]
name = "scanner_vendor"
kind = "binary"
known = "preoperative"
levels = ["Philips", "GE"]

[preparation]
"""


def scan_of(**about: Acquisition) -> Scan:
    def made(phase: str) -> ReadImage:
        image = sitk.Image(4, 4, 4, sitk.sitkInt16)
        image.SetSpacing((0.7, 0.8, 2.5))
        return ReadImage(image, about[phase])

    return Scan("p1", {phase: made(phase) for phase in about}, {})


def facts(scan: Scan, modality: str = "ct") -> dict[str, str]:
    preparation = parse_study(STUDY).preparation
    assert preparation is not None
    return dict(acquired(scan, preparation if modality == "ct" else MR))


def at(clock: str, day: str = "20200102", **more: Any) -> Acquisition:
    return Acquisition(acquired=f"{day}{clock}.000000", **more)


def levels_of(table: SiteTable, fact: str) -> list[str | None]:
    column = table.columns[fact]
    return [None if np.isnan(value) else column.levels[int(value)] for value in column.values]


def test_levels_follow_from_headers_and_grid() -> None:
    scan = scan_of(
        plain=at("100000"), arterial=at("100340", seconds=36.0),
        portal=at("100415", manufacturer="Philips Medical Systems", kilovolt=100.0),
    )  # fmt: skip
    assert facts(scan) == {
        "scanner_vendor": "Philips",
        "tube_voltage": "over 90 to 110 kV",
        "slice_spacing": "over 1.5 to 3 mm",
        "pixel_spacing": "over 0.7 to 0.85 mm",
        "phase_count": "3",
        "contrast_delay_arterial": "over 30 to 40 s",
        "arterial_to_portal": "over 30 to 40 s",
        "plain_to_arterial": "over 2 to 5 min",
    }


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_what_the_manifest_says_goes_before_the_header_and_stands_in_for_one(kind: str, tmp_path: Path) -> None:
    if kind == "nifti":
        path = tmp_path / "a.nii"
        nibabel.save(nibabel.Nifti1Image(picture(), np.diag([1, 1, 3, 1])), path)
    else:
        path = write_series(tmp_path / "a", picture(), modality="MR", change=lambda _, header: by_ge(header))
    said = ImageSource("t1v", path, "", 0, 66.0, "Primovist", 1.5, "Siemens Healthineers", 800.0)
    silent = read_image(ImageSource("t1v", path), "p1").about
    about = read_image(said, "p1").about
    assert (about.seconds, about.agent, about.tesla, about.manufacturer, about.b_value) == (
        66.0, "Primovist", 1.5, "Siemens Healthineers", 800.0)  # fmt: skip
    assert (silent.tesla, silent.manufacturer) == ((3.0, "GE MEDICAL SYSTEMS") if kind == "dicom" else (None, ""))
    known = facts(Scan("p1", {phase: read_image(replace(said, phase=phase), "p1") for phase in MR.phases}, {}), "mr")
    assert (known["scanner_vendor"], known["field_strength"], known["contrast_delay_arterial"]) == (
        "Siemens", "1.5 T", "over 60 s")  # fmt: skip


def by_ge(header: Dataset) -> None:
    header.MagneticFieldStrength, header.Manufacturer, header.ContrastBolusAgent = 3, "GE MEDICAL SYSTEMS", "Gadovist"


@pytest.mark.parametrize(
    "arterial",
    [
        Acquisition(),
        at("100340", day="20190102"),  # another examination
        at("095900", day="20200103"),
        Acquisition(acquired="not a time"),
        Acquisition(acquired="20201399996199.000000"),
    ],
)
def test_times_that_cannot_be_of_one_examination_are_not_known(arterial: Acquisition) -> None:
    known = facts(scan_of(plain=at("100000"), arterial=arterial, portal=at("100415")))
    assert not {"arterial_to_portal", "plain_to_arterial", "contrast_delay_arterial"} & set(known)


def test_images_without_headers_tell_their_grid_only() -> None:
    known = facts(scan_of(portal=Acquisition(), arterial=Acquisition()))
    assert set(known) == {"slice_spacing", "pixel_spacing", "phase_count"}


def hostile(site: Site) -> None:
    """Headers that name people, places and devices wherever a fact is read, or beside it."""
    for path in site.folder.glob("images/*/*/*.dcm"):
        header = pydicom.dcmread(path)
        header.Manufacturer = CANARIES[0]
        header.DeviceSerialNumber, header.InstitutionName = CANARIES[1], CANARIES[2]
        header.ManufacturerModelName, header.StationName = CANARIES[3], CANARIES[4]
        header.KVP = "9999999"
        header.ContrastBolusStartTime = "000001.5"
        header.save_as(path)


def test_of_hostile_headers_nothing_but_levels_is_kept(make_site: MakeSite, study: Study) -> None:
    site = make_site("hospital-b", patients=1)
    hostile(site)
    done = prepare(site, study)
    assert done.images is not None and not done.images.failed
    table = load_prepared(site, study)
    assert levels_of(table, "scanner_vendor") == ["other"]
    assert levels_of(table, "tube_voltage") == levels_of(table, "contrast_delay_arterial") == [None]
    assert all(set(levels_of(table, fact)) <= {*LEVELS[fact], None} for fact in FACTS)
    kept = [path for path in site.store.rglob("*") if path.is_file()]
    for path in kept:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = str(pq.read_table(path).to_pylist()).encode()
        assert not [canary for canary in CANARIES if canary.encode() in content], path
    assert len(kept) > 20


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The levels that every patient's images tell; no image is read."""
    levels: dict[str, str] = {}

    def outcomes(jobs: Sequence[Job], *_: object) -> tuple[Outcome, ...]:
        return tuple(Outcome(job.case.patient, acquisition=levels) for job in jobs)

    monkeypatch.setattr(preparing, "prepare_patients", outcomes)
    return levels


def add_column(site: Site, name: str, cells: Sequence[str]) -> None:
    path = site.folder / "patients.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*row, cell] for row, cell in zip(rows, (name, *cells), strict=True))


def test_the_hospitals_table_goes_before_the_images_and_need_not_have_the_column(
    make_site: MakeSite, study: Study, told: dict[str, str]
) -> None:
    site = make_site(patients=3)
    told |= {"scanner_vendor": "GE", "tube_voltage": "over 130 kV"}
    add_column(site, "scanner_vendor", ["Philips", "", "Siemens"])
    prepare(site, study)
    table = load_prepared(site, study)
    assert levels_of(table, "scanner_vendor") == ["Philips", "GE", "Siemens"]
    assert levels_of(table, "tube_voltage") == ["over 130 kV"] * 3
    assert levels_of(table, "slice_spacing") == [None] * 3


def test_a_bad_row_of_somebody_who_is_not_prepared_stops_nobody(
    make_site: MakeSite, study: Study, told: dict[str, str]
) -> None:
    site = make_site(patients=2)
    rows = ["patient_id,kind,phase,region,path,use", "nobody,image,portal,,gone/portal,yes"]
    for folder in sorted((site.folder / "images").iterdir()):
        rows += [
            f"{folder.name},image,{p},,images/{folder.name}/{p}.nii.gz,yes" for p in ("plain", "arterial", "portal")
        ]
        rows += [f"{folder.name},mask,portal,tumour,masks/{folder.name}/tumour.nii.gz,yes"]
    (site.folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    done = prepare(site, study)
    assert done.images is not None and not done.images.failed


def test_a_word_that_is_no_level_is_an_error_of_the_table(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=2)
    add_column(site, "scanner_vendor", ["Philips", "Acme"])
    numbers = {problem.number for problem in inspect(site, study)[1]}
    assert 308 in numbers
    assert 207 not in numbers


def test_levels_that_the_study_does_not_name_are_no_value(make_site: MakeSite, told: dict[str, str]) -> None:
    own = (
        '[[variables]]\nname = "scanner_vendor"\nkind = "binary"\nknown = "preoperative"\nlevels = ["Philips", "GE"]\n'
    )
    study = parse_study(STUDY.replace("[preparation]\n", f"{own}\n[preparation]\n", 1))
    site = make_site(patients=2)
    told |= {"scanner_vendor": "GE"}
    prepare(site, study)
    assert levels_of(load_prepared(site, study), "scanner_vendor") == ["GE", "GE"]
    told |= {"scanner_vendor": "Siemens"}
    assert prepare(site, study).fresh
    assert levels_of(load_prepared(site, study), "scanner_vendor") == [None, None]


def test_other_facts_are_another_store(make_site: MakeSite, study: Study, told: dict[str, str]) -> None:
    site = make_site(patients=2)
    told |= {"scanner_vendor": "GE"}
    first = prepare(site, study).digest
    told |= {"scanner_vendor": "Philips"}
    assert prepare(site, study).digest != first
    told |= {"scanner_vendor": "GE"}
    assert prepare(site, study).digest == first


def test_other_seconds_of_a_manifest_are_seen_though_no_file_changed(make_site: MakeSite, study: Study) -> None:
    site = make_site("hospital-b", patients=1)
    prepare(site, study)
    before = levels_of(load_prepared(site, study), "contrast_delay_arterial")
    patient = load_prepared(site, study).patients[0]
    rows = [["patient_id", "kind", "phase", "region", "path", "use", "seconds_after_injection", "vendor"]]
    for phase in ("plain", "arterial", "portal"):
        seconds = "55" if phase == "arterial" else ""
        rows.append([patient, "image", phase, "", f"images/{patient}/{phase}", "yes", seconds, "Philips"])
    for region in ("tumour", "liver"):
        rows.append([patient, "mask", "portal", region, f"masks/{patient}/{region}.dcm", "yes", "", ""])
    with (site.folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    again = prepare(site, study)
    assert again.images is not None and not again.images.failed, again.images
    assert before == ["over 30 to 40 s"]
    assert levels_of(load_prepared(site, study), "scanner_vendor") == ["Philips"]
    assert levels_of(load_prepared(site, study), "contrast_delay_arterial") == ["over 40 to 60 s"]


def test_a_hospital_reads_before_it_approves_what_is_kept_of_headers(study: Study, make_site: MakeSite) -> None:
    told = dict(_uses(make_site(), study))
    assert "Scanner's vendor" in told["How images were acquired"]
    assert "Variables" not in told

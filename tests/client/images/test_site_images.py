"""tests/client: a site's images are all looked at: simulated ones are fine, and every deliberate fault is told."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from client.checking import check_all
from client.cli import app
from client.cohort.site import load_site
from client.images.case import Case
from client.images.checking import site_images
from client.images.checking.contact_sheet import may_write
from client.images.checking.site_images import inspect_images, patient_of
from common.errors import FedmviError, Severity
from simulation.cohorts.consortium import load_consortium
from simulation.cohorts.faults import FAULTS, apply_faults
from simulation.hospitals import make_hospitals
from tests.client.images.dicom_files import short_number
from tests.client.images.phantom import preparation

SITES = {"nifti": "control", "dicom": "missing-slice", "rtstruct": "mixed-series"}
PREPARATION = preparation("arterial", "portal")
STUDY = """
[study]
name = "images"
title = "Images <of> hospitals"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[cohorts]]
name = "train"
role = "train"
sites = ["control", "b", "c"]

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["afp"]

[preparation]
modality = "ct"
phases = ["arterial", "portal"]
reference = "portal"
radiomics = { regions = ["tumour", "peritumour-10mm"] }
"""


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three clean hospitals of three patients: NIfTI, DICOM with SEG, DICOM with RTSTRUCT."""
    declared = load_consortium("hostile")
    by_name = {site.name: site for site in declared.sites}
    chosen = [
        by_name[name].model_copy(
            update={
                "flaws": (),
                "groups": (by_name[name].groups[0].model_copy(update={"patients": 3, "present": 1}),),
                "masks": "rtstruct" if kind == "rtstruct" else by_name[name].masks,
            }
        )
        for kind, name in SITES.items()
    ]
    out = tmp_path_factory.mktemp("sites") / "hostile"
    make_hospitals(declared.model_copy(update={"sites": tuple(chosen)}), out, 7, workers=1)
    return {kind: out / name for kind, name in SITES.items()}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process, which spares the seconds that a new one takes to load libraries."""

    def as_done(work: Callable[[Any], Any], tasks: Sequence[Any], *_: object) -> Iterator[tuple[int, Any]]:
        yield from ((number, work(task)) for number, task in enumerate(tasks))

    monkeypatch.setattr(site_images, "as_done", as_done)


def patients(folder: Path) -> list[str]:
    lines = (folder / "patients.csv").read_text(encoding="utf-8").splitlines()
    at = lines[0].split(",").index("patient_id")
    return [line.split(",")[at] for line in lines[1:]]


def told(folder: Path) -> list[FedmviError]:
    return inspect_images(load_site(folder), PREPARATION, patients(folder))[0]


@pytest.mark.parametrize("kind", SITES)
def test_simulated_images_have_no_problems(kind: str, hospitals: dict[str, Path], here: None) -> None:
    assert [str(problem) for problem in told(hospitals[kind])] == []


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.of != "table"])
def test_every_fault_of_images_is_told_by_its_number_and_patient(
    name: str, hospitals: dict[str, Path], tmp_path: Path, here: None
) -> None:
    folder = tmp_path / name
    shutil.copytree(hospitals[FAULTS[name].of], folder)
    apply_faults(folder, (name,), np.random.default_rng(3))
    problems = told(folder)
    if FAULTS[name].tell is None:
        assert problems == []
        return
    assert FAULTS[name].tell in {problem.number for problem in problems}
    known = {p.name for p in (folder / "images").iterdir()} | set(patients(folder))
    # Two patients at most are touched; all that is told names one of them, and a path.
    assert {patient_of(problem) for problem in problems} <= known
    assert len({patient_of(problem) for problem in problems}) <= 2
    assert all(re.match(r"[\w-]+: \S+", problem.local) for problem in problems)


def test_a_patient_with_one_bad_file_is_looked_at_all_the_same(
    hospitals: dict[str, Path], tmp_path: Path, here: None
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["nifti"], folder)
    first, second = patients(folder)[:2]
    (folder / "images" / first / "arterial.nii.gz").write_bytes(b"no image")
    shutil.copyfile(folder / "images" / second / "portal.nii.gz", folder / "images" / second / "arterial.nii.gz")
    problems, rows = inspect_images(load_site(folder), PREPARATION, patients(folder), pictures=True)
    # One image under two names is told, and that no contrast arrived between the two is not.
    assert [(p.number, patient_of(p)) for p in problems] == [(330, first), (364, second)]
    assert [row.patient for row in rows[:2]] == [first, second]
    assert [panel.title for panel in rows[0].panels] == ["portal", "portal, enlarged"]


def test_what_there_is_of_a_patient_who_lacks_a_phase_or_the_mask_is_looked_at_and_shown(
    hospitals: dict[str, Path], tmp_path: Path, here: None
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["nifti"], folder)
    first, second, third = patients(folder)
    (folder / "images" / first / "arterial.nii.gz").unlink()
    (folder / "images" / first / "portal.nii.gz").write_bytes(b"no image")
    (folder / "images" / second / "arterial.nii.gz").unlink()
    for mask in (folder / "masks" / third).glob("*tumour*"):
        mask.unlink()
    problems, rows = inspect_images(load_site(folder), PREPARATION, patients(folder), pictures=True)
    told = {(p.number, patient_of(p)) for p in problems if p.severity is Severity.ERROR}
    assert told == {(351, first), (330, first), (351, second), (352, third)}
    shown = {row.patient: [panel.title for panel in row.panels] for row in rows}
    assert shown == {first: [], second: ["portal", "portal, enlarged"], third: ["arterial", "portal"]}


def test_a_study_that_asks_for_two_readers_features_is_told_where_one_has_outlined(
    hospitals: dict[str, Path], tmp_path: Path, here: None
) -> None:
    reduced = """
[[models]]
name = "tumour"
endpoint = "mvi"
cohort = "train"
features = { regions = ["tumour"] }
reduction = { icc = 0.75 }
"""
    once, twice = tmp_path / "once.toml", tmp_path / "twice.toml"
    once.write_text(STUDY, encoding="utf-8")
    regions = 'regions = ["tumour", "peritumour-10mm"]'
    twice.write_text(STUDY.replace(regions, f"{regions}, second_reader = true") + reduced, encoding="utf-8")
    assert 226 not in {problem.number for problem in check_all(hospitals["nifti"], once)}
    (told,) = (problem for problem in check_all(hospitals["nifti"], twice) if problem.number == 226)
    assert (told.severity, told.facts["model"], told.local) == (Severity.NOTE, "tumour", "0 patients")
    shutil.copytree(hospitals["nifti"], tmp_path / "site")
    for mask in (tmp_path / "site" / "masks").glob("*/tumour.nii.gz"):
        shutil.copyfile(mask, mask.with_name("tumour.reader2.nii.gz"))
    (told,) = (problem for problem in check_all(tmp_path / "site", twice) if problem.number == 226)
    assert told.local == "3 patients"


def test_images_of_patients_who_are_excluded_are_not_strangers(hospitals: dict[str, Path], here: None) -> None:
    site, everybody = load_site(hospitals["nifti"]), patients(hospitals["nifti"])
    alone, _ = inspect_images(site, PREPARATION, everybody[:2])
    assert {p.number for p in alone} == {354}
    problems, rows = inspect_images(site, PREPARATION, everybody[:2], excluded=everybody[2:])
    assert problems == [] and [row.patient for row in rows] == everybody[:2]


def test_one_odd_header_is_no_traceback_and_hides_no_other_patient(hospitals: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["dicom"], folder)
    first, second = patients(folder)[:2]
    path = sorted((folder / "images" / first / "portal").iterdir())[0]
    header = pydicom.dcmread(path)
    del header.SyntheticData, header.QualityControlSubject, header.InstitutionName
    header.save_as(path)
    short_number(path)
    shutil.rmtree(folder / "images" / second / "arterial")
    study = tmp_path / "study.toml"
    study.write_text(STUDY, encoding="utf-8")
    done = CliRunner().invoke(app, ["check", "--site", str(folder), "--study", str(study), "--workers", "1"])
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1
    assert "FEDMVI-351" in done.output and second in done.output and first not in done.output


def test_what_nobody_foresaw_of_one_patient_is_told_without_data_and_stops_nobody(
    hospitals: dict[str, Path], here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hospitals["nifti"]
    first, second = patients(folder)[:2]

    def odd(case: Case) -> list[FedmviError]:
        if case.patient == first:
            raise LookupError("Zaborowska^Maria")
        return [FedmviError(366, f"{case.patient}: seen")] if case.patient == second else []

    monkeypatch.setattr(site_images, "privacy_problems", odd)
    assert [(p.number, patient_of(p)) for p in told(folder)] == [(366, second), (383, first)]
    assert re.fullmatch(rf"{first}: LookupError at test_site_images.py:\d+, asked for at site_images.py:\d+",
                        told(folder)[1].local)  # fmt: skip


def page_of(folder: Path, html: Path, *options: str) -> tuple[int, str]:
    study = html.with_name("study.toml")
    study.write_text(STUDY, encoding="utf-8")
    arguments = ["check", "--site", str(folder), "--study", str(study), "--html", str(html), "--workers", "1"]
    done = CliRunner().invoke(app, [*arguments, *options])
    return done.exit_code, html.read_text(encoding="utf-8") if html.exists() else done.output


def test_the_contact_sheet_shows_every_patient_worst_first_and_asks_for_nothing(
    hospitals: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["nifti"], folder)
    apply_faults(folder, ("flipped-mask",), np.random.default_rng(3))
    code, page = page_of(folder, tmp_path / "sheet.html")
    assert code == 1
    named = re.findall(r'<h2 id="patient-\d+" tabindex="-1">([\w-]+)', page)
    assert sorted(named) == sorted(patients(folder))
    assert [p for p in named if f"{named[0]}: " in p] == [] and page.index("error FEDMVI-360") > page.index(named[0])
    assert page.count("<img ") == 3 * len(named)
    assert re.findall(r'<section class="patient (\w+)"', page) == ["error", "fine", "fine"]
    assert not re.search(r"<script|https?://|<link|@import", page)
    assert "Images &lt;of&gt; hospitals" in page and "Simulated." in page and "Stays in the hospital." in page
    assert (tmp_path / "sheet.html").stat().st_mode & 0o077 == 0
    may_write(tmp_path / "sheet.html")


def test_another_file_is_not_overwritten_by_a_contact_sheet(hospitals: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "patients.csv"
    other.write_text("patient_id\n1\n")
    for path in (other, tmp_path / "none" / "sheet.html", tmp_path):
        with pytest.raises(FedmviError) as caught:
            may_write(path)
        assert caught.value.number == 389
    _, kept = page_of(hospitals["nifti"], other)
    assert kept == "patient_id\n1\n"


def test_a_full_disk_is_a_number_and_leaves_no_half_page(hospitals: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    program, files = Path(sys.executable).parent / "fedmvi-site", f"--study {tmp_path}/study.toml --html {tmp_path}/a"
    # No file may grow beyond 8 KiB: writing fails as on a full disk. Python keeps modules that it could half compile.
    limits = "ulimit -f 8; export PYTHONDONTWRITEBYTECODE=1"
    words = f"{limits}; exec {program} check --site {hospitals['nifti']} {files} --workers 1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "FEDMVI-389" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_tables_alone_can_be_checked(hospitals: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["nifti"], folder)
    shutil.rmtree(folder / "images")
    study = tmp_path / "study.toml"
    study.write_text(STUDY, encoding="utf-8")
    arguments = ["check", "--site", str(folder), "--study", str(study)]
    assert CliRunner().invoke(app, [*arguments, "--tables-only"]).exit_code == 0
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and "FEDMVI-356" in done.output


def test_problems_of_severity_error_come_first(hospitals: dict[str, Path], tmp_path: Path, here: None) -> None:
    folder = tmp_path / "site"
    shutil.copytree(hospitals["nifti"], folder)
    apply_faults(folder, ("nan-image", "images-without-row"), np.random.default_rng(1))
    problems = told(folder)
    assert [p.severity for p in problems] == sorted((p.severity for p in problems), reverse=True)
    assert problems[0].severity is Severity.ERROR and {p.number for p in problems} >= {333, 354}

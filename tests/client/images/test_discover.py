"""tests/client: a PACS export becomes a manifest that finds the right files, and leaves open what nobody said."""

from __future__ import annotations

import csv
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from typer.testing import CliRunner

from client.cli import app
from client.cohort.site import Site, SiteHead
from client.images.case import Case, ImageSource
from client.images.finding import discover as discovering
from client.images.finding.discover import Discovered, discover
from client.images.finding.facts import facts_of
from client.images.finding.finding import find_cases
from client.images.finding.manifest import Line, manifest_bytes, read_manifest
from client.images.finding.phases import decide_study
from client.images.masks.masks import read_mask
from client.images.reading.read import read_image
from common.errors import FedmviError, Severity
from common.study.preparation import Preparation
from simulation.cohorts.consortium import MaskFormat
from simulation.imaging.files import write_examination
from tests.client.images.dicom_files import frame_group, picture, write_enhanced, write_series
from tests.public_data import public
from tests.simulation.imaging.examinations import ABOUT, ct, mr

PATIENT = "hospital-a-0001"
_TEXT = ("ContrastBolusAgent", "SeriesDescription")
CT = Preparation.model_validate(
    {"modality": "ct", "phases": ("plain", "arterial", "portal", "delayed"), "reference": "portal", "stacks": {}}
)
MR = Preparation.model_validate({"modality": "mr", "phases": ("t1", "t1v", "dwi"), "reference": "t1v", "stacks": {}})


def images(found: Discovered) -> list[Line]:
    return [line for line in found.lines if line.kind == "image"]


def by_phase(found: Discovered) -> dict[str, Line]:
    return {line.phase: line for line in images(found) if line.use == "yes"}


def without_facts(case: Case) -> Case:
    """The folders' names do not say when and how a phase was made."""
    images = {p: ImageSource(one.phase, one.path, one.series, one.volume) for p, one in case.images.items()}
    return replace(case, images=images)


@pytest.fixture(scope="module", params=["seg", "rtstruct"])
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT and an MR patient as a simulated hospital writes them."""
    kind: MaskFormat = request.param
    folder = tmp_path_factory.mktemp(kind)
    write_examination(folder, ct(), "dicom", kind, ABOUT)
    write_examination(folder, mr(), "dicom", kind, ABOUT)
    return folder


@pytest.mark.parametrize(("made", "preparation"), [(ct, CT), (mr, MR)], ids=["ct", "mr"])
def test_the_manifest_finds_the_same_case_as_the_folders(
    hospital: Path, tmp_path: Path, made: Callable[[], Any], preparation: Preparation
) -> None:
    examination = made()
    by_name, _ = find_cases(Site(site=SiteHead(name="a"), folder=hospital), preparation, [examination.patient])
    found = discover(hospital, hospital)
    assert found.problems == ()
    assert found.undecided == ()
    site = tmp_path / "site"
    shutil.copytree(hospital, site)
    (site / "manifest.csv").write_bytes(manifest_bytes(found.lines))
    by_manifest, problems = find_cases(Site(site=SiteHead(name="a"), folder=site), preparation, [examination.patient])
    case = by_manifest[examination.patient]
    assert [p for p in problems if p.number != 354] == []
    assert {phase: source.seconds for phase, source in case.images.items()} == pytest.approx(
        {phase: s if phase != "t1" and phase != "plain" and phase != "dwi" else None
         for phase, s in examination.started_s.items()}
    )  # fmt: skip
    (expected,) = by_name.values()
    moved = json.loads(json.dumps(str(without_facts(case))).replace(str(site), str(hospital)))
    assert moved == str(without_facts(expected))


def test_headers_of_mr_reach_the_manifest(hospital: Path) -> None:
    rows = {line.phase: line for line in images(discover(hospital, hospital)) if line.patient_id == "hospital-a-0002"}
    assert (rows["t1v"].agent, rows["t1v"].tesla, rows["t1v"].seconds_after_injection) == (
        "Simulated gadolinium",
        3,
        66.5,
    )
    assert rows["dwi"].b_value == 750
    assert rows["t1"].vendor == "FedMVI simulation"
    assert rows["t1"].agent == ""


def test_images_and_masks_of_a_flat_export_are_read_by_its_manifest(hospital: Path, tmp_path: Path) -> None:
    """All files of both patients in one folder under names that tell nothing, as some burners write them."""
    flat = tmp_path / "site" / "archive"
    flat.mkdir(parents=True)
    for number, path in enumerate(sorted(hospital.rglob("*.dcm"))):
        shutil.copyfile(path, flat / f"IM{number:05d}")
    found = discover(flat, tmp_path / "site")
    assert [line for line in images(found) if line.use == "no"] == []
    (tmp_path / "site" / "manifest.csv").write_bytes(manifest_bytes(found.lines))
    cases, _ = find_cases(Site(site=SiteHead(name="a"), folder=tmp_path / "site"), CT, [PATIENT])
    case = cases[PATIENT]
    original, _ = find_cases(Site(site=SiteHead(name="a"), folder=hospital), CT, [PATIENT])
    for phase in CT.phases:
        ours, theirs = read_image(case.images[phase], PATIENT), read_image(original[PATIENT].images[phase], PATIENT)
        assert ours.about == theirs.about
    portal = read_image(case.images["portal"], PATIENT)
    assert {(mask.region, mask.reader) for mask in case.masks} <= {("tumour", 1), ("tumour", 2), ("liver", 1)}
    assert read_mask(case.masks[0], portal, PATIENT).GetSize() == portal.image.GetSize()


def series(folder: Path, description: str, uid: str, *, shape: tuple[int, int, int] = (8, 6, 5), **values: Any) -> Path:
    """Write a CT series with headers of its own."""

    def change(z: int, header: Dataset) -> None:
        header.SeriesDescription = description
        header.SeriesInstanceUID = uid
        header.SOPInstanceUID = f"{uid}.{z}"
        for name, value in values.items():
            setattr(header, name, value)

    return write_series(folder, picture(shape), change=change)


def test_localizers_reformats_and_projections_are_not_used(tmp_path: Path) -> None:
    series(tmp_path / "1", "Abdomen arterial", "2.25.11")
    series(tmp_path / "2", "arterial MIP", "2.25.12")
    series(tmp_path / "3", "Topogram", "2.25.13")
    found = discover(tmp_path, tmp_path)
    assert [(line.phase, line.use) for line in images(found)] == [("arterial", "yes"), ("", "no"), ("", "no")]
    assert all(line.why for line in images(found))
    assert found.problems == ()


def test_of_two_reconstructions_of_one_acquisition_the_soft_and_thin_one_is_used(tmp_path: Path) -> None:
    same: dict[str, Any] = {"AcquisitionTime": "101010"}
    series(tmp_path / "1", "portal lung", "2.25.11", ConvolutionKernel="B70f", SliceThickness=1, **same)
    series(tmp_path / "2", "portal", "2.25.12", ConvolutionKernel="B30f", SliceThickness=5, **same)
    series(tmp_path / "3", "portal", "2.25.13", ConvolutionKernel="B30f", SliceThickness=2, **same)
    found = discover(tmp_path, tmp_path)
    assert [(line.path, line.use) for line in images(found)] == [("1", "no"), ("2", "no"), ("3", "yes")]


def test_two_acquisitions_of_one_phase_are_left_to_a_person(tmp_path: Path) -> None:
    series(tmp_path / "1", "early arterial", "2.25.11", AcquisitionTime="101010")
    series(tmp_path / "2", "late arterial", "2.25.12", AcquisitionTime="101030")
    found = discover(tmp_path, tmp_path)
    assert {(line.phase, line.use) for line in images(found)} == {("arterial", "no")}
    assert [(p.number, p.severity) for p in found.problems] == [(353, Severity.WARNING)] * 2
    assert "2 volumes are arterial: choose one" in found.problems[0].local


def test_two_studies_of_a_patient_are_left_to_a_person(tmp_path: Path) -> None:
    series(tmp_path / "1", "arterial", "2.25.11", StudyInstanceUID="2.25.21", AcquisitionTime="1010")
    series(tmp_path / "2", "portal", "2.25.12", StudyInstanceUID="2.25.22", AcquisitionTime="1110")
    series(tmp_path / "3", "knee", "2.25.13", StudyInstanceUID="2.25.23")
    found = discover(tmp_path, tmp_path)
    assert {line.use for line in images(found)} == {"no"}
    assert "2 studies (2020-01-02 10:10, 2020-01-02 11:10): choose one" in images(found)[0].why


def test_one_study_with_phases_beside_another_without_is_used(tmp_path: Path) -> None:
    series(tmp_path / "1", "arterial", "2.25.11", StudyInstanceUID="2.25.21")
    series(tmp_path / "2", "Topogram", "2.25.12", StudyInstanceUID="2.25.22")
    assert list(by_phase(discover(tmp_path, tmp_path))) == ["arterial"]


def test_a_series_in_two_places_is_not_used(tmp_path: Path) -> None:
    series(tmp_path / "1", "arterial", "2.25.11")
    series(tmp_path / "2", "arterial", "2.25.11")
    series(tmp_path / "3", "portal", "2.25.12")
    found = discover(tmp_path, tmp_path)
    assert list(by_phase(found)) == ["portal"]
    assert any("parts of the series lie in" in problem.local for problem in found.problems)


def test_a_patient_without_an_id_is_not_used(tmp_path: Path) -> None:
    series(tmp_path / "1", "arterial", "2.25.11", PatientID="")
    (line,) = images(discover(tmp_path, tmp_path))
    assert (line.patient_id, line.use) == ("", "no")
    assert "PatientID" in line.why


def test_frames_of_one_file_are_volumes_of_their_own(tmp_path: Path) -> None:
    groups = [frame_group(3.0 * z, MRDiffusionSequence={"DiffusionBValue": b}) for b in (50.0, 800.0) for z in range(6)]
    write_enhanced(tmp_path / "a" / "1.dcm", picture((12, 6, 5)), groups, modality="MR")
    first, second = images(discover(tmp_path, tmp_path))
    assert (first.path, first.volume, first.b_value, first.use) == ("a/1.dcm", 1, 50, "no")
    assert (second.path, second.volume, second.b_value, second.phase, second.use) == ("a/1.dcm", 2, 800, "dwi", "yes")


@pytest.mark.parametrize(
    ("administered", "agent", "used"),
    [("YES", "Iohexol", ["arterial"]), ("NO", "NONE", []), ("", "Iohexol", ["arterial"])],
)
def test_the_agent_of_an_enhanced_object_tells_before_from_after_contrast(
    tmp_path: Path, administered: str, agent: str, used: list[str]
) -> None:
    usage = {"ContrastBolusUsageSequence": {"ContrastBolusAgentAdministered": administered}} if administered else {}
    path = write_enhanced(
        tmp_path / "a" / "1.dcm", picture((6, 6, 5)), [frame_group(3.0 * z, **usage) for z in range(6)]
    )
    header = pydicom.dcmread(path)
    coded, route = Dataset(), Dataset()
    coded.CodeMeaning, route.CodeMeaning = "Iohexol", "Intravenous route"
    coded.ContrastBolusAdministrationRouteSequence = [route]
    header.ContrastBolusAgentSequence, header.SeriesDescription = [coded], "arterial"
    header.save_as(path)
    found = discover(tmp_path, tmp_path)
    assert [line.agent for line in images(found)] == [agent]
    assert list(by_phase(found)) == used
    assert read_image(ImageSource("arterial", path), "p1").about.agent == agent
    route.CodeMeaning = "Oral"
    header.save_as(path)
    facts = facts_of(pydicom.dcmread(path), 6)
    assert facts.enhanced is None


def test_what_cannot_be_read_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "1", "arterial", "2.25.11")
    for name, content in {"a.dcm": b"", "b.dcm": bytes(128) + b"DICM" + bytes(range(200)), "c.txt": b"hello"}.items():
        (tmp_path / "p2").mkdir(exist_ok=True)
        (tmp_path / "p2" / name).write_bytes(content)
    found = discover(tmp_path, tmp_path)
    assert list(by_phase(found)) == ["arterial"]
    assert {problem.number for problem in found.problems} == {330}
    assert all(problem.local.startswith("p2: ") for problem in found.problems)


def test_what_nobody_foresaw_of_one_file_or_folder_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path / "p1" / "1", "arterial", "2.25.11")
    series(tmp_path / "p2" / "1", "portal", "2.25.12")
    (tmp_path / "p1" / "1" / "notes").write_text("odd")

    def odd(real: Callable[..., Any], path: Path, *more: Any) -> Any:
        if path.name in ("notes", "p2"):
            raise LookupError("Zaborowska^Maria")
        return real(path, *more)

    def proposed(real: Callable[..., Any], candidates: Any) -> Any:
        if candidates[0].line.patient_id == "p3":
            raise LookupError("Zaborowska^Maria")
        return real(candidates)

    series(tmp_path / "p3" / "1", "portal", "2.25.13", PatientID="p3")
    monkeypatch.setattr(discovering, "propose", partial(proposed, discovering.propose))
    for name in ("find_series", "read_mask_object"):
        monkeypatch.setattr(discovering, name, partial(odd, getattr(discovering, name)))
    found = discover(tmp_path, tmp_path)
    assert list(by_phase(found)) == ["arterial"]
    assert [(p.number, p.local.partition(":")[0]) for p in found.problems] == [(383, f"p{n}") for n in (1, 2, 3)]
    assert "Maria" not in str(found.problems)


def test_a_damaged_file_that_is_compressed_as_a_whole_is_told(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "1", "arterial", "2.25.11")
    path = sorted(series(tmp_path / "p2" / "1", "portal", "2.25.12").iterdir())[0]
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(path)
    path.write_bytes(path.read_bytes()[:500] + bytes(range(100)))
    found = discover(tmp_path, tmp_path)
    assert {problem.number for problem in found.problems} == {330}
    assert "arterial" in by_phase(found)


def test_names_that_no_table_can_hold_are_refused_and_the_manifest_stays_readable(tmp_path: Path) -> None:
    for number, name in enumerate((b"caf\xe9", "肝脏 1".encode(), b"=cmd", b" blank ")):
        series(tmp_path / "p" / os.fsdecode(name), "arterial", f"2.25.1{number}", PatientID=f"p{number}",
               ContrastBolusAgent="=HYPERLINK(1)")  # fmt: skip
    found = discover(tmp_path, tmp_path)
    (tmp_path / "manifest.csv").write_bytes(manifest_bytes(found.lines))
    read = read_manifest(tmp_path / "manifest.csv")
    assert read.problems == ()
    assert {line.patient_id: line.use for _, line in read.lines} == {"p0": "no", "p1": "yes", "p2": "yes", "p3": "no"}
    assert all((tmp_path / line.path).is_dir() for _, line in read.lines if line.use == "yes")


@given(
    values=st.fixed_dictionaries(
        {
            name: st.one_of(st.text(max_size=12), st.sampled_from(["240000", "-1", "1e999", "nan", "\\\\", "99991231"]))
            for name in (
                "AcquisitionTime", "AcquisitionDate", "ContrastBolusStartTime", "TriggerTime", "EchoTime", "ImageType",
                "MagneticFieldStrength", "RepetitionTime", "DiffusionBValue", "ContrastBolusAgent", "SeriesDescription",
            )
        }
    ),
    later=st.floats(allow_nan=True),
)  # fmt: skip
def test_no_value_of_a_header_is_more_than_a_fact_or_nothing(values: dict[str, str], later: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = Dataset.from_json(
            {f"{tag_for_keyword(name):08X}": {"vr": dictionary_VR(name) if name in _TEXT else "LO", "Value": [value]}
             for name, value in values.items()}
        )  # fmt: skip
        header.Modality = "MR"
        facts = facts_of(header, 40, later_s=later)
    (decision,) = decide_study([facts])
    assert decision.why


@pytest.mark.parametrize("beside", [True, False])
def test_masks_in_nifti_beside_dicom_are_proposed_and_used(tmp_path: Path, beside: bool) -> None:
    """As from ITK-SNAP: in the patient's folder of the export, or in one that is called after the patient."""
    write_examination(tmp_path, ct(), "dicom", "nifti", ABOUT)
    if beside:
        (tmp_path / "masks" / PATIENT).rename(tmp_path / "images" / PATIENT / "outlines")
    found = discover(tmp_path, tmp_path)
    masks = [line for line in found.lines if line.kind == "mask"]
    assert found.problems == () and {(line.patient_id, line.use) for line in masks} == {(PATIENT, "yes")}
    assert {(line.region, line.reader) for line in masks} == {("tumour", 1), ("tumour", 2), ("liver", 1)}
    (tmp_path / "manifest.csv").write_bytes(manifest_bytes(found.lines))
    cases, problems = find_cases(Site(site=SiteHead(name="a"), folder=tmp_path), CT, [PATIENT])
    assert problems == []
    case = cases[PATIENT]
    portal = read_image(case.images["portal"], PATIENT)
    for mask in case.masks:
        assert read_mask(mask, portal, PATIENT).GetSize() == portal.image.GetSize()


def test_of_other_names_the_region_is_proposed_and_left_to_a_person(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "1", "arterial", "2.25.11")
    series(tmp_path / "p2" / "1", "portal", "2.25.12", PatientID="p2")
    slicer = sitk.Image([3, 3, 3], sitk.sitkUInt8)
    for at, name in enumerate(("HCC", "Liver", "Spleen")):
        slicer.SetMetaData(f"Segment{at}_Name", name)
        slicer.SetMetaData(f"Segment{at}_LabelValue", str(at + 1))
    sitk.WriteImage(slicer, str(tmp_path / "p1" / "Segmentation.seg.nrrd"))
    for name in ("p1/1/HCC_arterial_final.nii.gz", "p1/x.nii", "p2/portal.nii.gz", "lost/tumour.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = discover(tmp_path, tmp_path)
    rows = {(line.path, line.segment): line for line in found.lines if line.path.endswith((".gz", ".nii", ".nrrd"))}
    assert {key: (row.patient_id, row.kind, row.phase, row.region) for key, row in rows.items()} == {
        ("p1/1/HCC_arterial_final.nii.gz", ""): ("p1", "mask", "arterial", "tumour"),
        ("p1/Segmentation.seg.nrrd", "HCC"): ("p1", "mask", "", "tumour"),
        ("p1/Segmentation.seg.nrrd", "Liver"): ("p1", "mask", "", "liver"),
        ("p1/Segmentation.seg.nrrd", "Spleen"): ("p1", "mask", "", ""),
        ("p1/x.nii", ""): ("p1", "mask", "", ""),
        ("p2/portal.nii.gz", ""): ("p2", "image", "portal", ""),
    }
    assert {row.use for row in rows.values()} == {"no"}
    assert sum(p.number == 353 for p in found.problems) == 5
    assert any(f"1 file(s) in NIfTI or NRRD, such as {tmp_path}/lost/tumour.nii.gz" in p.local for p in found.problems)
    again = read_manifest(_written(tmp_path, found))
    assert again.problems == ()


def _written(folder: Path, found: Discovered) -> Path:
    (folder / "manifest.csv").write_bytes(manifest_bytes(found.lines))
    return folder / "manifest.csv"


def test_a_damaged_mask_is_told_or_left_out(hospital: Path, tmp_path: Path) -> None:
    (path,) = (hospital / "masks" / PATIENT).glob("liver.*")
    content = path.read_bytes()
    for end in range(0, len(content), len(content) // 40):
        (tmp_path / "m.dcm").write_bytes(content[:end])
        found = discover(tmp_path, tmp_path)
        assert all(line.use == "no" for line in found.lines)
        assert {problem.number for problem in found.problems} <= {330, 340, 353}


def test_the_real_liver_ct_is_proposed_as_portal_venous_and_left_to_a_person() -> None:
    folder = public("dicom/liver_ct_series")
    (line,) = images(discover(folder, folder.parent))
    assert (line.patient_id, line.phase, line.use) == ("CRLM-CT-1004", "portal", "no")
    assert line.path == "liver_ct_series/image"
    assert "GASTRO & OMNI" in line.why


def test_three_time_points_of_one_real_series_are_three_volumes() -> None:
    folder = public("dicom/dce_mri_three_timepoints_in_one_series")
    found = discover(folder, folder)
    assert [line.volume for line in images(found)] == [1, 2, 3]
    assert {line.path for line in images(found)} == {"image_dce_orig"}
    assert {line.use for line in found.lines} == {"no"}
    assert [line.tesla for line in images(found)] == [1.5] * 3
    assert all(f"time point {k} of 3" in line.why for k, line in enumerate(images(found), 1))


def test_the_whole_of_the_real_data_is_looked_through_without_a_traceback() -> None:
    folder = public("dicom")
    found = discover(folder, folder)
    assert {line.patient_id for line in found.lines} >= {"CRLM-CT-1004", "UCSF-BR-06", "PHANTOM_EXAMPLE", "99000"}
    assert {line.region for line in found.lines if line.path.endswith("liver_seg_object/liver.dcm")} == {"liver"}


def site_of(folder: Path, *patients: str) -> Path:
    (folder / "site.toml").write_text('[site]\nname = "a"\n')
    (folder / "patients.csv").write_text("\n".join(["patient_id", *patients]) + "\n")
    return folder


def test_the_command_writes_a_manifest_once_and_shows_what_needs_an_eye(hospital: Path, tmp_path: Path) -> None:
    site = site_of(tmp_path, PATIENT)
    run = CliRunner().invoke(app, ["discover", str(hospital), "--site", str(site)])
    assert run.exit_code == 0, run.output
    assert "2 patients" in run.output
    assert "hospital-a-0002" in run.output
    assert "FEDMVI-354" in run.output
    manifest = read_manifest(site / "manifest.csv")
    assert manifest.problems == ()
    assert Path(manifest.lines[0][1].path).is_absolute()
    before = (site / "manifest.csv").read_bytes()
    again = CliRunner().invoke(app, ["discover", str(hospital), "--site", str(site)])
    assert getattr(again.exception, "number", 0) == 358
    assert (site / "manifest.csv").read_bytes() == before


def test_ids_of_the_table_replace_those_of_the_pacs(tmp_path: Path) -> None:
    series(tmp_path / "export" / "1", "arterial", "2.25.11")
    site = site_of(tmp_path, "P0001")
    (tmp_path / "key.csv").write_text("original,assigned\np1,P0001\n")
    run = CliRunner().invoke(
        app, ["discover", str(tmp_path / "export"), "--site", str(site), "--ids", str(tmp_path / "key.csv"), "--json"]
    )
    (row,) = json.loads(run.stdout)["rows"]
    assert (row["patient_id"], row["path"], row["use"]) == ("P0001", "export/1", "yes")
    assert json.loads(run.stdout)["problems"] == []
    with (site / "manifest.csv").open(newline="") as file:
        assert [cells["patient_id"] for cells in csv.DictReader(file)] == ["P0001"]


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (["--out", "no/manifest.csv"], 377),
        (["--out", "manifest.csv", "--ids", "export/notes.txt"], 321),
        (["--out", "manifest.csv"], 388),
        (["--out", "manifest.csv", "--site", "."], 201),
        (["--out", "export/notes.txt"], 358),
    ],
)
def test_the_command_refuses_with_a_number_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], number: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "notes.txt").write_text("no images")
    run = CliRunner().invoke(app, ["discover", "export", *options])
    assert getattr(run.exception, "number", 0) == number
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["export", "notes.txt"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (None, "there is no such folder"),
        ([], "there is no file in this folder"),
        (["p1/portal.nii.gz", "p1/tumour.nrrd", "p1/notes.txt"], "NIfTI or NRRD (2) is not read here, only DICOM"),
        (["notes.txt", "p1/.hidden"], "no image of CT or MR and no mask in DICOM among its files (1)"),
        (["1.dcm"], "1.dcm: not readable as DICOM"),
    ],
)
def test_where_there_is_nothing_for_a_manifest_it_is_said_what_is_there(
    tmp_path: Path, files: list[str] | None, sentence: str
) -> None:
    export = tmp_path / "export"
    for name in files or []:
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).touch()
    if files is not None:
        export.mkdir(exist_ok=True)
    run = CliRunner().invoke(app, ["discover", str(export), "--out", str(tmp_path / "manifest.csv")])
    assert isinstance(run.exception, FedmviError)
    assert (run.exception.number, sentence in run.exception.local) == (388, True)
    assert run.exception.local.startswith(f"{export}: ")
    assert f"{export}: {export}" not in run.exception.local
    assert not (tmp_path / "manifest.csv").exists()

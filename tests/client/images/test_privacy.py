"""tests/client: headers that tell who a patient is are named by attribute, and no value is ever printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from client.images.case import Case, ImageSource, MaskSource
from client.images.checking.privacy import OTHERS, PATIENT, privacy_problems
from common.errors import FedmviError, Severity
from simulation.imaging.dicom import write_series
from tests.client.images.dicom_files import short_number
from tests.public_data import public
from tests.simulation.imaging.examinations import ABOUT, ct

PATIENT_ID = "hospital-a-0001"
CANARY, STAFF = "Zaborowska", "Kowalczyk"

Change = Callable[[Dataset], None]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A DICOM series that says it is of a real patient, with nothing but the pseudonym in it."""
    folder = tmp_path / "portal"
    write_series(folder, ct(), "portal", ABOUT)

    def real(header: Dataset) -> None:
        del header.SyntheticData, header.QualityControlSubject, header.InstitutionName

    change(folder, real)
    return folder


def change(folder: Path, how: Change) -> None:
    for path in sorted(folder.glob("*.dcm")):
        header = pydicom.dcmread(path)
        how(header)
        header.save_as(path)


def told(path: Path, series: str = "") -> list[FedmviError]:
    return privacy_problems(Case(PATIENT_ID, {"portal": ImageSource("portal", path, series)}))


def test_a_series_with_the_pseudonym_only_tells_nothing(series: Path) -> None:
    assert told(series) == []


@pytest.mark.parametrize("name", ["ANONYMOUS", "Anonymized^", "^^^^", "", "Pseudonym", "N/A", PATIENT_ID.upper()])
def test_what_de_identification_writes_tells_nothing(series: Path, name: str) -> None:
    change(series, lambda header: setattr(header, "PatientName", name))
    assert told(series) == []


def fill(header: Dataset) -> None:
    """A canary in every attribute that can hold text, in a sequence, in a private element and in a description."""
    header.PatientName = f"{CANARY}^Maria"
    for keyword in sorted((PATIENT | OTHERS) - {"PatientName", "OtherPatientIDsSequence"}):
        number = pydicom.datadict.tag_for_keyword(keyword)
        assert number is not None, keyword
        kind = pydicom.datadict.dictionary_VR(number)
        text = CANARY if keyword in PATIENT else STAFF
        value = {"DA": "19571231", "TM": "071500", "CS": text.upper()}.get(kind, text)
        if kind != "SQ":
            setattr(header, keyword, value)
    item = Dataset()
    item.PatientID = CANARY
    header.OtherPatientIDsSequence = [item]
    header.SeriesDescription = f"Liver {CANARY.lower()} portal"
    header.add_new((0x0009, 0x0010), "LO", "SCANNER")
    header.add_new((0x0009, 0x1010), "PN", f"{CANARY}^M")
    header.add_new((0x0009, 0x1011), "LO", f"for {CANARY}")


def test_every_attribute_is_named_and_no_value_is_printed(series: Path) -> None:
    change(series, fill)
    problems = told(series)
    assert {p.number for p in problems} == {365}
    worst = next(p for p in problems if p.severity is Severity.WARNING).local
    note = next(p for p in problems if p.severity is Severity.NOTE).local
    for keyword in PATIENT | {"(0009,1010)", "(0009,1011)", "SeriesDescription"}:
        assert keyword in worst, keyword
    assert "AccessionNumber" in note and "InstitutionName" in note
    everything = " ".join(str(problem) for problem in problems)
    assert not any(value in everything.lower() for value in (CANARY.lower(), STAFF.lower(), "maria", "1957", "071500"))
    assert everything.count(f"{PATIENT_ID}: {series}: ") == len(problems)


def test_one_slice_of_somebody_else_is_found(series: Path) -> None:
    path = sorted(series.glob("*.dcm"))[5]
    header = pydicom.dcmread(path)
    header.PatientName, header.PatientID = "Nowak^Jan", "77231"
    header.save_as(path)
    ((local, number),) = [(p.local, p.number) for p in told(series)]
    assert number == 365 and "in up to 1 file(s)" in local and "Nowak" not in local and "77231" not in local


def test_what_cannot_be_decoded_hides_nothing_of_the_rest(series: Path) -> None:
    """Six bytes of a number that takes eight, beside a name."""
    change(series, lambda header: setattr(header, "PatientName", f"{CANARY}^Maria"))
    short_number(sorted(series.glob("*.dcm"))[0])
    (problem,) = told(series)
    assert problem.number == 365 and problem.local.endswith(": PatientName")


def test_a_series_beside_the_one_that_is_meant_does_not_count(series: Path) -> None:
    meant = pydicom.dcmread(sorted(series.glob("*.dcm"))[0]).SeriesInstanceUID
    header = pydicom.dcmread(sorted(series.glob("*.dcm"))[0])
    header.SeriesInstanceUID, header.PatientName = "2.25.99", "Nowak^Jan"
    header.save_as(series / "other.dcm")
    assert told(series, meant) == []
    assert [p.number for p in told(series)] == [365]


BURNT: dict[str, Change] = {
    "BurnedInAnnotation": lambda header: setattr(header, "BurnedInAnnotation", "YES"),
    "secondary capture": lambda header: setattr(header, "SOPClassUID", SecondaryCaptureImageStorage),
    "screen save": lambda header: setattr(header, "ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"]),
    "OverlayData": lambda header: header.add_new((0x6000, 0x3000), "OB", b"\0\0"),
}


@pytest.mark.parametrize("words", BURNT)
def test_text_that_may_be_burnt_in_is_told(series: Path, words: str) -> None:
    change(series, BURNT[words])
    ((number, local),) = [(p.number, p.local) for p in told(series)]
    assert number == 366 and words in local


def nifti(path: Path, **fields: str) -> Path:
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    for name, value in fields.items():
        image.header[name] = value.encode()
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("descrip", f"{CANARY}^Maria"), ("aux_file", f"{CANARY}, Maria"), ("db_name", f"Name: {CANARY}")],
)
def test_a_name_in_a_nifti_header_is_told(tmp_path: Path, name: str, field: str, value: str) -> None:
    (problem,) = told(nifti(tmp_path / name, **{field: value}))
    assert problem.number == 365 and problem.local.endswith(f": {field}") and CANARY not in str(problem)


@pytest.mark.parametrize("text", ["FSL5.0", "TE=2.3;Time=101112.000", "SPM - 3D normalized", "6.0.4:b3000e9e", ""])
def test_what_programs_write_into_nifti_headers_is_no_name(tmp_path: Path, text: str) -> None:
    assert told(nifti(tmp_path / "a.nii.gz", descrip=text)) == []


@pytest.mark.parametrize("make", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_dicom_header_or_comment_in_a_nifti_file_is_told(tmp_path: Path, make: type[nibabel.Nifti1Image]) -> None:
    image = make(np.zeros((2, 3, 4), np.int16), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, CANARY.encode()))
    image.header["descrip"] = f"{CANARY}^Maria".encode()
    nibabel.save(image, tmp_path / "a.nii")
    (problem,) = told(tmp_path / "a.nii")
    assert problem.local.endswith(": descrip, a comment as an extension") and CANARY not in str(problem)


def test_a_name_in_an_nrrd_key_is_told(tmp_path: Path) -> None:
    image = sitk.Image([3, 3, 3], sitk.sitkInt16)
    image.SetMetaData("PatientName", f"{CANARY}^Maria")
    image.SetMetaData("0010|0030", "19571231")
    image.SetMetaData("Segment0_Name", "tumour")
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    (problem,) = told(tmp_path / "a.nrrd")
    assert problem.local.endswith("a.nrrd: 0010|0030, PatientName") and CANARY not in str(problem)


@pytest.mark.parametrize("name", ["a.dcm", "a.nii", "a.nii.gz", "a.nrrd", "a"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b damaged", b"\x5c\x01\x00\x00", b"text"])
def test_damaged_files_are_left_to_those_who_read_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert told(tmp_path / name) == []
    masks = (MaskSource("tumour", 1, "portal", tmp_path / "absent.dcm"),)
    assert privacy_problems(Case(PATIENT_ID, {}, masks)) == []


def test_a_real_series_that_was_de_identified_has_its_own_ids_only() -> None:
    problems = told(public("dicom/liver_ct_series"))
    assert [p.number for p in problems] == [365]
    assert problems[0].local.endswith(": PatientID, PatientName")

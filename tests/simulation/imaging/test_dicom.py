"""tests/simulation: DICOM series hold the voxels where they lie, under whole headers that name no patient."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from simulation.imaging.dicom import write_series
from simulation.imaging.files import write_examination
from simulation.imaging.headers import Acquisition
from simulation.imaging.volume import Examination, Volume
from tests.simulation.imaging.examinations import ABOUT, CT_GRID, ct, lacking, mr

DAY = "20180115"


@pytest.fixture(scope="module", params=[ct, mr], ids=["ct", "mr"])
def examination(request: pytest.FixtureRequest) -> Examination:
    made: Examination = request.param()
    return made


@pytest.fixture(scope="module")
def site(examination: Examination, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_examination(folder, examination, "dicom", "nifti", ABOUT)
    return folder


@pytest.fixture(scope="module")
def series(site: Path, examination: Examination) -> dict[str, list[Dataset]]:
    """The objects of every phase, in the order of their names."""
    folder = site / "images" / examination.patient
    return {phase: [pydicom.dcmread(p) for p in sorted((folder / phase).iterdir())] for phase in examination.phases}


def read_series(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    (identifier,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), identifier))
    return reader.Execute()


def first_slice(examination: Examination, phase: str, about: Acquisition = ABOUT) -> Dataset:
    """The lowest slice of a phase as it comes back from its file."""
    with TemporaryDirectory() as folder:
        write_series(Path(folder) / phase, examination, phase, about)
        dataset = pydicom.dcmread(Path(folder) / phase / "0001.dcm")
        dataset.decode()
        return dataset


def test_itk_reads_the_same_voxels_in_the_same_place(site: Path, examination: Examination) -> None:
    for phase, volume in examination.phases.items():
        image = read_series(site / "images" / examination.patient / phase)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels)
        np.testing.assert_allclose(image.GetSpacing(), volume.grid.spacing[::-1], rtol=1e-9)
        np.testing.assert_allclose(image.GetOrigin(), volume.grid.origin[::-1], atol=1e-9)
        np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel())


def test_one_point_of_the_patient_is_the_same_in_nifti_and_in_dicom(tmp_path: Path) -> None:
    voxels = np.full(CT_GRID.shape, -1000, dtype=np.int16)
    voxels[9, 31, 5] = 2000
    marked = ct()
    phases = {**marked.phases, "portal": Volume(voxels, CT_GRID)}
    for kind in ("nifti", "dicom"):
        write_examination(tmp_path / kind, replace(marked, phases=phases), kind, "nifti", ABOUT)
    by_nifti = SimpleITK.ReadImage(tmp_path / "nifti" / "images" / marked.patient / "portal.nii.gz")
    by_dicom = read_series(tmp_path / "dicom" / "images" / marked.patient / "portal")
    left, back, head = -176.35 + 5 * 1.7, -181.4 + 31 * 1.9, -103.25 + 9 * 4.5
    for image in (by_nifti, by_dicom):
        assert image.GetPixel(image.TransformPhysicalPointToIndex((left, back, head))) == 2000
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((5, 31, 9)), (left, back, head), atol=1e-4)


def test_slices_are_numbered_from_the_feet_to_the_head_and_so_are_files(
    site: Path, series: dict[str, list[Dataset]], examination: Examination
) -> None:
    for phase, slices in series.items():
        assert [int(s.InstanceNumber) for s in slices] == list(range(1, len(slices) + 1))
        grid = examination.phases[phase].grid
        heights = [s.ImagePositionPatient[2] for s in slices]
        np.testing.assert_allclose(heights, grid.origin[0] + grid.spacing[0] * np.arange(grid.shape[0]), atol=1e-9)
        names = sorted(p.name for p in (site / "images" / examination.patient / phase).iterdir())
        assert names == [f"{s.InstanceNumber:04d}.dcm" for s in slices]


def test_the_headers_lack_nothing_that_the_standard_demands(series: dict[str, list[Dataset]]) -> None:
    for slices in series.values():
        for dataset in slices:
            assert lacking(dataset) == set()


def test_the_check_of_the_headers_finds_what_is_taken_away(series: dict[str, list[Dataset]]) -> None:
    dataset = next(iter(series.values()))[0].copy()
    del dataset.StudyID
    dataset.ImageType = None
    assert {text.partition(": ")[2] for text in lacking(dataset)} >= {"StudyID", "ImageType"}


def test_objects_are_ct_or_mr_images_uncompressed(series: dict[str, list[Dataset]], examination: Examination) -> None:
    storage = CTImageStorage if examination.modality == "ct" else MRImageStorage
    for slices in series.values():
        for dataset in slices:
            assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
            assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == storage
            assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID


def test_ct_is_stored_unsigned_with_the_usual_rescaling() -> None:
    # Read without the rescaling, as a reader that forgets it would.
    examination = ct()
    header = first_slice(examination, "portal")
    assert (header.PixelRepresentation, header.BitsAllocated) == (0, 16)
    assert (header.RescaleIntercept, header.RescaleSlope) == (-1024, 1)
    stored = header.pixel_array
    np.testing.assert_array_equal(stored, examination.phases["portal"].voxels[0].astype(np.int32) + 1024)


def test_headers_hold_what_they_were_told() -> None:
    of_ct, of_mr = first_slice(ct(), "portal"), first_slice(mr(), "dwi")
    assert (of_ct.ConvolutionKernel, of_ct.InstitutionName, of_ct.ManufacturerModelName) == (
        "FWHM 2.2 mm",
        "hospital-a",
        "Simulator One",
    )
    assert (of_ct.PatientID, of_ct.PatientName, of_ct.PatientSex, of_ct.PatientAge) == (
        "hospital-a-0001",
        "hospital-a-0001",
        "F",
        "058Y",
    )
    assert (of_mr.DiffusionBValue, of_mr.MagneticFieldStrength) == (750.0, 3.0)
    assert "DiffusionBValue" not in first_slice(mr(), "t1")


def test_every_object_says_that_it_is_simulated(series: dict[str, list[Dataset]]) -> None:
    for phase, slices in series.items():
        for dataset in slices:
            assert dataset.SyntheticData == dataset.QualityControlSubject == dataset.PatientIdentityRemoved == "YES"
            for text in (
                dataset.Manufacturer,
                dataset.ImageComments,
                dataset.PatientComments,
                dataset.SeriesDescription,
            ):
                assert "simulat" in text.lower(), phase


def test_phases_are_told_by_their_times_and_by_their_descriptions(
    series: dict[str, list[Dataset]], examination: Examination
) -> None:
    injected = datetime(2018, 1, 15, 10, tzinfo=UTC)
    for phase, slices in series.items():
        text = slices[0].AcquisitionDate + slices[0].AcquisitionTime
        acquired = datetime.strptime(text, "%Y%m%d%H%M%S.%f").replace(tzinfo=UTC)
        assert acquired - injected == timedelta(seconds=examination.started_s[phase])
        assert len({s.AcquisitionTime for s in slices} | {s.ContentTime for s in slices}) == 1
        contrast = phase in {"arterial", "portal", "delayed", "t1v"}
        assert ("ContrastBolusAgent" in slices[0]) == contrast
        if contrast:
            assert slices[0].ContrastBolusStartTime == "100000.000000"
    assert len({slices[0].SeriesDescription for slices in series.values()}) == len(series)


def test_one_study_and_one_frame_of_reference_hold_one_series_a_phase(series: dict[str, list[Dataset]]) -> None:
    every = [dataset for slices in series.values() for dataset in slices]
    assert len({d.StudyInstanceUID for d in every}) == len({d.FrameOfReferenceUID for d in every}) == 1
    for phase, slices in series.items():
        assert len({(d.SeriesInstanceUID, int(d.SeriesNumber)) for d in slices}) == 1, phase
    assert len({d.SeriesInstanceUID for d in every}) == len({d.SeriesNumber for d in every}) == len(series)
    assert len({d.SOPInstanceUID for d in every}) == len(every)


@pytest.mark.parametrize("masks", ["seg", "rtstruct"])
def test_the_same_examination_gives_the_same_bytes_later(tmp_path: Path, masks: str) -> None:
    write_examination(tmp_path / "a", ct(), "dicom", masks, ABOUT)
    time.sleep(1.1)
    write_examination(tmp_path / "b", ct(), "dicom", masks, ABOUT)
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 4 * CT_GRID.shape[0] + 3
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("masks", ["seg", "rtstruct"])
def test_no_object_holds_a_date_but_the_declared_one(tmp_path: Path, masks: str) -> None:
    write_examination(tmp_path, mr(), "dicom", masks, ABOUT)
    now = datetime.now(UTC)
    today = {(now + timedelta(days=days)).strftime("%Y%m%d").encode() for days in (-1, 0, 1)}
    for path in tmp_path.rglob("*.dcm"):
        header = path.read_bytes()
        dataset = pydicom.dcmread(path)
        dates = {str(e.value)[:8] for e in dataset.iterall() if e.VR in ("DA", "DT") and e.value}
        assert dates == {DAY}
        if "PixelData" in dataset:
            header = header.replace(dataset.PixelData, b"")
        assert not any(day in header for day in today)


def test_another_seed_another_site_and_another_patient_have_other_identifiers() -> None:
    first = first_slice(ct(), "portal")
    others = [
        first_slice(ct(), "portal", replace(ABOUT, seed="tests/8")),
        first_slice(ct(), "portal", replace(ABOUT, site="hospital-b")),
        first_slice(replace(ct(), patient="hospital-a-0003"), "portal"),
    ]
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({dataset[name].value for dataset in (first, *others)}) == 4


def test_ct_below_the_least_hu_is_refused(tmp_path: Path) -> None:
    examination = ct()
    voxels = examination.phases["plain"].voxels.copy()
    voxels[0, 0, 0] = -1025
    low = replace(examination, phases={**examination.phases, "plain": Volume(voxels, CT_GRID)})
    with pytest.raises(ValueError, match="-1025 HU"):
        write_examination(tmp_path, low, "dicom", "nifti", ABOUT)

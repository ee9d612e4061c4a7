"""tests/simulation: a mask comes back exactly from NIfTI, from a Segmentation and from contours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from simulation.imaging.contours import slice_contours
from simulation.imaging.files import write_examination
from simulation.imaging.volume import Examination, Grid, Volume
from tests.simulation.imaging.examinations import ABOUT, MR_GRIDS, ball, ct, lacking, mr

KEYS = ("tumour", "liver", "tumour.reader2")
MADE = {"ct": ct, "mr": mr}


@pytest.fixture(scope="module", params=["ct", "mr"])
def examination(request: pytest.FixtureRequest) -> Examination:
    return MADE[request.param]()


@pytest.fixture(scope="module")
def segments(examination: Examination, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seg")
    write_examination(folder, examination, "dicom", "seg", ABOUT)
    return folder


@pytest.fixture(scope="module")
def structures(examination: Examination, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtstruct")
    write_examination(folder, examination, "dicom", "rtstruct", ABOUT)
    return folder


def read_mask(folder: Path, examination: Examination, key: str) -> Dataset:
    return pydicom.dcmread(folder / "masks" / examination.patient / f"{key}.dcm")


def images_by_height(folder: Path, examination: Examination) -> dict[str, float]:
    """The written images of the reference phase: the height in mm of each by its identifier."""
    written = (folder / "images" / examination.patient / examination.reference).iterdir()
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in written]
    return {str(d.SOPInstanceUID): float(d.ImagePositionPatient[2]) for d in datasets}


def inside(contours: list[NDArray[np.float64]], grid: Grid) -> NDArray[np.uint8]:
    """One slice rasterised by the even-odd rule at the centres of its pixels, by matplotlib."""
    _, y, x = (
        start + step * np.arange(n) for start, step, n in zip(grid.origin, grid.spacing, grid.shape, strict=True)
    )
    centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    surrounded = np.zeros(len(centres), dtype=np.int64)
    for points in contours:
        closed = np.vstack((points[:, :2], points[:1, :2]))
        surrounded += Outline(closed, closed=True).contains_points(centres)
    return (surrounded % 2).reshape(grid.shape[1:]).astype(np.uint8)


def rasterised(dataset: Dataset, grid: Grid) -> NDArray[np.uint8]:
    """The mask of a structure set on a grid."""
    slices: list[list[NDArray[np.float64]]] = [[] for _ in range(grid.shape[0])]
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        assert np.ptp(points[:, 2]) == 0
        slices[round((points[0, 2] - grid.origin[0]) / grid.spacing[0])].append(points)
    return np.stack([inside(contours, grid) for contours in slices])


@pytest.mark.parametrize("masks", ["nifti", "seg", "rtstruct"])
def test_every_mask_is_one_file_in_one_place(tmp_path: Path, masks: str) -> None:
    write_examination(tmp_path, ct(), "dicom", masks, ABOUT)
    ending = ".nii.gz" if masks == "nifti" else ".dcm"
    assert {p.name for p in (tmp_path / "masks" / "hospital-a-0001").iterdir()} == {key + ending for key in KEYS}


def test_highdicom_reads_the_segmentation_as_the_mask(segments: Path, examination: Examination) -> None:
    for key in KEYS:
        read = hd.seg.segread(segments / "masks" / examination.patient / f"{key}.dcm")
        grid = examination.masks[key].grid
        volume = read.get_volume(combine_segments=True)
        from_bottom = volume.array if volume.direction[2, 0] > 0 else volume.array[::-1]
        heights = sorted(volume.map_indices_to_reference(np.array([[0, 0, 0], [volume.shape[0] - 1, 0, 0]]))[:, 2])
        first = round((heights[0] - grid.origin[0]) / grid.spacing[0])
        whole = np.zeros(grid.shape, dtype=np.uint8)
        whole[first : first + len(from_bottom)] = from_bottom
        np.testing.assert_array_equal(whole, examination.masks[key].voxels)


def test_every_frame_of_a_segmentation_lies_where_its_slice_does(segments: Path, examination: Examination) -> None:
    heights = images_by_height(segments, examination)
    for key in KEYS:
        dataset, mask = read_mask(segments, examination, key), examination.masks[key]
        frames = np.unpackbits(np.frombuffer(dataset.PixelData, dtype=np.uint8), bitorder="little")
        size = dataset.Rows * dataset.Columns
        whole = np.zeros(mask.grid.shape, dtype=np.uint8)
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose((y, x), mask.grid.origin[1:], atol=1e-9)
            image = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            assert heights[image] == z
            index = round((z - mask.grid.origin[0]) / mask.grid.spacing[0])
            whole[index] = frames[number * size : (number + 1) * size].reshape(dataset.Rows, dataset.Columns)
        np.testing.assert_array_equal(whole, mask.voxels)
        assert len(dataset.PerFrameFunctionalGroupsSequence) == np.count_nonzero(mask.voxels.any(axis=(1, 2)))
        shared = dataset.SharedFunctionalGroupsSequence[0]
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(mask.grid.spacing[1:])
        assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]


def test_a_segment_says_what_it_is_in_codes_and_who_drew_it(segments: Path, examination: Examination) -> None:
    said = {}
    for key in KEYS:
        dataset = read_mask(segments, examination, key)
        (segment,) = dataset.SegmentSequence
        assert segment.SegmentAlgorithmType == "MANUAL"
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        said[key] = (code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning, str(dataset.ContentCreatorName))
    assert said == {
        "tumour": ("SCT", "108369006", "Neoplasm", "Reader 1^Simulated"),
        "liver": ("SCT", "10200004", "Liver", "Reader 1^Simulated"),
        "tumour.reader2": ("SCT", "108369006", "Neoplasm", "Reader 2^Simulated"),
    }


def test_contours_rasterised_by_even_and_odd_give_the_mask(structures: Path, examination: Examination) -> None:
    for key in KEYS:
        mask = examination.masks[key]
        np.testing.assert_array_equal(rasterised(read_mask(structures, examination, key), mask.grid), mask.voxels)


def test_the_liver_of_these_tests_has_a_hole_two_parts_and_touches_the_edge(examination: Examination) -> None:
    mask = examination.masks["liver"]
    middle = mask.grid.shape[0] // 2
    areas = [_signed_area(points) for points in slice_contours(mask, middle)]
    assert sum(area > 0 for area in areas) >= 2
    assert sum(area < 0 for area in areas) >= 1
    assert mask.voxels[middle, :, 0].any()


@given(arrays(np.uint8, (1, 7, 6), elements=st.integers(0, 1)))
def test_any_mask_at_all_comes_back_from_its_contours(voxels: NDArray[np.uint8]) -> None:
    grid = Grid((1, 7, 6), (4.0, 1.7, 0.9), (-3.0, -41.3, 17.9))
    contours = [points.round(3) for points in slice_contours(Volume(voxels, grid), 0)]
    np.testing.assert_array_equal(inside(contours, grid), voxels[0])


def test_every_contour_refers_to_the_image_that_it_lies_on(structures: Path, examination: Examination) -> None:
    heights = images_by_height(structures, examination)
    for key in KEYS:
        dataset = read_mask(structures, examination, key)
        for contour in dataset.ROIContourSequence[0].ContourSequence:
            (image,) = contour.ContourImageSequence
            assert heights[image.ReferencedSOPInstanceUID] == pytest.approx(contour.ContourData[2], abs=1e-3)
        frame = dataset.ReferencedFrameOfReferenceSequence[0]
        series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence} == set(heights)


def test_a_structure_set_names_its_region(structures: Path, examination: Examination) -> None:
    for key, role in (("tumour", "GTV"), ("liver", "ORGAN"), ("tumour.reader2", "GTV")):
        dataset = read_mask(structures, examination, key)
        assert dataset.StructureSetROISequence[0].ROIName == key.partition(".")[0]
        assert dataset.RTROIObservationsSequence[0].RTROIInterpretedType == role


def test_masks_belong_to_the_study_and_the_frame_of_reference_of_the_images(
    segments: Path, structures: Path, examination: Examination
) -> None:
    for folder, storage in ((segments, SegmentationStorage), (structures, RTStructureSetStorage)):
        of_image = pydicom.dcmread(folder / "images" / examination.patient / examination.reference / "0001.dcm")
        of_masks = [read_mask(folder, examination, key) for key in KEYS]
        for dataset in of_masks:
            assert dataset.SOPClassUID == storage
            for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "StudyDate"):
                assert dataset[name].value == of_image[name].value
            assert dataset.SyntheticData == dataset.PatientIdentityRemoved == "YES"
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
            assert len({dataset[name].value for dataset in (of_image, *of_masks)}) == 4


def test_masks_lack_nothing_that_the_standard_demands(
    segments: Path, structures: Path, examination: Examination
) -> None:
    for key in KEYS:
        assert lacking(read_mask(segments, examination, key)) == set()
        assert lacking(read_mask(structures, examination, key)) == set()


def test_an_empty_mask_comes_back_empty(tmp_path: Path) -> None:
    grid = MR_GRIDS["t1v"]
    nothing = replace(mr(), masks={"tumour": Volume(np.zeros(grid.shape, dtype=np.uint8), grid)})
    write_examination(tmp_path / "seg", nothing, "dicom", "seg", ABOUT)
    write_examination(tmp_path / "rtstruct", nothing, "dicom", "rtstruct", ABOUT)
    assert not read_mask(tmp_path / "seg", nothing, "tumour").pixel_array.any()
    assert not rasterised(read_mask(tmp_path / "rtstruct", nothing, "tumour"), grid).any()


def test_a_mask_as_nifti_lies_on_the_dicom_images(tmp_path: Path) -> None:
    examination = ct()
    write_examination(tmp_path, examination, "dicom", "nifti", ABOUT)
    mask = SimpleITK.ReadImage(tmp_path / "masks" / examination.patient / "tumour.nii.gz")
    lowest = pydicom.dcmread(tmp_path / "images" / examination.patient / "portal" / "0001.dcm")
    np.testing.assert_allclose(mask.GetOrigin(), [float(v) for v in lowest.ImagePositionPatient], atol=1e-4)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask), examination.masks["tumour"].voxels)


def test_a_mask_on_another_grid_than_the_reference_phase_is_refused(tmp_path: Path) -> None:
    grid = MR_GRIDS["dwi"]
    wrong = replace(mr(), masks={"tumour": Volume(ball(grid, (-40.0, -20.0, -45.0), 9.0), grid)})
    with pytest.raises(ValueError, match="tumour is not on the grid of t1v"):
        write_examination(tmp_path, wrong, "dicom", "seg", ABOUT)


@pytest.mark.parametrize("masks", ["seg", "rtstruct"])
def test_dicom_masks_of_images_that_are_not_dicom_are_refused(tmp_path: Path, masks: str) -> None:
    with pytest.raises(ValueError, match="refer to a DICOM series"):
        write_examination(tmp_path, ct(), "nifti", masks, ABOUT)
    assert not list(tmp_path.iterdir())


def _signed_area(points: NDArray[np.float64]) -> float:
    """Twice the area; the sign tells an outer contour from a hole."""
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))

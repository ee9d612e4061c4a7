"""tests/client: small images with masks, and structure sets of any contours, for the tests of masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from client.images.case import ImageSource, MaskSource, ReadImage
from client.images.masks.masks import read_mask
from client.images.reading.read import read_image
from common.errors import FedmviError
from simulation.imaging.files import write_examination
from simulation.imaging.volume import Examination
from tests.simulation.imaging.examinations import ABOUT

PATIENT = "patient-7"
SHAPE = (6, 8, 7)
OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def volume(voxels: NDArray[np.generic], direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> sitk.Image:
    """Voxels (slices, rows, columns) on the grid of these tests."""
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing((1.5, 1.25, 3.0))
    made.SetOrigin((-10.5, 4.25, 7.0))
    made.SetDirection(direction)
    return made


def picture(direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> ReadImage:
    """An image that says nothing of itself, as a NIfTI does not."""
    return ReadImage(volume(np.zeros(SHAPE, dtype=np.float32), direction))


def box() -> NDArray[np.uint8]:
    """A mask that no turn or reflection maps to itself."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[1:3, 2:6, 1:4] = 1
    mask[3, 2, 5] = 1
    return mask


def save_image(path: Path, image: sitk.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def mask_of(path: Path, image: ReadImage, region: str = "tumour", segment: str = "") -> NDArray[np.uint8]:
    """The mask as an array; it has to lie on the image."""
    read = read_mask(MaskSource(region, 1, "portal", path, segment), image, PATIENT)
    assert read.IsSameImageGeometryAs(image.image)
    assert read.GetPixelID() == sitk.sitkUInt8
    return np.asarray(sitk.GetArrayFromImage(read))


def refused(number: int, path: Path, image: ReadImage, region: str = "tumour", segment: str = "") -> str:
    """What the error says that reading a mask ends in; it has to name patient and file."""
    with pytest.raises(FedmviError) as caught:
        mask_of(path, image, region, segment)
    assert caught.value.number == number, caught.value.local
    assert caught.value.local.startswith(f"{PATIENT}: {path}: ")
    return caught.value.local


def examined(folder: Path, examination: Examination, masks: str, images: str = "dicom") -> tuple[ReadImage, Path]:
    """Write an examination; its reference image as it is read, and the folder of its masks."""
    write_examination(folder, examination, images, masks, ABOUT)  # type: ignore[arg-type]
    phase = folder / "images" / examination.patient / examination.reference
    path = phase if images == "dicom" else phase.with_name(f"{phase.name}.nii.gz")
    return read_image(ImageSource(examination.reference, path), PATIENT), folder / "masks" / examination.patient


def contour(points: NDArray[np.float64], kind: str = "CLOSED_PLANAR", slices: Sequence[str] = ()) -> Dataset:
    """One contour of points (n, 3) in mm."""
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = np.char.mod("%.9g", points.ravel()).tolist()
    item.ContourImageSequence = []
    for uid in slices:
        image = Dataset()
        image.ReferencedSOPInstanceUID = uid
        item.ContourImageSequence.append(image)
    return item


def structure_set(
    path: Path, contours: Sequence[Dataset], name: str = "tumour", frame: str = "", series: str = ""
) -> Path:
    """Write a structure set with one region, and only as much else as is needed to read it."""
    dataset = Dataset()
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["drawn"])
    region = Dataset()
    region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = 3, name, frame
    dataset.StructureSetROISequence = [region]
    drawn = Dataset()
    drawn.ReferencedROINumber, drawn.ContourSequence = 3, list(contours)
    dataset.ROIContourSequence = [drawn]
    if series:
        of_series, study, of_frame = Dataset(), Dataset(), Dataset()
        of_series.SeriesInstanceUID = series
        study.RTReferencedSeriesSequence = [of_series]
        of_frame.FrameOfReferenceUID, of_frame.RTReferencedStudySequence = frame, [study]
        dataset.ReferencedFrameOfReferenceSequence = [of_frame]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def rectangle(low: tuple[float, float], high: tuple[float, float], at: float) -> NDArray[np.float64]:
    """A rectangle in voxels: column and row of two corners, and the slice."""
    (x0, y0), (x1, y1) = low, high
    return np.array([(x0, y0, at), (x1, y0, at), (x1, y1, at), (x0, y1, at)])


def in_mm(indices: NDArray[np.float64], image: sitk.Image) -> NDArray[np.float64]:
    """Continuous indices (n, 3) as points of the patient, by SimpleITK."""
    return np.array([image.TransformContinuousIndexToPhysicalPoint(row.tolist()) for row in indices])

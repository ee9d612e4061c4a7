"""tests/client: small DICOM series of a known picture, with whatever is odd about them, and where real data are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from client.images.case import ImageSource, ReadImage
from client.images.reading.read import read_image

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = "2.25.7"

Change = Callable[[int, Dataset], None]


def picture(shape: tuple[int, int, int] = (5, 8, 6), seed: int = 0) -> NDArray[np.int16]:
    """HU of noise: no two slices, rows or columns are alike."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


def slice_header(at: float, *, cosines: Sequence[float] = AXIAL, modality: str = "CT") -> Dataset:
    """A slice's header, `at` mm along the normal, without pixels."""
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    header = Dataset()
    header.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    header.SOPInstanceUID = f"2.25.8.{round(at * 1000)}"
    header.SeriesInstanceUID = SERIES
    header.StudyInstanceUID = SERIES + ".1"
    header.Modality = modality
    header.PatientID = "p1"
    header.StudyDate = "20200102"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.ImagePositionPatient = [
        round(float(x), 6) for x in (np.array([-10.0, 20.0, 5.0]) + at * np.cross(row, column))
    ]
    header.ImageOrientationPatient = list(cosines)
    header.PixelSpacing = [0.8, 0.7]
    header.SliceThickness = 3
    header.InstanceNumber = 1
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1
    return header


def save(header: Dataset, pixels: NDArray[Any], path: Path) -> Path:
    """Write a header and its pixels without compression."""
    if pixels.ndim == 2:
        header.Rows, header.Columns = pixels.shape
    else:
        header.NumberOfFrames, header.Rows, header.Columns = pixels.shape
    header.PixelData = pixels.tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def short_number(path: Path) -> None:
    """Give a file an Acquisition Duration of six bytes, as an FD that takes eight."""
    header = pydicom.dcmread(path)
    header.AcquisitionDuration = 1.5
    header.save_as(path)
    start, whole = bytes.fromhex("18007390") + b"FD", path.read_bytes()
    at = whole.index(start + b"\x08\0") + len(start)
    path.write_bytes(whole[:at] + b"\x06\0" + whole[at + 2 : at + 8] + whole[at + 10 :])


def write_series(
    folder: Path,
    voxels: NDArray[Any],
    *,
    at: Sequence[float] | None = None,
    change: Change = lambda z, header: None,
    prefix: str = "",
    **about: Any,
) -> Path:
    """Write slices 3 mm apart, or at the given places in mm, under names that do not tell their order."""
    for z, plane in enumerate(voxels):
        header = slice_header(at[z] if at else 3.0 * z, **about)
        change(z, header)
        save(header, plane, folder / f"{prefix}{(z * 7) % 1000:03d}-{'ab'[z % 2]}.dcm")
    return folder


def write_enhanced(
    path: Path, voxels: NDArray[Any], groups: Sequence[Dataset], *, modality: str = "CT", dimensions: Sequence[str] = ()
) -> Path:
    """Write one multi-frame file with the given functional groups of its frames."""
    header = slice_header(0.0, modality=modality)
    header.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del header[name]
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(AXIAL)
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 3
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = list(groups)
    header.DimensionIndexSequence = []
    for name in dimensions:
        index = Dataset()
        index.DimensionIndexPointer = name
        header.DimensionIndexSequence.append(index)
    return save(header, voxels, path)


def frame_group(at: float, **macros: dict[str, Any]) -> Dataset:
    """The functional groups of a frame: where it lies, and macros by the keyword of their sequence."""
    group, place = Dataset(), Dataset()
    place.ImagePositionPatient = [-10.0, 20.0, 5.0 + at]
    group.PlanePositionSequence = [place]
    for name, content in macros.items():
        macro = Dataset()
        for keyword, value in content.items():
            setattr(macro, keyword, value)
        setattr(group, name, [macro])
    return group


def read(path: Path, **source: Any) -> ReadImage:
    """Read a phase of patient p1."""
    return read_image(ImageSource("portal", path, **source), "p1")


def voxels_of(image: ReadImage | sitk.Image) -> NDArray[Any]:
    """Voxels (slices, rows, columns)."""
    return sitk.GetArrayFromImage(image.image if isinstance(image, ReadImage) else image)


def by_simpleitk(folder: Path) -> sitk.Image:
    """The series of a folder as SimpleITK's own reader, GDCM, gives it."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def same_place(one: sitk.Image, other: sitk.Image, within: float = 1e-4) -> bool:
    """Whether two images have one grid."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, name)(), getattr(other, name)(), rtol=0, atol=within)
        for name in ("GetOrigin", "GetSpacing", "GetDirection")
    )

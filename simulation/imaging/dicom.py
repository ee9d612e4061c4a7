"""simulation/imaging: one phase as a series of CT Image or MR Image objects, one file a slice.

The headers hold every attribute that the two information object definitions require (DICOM PS3.3 A.3 and A.4), in
Explicit VR Little Endian without compression. Slices are numbered from the feet to the head. All phases share one
frame of reference, and each tells in its Acquisition Time how long after the injection it was taken.

CT is stored as unsigned numbers of HU + 1024, as scanners do, and MR as it is. Tube voltage and sequence times are
usual ones of liver protocols; they are no scanner's, and voxels do not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from pydicom.valuerep import DSfloat

from simulation.imaging.headers import (
    INJECTED,
    Acquisition,
    common_header,
    date_and_time,
    moment,
    save,
    unique_identifier,
)
from simulation.imaging.volume import Examination, Grid

LOWEST_HU = -1024
"""Rescale Intercept of CT, and the lowest value that can be stored."""

CONTRAST = frozenset({"arterial", "portal", "delayed", "t1a", "t1v", "t1d"})
"""Phases taken to show contrast."""

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "plain": "Simulated CT, unenhanced",
        "arterial": "Simulated CT, arterial phase",
        "portal": "Simulated CT, portal venous phase",
        "delayed": "Simulated CT, delayed phase",
        "t1": "Simulated MR, T1 unenhanced",
        "t1a": "Simulated MR, T1 arterial phase",
        "t1v": "Simulated MR, T1 portal venous phase",
        "t1d": "Simulated MR, T1 delayed phase",
        "t2": "Simulated MR, T2 with fat suppression",
        "dwi": "Simulated MR, diffusion-weighted",
    }
)
"""Series Description of every phase."""


@dataclass(frozen=True)
class Sequence:
    """An MR sequence in the terms of DICOM PS3.3 C.8.3.1; times in ms, the flip angle in degrees."""

    scanning: tuple[str, ...]
    variant: str
    options: str
    dimensions: str
    repetition: float
    echo: float
    train: int
    flip: float


_GRADIENT_ECHO = Sequence(("GR",), "SP", "FS", "3D", 4.0, 1.9, 1, 12.0)
SEQUENCES: Mapping[str, Sequence] = MappingProxyType(
    {
        **dict.fromkeys(("t1", "t1a", "t1v", "t1d"), _GRADIENT_ECHO),
        "t2": Sequence(("SE",), "SK", "FS", "2D", 3000.0, 85.0, 15, 90.0),
        "dwi": Sequence(("SE", "EP"), "SK", "FS", "2D", 5000.0, 65.0, 64, 90.0),
    }
)
"""How each MR phase is said to have been acquired."""


def write_series(folder: Path, examination: Examination, phase: str, about: Acquisition) -> None:
    """Write a phase's slices as `0001.dcm` and so on, numbered as in Instance Number.

    Parameters
    ----------
    folder
        The series' folder; made.
    examination, phase
        What to write; voxels of CT in HU, of MR as they are.
    about
        The rest of the headers.

    Raises
    ------
    ValueError
        Where CT has a voxel below -1024 HU, which the rescaling cannot hold.
    """
    voxels = examination.phases[phase].voxels
    if examination.modality == "ct":
        if voxels.min() < LOWEST_HU:
            raise ValueError(f"CT is stored from {LOWEST_HU} HU on; {phase} has {voxels.min()} HU")
        stored = (voxels.astype(np.int32) - LOWEST_HU).astype("<u2")
    else:
        stored = voxels.astype("<i2")
    folder.mkdir(parents=True)
    for header, pixels in zip(series_headers(examination, phase, about), stored, strict=True):
        header.PixelData = pixels.tobytes()
        save(header, folder / f"{int(header.InstanceNumber):04d}.dcm")


def series_headers(examination: Examination, phase: str, about: Acquisition) -> list[Dataset]:
    """The headers of a phase's slices from the feet to the head, without pixels."""
    whole = _series_header(examination, phase, about)
    grid = examination.phases[phase].grid
    slices = []
    for index in range(grid.shape[0]):
        header = Dataset()
        header.update(whole)
        header.SOPInstanceUID = unique_identifier(examination, about, "image", phase, str(index + 1))
        header.InstanceNumber = index + 1
        z = grid.origin[0] + index * grid.spacing[0]
        header.ImagePositionPatient = [_decimal(x) for x in (grid.origin[2], grid.origin[1], z)]
        header.SliceLocation = _decimal(z)
        slices.append(header)
    return slices


def _series_header(examination: Examination, phase: str, about: Acquisition) -> Dataset:
    ct = examination.modality == "ct"
    header = common_header(examination, about, CTImageStorage if ct else MRImageStorage)
    when = date_and_time(moment(examination, phase))
    header.SeriesDate, header.SeriesTime = when
    header.AcquisitionDate, header.AcquisitionTime = when
    header.ContentDate, header.ContentTime = when
    header.Modality = "CT" if ct else "MR"
    header.SeriesInstanceUID = unique_identifier(examination, about, "series", phase)
    header.SeriesNumber = header.AcquisitionNumber = list(examination.phases).index(phase) + 1
    header.SeriesDescription = header.ProtocolName = DESCRIPTIONS[phase]
    header.BodyPartExamined = "LIVER"
    header.PatientPosition = "HFS"
    header.FrameOfReferenceUID = unique_identifier(examination, about, "frame of reference")
    header.PositionReferenceIndicator = ""
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if ct else "OTHER"]
    header.ImageComments = "Simulated. There is no such patient."
    _describe_pixels(header, examination.phases[phase].grid)
    if phase in CONTRAST:
        header.ContrastBolusAgent = "Simulated iodine" if ct else "Simulated gadolinium"
        _, header.ContrastBolusStartTime = date_and_time(INJECTED)
    if ct:
        _describe_ct(header, about)
    else:
        _describe_mr(header, phase, about)
    return header


def _describe_pixels(header: Dataset, grid: Grid) -> None:
    """Image Plane and Image Pixel modules (PS3.3 C.7.6.2 and C.7.6.3), but for where the slice lies."""
    thickness, row, column = (_decimal(x) for x in grid.spacing)
    header.SliceThickness = header.SpacingBetweenSlices = thickness
    header.PixelSpacing = [row, column]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    _, header.Rows, header.Columns = grid.shape
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15


def _describe_ct(header: Dataset, about: Acquisition) -> None:
    """CT Image module (PS3.3 C.8.2.1)."""
    header.PixelRepresentation = 0
    header.RescaleIntercept, header.RescaleSlope = LOWEST_HU, 1
    header.RescaleType = "HU"
    header.KVP = _decimal(about.kilovolt)
    header.ConvolutionKernel = about.kernel


def _describe_mr(header: Dataset, phase: str, about: Acquisition) -> None:
    """MR Image module (PS3.3 C.8.3.1), and the b-value, which scanners add to it."""
    sequence = SEQUENCES[phase]
    header.PixelRepresentation = 1
    header.ScanningSequence = list(sequence.scanning)
    header.SequenceVariant = sequence.variant
    header.ScanOptions = sequence.options
    header.MRAcquisitionType = sequence.dimensions
    header.RepetitionTime, header.EchoTime = sequence.repetition, sequence.echo
    header.EchoTrainLength = sequence.train
    header.FlipAngle = sequence.flip
    header.MagneticFieldStrength = about.tesla
    if phase == "dwi":
        header.DiffusionBValue = about.b_value


def _decimal(value: float) -> DSfloat:
    """A number as DICOM's DS: as many digits as fit into 16 characters."""
    return DSfloat(value, auto_format=True)

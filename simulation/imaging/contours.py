"""simulation/imaging: a mask as contours in a DICOM RT Structure Set of the series that it was drawn on.

Contours run half-way between the centres of voxels inside and outside (marching squares at 0.5), so every centre is
more than a third of a pixel from its contour, and the mask comes back exactly wherever voxels are told inside from
outside by their centres. A point is inside where an odd number of the slice's contours surround it: a hole is a
contour of its own within the outer one, and so is every separate part. No contour leads into a hole by a keyhole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from simulation.imaging.dicom import series_headers
from simulation.imaging.headers import (
    OUTLINED,
    REGIONS,
    Acquisition,
    common_header,
    date_and_time,
    region_and_reader,
    save,
    unique_identifier,
)
from simulation.imaging.volume import Examination, Volume

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, the retired class by which structure sets still refer to a study."""


def slice_contours(mask: Volume, index: int) -> list[NDArray[np.float64]]:
    """The closed contours of one slice.

    Parameters
    ----------
    mask
        0 and 1, (slices, rows, columns).
    index
        The slice.

    Returns
    -------
    list
        Each contour as (n, 3) points x, y, z in DICOM's patient coordinates in mm. The first point is not repeated.
    """
    # A border of zeros closes contours at the edge of the image.
    padded = np.pad(mask.voxels[index], 1).astype(np.float64)
    lines = contour_generator(z=padded, name="serial", line_type=LineType.Separate).lines(0.5)
    (oz, oy, ox), (dz, dy, dx) = mask.grid.origin, mask.grid.spacing
    contours = []
    for line in lines:
        columns, rows = np.asarray(line)[:-1].T - 1
        contours.append(np.column_stack((ox + dx * columns, oy + dy * rows, np.full(len(rows), oz + dz * index))))
    return contours


def write_structure_set(path: Path, examination: Examination, key: str, about: Acquisition) -> None:
    """Write one mask as an RT Structure Set (DICOM PS3.3 A.19) with one region of interest.

    Coordinates are written to a thousandth of a millimetre.

    Parameters
    ----------
    path
        The file; its folder is made.
    examination, key
        Which mask; on the grid of the reference phase.
    about
        The rest of the headers.
    """
    images = series_headers(examination, examination.reference, about)
    region, reader = region_and_reader(key)
    dataset = common_header(examination, about, RTStructureSetStorage)
    dataset.SOPInstanceUID = unique_identifier(examination, about, "mask", key)
    dataset.SeriesInstanceUID = unique_identifier(examination, about, "series of mask", key)
    dataset.SeriesNumber = 100 + list(examination.masks).index(key)
    dataset.InstanceNumber = 1
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesDescription = f"Simulated mask of the {region}, reader {reader}"
    dataset.SeriesDate, dataset.SeriesTime = date_and_time(OUTLINED)
    dataset.OperatorsName = f"Reader {reader}^Simulated"
    dataset.StructureSetLabel = region.upper()
    dataset.StructureSetDescription = "Simulated. There is no such patient."
    dataset.StructureSetDate, dataset.StructureSetTime = date_and_time(OUTLINED)
    dataset.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    dataset.PositionReferenceIndicator = ""
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(images)]
    dataset.StructureSetROISequence = [_region_of_interest(images[0], region)]
    dataset.ROIContourSequence = [_contours(images, examination.masks[key])]
    dataset.RTROIObservationsSequence = [_observation(region, reader)]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path)


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _referenced_frame(images: list[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(image) for image in images]
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _region_of_interest(image: Dataset, region: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber = 1
    roi.ReferencedFrameOfReferenceUID = image.FrameOfReferenceUID
    roi.ROIName = region
    roi.ROIGenerationAlgorithm = "MANUAL"
    return roi


def _contours(images: list[Dataset], mask: Volume) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber = 1
    roi.ContourSequence = []
    for index in np.flatnonzero(mask.voxels.any(axis=(1, 2))):
        for points in slice_contours(mask, int(index)):
            contour = Dataset()
            contour.ContourImageSequence = [_reference(images[index])]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = np.char.mod("%.3f", points.ravel()).tolist()
            roi.ContourSequence.append(contour)
    return roi


def _observation(region: str, reader: int) -> Dataset:
    kind = Dataset()
    kind.CodeValue, kind.CodeMeaning = REGIONS[region].kind
    kind.CodingSchemeDesignator = "SCT"
    observation = Dataset()
    observation.ObservationNumber = 1
    observation.ReferencedROINumber = 1
    observation.RTROIIdentificationCodeSequence = [kind]
    observation.RTROIInterpretedType = REGIONS[region].role
    observation.ROIInterpreter = f"Reader {reader}^Simulated"
    return observation

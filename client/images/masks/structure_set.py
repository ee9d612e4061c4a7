"""client/images/masks: contours of a DICOM RT Structure Set (PS3.3 A.19) as voxels of an image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from client.images.case import Acquisition
from client.images.masks.outlines import MaskFile, Segment, check_belongs, choose
from client.images.masks.placing import Canvas
from client.images.reading.slices import BAD_BYTES

STRUCTURE_SET = str(RTStructureSetStorage)
"""Class of structure sets."""

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that surround an area (PS3.3 C.8.8.6.2)."""

OFF_SLICE = 0.1
"""A contour may lie so far from its slice, as a share of the distance of slices, or `OFF_SLICE_MM`, which is more."""

OFF_SLICE_MM = 0.2

DECIMALS = 6
"""Of a contour's coordinates in voxels. A contour that runs through centres of voxels would otherwise take in some of
them and leave out others, as the last digit of a division falls."""


@dataclass(frozen=True)
class _Contour:
    """One contour: points (n, 3) in mm, its type, and the slices that it names."""

    points: NDArray[np.float64]
    kind: str
    slices: frozenset[str]


@dataclass(frozen=True)
class _Headers:
    """Regions; by their numbers, contours and frames of reference; the series to which all refer."""

    segments: list[Segment]
    contours: dict[int, Sequence[Dataset]]
    frames_of_reference: dict[int, str]
    series: frozenset[str]


def read_structure_set(file: MaskFile, about: Acquisition, canvas: Canvas) -> None:
    """Set the voxels whose centres are inside of one region's contours.

    A centre is inside where an odd number of the slice's contours surround it, so that holes are contours within
    others, or are led into by a keyhole. A centre on a line is inside at the line's low side and outside at its high
    side, so that no voxel belongs to two adjoining regions.

    Raises
    ------
    FedmviError
        340 not readable, 342 no such region or several, 343 of another series or frame of reference, 344 a contour that
        is not closed, not planar, not on a slice, twice there, or reaches beyond the image.
    """
    headers, chosen, contours = _read(file)
    check_belongs(
        file,
        about,
        frames_of_reference={headers.frames_of_reference[chosen]} - {""},
        series=headers.series,
        instances=frozenset[str]().union(*(one.slices for one in contours)),
    )
    seen: set[tuple[int, bytes]] = set()
    for number, contour in enumerate(contours, start=1):
        named = _named_slices(file, number, contour, about)
        points, at = _on_slice(file, number, contour, canvas)
        if named and len(about.instances) == len(canvas.voxels) and at not in named:
            raise file.refused(344, f"contour {number} lies on slice {at + 1}, but names slice {named[0] + 1}")
        key = (at, points.tobytes())
        if key in seen:
            raise file.refused(344, f"contour {number} on slice {at + 1} is there twice")
        seen.add(key)
        canvas.voxels[at] ^= surrounded(points, canvas.voxels.shape[1:])


def dicom_kind(file: MaskFile) -> str:
    """The class of a DICOM file.

    Raises
    ------
    FedmviError
        340 not a DICOM file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            dataset = pydicom.dcmread(file.source.path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
            return str(dataset.SOPClassUID)
    except BAD_BYTES as error:
        raise file.refused(340, f"not a DICOM file, nor NIfTI or NRRD by its name: {error}") from error


def surrounded(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Which centres of pixels a closed line surrounds, by the parity of crossings to their left.

    Parameters
    ----------
    points
        (n, 2) in pixels: column, row. The last is joined to the first.
    shape
        Rows, columns.

    Returns
    -------
    numpy.ndarray
        uint8 of 0 and 1, (rows, columns).
    """
    rows, columns = shape
    ahead = np.roll(points, -1, axis=0)
    # Both senses of a line have to cross a row at the same place: a keyhole runs forth and back.
    upward = (points[:, 1] <= ahead[:, 1])[:, None]
    low, high = np.where(upward, points, ahead), np.where(upward, ahead, points)
    # A row is crossed at the lower end of a line and not at its upper end.
    first = np.clip(np.ceil(low[:, 1]), 0, rows).astype(np.int64)
    crossed = np.clip(np.ceil(high[:, 1]), 0, rows).astype(np.int64) - first
    line = np.repeat(np.arange(len(points)), crossed)
    row = np.arange(len(line)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[line]
    (x0, y0), (x1, y1) = low[line].T, high[line].T
    column = np.ceil(x0 + (row - y0) * (x1 - x0) / (y1 - y0))
    inside = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.bitwise_xor.at(inside, (row, np.clip(column, 0, columns).astype(np.int64)), 1)
    reached = slice(row.min(initial=rows), row.max(initial=-1) + 1)
    np.bitwise_xor.accumulate(inside[reached], axis=1, out=inside[reached])
    return inside[:, :columns]


def _on_slice(file: MaskFile, number: int, contour: _Contour, canvas: Canvas) -> tuple[NDArray[np.float64], int]:
    """A contour's points in the plane, in pixels, and its slice."""
    points = contour.points
    if contour.kind not in CLOSED:
        raise file.refused(344, f"contour {number} is {contour.kind or 'of no type'}, not CLOSED_PLANAR")
    if len(points) < 3:
        raise file.refused(344, f"contour {number} has {len(points)} points")
    if not np.isfinite(points).all():
        raise file.refused(344, f"contour {number} has coordinates that are not finite numbers")
    indices = np.round(canvas.lattice.indices(points), DECIMALS)
    slices, rows, columns = canvas.voxels.shape
    step = canvas.lattice.steps[:, 2]
    distance = float(np.linalg.norm(step))
    tolerance = max(OFF_SLICE, OFF_SLICE_MM / distance)
    middle = float((indices[:, 2].min() + indices[:, 2].max()) / 2)
    height = f"{float(points.mean(axis=0) @ step / distance):g} mm along the slices' normal"
    if np.ptp(indices[:, 2]) > 2 * tolerance:
        raise file.refused(
            344, f"contour {number} at {height} leaves its slice by {np.ptp(indices[:, 2]) * distance:.3g} mm"
        )
    at = int(np.clip(np.rint(middle), 0, slices - 1))
    if abs(middle - at) > tolerance:
        raise file.refused(
            344,
            f"contour {number} at {height} is {abs(middle - at) * distance:.3g} mm from the nearest slice, {at + 1} of "
            f"{slices}",
        )
    plane = indices[:, :2]
    # A line around the outermost voxels runs outside of their centres, by a voxel at most.
    if plane.min() < -1 or (plane > (columns, rows)).any():
        raise file.refused(344, f"contour {number} on slice {at + 1} reaches beyond the image")
    return plane, at


def _named_slices(file: MaskFile, number: int, contour: _Contour, about: Acquisition) -> list[int]:
    """Slices of the image that a contour says it was drawn on; none where either has no identifiers."""
    named = [z for z, uid in enumerate(about.instances) if uid in contour.slices]
    if contour.slices and about.instances and not named:
        raise file.refused(343, f"contour {number} was drawn on slice {min(contour.slices)}, which the image has not")
    return named


def _read(file: MaskFile) -> tuple[_Headers, int, list[_Contour]]:
    """The headers, and number and contours of the region that is meant."""
    with warnings.catch_warnings():
        # pydicom warns of every value that is longer than the standard allows, and coordinates often are.
        warnings.simplefilter("ignore", UserWarning)
        try:
            headers = _parsed(pydicom.dcmread(file.source.path))
        except BAD_BYTES as error:
            raise file.refused(340, f"not a usable structure set: {type(error).__name__}: {error}") from error
        chosen = headers.segments[choose(file, headers.segments)].number
        items = headers.contours.get(chosen, ())
        if not items:
            raise file.refused(342, f"region {chosen} has no contour")
        contours = []
        for number, item in enumerate(items, start=1):
            try:
                contours.append(_contour(item))
            except BAD_BYTES as error:
                raise file.refused(344, f"contour {number} cannot be read: {error}") from error
    return headers, chosen, contours


def _parsed(dataset: Dataset) -> _Headers:
    roles = {int(one.ReferencedROINumber): _kind(one) for one in dataset.get("RTROIObservationsSequence") or []}
    regions = dataset.StructureSetROISequence
    referenced = [
        series
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    ]
    # Where a region has no frame of reference of its own, the only one of the set is meant.
    common = {
        str(frame.get("FrameOfReferenceUID") or "") for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
    }
    default = common.pop() if len(common) == 1 else ""
    return _Headers(
        segments=[
            Segment(int(one.ROINumber), str(one.get("ROIName") or ""), roles.get(int(one.ROINumber), ""))
            for one in regions
        ],
        contours={
            int(one.ReferencedROINumber): one.get("ContourSequence") or ()
            for one in dataset.get("ROIContourSequence") or []
        },
        frames_of_reference={
            int(one.ROINumber): str(one.get("ReferencedFrameOfReferenceUID") or default) for one in regions
        },
        series=frozenset(str(one.SeriesInstanceUID) for one in referenced),
    )


def _kind(observation: Dataset) -> str:
    """What a region is by its code, else by its role in radiotherapy, as GTV."""
    codes = observation.get("RTROIIdentificationCodeSequence") or []
    coded = str(codes[0].get("CodeMeaning") or "") if codes else ""
    return coded or str(observation.get("RTROIInterpretedType") or "")


def _contour(item: Dataset) -> _Contour:
    # pydicom makes an object of each number, which takes longer than all the rest.
    stored = item.get_item("ContourData")
    if stored is not None and isinstance(stored.value, bytes):
        points = np.array(stored.value.rstrip(b"\0 ").split(b"\\")).astype(np.float64)
    else:
        points = np.array(item.ContourData, dtype=np.float64)
    if points.size % 3:
        raise ValueError(f"it has {points.size} coordinates, which are no points")
    declared = item.get("NumberOfContourPoints")
    if declared is not None and int(declared) != points.size // 3:
        raise ValueError(f"it has {points.size // 3} points and says {declared}")
    return _Contour(
        points.reshape(-1, 3),
        str(item.get("ContourGeometricType") or ""),
        frozenset(str(image.ReferencedSOPInstanceUID) for image in item.get("ContourImageSequence") or []),
    )

"""client/images/masks: a segment of a DICOM Segmentation object (PS3.3 A.51) on the slices of an image."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRBigEndian, SegmentationStorage

from client.images.case import Acquisition
from client.images.masks.outlines import MaskFile, Segment, check_belongs, choose
from client.images.masks.placing import Canvas, Lattice, OffGridError
from client.images.reading.slices import BAD_BYTES

LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, which came to DICOM in 2024."""

SEGMENTATIONS = (str(SegmentationStorage), LABEL_MAP_STORAGE)
"""Classes of Segmentation objects."""

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
"""Segmentation Types (PS3.3 C.8.20.2)."""

MOST_FRAMES = 1_000_000
"""More frames than this are taken for damage."""


@dataclass(frozen=True)
class _Frame:
    """One frame: its segment (0 in a label map, which has all), where it lies, and the slices it was drawn on."""

    segment: int
    lattice: Lattice
    slices: frozenset[str]


@dataclass(frozen=True)
class _Headers:
    """What a Segmentation says beside its pixels: `kind` of `KINDS`, `full` the value of a voxel wholly inside."""

    kind: str
    full: int
    segments: list[Segment]
    frames: list[_Frame]
    frames_of_reference: frozenset[str]
    series: frozenset[str]
    slices: frozenset[str]


def read_segmentation(file: MaskFile, about: Acquisition, canvas: Canvas) -> None:
    """Set the voxels of one segment, which may overlap others.

    In a FRACTIONAL object, of probabilities or of occupancy, voxels of at least half of the maximal fractional value
    are inside. Slices without a frame are empty. A frame is put where its plane lies; where it names the slice that it
    was drawn on, that has to be the same slice.

    Only frames of the segment are unpacked, one at a time: a whole body in a hundred segments would fill the memory.

    Raises
    ------
    FedmviError
        340 not readable, 341 a frame that is not on a slice, 342 no such segment or several, 343 of another series.
    """
    headers, dataset = _read(file)
    chosen = headers.segments[choose(file, headers.segments)].number
    mixed = headers.kind == "LABELMAP"
    frames = {at: one for at, one in enumerate(headers.frames) if mixed or one.segment == chosen}
    named = frozenset[str]().union(*(one.slices for one in frames.values()))
    check_belongs(
        file,
        about,
        frames_of_reference=headers.frames_of_reference,
        series=headers.series,
        instances=named or headers.slices,
    )
    for at, pixels in _pixels(file, dataset, sorted(frames)):
        inside = pixels == chosen if mixed else 2 * pixels.astype(np.int64) >= headers.full
        if inside.any():
            _draw(file, about, canvas, at, inside, frames[at])


def _draw(
    file: MaskFile, about: Acquisition, canvas: Canvas, at: int, inside: NDArray[np.bool_], frame: _Frame
) -> None:
    """Put one frame onto its slice, and hold that against the slice that it names."""
    where = ", ".join(f"{value:g}" for value in frame.lattice.origin)
    try:
        index = canvas.add(inside[None], frame.lattice)
    except OffGridError as error:
        raise file.refused(341, f"frame {at + 1} at ({where}) mm is not on the image's voxels: {error}") from error
    # The normal of a frame that is not parallel to the slices leads out of them along another axis.
    parallel = abs(canvas.lattice.steps[:, 2] @ frame.lattice.steps[:, 2]) > 0.5 * np.linalg.norm(
        canvas.lattice.steps[:, 2]
    )
    if not frame.slices or len(about.instances) != len(canvas.voxels) or not parallel:
        return
    meant = [z for z, uid in enumerate(about.instances) if uid in frame.slices]
    if not meant:
        raise file.refused(343, f"frame {at + 1} was drawn on slice {min(frame.slices)}, which the image has not")
    if index not in meant:
        raise file.refused(
            341, f"frame {at + 1} at ({where}) mm lies on slice {index + 1}, but names slice {meant[0] + 1}"
        )


def _read(file: MaskFile) -> tuple[_Headers, Dataset]:
    with warnings.catch_warnings():
        # pydicom warns of every value that is longer than the standard allows.
        warnings.simplefilter("ignore", UserWarning)
        try:
            dataset = pydicom.dcmread(file.source.path)
            headers = _parsed(dataset)
            _check_length(dataset, len(headers.frames))
            return headers, dataset
        except BAD_BYTES as error:
            raise file.refused(340, f"not a usable Segmentation: {type(error).__name__}: {error}") from error


def _check_length(dataset: Dataset, frames: int) -> None:
    """Refuse pixels that are cut off: decoding frame by frame, pydicom takes what is missing for nothing."""
    needed = (frames * int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) + 7) // 8
    there = len(dataset.PixelData)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated and there < needed:
        raise ValueError(f"it has {there} of {needed} bytes of pixels; it is cut off")


def _pixels(file: MaskFile, dataset: Dataset, frames: list[int]) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """The stored values of some frames, one at a time."""
    try:
        bits = int(dataset.BitsAllocated) == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated
        decoded = _unpacked(dataset, frames) if bits else iter_pixels(dataset, indices=frames, raw=True)
        for at in frames:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                pixels = next(decoded)
            yield at, pixels
    except (*BAD_BYTES, StopIteration) as error:
        raise file.refused(340, f"its pixels cannot be decoded: {error}") from error


def _unpacked(dataset: Dataset, frames: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames of single bits, which follow one another without padding (PS3.5 8.1.1): most begin within a byte.

    pydicom 3.0 decodes single frames only where they begin at bytes.
    """
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        raise ValueError("bits in big-endian order, which DICOM retired")
    shape = (int(dataset.Rows), int(dataset.Columns))
    size = shape[0] * shape[1]
    stored = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    for at in frames:
        first, last = at * size, (at + 1) * size
        bits = np.unpackbits(stored[first // 8 : (last + 7) // 8], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(shape)


def _parsed(dataset: Dataset) -> _Headers:
    kind = str(dataset.SegmentationType).strip()
    if kind not in KINDS:
        raise ValueError(f"its Segmentation Type is '{kind}'")
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if not 1 <= count <= MOST_FRAMES or len(dataset.PerFrameFunctionalGroupsSequence) != count:
        raise ValueError(f"it has {count} frames and {len(dataset.PerFrameFunctionalGroupsSequence)} positions")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    referenced = dataset.get("ReferencedSeriesSequence") or []
    frame_of_reference = str(dataset.get("FrameOfReferenceUID") or "")
    return _Headers(
        kind=kind,
        full=int(dataset.MaximumFractionalValue) if kind == "FRACTIONAL" else 1,
        segments=[
            Segment(int(one.SegmentNumber), str(one.get("SegmentLabel") or ""), _kind(one))
            for one in dataset.SegmentSequence
            # Number 0 is the background of a label map.
            if int(one.SegmentNumber)
        ],
        frames=[_frame(kind, group, shared[0]) for group in dataset.PerFrameFunctionalGroupsSequence],
        frames_of_reference=frozenset({frame_of_reference} - {""}),
        series=frozenset(str(one.SeriesInstanceUID) for one in referenced),
        slices=frozenset(
            str(image.ReferencedSOPInstanceUID)
            for one in referenced
            for image in one.get("ReferencedInstanceSequence") or []
        ),
    )


def _kind(segment: Dataset) -> str:
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or []
    return str(codes[0].get("CodeMeaning") or "") if codes else ""


def _frame(kind: str, group: Dataset, shared: Dataset) -> _Frame:
    """One frame by its functional groups, of which each may be shared by all frames."""
    groups: dict[str, Any] = defaultdict(Dataset)
    for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "SegmentIdentification"):
        items = group.get(f"{name}Sequence") or shared.get(f"{name}Sequence")
        if items:
            groups[name] = items[0]
    position = np.array(groups["PlanePosition"].ImagePositionPatient, dtype=np.float64)
    orientation = np.array(groups["PlaneOrientation"].ImageOrientationPatient, dtype=np.float64)
    down, right = np.array(groups["PixelMeasures"].PixelSpacing, dtype=np.float64)
    along_row, along_column = orientation.reshape(2, 3)
    steps = np.column_stack((along_row * right, along_column * down, np.cross(along_row, along_column)))
    if position.shape != (3,) or not np.isfinite(steps).all() or not np.isfinite(position).all():
        raise ValueError("a frame has no usable position")
    derived = group.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or []
    return _Frame(
        0 if kind == "LABELMAP" else int(groups["SegmentIdentification"].ReferencedSegmentNumber),
        Lattice(position, steps),
        frozenset(
            str(image.ReferencedSOPInstanceUID) for one in derived for image in one.get("SourceImageSequence") or []
        ),
    )

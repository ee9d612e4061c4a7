"""client/images/finding: segmentations and structure sets of an export: their regions and their series."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from client.images.finding.phase_words import normal
from client.images.reading.slices import BAD_BYTES, image_problem, text
from client.images.region_words import region_in
from common.errors import FedmviError

_SEGMENTATIONS = (SegmentationStorage, UID("1.2.840.10008.5.1.4.1.1.66.7"))  # the second: Label Map Segmentation
_READER = re.compile(r"reader ?([1-9][0-9]?)\b")


@dataclass(frozen=True)
class Outlined:
    """One region of a mask object.

    Attributes
    ----------
    label
        As the file calls it, or its number where it has no name of its own.
    region
        `tumour`, `liver` or `vessels`; "" where the label is not understood.
    only
        Whether the file holds nothing else.
    """

    label: str
    region: str
    only: bool


@dataclass(frozen=True)
class MaskObject:
    """A DICOM Segmentation or RT Structure Set.

    Attributes
    ----------
    path
        The file.
    patient
        PatientID.
    series, instances
        SeriesInstanceUIDs and SOPInstanceUIDs of the images that it refers to.
    reader
        Number that the file's name or description gives, else 1.
    outlined
        What it holds.
    """

    path: Path
    patient: str
    series: frozenset[str]
    instances: frozenset[str]
    reader: int
    outlined: tuple[Outlined, ...]


def read_mask_object(path: Path, patient: str) -> MaskObject | None:
    """What a mask object says of itself; None for another kind of file.

    Parameters
    ----------
    path
        A file that is no image.
    patient
        For messages.

    Raises
    ------
    FedmviError
        340 where it is a mask object that cannot be read.
    """
    try:
        kind = read_file_meta_info(path).get("MediaStorageSOPClassUID", "")
    except BAD_BYTES:
        return None
    if kind not in (*_SEGMENTATIONS, RTStructureSetStorage):
        return None
    try:
        with warnings.catch_warnings():
            # pydicom warns of values that are not as the standard has them; none of those matters here.
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, defer_size=4096)
            return _described(header, path, structure_set=kind == RTStructureSetStorage)
    except BAD_BYTES as error:
        raise _unreadable(path, patient, error) from error


def _unreadable(path: Path, patient: str, error: Exception) -> FedmviError:
    return image_problem(340, patient, path, f"not readable: {error}")


def _described(header: Dataset, path: Path, *, structure_set: bool) -> MaskObject:
    if structure_set:
        named = [(str(roi.get("ROINumber", "")), text(roi, "ROIName"), "") for roi in
                 header.get("StructureSetROISequence") or ()]  # fmt: skip
        references = [series for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
                      for study in frame.get("RTReferencedStudySequence") or ()
                      for series in study.get("RTReferencedSeriesSequence") or ()]  # fmt: skip
        images = [image for series in references for image in series.get("ContourImageSequence") or ()]
    else:
        named = [(str(one.get("SegmentNumber", "")), text(one, "SegmentLabel"), _kind(one)) for one in
                 header.get("SegmentSequence") or ()]  # fmt: skip
        references = list(header.get("ReferencedSeriesSequence") or ())
        images = [image for series in references for image in series.get("ReferencedInstanceSequence") or ()]
        # Some writers name the images frame by frame only.
        images += [image for frame in header.get("PerFrameFunctionalGroupsSequence") or ()
                   for derived in frame.get("DerivationImageSequence") or ()
                   for image in derived.get("SourceImageSequence") or ()]  # fmt: skip
    return MaskObject(
        path=path,
        patient=text(header, "PatientID"),
        series=frozenset(text(one, "SeriesInstanceUID") for one in references),
        instances=frozenset(text(one, "ReferencedSOPInstanceUID") for one in images),
        reader=reader_in(path.stem, text(header, "SeriesDescription")),
        outlined=tuple(outlined(named)),
    )


def _kind(segment: Dataset) -> str:
    coded = segment.get("SegmentedPropertyTypeCodeSequence")
    return text(coded[0], "CodeMeaning") if coded else ""


def reader_in(*names: str) -> int:
    """The number of the reader by the first name that tells it, such as `tumour reader2`; else 1."""
    found = next((found for found in map(_READER.search, map(normal, names)) if found), None)
    return int(found[1]) if found else 1


def outlined(named: list[tuple[str, str, str]]) -> Iterator[Outlined]:
    """Regions of a file by the number, label and kind of its segments; a label that is there twice names none."""
    labels = Counter(label.casefold() for _, label, _ in named)
    for number, label, kind in named:
        own = label if label and labels[label.casefold()] == 1 else number
        yield Outlined(own, region_in(label) or region_in(kind), len(named) == 1)

"""client/images/reading: the DICOM image series of a folder, and the volumes of each."""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from client.images.case import is_litter
from client.images.reading.multiframe import frame_headers, is_multiframe
from client.images.reading.slices import BAD_BYTES, Slice, image_problem, slice_of, text
from client.images.reading.volumes import FoundVolume, check_alike, split
from common.errors import FedmviError

IMAGES = frozenset(
    {
        uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage,
        uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage,
        uid.PositronEmissionTomographyImageStorage, uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    }
)  # fmt: skip
"""Objects that hold slices. All others in a folder (secondary captures, reports, presentation states, segmentations,
structure sets, the DICOMDIR) are none."""

_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_DEFERRED_BYTES = 4096  # longer values, such as private ones, stay in the file until they are asked for


@dataclass(frozen=True)
class FoundSeries:
    """One series, or one file that should have been part of one.

    Attributes
    ----------
    uid
        SeriesInstanceUID; "" where de-identification removed it, and for a damaged file.
    volumes
        In the order of what tells them apart, such as time; empty where there is a problem. Whether their slices are
        evenly spaced is seen when they are read (`geometry.geometry_of`).
    problem
        Why the series cannot be used: 330, 332 or 334; None where it can.
    """

    uid: str
    volumes: tuple[FoundVolume, ...]
    problem: FedmviError | None = None


def find_series(folder: Path, patient: str) -> list[FoundSeries]:
    """Group the DICOM slices of a folder, and of folders in it, into series and volumes.

    Localizers, colour pictures and objects other than CT, MR and PET images are left out. So are series without any
    position, such as screenshots, where there is another series. Byte-identical copies of a file count once.

    Parameters
    ----------
    folder
        A folder, or one file.
    patient
        For messages.

    Returns
    -------
    list
        By time of acquisition, then by identifier; files that cannot be read come last, one entry each.

    Raises
    ------
    FedmviError
        330 where the folder itself cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _find(folder, patient)


def _find(folder: Path, patient: str) -> list[FoundSeries]:
    slices: dict[str, list[Slice]] = defaultdict(list)
    problems: dict[str, FedmviError] = {}
    damaged: list[FoundSeries] = []
    for path in files_under(folder, patient):
        try:
            header = read_header(path, patient)
        except FedmviError as problem:
            damaged.append(FoundSeries("", (), problem))
            continue
        if header is None:
            continue
        name = text(header, "SeriesInstanceUID")
        try:
            slices[name] += _slices(header, path, patient)
        except FedmviError as problem:
            problems.setdefault(name, problem)
    placed = {name: ones for name, ones in slices.items() if name in problems or any(one.position for one in ones)}
    found = [
        FoundSeries(name, (), problems[name]) if name in problems else _series(name, ones, patient, folder)
        for name, ones in (placed or slices).items()
    ]
    found.sort(key=lambda one: (min((v.acquired for v in one.volumes), default=""), one.uid))
    return [*found, *damaged]


def read_header(path: Path, patient: str) -> Dataset | None:
    """The header of a DICOM image without its pixels; None for another kind of file.

    Raises
    ------
    FedmviError
        330 where the file is DICOM, or named or built so, and cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            start = file.read(132)
        marked = start[128:] == b"DICM"
        if not marked and not _may_be_dicom(path, start):
            return None
        header = pydicom.dcmread(path, stop_before_pixels=True, defer_size=_DEFERRED_BYTES, force=not marked)
        kind = text(header, "SOPClassUID") or text(header.file_meta, "MediaStorageSOPClassUID")
        modality = text(header, "Modality")
    except BAD_BYTES as error:
        if isinstance(error, OSError) and not _named_like_dicom(path):
            return None
        raise image_problem(330, patient, path, f"not readable as DICOM: {error}") from error
    if not kind and not modality:
        raise image_problem(330, patient, path, "not readable as DICOM: it says neither what it is nor its modality")
    image = kind in IMAGES if kind else modality in ("CT", "MR", "PT")
    if (
        not image
        or "LOCALIZER" in text(header, "ImageType").upper()
        or text(header, "SamplesPerPixel") not in ("", "1")
    ):
        return None
    if "MOSAIC" in text(header, "ImageType").upper():
        raise image_problem(330, patient, path, "a mosaic of many slices in one picture; export it as slices")
    return header


def _slices(header: Dataset, path: Path, patient: str) -> list[Slice]:
    if not is_multiframe(header):
        if text(header, "NumberOfFrames") not in ("", "1"):
            raise image_problem(334, patient, path, "several frames, and no header says where each lies")
        return [slice_of(header, path, None, patient)]
    try:
        return [slice_of(frame, path, i, patient) for i, frame in enumerate(frame_headers(header))]
    except BAD_BYTES as error:
        raise image_problem(330, patient, path, f"headers of frames cannot be read: {error}") from error


def _series(name: str, slices: list[Slice], patient: str, folder: Path) -> FoundSeries:
    try:
        slices = _without_copies(slices)
        check_alike(slices, patient, folder)
        parts = split(slices, patient, folder)
        headers = _headers([part[0] for _, part in parts], patient)
    except FedmviError as problem:
        return FoundSeries(name, (), problem)
    volumes = [FoundVolume(tuple(part), headers[part[0].path, part[0].frame], told) for told, part in parts]
    return FoundSeries(name, tuple(volumes))


def _headers(slices: Sequence[Slice], patient: str) -> dict[tuple[Path, int | None], Dataset]:
    """Headers of some slices, each file read once more: those of all slices would fill the memory."""
    wanted: dict[Path, set[int | None]] = defaultdict(set)
    for one in slices:
        wanted[one.path].add(one.frame)
    headers: dict[tuple[Path, int | None], Dataset] = {}
    for path, frames in wanted.items():
        header = read_header(path, patient)
        if header is not None and frames == {None}:
            headers[path, None] = header
        elif header is not None and is_multiframe(header):
            headers |= {(path, i): frame for i, frame in enumerate(frame_headers(header)) if i in frames}
        if any((path, frame) not in headers for frame in frames):
            raise image_problem(379, patient, path, "it was another image a moment ago")
    return headers


def _without_copies(slices: list[Slice]) -> list[Slice]:
    """Drop files that are copies, byte by byte, of one with the same SOPInstanceUID."""
    files: dict[str, list[Path]] = defaultdict(list)
    for path, instance in {one.path: one.instance for one in slices if one.instance}.items():
        files[instance].append(path)
    copies: set[Path] = set()
    for paths in files.values():
        seen: set[bytes] = set()
        for path in paths if len(paths) > 1 else ():
            digest = _digest(path)
            if digest in seen:
                copies.add(path)
            seen.add(digest)
    return [one for one in slices if one.path not in copies]


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        # Its own name: it is like no other file, and reading its pixels will say what is wrong.
        return bytes(path)


def files_under(folder: Path, patient: str) -> Iterator[Path]:
    """All files in a folder but hidden ones and those of the system (`is_litter`), or the one file.

    Folders that links lead to again are entered once.
    """

    def refuse(error: OSError) -> None:
        raise image_problem(330, patient, Path(str(error.filename)), f"cannot be read: {error.strerror}") from error

    if not folder.is_dir():
        if not folder.is_file():
            raise image_problem(330, patient, folder, "there is no such file or folder")
        yield folder
        return
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not is_litter(name))
        yield from (Path(place) / name for name in sorted(names) if not is_litter(name))


def _named_like_dicom(path: Path) -> bool:
    """By its name: `.dcm`, or no suffix at all, or one that is the end of an identifier (`CT.1.2.840.5`)."""
    suffix = path.suffix.lower()
    return not is_litter(path.name) and (suffix in _SUFFIXES or suffix in ("", ".") or suffix[1:].isdigit())


def _may_be_dicom(path: Path, start: bytes) -> bool:
    """Whether a file without DICOM's mark may be an old or damaged one, and not a note that lies beside the images."""
    if not _named_like_dicom(path):
        return False
    if path.suffix.lower() in _SUFFIXES or not start:
        return True
    return not all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in start)

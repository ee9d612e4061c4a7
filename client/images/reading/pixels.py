"""client/images/reading: from stored pixels to HU or signal, slice by slice into one image."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    SecondaryCaptureImageStorage,
)

from client.images.reading.codestream import check_coded
from client.images.reading.slices import BAD_BYTES, Slice, image_problem, numbers, text
from client.images.reading.volumes import FoundVolume

Plane = NDArray[Any]

OUTSIDE_HU = -1024
"""What CT has outside of the field of view, whatever the scanner stored there."""

TISSUE_HU = (-1000.0, 3071.0)
"""From air to the end of the 12-bit scale. Exports exist whose padding value is one that tissue has too; within this
range it is not believed."""

MAX_VOXELS = 2**30
"""Larger images, which would be 1024 slices of 1024 x 1024, are refused before memory is taken."""

# Both libraries say what is wrong with a file on standard error as well as by their results.
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


def assemble(planes: Iterable[tuple[int, Plane]], size: tuple[int, int, int]) -> sitk.Image:
    """Put planes into an image: int16 while all values are whole numbers that fit, float32 from the first that is not.

    Planes are pasted one by one, so that no second copy of the volume is held.

    Parameters
    ----------
    planes
        Index along z and values (rows, columns), each index once.
    size
        Columns, rows, slices.
    """
    image: sitk.Image | None = None
    whole = True
    for z, plane in planes:
        if image is None:
            whole = _fits_int16(plane)
            image = sitk.Image(size, sitk.sitkInt16 if whole else sitk.sitkFloat32)
        elif whole and not _fits_int16(plane):
            whole = False
            image = sitk.Cast(image, sitk.sitkFloat32)
        # Numbers beyond float32 become infinite, which is refused by name later.
        with np.errstate(over="ignore", invalid="ignore"):
            values = plane.astype(np.int16 if whole else np.float32)
        image[:, :, z] = sitk.GetImageFromArray(values)
    if image is None:
        raise ValueError("an image has at least one plane")
    return image


def read_voxels(volume: FoundVolume, patient: str) -> sitk.Image:
    """The voxels of a DICOM volume, without their place: HU or signal, rescaled slice by slice.

    Stored values outside of Bits Stored are cut off (overlays of old files). CT's padding becomes -1024 HU. An inverted
    MR signal (MONOCHROME1) is turned round, as GDCM does; in CT and PET the rescaled values mean what they say, and the
    photometric interpretation is for screens.

    Raises
    ------
    FedmviError
        330 where pixels are damaged, 335 where their compression is not known, 377 where a temporary file that is
        needed for them cannot be written.
    """
    first = volume.slices[0]
    size = (first.size[1], first.size[0], len(volume.slices))
    if size[0] * size[1] * size[2] > MAX_VOXELS:
        raise image_problem(330, patient, first.path, f"{size[0]} x {size[1]} x {size[2]} voxels are no image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble(_planes(volume, patient), size)


def _planes(volume: FoundVolume, patient: str) -> Iterator[tuple[int, Plane]]:
    by_file: dict[Path, list[tuple[int, Slice]]] = {}
    for z, one in enumerate(volume.slices):
        by_file.setdefault(one.path, []).append((z, one))
    for path, wanted in by_file.items():
        try:
            yield from _planes_of_file(path, wanted, patient)
        except BAD_BYTES as error:
            raise image_problem(330, patient, path, f"pixels cannot be read: {error}") from error


def _planes_of_file(path: Path, wanted: list[tuple[int, Slice]], patient: str) -> Iterator[tuple[int, Plane]]:
    header = pydicom.dcmread(path, force=True)
    if "ModalityLUTSequence" in header:
        raise image_problem(330, patient, path, "a Modality LUT; export it with Rescale Slope and Intercept")
    decoder = _decoder(header, path, patient)
    # Frames are decoded in the order of storage, in which they need not be searched for.
    wanted = sorted(wanted, key=lambda pair: pair[1].frame or 0)
    frames = [one.frame for _, one in wanted if one.frame is not None]
    syntax = header.file_meta.TransferSyntaxUID
    coded: list[bytes] = []
    if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes):
        coded = list(generate_frames(header.PixelData, number_of_frames=int(header.get("NumberOfFrames") or 1)))
        for _, one in wanted:
            check_coded(coded[one.frame or 0], header)
    decoded: Iterable[Plane]
    if syntax == JPEGExtended12Bit and int(header.BitsStored) > 8:
        decoded = (_extended_jpeg(coded[one.frame or 0], header, path, patient) for _, one in wanted)
    elif frames:
        decoded = (plane for plane, _ in decoder.iter_array(header, raw=True, indices=frames))
    else:
        decoded = [decoder.as_array(header, raw=True)[0]]
    for (z, one), plane in zip(wanted, decoded, strict=True):
        if plane.shape != one.size:
            raise ValueError(f"{plane.shape} pixels, but the header has {one.size}")
        yield z, _real(plane, header, one)


def _extended_jpeg(coded: bytes, header: Dataset, path: Path, patient: str) -> Plane:
    """A frame of JPEG Extended with 12 bits, which GDCM decodes and pydicom does not ask it to.

    GDCM ends the program where a picture is damaged in certain ways; inside of SimpleITK it raises an error. That reads
    files only, so the frame is put into one of its own, without what would be done to its values.
    """
    one = Dataset()
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(one, name, header[name].value)
    one.SOPClassUID, one.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.PixelData = encapsulate([coded])
    one["PixelData"].VR = "OB"
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    try:
        with tempfile.TemporaryDirectory() as folder:
            alone = Path(folder) / "frame.dcm"
            one.save_as(alone, enforce_file_format=True)
            picture = sitk.GetArrayFromImage(sitk.ReadImage(str(alone), imageIO="GDCMImageIO"))
    except OSError as error:
        # The disk's fault and not the image's; what GDCM cannot decode is a RuntimeError.
        what = f"{error.filename or 'the folder for temporary files'}: {error.strerror or error}"
        raise image_problem(377, patient, path, f"decoded by way of a temporary file: {what}") from error
    plane: Plane = picture.reshape(one.Rows, one.Columns)
    return plane


def _decoder(header: Dataset, path: Path, patient: str) -> Decoder:
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        # Files from before DICOM had file headers.
        implicit, little = header.original_encoding
        uncompressed = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else uncompressed
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise image_problem(335, patient, path, f"transfer syntax {syntax.name}") from error
    if not decoder.is_available:
        raise image_problem(335, patient, path, f"transfer syntax {syntax.name}")
    return decoder


def _real(stored: Plane, header: Dataset, one: Slice) -> Plane:
    """Stored values of one slice as HU or signal."""
    signed = header.get("PixelRepresentation") == 1
    if stored.dtype.kind in "iu":
        stored = _without_unused_bits(stored, header)
    outside = _padding(stored, header, one, signed) if text(header, "Modality") == "CT" else None
    if text(header, "PhotometricInterpretation") == "MONOCHROME1" and text(header, "Modality") == "MR":
        stored = (-1 if signed else 2 ** int(header.BitsStored) - 1) - stored.astype(np.int64)
    if (one.slope, one.intercept) == (1, 0):
        real = stored
    elif stored.dtype.kind in "iu" and one.slope.is_integer() and one.intercept.is_integer():
        real = stored.astype(np.int64) * int(one.slope) + int(one.intercept)
    else:
        real = stored * np.float64(one.slope) + one.intercept
    if outside is not None and outside.any():
        real = np.where(outside, OUTSIDE_HU, real)
    return real


def _without_unused_bits(stored: Plane, header: Dataset) -> Plane:
    """Keep Bits Stored below High Bit, with the sign carried on."""
    width = stored.dtype.itemsize * 8
    bits, high = int(header.get("BitsStored") or width), int(header.get("HighBit") or width - 1)
    if bits >= width or not bits - 1 <= high < width:
        return stored
    return np.right_shift(np.left_shift(stored, width - 1 - high), width - bits)


def _padding(stored: Plane, header: Dataset, one: Slice, signed: bool) -> Plane | None:
    """Voxels that hold Pixel Padding Value, or lie between it and the Range Limit (PS3.3 C.7.5.1.1.2)."""
    ends = [*numbers(header, "PixelPaddingValue"), *numbers(header, "PixelPaddingRangeLimit")]
    if not ends or stored.dtype.kind not in "iu":
        return None
    width = stored.dtype.itemsize * 8
    # Some writers give a negative value as the unsigned number of the same bits, or the other way round.
    ends = [(int(v) + 2 ** (width - 1)) % 2**width - 2 ** (width - 1) if signed else int(v) % 2**width for v in ends]
    if any(TISSUE_HU[0] <= v * one.slope + one.intercept <= TISSUE_HU[1] for v in ends):
        return None
    outside: Plane = (stored >= min(ends)) & (stored <= max(ends))
    return outside


def _fits_int16(plane: Plane) -> bool:
    low, high = plane.min(), plane.max()
    if not (low >= -(2**15) and high < 2**15):
        return False
    return plane.dtype.kind in "iu" or bool((plane == np.rint(plane)).all())

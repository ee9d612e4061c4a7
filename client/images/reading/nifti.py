"""client/images/reading: NIfTI files; their place comes from nibabel, which leaves no choice to a reader's version.

A NIfTI file has up to two transforms to the patient, and programs differ in which one they believe. A file whose two
transforms disagree is therefore refused rather than read one way here and another way where its mask was drawn.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from client.images.reading.pixels import MAX_VOXELS, Plane, assemble
from client.images.reading.slices import image_problem

AGREE_MM = 0.1
"""How far apart the two transforms may put a corner of the image: the float32 of a header rounds far less, and a tenth
of a millimetre moves no voxel."""

_ORTHONORMAL = 1e-3
_HEADER_BYTES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_SINGLE_FILE = {348: b"n+1\0", 540: b"n+2\0"}
_MOST_VOLUMES = 16  # of the largest size
_MOST_DEFLATED = 1032
"""DEFLATE makes no byte shorter than this share of one (RFC 1951: 258 bytes from two bits)."""

_BAD = (EOFError, HeaderDataError, LookupError, OSError, OverflowError, TypeError, ValueError, struct.error, zlib.error)


@dataclass(frozen=True)
class _Header:
    """What a checked header says: sizes x, y, z; number of volumes; type on disk; first byte; scaling; affine (RAS)."""

    size: tuple[int, int, int]
    volumes: int
    kind: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]


def read_nifti(path: Path, patient: str, volume: int = 0) -> sitk.Image:
    """Read a `.nii` or `.nii.gz` file in DICOM's patient coordinates.

    Parameters
    ----------
    path
        The file, NIfTI-1 or NIfTI-2, of either byte order.
    patient
        Id, for messages.
    volume
        Which volume of a four-dimensional file, from 1; 0 for the only one.

    Raises
    ------
    FedmviError
        330 damaged or no picture of one number a voxel, 334 no usable place, 336 several volumes.
    """
    try:
        with _opened(path) as file:
            header = _checked(file, path, patient)
            if header.volumes > 1 and not 1 <= volume <= header.volumes:
                raise image_problem(336, patient, path, f"{header.volumes} volumes")
            if header.volumes == 1 and volume > 1:
                raise image_problem(336, patient, path, f"one volume, and not {volume}")
            image = assemble(_planes(file, header, max(volume, 1)), header.size)
    except _BAD as error:
        raise image_problem(330, patient, path, f"not readable as NIfTI: {error}") from error
    _lay(image, header.affine)
    return image


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    """The file, unpacked on the fly where it is compressed, whatever its name says."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _checked(file: BinaryIO | gzip.GzipFile, path: Path, patient: str) -> _Header:
    raw = file.read(540)
    length = next((n for n in _HEADER_BYTES if raw[:4] in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), 0)
    magic = raw[344:348] if length == 348 else raw[4:8]
    if not length or len(raw) < length or magic != _SINGLE_FILE[length]:
        raise image_problem(330, patient, path, "not a NIfTI file with its voxels in it")
    header: Any = _HEADER_BYTES[length].from_fileobj(io.BytesIO(raw[:length]), check=False)
    size, volumes = _sizes(header, path, patient)
    kind = header.get_data_dtype()
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise image_problem(330, patient, path, f"voxels of type {kind}: colours, vectors or complex numbers")
    offset = int(header["vox_offset"])
    if not length <= offset < 2**24:
        raise image_problem(330, patient, path, f"voxels that begin at byte {offset}")
    wanted = offset + size[0] * size[1] * size[2] * volumes * kind.itemsize
    if path.stat().st_size * _MOST_DEFLATED < wanted:
        raise image_problem(330, patient, path, f"too short for {wanted} bytes of voxels; it is cut off")
    slope, intercept = header.get_slope_inter()
    affine = _affine(header, size, path, patient)
    return _Header(size, volumes, kind, offset, slope or 1.0, intercept or 0.0, affine)


def _sizes(header: Any, path: Path, patient: str) -> tuple[tuple[int, int, int], int]:
    """Sizes of x, y and z, and the number of volumes."""
    dimensions = int(header["dim"][0])
    if not 3 <= dimensions <= 7:
        raise image_problem(330, patient, path, f"{dimensions} dimensions")
    size = [int(n) for n in header["dim"][1 : dimensions + 1]]
    if min(size) < 1 or max([1, *size[4:]]) > 1:
        raise image_problem(330, patient, path, f"sizes {size} are not those of a volume or a row of volumes")
    x, y, z, volumes = (*size, 1)[:4]
    if x * y * z > MAX_VOXELS or x * y * z * volumes > MAX_VOXELS * _MOST_VOLUMES:
        raise image_problem(330, patient, path, f"{size} voxels are no image")
    return (x, y, z), volumes


def _affine(header: Any, size: tuple[int, int, int], path: Path, patient: str) -> NDArray[np.float64]:
    """The transform from voxel to mm (to the right, front and head); sform where there is one, as qform agrees."""
    units = int(header["xyzt_units"]) & 7
    if units not in (0, 2):
        raise image_problem(334, patient, path, "positions are not in mm")
    sform = header.get_sform() if header["sform_code"] > 0 else None
    try:
        qform = header.get_qform() if header["qform_code"] > 0 else None
    except HeaderDataError as error:
        raise image_problem(334, patient, path, f"qform: {error}") from error
    affine: NDArray[np.float64] | None = sform if sform is not None else qform
    if affine is None:
        raise image_problem(334, patient, path, "neither qform nor sform is set")
    if not np.isfinite(affine).all():
        raise image_problem(334, patient, path, "its position has values that are not finite numbers")
    if sform is not None and qform is not None:
        corners = np.array([[x, y, z, 1] for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])])
        apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
        if not apart <= AGREE_MM:
            raise image_problem(334, patient, path, f"qform and sform put a corner of the image {apart:.2f} mm apart")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() <= 0 or not np.isfinite(spacing).all():
        raise image_problem(334, patient, path, f"voxels of {spacing} mm")
    direction = affine[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > _ORTHONORMAL:
        raise image_problem(334, patient, path, "its axes are not at right angles (a sheared image)")
    return _as_written(affine)


def _as_written(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers that the header's float32 stand for: 5.7 and not 5.699999809.

    Whoever wrote the file had such numbers, as DICOM has them: the same picture lies at the same place in both formats.
    A multiple of 1/1024, as the widths of pixels of a field of view of 250 or 500 mm, is exact as it is.
    """
    shortest = np.array([float(str(np.float32(value))) for value in affine.ravel()]).reshape(affine.shape)
    written: NDArray[np.float64] = np.where(affine * 1024 == np.rint(affine * 1024), affine, shortest)
    return written


def _planes(file: BinaryIO | gzip.GzipFile, header: _Header, volume: int) -> Iterator[tuple[int, Plane]]:
    """Slices of one volume, in the order of the file."""
    columns, rows, slices = header.size
    length = columns * rows * header.kind.itemsize
    file.seek(header.offset + (volume - 1) * slices * length)
    for z in range(slices):
        raw = file.read(length)
        if len(raw) < length:
            raise EOFError(f"it ends in slice {z + 1} of {slices}")
        stored: Plane = np.frombuffer(raw, header.kind).reshape(rows, columns)
        if (header.slope, header.intercept) != (1, 0):
            stored = stored * np.float64(header.slope) + header.intercept
        yield z, stored
    if isinstance(file, gzip.GzipFile) and volume == header.volumes:
        # At its end a compressed file has a check sum, which is compared when the end is read.
        file.read(1)


def _lay(image: sitk.Image, affine: NDArray[np.float64]) -> None:
    """NIfTI's axes point to the right and to the front, DICOM's to the left and to the back."""
    turned = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(turned[:, :3], axis=0)
    image.SetSpacing([float(x) for x in spacing])
    image.SetOrigin([float(x) for x in turned[:, 3]])
    image.SetDirection([float(x) for x in (turned[:, :3] / spacing).ravel()])

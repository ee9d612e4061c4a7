"""client/images/reading: NRRD files, as 3D Slicer and others write them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.reading.pixels import MAX_VOXELS, assemble
from client.images.reading.slices import image_problem

SPACES = frozenset(
    {"left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"}
)
"""Patient coordinates that the NRRD format names (teem.sourceforge.net/nrrd/format.html) and ITK turns into DICOM's."""

_HEADER_BYTES = 2**16
_MOST_PACKED = 1032  # DEFLATE's limit; bzip2, which can pack tighter, is not one of the encodings below
_ENCODINGS = frozenset({"raw", "gzip", "gz", "txt", "text", "ascii", "hex"})
_ORTHONORMAL = 1e-3


def read_nrrd(path: Path, patient: str, volume: int = 0) -> sitk.Image:
    """Read a `.nrrd` file with its voxels in it.

    Parameters
    ----------
    path, patient
        The file, and whose it is.
    volume
        Which of several values or volumes, from 1; 0 for the only one.

    Raises
    ------
    FedmviError
        330 damaged, 334 no usable place, 336 several volumes.
    """
    try:
        _check_fields(_fields(path), path, patient)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size, values = reader.GetSize(), reader.GetNumberOfComponents()
        voxels = int(np.prod(size, dtype=float)) * values
        if voxels > MAX_VOXELS or voxels > path.stat().st_size * _MOST_PACKED:
            raise image_problem(330, patient, path, f"sizes {size}, for which the file is too short")
        if len(size) not in (3, 4) or (len(size) == 4 and values > 1):
            raise image_problem(330, patient, path, f"sizes {size} are not those of a volume or a row of volumes")
        image = _chosen(reader.Execute(), volume, path, patient)
    except (OSError, RuntimeError, ValueError, zlib.error) as error:
        raise image_problem(330, patient, path, f"not readable as NRRD: {error}") from error
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.abs(direction.T @ direction - np.eye(3)).max() <= _ORTHONORMAL:
        raise image_problem(334, patient, path, "its axes are not at right angles (a sheared image)")
    return _narrowed(image)


def _fields(path: Path) -> dict[str, str]:
    """The text header: a line for each field, an empty line at its end."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if not head.startswith(b"NRRD"):
        raise ValueError("it does not begin with NRRD")
    lines = head.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines[1:] if ":" in line and not line.startswith("#"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _check_fields(fields: dict[str, str], path: Path, patient: str) -> None:
    if "data file" in fields or "datafile" in fields:
        raise image_problem(330, patient, path, "its voxels are in another file; save it as one .nrrd file")
    if fields.get("encoding", "raw").lower() not in _ENCODINGS:
        raise image_problem(330, patient, path, f"encoding {fields['encoding']}; save it raw or as gzip")
    if fields.get("space", "").lower() not in SPACES or "space directions" not in fields:
        raise image_problem(334, patient, path, f"space {fields.get('space', 'absent')!r} is not the patient's")
    if "space origin" not in fields:
        raise image_problem(334, patient, path, "no space origin")


def _chosen(image: sitk.Image, volume: int, path: Path, patient: str) -> sitk.Image:
    """One volume of four-dimensional voxels, or one value of several."""
    values = image.GetNumberOfComponentsPerPixel()
    count = image.GetSize()[3] if image.GetDimension() == 4 else values
    chosen = volume or (1 if count == 1 else 0)
    if not 1 <= chosen <= count:
        raise image_problem(336, patient, path, f"{count} volumes")
    one: sitk.Image = image
    if image.GetDimension() == 4:
        one = image[:, :, :, chosen - 1]
    elif values > 1:
        one = sitk.VectorIndexSelectionCast(image, chosen - 1)
    return one


def _narrowed(image: sitk.Image) -> sitk.Image:
    """int16 where that loses nothing, else float32."""
    if image.GetPixelID() == sitk.sitkInt16:
        return image
    narrow = assemble(enumerate(sitk.GetArrayViewFromImage(image)), image.GetSize())
    narrow.CopyInformation(image)
    return narrow

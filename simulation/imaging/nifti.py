"""simulation/imaging: volumes and displacements as compressed NIfTI-1 files, the same bytes every time."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from simulation.imaging.volume import Grid, Volume

DESCRIPTION = "FedMVI simulation; not a patient"
VECTOR = 1007
"""NIfTI's intent code for vectors whose components are spatial (nifti1.h)."""


def write_volume(path: Path, volume: Volume) -> None:
    """Write voxels as they are, without a scaling.

    Parameters
    ----------
    path
        The file, ending in `.nii.gz`; its folder is made.
    volume
        (slices, rows, columns); written with columns first, as NIfTI has it.
    """
    _write(path, volume.voxels.transpose(2, 1, 0), volume.grid)


def write_displacements(path: Path, displacement: NDArray[np.float32], grid: Grid) -> None:
    """Write displacements as ITK reads a displacement field.

    ITK takes the components of a NIfTI vector image as they stand, in DICOM's directions (to the left, to the back,
    to the head), although the positions of the voxels are in NIfTI's own.

    Parameters
    ----------
    path
        The file, ending in `.nii.gz`; its folder is made.
    displacement
        (3, slices, rows, columns) in mm, components in the order z, y, x of DICOM's patient coordinates.
    grid
        Where the vectors lie.
    """
    vectors = displacement[::-1].transpose(3, 2, 1, 0)
    _write(path, vectors[:, :, :, None, :].astype(np.float32), grid, intent=VECTOR)


def _write(path: Path, voxels: NDArray[np.generic], grid: Grid, intent: int | None = None) -> None:
    image: Any = nib.Nifti1Image(voxels, grid.affine(), dtype=voxels.dtype)
    image.set_sform(grid.affine(), code=1)
    image.set_qform(grid.affine(), code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = DESCRIPTION
    if intent is not None:
        image.header.set_intent(intent)
    path.parent.mkdir(parents=True, exist_ok=True)
    # No name and no time of the file goes into the gzip header.
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))

"""simulation/imaging: a volume on its grid in the patient's coordinates, and everything acquired of one patient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: an axial stack, without tilt.

    Attributes
    ----------
    shape
        Slices, rows, columns.
    spacing
        Distance between centres of slices, of rows, of columns in mm.
    origin
        Centre of the voxel (0, 0, 0) in DICOM's patient coordinates in mm, in the order z (to the head), y (to the
        back), x (to the patient's left).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    def axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Coordinates in mm along z, y and x, each one-dimensional."""
        z, y, x = (
            (start + step * np.arange(n)).astype(np.float32)
            for start, step, n in zip(self.origin, self.spacing, self.shape, strict=True)
        )
        return z, y, x

    def around(self, point: tuple[float, float, float], reach_mm: float) -> Grid:
        """The part of this grid within a distance of a point along every axis, on the same voxels."""
        start, count = [], []
        for at, low, step, n in zip(point, self.origin, self.spacing, self.shape, strict=True):
            first = min(max(math.ceil((at - reach_mm - low) / step), 0), n - 1)
            last = max(min(math.floor((at + reach_mm - low) / step), n - 1), first)
            start.append(low + first * step)
            count.append(last - first + 1)
        return Grid((count[0], count[1], count[2]), self.spacing, (start[0], start[1], start[2]))

    def affine(self) -> NDArray[np.float64]:
        """NIfTI's matrix: from (column, row, slice) to mm to the right, to the front and to the head."""
        dz, dy, dx = self.spacing
        oz, oy, ox = self.origin
        return np.array([[-dx, 0, 0, -ox], [0, -dy, 0, -oy], [0, 0, dz, oz], [0, 0, 0, 1]], dtype=np.float64)


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie.

    Attributes
    ----------
    voxels
        (slices, rows, columns): HU or MR signal as int16; a mask as uint8 of 0 and 1.
    grid
        The same shape.
    """

    voxels: NDArray[np.int16] | NDArray[np.uint8]
    grid: Grid


@dataclass(frozen=True)
class Examination:
    """Everything acquired of one patient in one session.

    Attributes
    ----------
    patient
        Pseudonym.
    modality
        `ct` or `mr`.
    phases
        One volume a phase, in the order of acquisition. Grids may differ between MR sequences.
    reference
        The phase on which masks were drawn, and whose grid they have.
    masks
        `tumour`, `liver`, and `tumour.reader2` where a second reader outlined it.
    motion
        For every phase but the reference: displacement in mm, (3, k, j, i), components in the order z, y, x, on
        `motion_grid`, to be interpolated linearly. A point p of that phase shows what lies at p + displacement(p) in
        the reference phase.
    motion_grid
        Grid of the displacements.
    started_s
        Seconds between the injection of contrast and each phase; negative before it.
    """

    patient: str
    modality: str
    phases: Mapping[str, Volume]
    reference: str
    masks: Mapping[str, Volume]
    motion: Mapping[str, NDArray[np.float32]]
    motion_grid: Grid
    started_s: Mapping[str, float]

"""client/images/reading: where voxels of a DICOM volume lie; missing slices and tilts are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.images.reading.slices import Slice, image_problem
from client.images.reading.volumes import FoundVolume, heights, normal_of

OFF_GRID_MM = 0.1
"""How far a slice may lie from where even spacing has it.

Headers round positions to as little as 0.1 mm, and so do both ends from which the spacing is computed: rounding alone
puts a slice up to 0.1 mm off. That is a fifth of the thinnest spacing in use, and a missing slice is half a spacing
off at least."""

TILT = 2e-3
"""Largest drift of slices in their plane per mm across it: what cosines of three decimals bring about, and a tenth of
a gantry tilt of one degree."""


@dataclass(frozen=True)
class Geometry:
    """Of a volume, in ITK's terms: mm in DICOM's patient coordinates, axes in the order x, y, z of the image."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]

    def lay_on(self, image: sitk.Image) -> None:
        """Give it to an image."""
        image.SetOrigin(self.origin)
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)


def geometry_of(volume: FoundVolume, patient: str, folder: Path) -> Geometry:
    """Origin, spacing and direction of a volume (DICOM PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    volume
        Its slices in the order of z.
    patient, folder
        For messages.

    Raises
    ------
    FedmviError
        331 where a slice is missing or spacing is uneven, with the places; 332 where slices are shifted in their
        plane; 334 where they are sheared, as under a tilted gantry, or a single slice has no thickness.
    """
    first = volume.slices[0]
    normal = normal_of(first)
    at = heights(volume.slices, normal)
    spacing = first.thickness if len(at) == 1 else float(at[-1] - at[0]) / (len(at) - 1)
    if spacing <= 0:
        raise image_problem(334, patient, first.path, "a single slice without Slice Thickness")
    if np.abs(at - np.linspace(at[0], at[-1], len(at))).max() > OFF_GRID_MM:
        raise image_problem(331, patient, folder, _unevenness(volume.slices, at))
    _refuse_drift(volume.slices, at, normal, patient, folder)
    row = np.array(first.row)
    column = np.cross(normal, row)
    direction = np.stack([row, column, normal], axis=1)
    position = first.position or (0.0, 0.0, 0.0)
    return Geometry(position, (first.spacing[1], first.spacing[0], spacing), tuple(float(x) for x in direction.ravel()))


def _unevenness(slices: tuple[Slice, ...], at: NDArray[np.float64]) -> str:
    """Which gaps are not the usual one."""
    gaps = np.diff(at)
    usual = float(np.median(gaps))
    odd = [int(i) for i in np.flatnonzero(np.abs(gaps - usual) > OFF_GRID_MM)]
    if not odd:
        return f"spacing goes from {gaps[0]:.3f} mm to {gaps[-1]:.3f} mm over {len(slices)} slices ({slices[0].label})"
    named = []
    for i in odd[:5]:
        lost = round(gaps[i] / usual) - 1
        whole = lost > 0 and abs(gaps[i] / usual - lost - 1) < 0.1
        missing = f" ({lost} missing)" if whole else ""
        named.append(
            f"{gaps[i]:.2f} mm between slice {i + 1} ({slices[i].label}, at {at[i]:.2f} mm) and slice {i + 2} "
            f"({slices[i + 1].label}, at {at[i + 1]:.2f} mm){missing}"
        )
    more = f"; and {len(odd) - 5} more" if len(odd) > 5 else ""
    return f"slices are {usual:.2f} mm apart, but {'; '.join(named)}{more}"


def _refuse_drift(
    slices: tuple[Slice, ...], at: NDArray[np.float64], normal: NDArray[np.float64], patient: str, folder: Path
) -> None:
    """Slices lie one behind the other along the normal, or the grid would be sheared."""
    if len(slices) == 1:
        return
    positions = np.array([one.position for one in slices])
    drift = positions - positions[0] - np.outer(at - at[0], normal)
    length = float(at[-1] - at[0])
    off = np.linalg.norm(drift, axis=1)
    if off.max() <= OFF_GRID_MM + TILT * length:
        return
    straight = np.abs(drift - np.outer((at - at[0]) / length, drift[-1])).max() <= OFF_GRID_MM
    if straight:
        angle = np.degrees(np.arctan(off[-1] / length))
        what = f"slices are sheared by {angle:.1f} degrees ({off[-1]:.1f} mm in all), as under a tilted gantry"
        raise image_problem(334, patient, folder, what)
    worst = int(off.argmax())
    what = f"slice {worst + 1} ({slices[worst].label}) is shifted by {off[worst]:.1f} mm in its plane"
    raise image_problem(332, patient, folder, what)

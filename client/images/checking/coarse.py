"""client/images/checking: images on coarse voxels, on which checks of a whole patient take a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def coarse_image(image: sitk.Image, width_mm: float) -> sitk.Image:
    """Means over blocks of voxels about as wide as stated; float32, in the same place of the patient."""
    pairs = zip(image.GetSpacing(), image.GetSize(), strict=True)
    factors = [max(1, min(size, round(width_mm / spacing))) for spacing, size in pairs]
    shrunk: sitk.Image = sitk.Cast(sitk.BinShrink(image, factors), sitk.sitkFloat32)
    return shrunk


def cropped(mask: sitk.Image) -> sitk.Image | None:
    """The box of a mask's voxels; None where it is empty."""
    voxels = sitk.GetArrayViewFromImage(mask)
    if not voxels.any():
        return None
    box = box_around(voxels)[::-1]
    part: sitk.Image = sitk.RegionOfInterest(mask, [s.stop - s.start for s in box], [s.start for s in box])
    return part


def box_around(voxels: NDArray[Any], margin: int = 0) -> tuple[slice, slice, slice]:
    """The slices, rows and columns of an array that is not empty, and as many more as it has up to a margin."""
    ends = [np.flatnonzero(voxels.any(others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    first, second, third = (
        slice(max(0, int(low) - margin), min(size, int(high) + 1 + margin))
        for (low, high), size in zip(ends, voxels.shape, strict=True)
    )
    return first, second, third


def seen_at(image: sitk.Image, place: sitk.Image, outside: float = 0.0) -> Floats:
    """The values (slices, rows, columns) of an image at the voxels of another grid, by the nearest voxel."""
    found = sitk.Resample(image, place, sitk.Transform(), sitk.sitkNearestNeighbor, outside, sitk.sitkFloat32)
    return np.asarray(sitk.GetArrayFromImage(found), np.float32)


def covered_by(image: sitk.Image, place: sitk.Image) -> NDArray[np.bool_]:
    """Which voxels (slices, rows, columns) of another grid lie in an image's field of view.

    The centre of a voxel lies in it where the continuous index is between -1/2 and the size minus 1/2 on every axis;
    indices are affine in each other, so that one matrix gives all.
    """
    size = place.GetSize()
    origin = np.array(image.TransformPhysicalPointToContinuousIndex(place.GetOrigin()))
    steps = [
        np.array(image.TransformPhysicalPointToContinuousIndex(place.TransformIndexToPhysicalPoint(unit))) - origin
        for unit in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
    ]
    x, y, z = (np.arange(n) for n in size)
    inside = np.ones(size[::-1], bool)
    for axis, limit in enumerate(image.GetSize()):
        at = (
            origin[axis]
            + z[:, None, None] * steps[2][axis]
            + y[None, :, None] * steps[1][axis]
            + x[None, None, :] * steps[0][axis]
        )
        # Positions in headers are rounded: a thousandth of a voxel outside is still on the edge.
        inside &= (at >= -0.501) & (at <= limit - 0.499)
    return inside


def millilitres(mask: sitk.Image, voxels: int) -> float:
    """The volume of so many voxels of a mask."""
    return float(voxels * np.prod(mask.GetSpacing()) / 1000)

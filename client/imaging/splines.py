"""client/imaging: cubic splines on grids whose axes are parallel: along one axis at a time, not at one voxel at a time.

Where a grid and an image have the same axes, the 64 coefficients around a voxel are products of four along each axis,
and resampling is a product with one matrix per axis. That is what ITK's B-spline gives, some ten times sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

PARALLEL = 1e-9
"""How far axes may be turned against each other, in voxels per voxel."""
EDGE = 1e-6
"""Voxels by which a place may be outside of the field of view and still be on its edge."""

Floats = NDArray[np.float64]


def parallel_places(image: sitk.Image, size: Sequence[int], corner: NDArray[np.float64]) -> list[Floats] | None:
    """Where the voxels of a grid lie in an image, for each axis; None where the axes are not parallel.

    Parameters
    ----------
    image
        Only its geometry is used.
    size
        Voxels of the grid along x, y and z.
    corner
        (4, 3) points in mm, as the image sees them, of the grid's first voxel and of the one after it along x, y, z.

    Returns
    -------
    list of ndarray
        For x, y and z, (n,) continuous indices of the image.
    """
    to_index = np.linalg.inv(np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing()))
    index = (corner - np.array(image.GetOrigin())) @ to_index.T
    steps = index[1:] - index[0]
    if np.abs(steps - np.diag(np.diag(steps))).max() > PARALLEL:
        return None
    return [index[0, axis] + steps[axis, axis] * np.arange(n) for axis, n in enumerate(size)]


def spline_values(voxels: NDArray[np.generic], places: Sequence[Floats]) -> NDArray[np.float32]:
    """The cubic spline through voxels, with mirrored ends (Unser, IEEE Signal Process Mag 1999), on a lattice.

    Parameters
    ----------
    voxels
        (z, y, x), at least two along every axis.
    places
        For x, y and z, continuous indices of `voxels`. Outside of the field of view, which ends half a voxel beyond
        the outer voxels, the nearest voxel's value is taken.

    Returns
    -------
    ndarray
        float32 (z, y, x).
    """
    across, down, through = (_matrix(where, n) for where, n in zip(places, reversed(voxels.shape), strict=True))
    # Slice by slice, so that a large image of integers is never whole as numbers of 8 bytes.
    planes = np.stack([down @ plane.astype(np.float64) @ across.T for plane in voxels])
    out = np.empty((through.shape[0], *planes.shape[1:]), np.float32)
    for row in range(out.shape[1]):
        out[:, row] = through @ planes[:, row]
    _extrapolate(out, voxels, places)
    return out


def _matrix(where: Floats, n: int) -> Floats:
    """(places, n) weights of n voxels of a line at places on it."""
    # Up to half a voxel beyond an end a spline with mirrored ends is what it is as far before it.
    inside = np.clip((n - 1) - np.abs((n - 1) - np.abs(where)), 0, n - 1)
    first = np.minimum(np.floor(inside).astype(int), n - 2)
    t = inside - first
    weights = np.stack([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=1) / 6
    taken = np.abs(np.arange(-1, 3) + first[:, None])
    taken = np.where(taken > n - 1, 2 * (n - 1) - taken, taken)
    chosen = np.zeros((where.size, n))
    np.add.at(chosen, (np.arange(where.size)[:, None], taken), weights)
    coefficients = spline_filter1d(np.eye(n), order=3, axis=0, output=np.float64, mode="mirror")
    matrix: Floats = chosen @ coefficients
    return matrix


def _extrapolate(out: NDArray[np.float32], voxels: NDArray[np.generic], places: Sequence[Floats]) -> None:
    """Set what is outside of the field of view along any axis to the nearest voxel's value."""
    ends = [n - 1 for n in reversed(voxels.shape)]
    nearest = [np.clip(np.floor(p + 0.5), 0, end).astype(int) for p, end in zip(places, ends, strict=True)][::-1]
    beyond = [(p < -0.5 - EDGE) | (p > end + 0.5 + EDGE) for p, end in zip(places, ends, strict=True)][::-1]
    for axis, outside in enumerate(beyond):
        if outside.any():
            taken = [each[outside] if other == axis else each for other, each in enumerate(nearest)]
            slab = [np.flatnonzero(outside) if other == axis else slice(None) for other in range(3)]
            out[tuple(slab)] = voxels[np.ix_(*taken)]

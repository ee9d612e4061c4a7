"""client/images/checking: roughly how far the liver of one phase lies from that of another, before any registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.signal import fftconvolve

from client.images.checking.coarse import Floats, box_around, coarse_image

GRID_MM = 5.0
FARTHEST_MM = (25.0, 25.0, 40.0)
"""Shifts that are tried, along x, y and z: breathing moves the liver from head to foot most."""
_AROUND_MM = 15.0
"""The organ is found with what lies around its surface, whose edges show where it is."""
_SHOWN_HU = (-200.0, 250.0)
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Shift:
    """Where the best match lies.

    Attributes
    ----------
    mm
        From the reference phase to the other one, along x (left), y (back) and z (head).
    correlation
        Of edges at the best match, between -1 and 1.
    """

    mm: tuple[float, float, float]
    correlation: float

    @property
    def length_mm(self) -> float:
        """How far."""
        return float(np.linalg.norm(self.mm))


def shift_between(reference: sitk.Image, other: sitk.Image, region: sitk.Image, ct: bool) -> Shift | None:
    """The translation that brings a region of one phase onto another phase, to about half a grid step.

    Both images are averaged to 5 mm, and the lengths of their gradients, which look alike whatever the contrast, are
    matched by normalised cross-correlation in the region and 15 mm around it (Lewis, Vision Interface 1995: 120; with
    a template of any shape as in Padfield, IEEE Trans Image Process 2012; 21: 2706), for all shifts up to 25 mm across
    and 40 mm along the body at once by FFT.

    Parameters
    ----------
    reference, other
        Images of two phases.
    region
        Mask on the reference's grid, such as the liver.
    ct
        Whether values are HU, of which bone and air beyond what is near the liver's are cut off.

    Returns
    -------
    Shift | None
        None where the region is empty or shows nothing but noise-free flatness.
    """
    near = _points(region)
    if near is None:
        return None
    reach = np.ceil(np.array(FARTHEST_MM) / GRID_MM).astype(int)
    low, high = near.min(0) - _AROUND_MM, near.max(0) + _AROUND_MM
    size = np.ceil((high - low) / GRID_MM).astype(int) + 1
    template_grid = _grid(low, size)
    search_grid = _grid(low - reach * GRID_MM, size + 2 * reach)
    wide = sitk.Resample(
        coarse_image(sitk.Cast(region, sitk.sitkFloat32), GRID_MM), template_grid, sitk.Transform(), sitk.sitkLinear,
        0.0, sitk.sitkFloat32,
    )  # fmt: skip
    distance = sitk.SignedMaurerDistanceMap(wide > 0.3, squaredDistance=False, useImageSpacing=True)
    weight = (sitk.GetArrayFromImage(distance) <= _AROUND_MM).astype(np.float64)
    match = _correlation(_edges(reference, template_grid, ct), weight, _edges(other, search_grid, ct))
    if match is None:
        return None
    best = np.unravel_index(int(np.argmax(match)), match.shape)
    steps = [_peak(match, best, axis) - reach[2 - axis] for axis in (2, 1, 0)]
    x, y, z = (float(step * GRID_MM) for step in steps)
    return Shift((x, y, z), float(match[best]))


def _points(mask: sitk.Image) -> NDArray[np.float64] | None:
    """Corners (8, 3) in mm of the box of a mask's voxels."""
    voxels = sitk.GetArrayViewFromImage(mask)
    if not voxels.any():
        return None
    ends = [(part.start, part.stop - 1) for part in reversed(box_around(voxels))]
    corners = [(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]]
    return np.array([mask.TransformIndexToPhysicalPoint(corner) for corner in corners])


def _grid(low: NDArray[np.float64], size: NDArray[np.int_]) -> sitk.Image:
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([GRID_MM] * 3)
    grid.SetOrigin([float(v) for v in low])
    return grid


def _edges(image: sitk.Image, grid: sitk.Image, ct: bool) -> Floats:
    """Lengths of gradients on a grid; beyond the image, the values of its edge, so that its end is no edge."""
    coarse = coarse_image(image, GRID_MM)
    if ct:
        coarse = sitk.Clamp(coarse, sitk.sitkFloat32, *_SHOWN_HU)
    on_grid = sitk.Resample(coarse, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return np.asarray(gaussian_gradient_magnitude(sitk.GetArrayFromImage(on_grid), 1.0), np.float32)


def _correlation(template: Floats, weight: NDArray[np.float64], search: Floats) -> NDArray[np.float64] | None:
    """Normalised cross-correlation of the weighted template at every place where it fits into the search region."""
    count = weight.sum()
    if not count:
        return None
    mean = float((template * weight).sum() / count)
    centred = (template - mean) * weight
    scale = float(np.sqrt((centred**2).sum()))
    wide = search.astype(np.float64)
    top = float(np.abs(wide).max()) or 1.0
    wide = wide / top
    backwards = weight[::-1, ::-1, ::-1]
    first = fftconvolve(wide, backwards, "valid")
    second = fftconvolve(wide**2, backwards, "valid")
    spread = np.sqrt(np.maximum(second - first**2 / count, 0))
    shared = fftconvolve(wide, centred[::-1, ::-1, ::-1], "valid")
    if scale <= _LEAST_SPREAD or float(spread.max()) <= _LEAST_SPREAD:
        return None
    flat = spread <= 1e-3 * spread.max()
    return np.asarray(np.where(flat, -1.0, shared / np.where(flat, 1.0, spread) / scale), np.float64)


def _peak(match: NDArray[np.float64], best: tuple[np.intp, ...], axis: int) -> float:
    """The place of the maximum along one axis, refined by a parabola through it and its neighbours."""
    at = int(best[axis])
    if not 0 < at < match.shape[axis] - 1:
        return float(at)
    before, top, after = (float(match[(*best[:axis], at + d, *best[axis + 1 :])]) for d in (-1, 0, 1))
    bend = before - 2 * top + after
    return at if bend >= 0 else at + 0.5 * (before - after) / bend

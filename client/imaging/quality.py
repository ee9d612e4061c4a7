"""client/imaging: how well two phases lie upon each other, and how believable the field between them is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.imaging.resampling import Grid, bounding_box, resample_mask

BINS = 64
_AROUND_MM = 20.0
"""Masks are compared within the fixed mask's box and this much around it."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PairQuality:
    """How a phase was brought into the space of the reference phase, and how well it lies there.

    Attributes
    ----------
    phase
        The moving phase.
    method
        What is applied in the end: `deformable`, `rigid` or `none` (the patient did not move, or nothing was better).
    fell_back
        Why less is applied than the protocol asks for; "" where it is not less.
    nmi_before, nmi_rigid, nmi_after
        Normalised mutual information in the region as scanned, after the rigid part, and of what is applied: from 1
        (independent) to 2 (each tells the other).
    dice_liver, dice_tumour
        Overlap of the outlines of both phases under what is applied; None where one of them has none.
    folding
        Share of the region's voxels in which the displacement field folds, whether it is applied or not; 0 without.
    max_displacement_mm
        Largest displacement of the field in the region, whether it is applied or not; 0 without.
    translation_mm
        How far the rigid part moves the middle of the region.
    rotation_degrees
        By which angle the rigid part turns.
    """

    phase: str
    method: str
    fell_back: str
    nmi_before: float
    nmi_rigid: float
    nmi_after: float
    dice_liver: float | None
    dice_tumour: float | None
    folding: float
    max_displacement_mm: float
    translation_mm: float
    rotation_degrees: float


def normalised_mutual_information(first: Floats, second: Floats) -> float:
    """(H(A) + H(B)) / H(A, B) of two lists of intensities in 64 bins each (Studholme et al., Pattern Recognit 1999).

    Bins divide the span from the 0.5th to the 99.5th percentile evenly. Where one is constant the result is 1.
    """
    binned = [_binned(values) for values in (first, second)]
    counts = np.bincount(binned[0] * BINS + binned[1], minlength=BINS * BINS).reshape(BINS, BINS)
    joint = _entropy(counts.ravel())
    if joint <= 0:
        return 1.0
    return float((_entropy(counts.sum(axis=0)) + _entropy(counts.sum(axis=1))) / joint)


def dice(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float | None:
    """Overlap of two outlines, 2 |A and B| / (|A| + |B|), on the voxels of the fixed one; None where one is empty.

    Parameters
    ----------
    fixed, moving
        uint8 masks on their own grids.
    transform
        From points of the fixed mask to points of the moving one.
    """
    start, size = bounding_box(fixed)
    if not min(size) or not sitk.GetArrayViewFromImage(moving).any():
        return None
    pad = [int(np.ceil(_AROUND_MM / width)) for width in fixed.GetSpacing()]
    low = [max(0, at - by) for at, by in zip(start, pad, strict=True)]
    high = [min(n, at + m + by) for n, at, m, by in zip(fixed.GetSize(), start, size, pad, strict=True)]
    here = fixed[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    first = sitk.GetArrayViewFromImage(here) != 0
    second = sitk.GetArrayFromImage(resample_mask(moving, Grid.of(here), "nearest", transform)) != 0
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def jacobian(displacement: Floats) -> Floats:
    """The determinant of the Jacobian of x + u(x), which is negative where the field folds.

    Parameters
    ----------
    displacement
        (z, y, x, 3): displacements in voxels, components in the order z, y, x.

    Returns
    -------
    ndarray
        (z, y, x); central differences, one-sided at the ends.
    """
    slopes = [np.gradient(displacement, axis=axis) for axis in range(3)]
    # matrix[i][j] is the derivative of component i along axis j.
    matrix = [[slopes[j][..., i] + (i == j) for j in range(3)] for i in range(3)]
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant: Floats = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return determinant


def _binned(values: Floats) -> NDArray[np.int64]:
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:
        return np.zeros(values.shape, dtype=np.int64)
    scaled = (np.asarray(values, dtype=np.float64) - low) * (BINS / (high - low))
    binned: NDArray[np.int64] = np.clip(scaled, 0, BINS - 1).astype(np.int64)
    return binned


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())

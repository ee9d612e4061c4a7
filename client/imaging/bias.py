"""client/imaging: the bias field of an MR image: how much brighter it is where the coils are near.

It is found by N4 (Tustison et al., IEEE Trans Med Imaging 2010; 29: 1310, SimpleITK) on few voxels, and kept on them:
a spline through its logarithm gives it everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.imaging.resampling import Grid, resample_image
from client.imaging.threads import one_thread
from common.errors import FedmviError

WIDTH_MM = 8.0
"""The field is found on every so many voxels that they lie about this far apart: averages of them would blur the
histogram that N4 sharpens. At 6 mm it costs three times as much and gains little."""
MOST = 20_000
"""Voxels on which it is found; where there would be more, they lie farther apart, which bounds the time. Of a coil's
field on a real abdomen 19 % is left with 4,000, 8,000 and 60,000 voxels, and 16 % with 20,000."""
LEAST = 2
"""Voxels that are left along every axis that has as many: N4 is not defined along an axis of one."""
_CONTROL_POINTS = 4
_ITERATIONS = (50, 50, 50)
"""N4: a cubic spline of one span, then two, then four, 8 cm long across an abdomen. The eight of ITK's default would
take a tumour for bias: simulated lesions of 5 and 9 cm, without any bias field 38 and 22 % brighter than the liver, are
then 20 and 1 % brighter; with four spans, 37 and 18 %. Of a coil's field 19 % is left instead of 13 %."""
_FIELD = "bias.npy"


def find_bias(image: sitk.Image, body: sitk.Image) -> sitk.Image:
    """The logarithm of the bias field, as N4 finds it, by one thread so that the same image gives the same bytes.

    Parameters
    ----------
    image
        3D, not negative where the body is; signals of 0 and below do not count.
    body
        Mask on the image's grid.

    Returns
    -------
    sitk.Image
        float32 on voxels some 8 mm apart.

    Raises
    ------
    FedmviError
        380 where the body has no signal, 382 where N4 fails, as on an image of one slice.
    """
    factors = thinned(image.GetSpacing(), image.GetSize())
    coarse = sitk.Shrink(sitk.Cast(image, sitk.sitkFloat32), factors)
    seen = sitk.Resample(body, coarse, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    seen = sitk.And(seen, sitk.Cast(coarse > 0, sitk.sitkUInt8))
    if not sitk.GetArrayViewFromImage(seen).any():
        raise FedmviError(380, "the body has no signal")
    with one_thread():
        # Made within: it keeps the number of threads of the moment when it was made.
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetMaximumNumberOfIterations(_ITERATIONS)
        corrector.SetNumberOfControlPoints([_CONTROL_POINTS] * 3)
        try:
            corrector.Execute(coarse, seen)
        except RuntimeError as error:
            raise FedmviError(382, f"{coarse.GetSize()} voxels some 8 mm apart: {error}") from error
        field: sitk.Image = sitk.Cast(corrector.GetLogBiasFieldAsImage(coarse), sitk.sitkFloat32)
    return field


def without_bias(image: sitk.Image, body: sitk.Image, field: sitk.Image) -> sitk.Image:
    """An image divided by its bias field, whose mean logarithm in the body is taken for 0: it stays as bright as it is.

    Parameters
    ----------
    image, body
        As for `find_bias`.
    field
        What that gave.

    Returns
    -------
    sitk.Image
        float32 on the image's grid.
    """
    fine = resample_image(field, Grid.of(image), "b-spline")
    middle = float(sitk.GetArrayViewFromImage(fine)[sitk.GetArrayViewFromImage(body) != 0].mean(dtype=np.float64))
    corrected: sitk.Image = sitk.Cast(image, sitk.sitkFloat32) / sitk.Exp(fine - middle)
    return corrected


def thinned(spacing: Sequence[float], size: Sequence[int]) -> list[int]:
    """Of how many voxels along each axis one is looked at."""
    factors = [min(max(round(WIDTH_MM / w), 1), max(n // LEAST, 1)) for w, n in zip(spacing, size, strict=True)]
    while math.prod(n // by for n, by in zip(size, factors, strict=True)) > MOST:
        # Where they lie closest together.
        axis = min((a for a in range(3) if size[a] // (factors[a] + 1) >= LEAST), key=lambda a: spacing[a] * factors[a])
        factors[axis] += 1
    return factors


def save_bias(field: sitk.Image, folder: Path) -> None:
    """Write a field into a folder; the same bytes every time."""
    with (folder / _FIELD).open("wb") as file:
        np.save(file, sitk.GetArrayViewFromImage(field), allow_pickle=False)


def load_bias(folder: Path, image: sitk.Image) -> sitk.Image:
    """Read the field of an image that `save_bias` wrote."""
    where = sitk.Shrink(image, thinned(image.GetSpacing(), image.GetSize()))
    field = sitk.GetImageFromArray(np.load(folder / _FIELD, allow_pickle=False))
    field.CopyInformation(where)
    return field

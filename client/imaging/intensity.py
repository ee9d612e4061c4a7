"""client/imaging: from stored intensities to comparable ones: body, bias field, landmarks, and the scale.

The bias field is found by N4 (Tustison et al., IEEE Trans Med Imaging 2010; 29: 1310, SimpleITK); the piecewise linear
scale is that of Nyul et al., IEEE Trans Med Imaging 2000; 19: 143, on the percentiles `LANDMARKS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.lesion import image_like
from common.errors import FedmviError
from common.study.features import LANDMARKS
from common.study.preparation import Intensity, Modality

_SKIN_HU = -300.0
_BODY_MM = 3.0
"""Voxels are averaged to about this width before the body is sought: noise falls, and so does memory."""
_GAP_MM = 9.0
"""Gaps in the skin up to twice as wide are closed, as where fat is suppressed, so that what it encloses is filled."""
_FAINT = 0.01
"""MR: signals below this share of the brightest count as equal, so that the logarithm does not spread noise."""
_BRIGHTEST = 99.0
"""Percentile that counts as the brightest: one hot pixel does not matter."""

_BIAS_MM = 8.0
"""The bias field is found on every so many voxels that they lie about this far apart: averages of them would blur the
histogram that N4 sharpens. At 6 mm it costs three times as much and gains little."""
_CONTROL_POINTS = 4
_ITERATIONS = (50, 50, 50)
"""N4: a cubic spline of one span, then two, then four, 8 cm long across an abdomen. The eight of ITK's default would
take a tumour for bias: simulated lesions of 5 and 9 cm, without any bias field 38 and 22 % brighter than the liver, are
then 20 and 1 % brighter; with four spans, 37 and 18 %. Of a coil's field 19 % is left instead of 13 %."""
_Z_SCALE = 100.0
_LOWEST, _HIGHEST = 0.0, 100.0


def body_mask(image: sitk.Image, modality: Modality) -> sitk.Image:
    """The patient without air and table, with lungs and bowel: the largest part above a threshold, holes filled.

    CT: above -300 HU. MR: above the threshold of Otsu (IEEE Trans Syst Man Cybern 1979; 9: 62) on the logarithm of the
    signal above its minimum, so that neither a gain nor an offset matters; the logarithm keeps fat, several times as
    bright as muscle, from being told from muscle. The body is found on voxels of about 3 mm and opened by one of them,
    which cuts off a table. Gaps are closed and holes filled slice by slice, since lungs are open where the image ends.

    Parameters
    ----------
    image
        3D; CT in HU.
    modality
        `ct` or `mr`.

    Returns
    -------
    sitk.Image
        uint8 of 0 and 1 on the image's grid.

    Raises
    ------
    FedmviError
        380 where nothing is above the threshold.
    """
    coarse = sitk.BinShrink(image, _factors(image, _BODY_MM))
    above = coarse > _SKIN_HU if modality == "ct" else _bright(coarse)
    opened = sitk.BinaryMorphologicalOpening(above, [1 if n > 2 else 0 for n in above.GetSize()], sitk.sitkCross)
    labels, parts = ndimage.label(sitk.GetArrayViewFromImage(opened))
    if not parts:
        raise FedmviError(380, "no voxel is above the threshold")
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    closing = [round(_GAP_MM / step) for step in coarse.GetSpacing()[:2]]
    closed = sitk.BinaryMorphologicalClosing(image_like(largest.astype(np.uint8), coarse), [*closing, 0])
    levels = sitk.GetArrayViewFromImage(closed) != 0
    filled = np.stack([ndimage.binary_fill_holes(level) for level in levels]).astype(np.uint8)
    # An image that ends within an averaged voxel has a last row of its own, which takes the body next to it.
    return sitk.Resample(
        image_like(filled, coarse), image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8, True
    )


def correct_bias(image: sitk.Image, body: sitk.Image) -> sitk.Image:
    """An MR image divided by its bias field, as N4 finds it.

    The field is found on voxels 8 mm apart, by one thread so that the same image gives the same bytes, and applied to
    the voxels as they are. Its mean logarithm in the body is 0: the image keeps its overall brightness.

    Parameters
    ----------
    image
        3D, not negative where the body is; signals of 0 and below do not count.
    body
        Mask on the image's grid.

    Returns
    -------
    sitk.Image
        float32 on the same grid.

    Raises
    ------
    FedmviError
        380 where the body has no signal, 382 where N4 fails, as on an image of one slice.
    """
    image = sitk.Cast(image, sitk.sitkFloat32)
    # N4 is not defined along an axis of one voxel.
    coarse = sitk.Shrink(image, _factors(image, _BIAS_MM, left=2))
    seen = sitk.Resample(body, coarse, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    seen = sitk.And(seen, sitk.Cast(coarse > 0, sitk.sitkUInt8))
    if not sitk.GetArrayViewFromImage(seen).any():
        raise FedmviError(380, "the body has no signal")
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetNumberOfThreads(1)
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.SetNumberOfControlPoints([_CONTROL_POINTS] * 3)
    try:
        corrector.Execute(coarse, seen)
    except RuntimeError as error:
        raise FedmviError(382, f"{coarse.GetSize()} voxels 8 mm apart: {error}") from error
    field = corrector.GetLogBiasFieldAsImage(image)
    middle = float(sitk.GetArrayViewFromImage(field)[sitk.GetArrayViewFromImage(body) != 0].mean())
    corrected: sitk.Image = image / sitk.Exp(sitk.Cast(field, sitk.sitkFloat32) - middle)
    return corrected


def body_percentiles(image: sitk.Image, body: sitk.Image) -> tuple[float, ...]:
    """Intensities of the body at the percentiles `LANDMARKS`, linearly interpolated between voxels.

    Raises
    ------
    FedmviError
        380 where the body is empty, or as good as all of it has one intensity.
    """
    found = np.percentile(_within(image, body), LANDMARKS)
    if not found[0] < found[-1]:
        raise FedmviError(380, f"the body's intensities lie between {found[0]:g} and {found[-1]:g}")
    return tuple(float(value) for value in found)


def landmarks_of(image: sitk.Image, body: sitk.Image) -> tuple[float, ...]:
    """The body's percentiles on a scale where the first is 0 and the last 100: this image's part in learning Nyul's.

    The mean over images of each landmark is the standard scale (Nyul et al. 2000, equation 3).

    Raises
    ------
    FedmviError
        380 as in `body_percentiles`.
    """
    found = np.array(body_percentiles(image, body))
    scaled = _LOWEST + (_HIGHEST - _LOWEST) * (found - found[0]) / (found[-1] - found[0])
    return tuple(float(value) for value in scaled)


def normalise(image: sitk.Image, phase: str, body: sitk.Image | None, intensity: Intensity) -> sitk.Image:
    """An image of a phase on the protocol's scale, then clipped.

    Parameters
    ----------
    image
        3D; corrected for bias where the protocol says so.
    phase
        Its name, for the landmarks.
    body
        Mask on the image's grid; none is needed where the scale is `none`.
    intensity
        `z-score`: 100 times the distance from the body's mean in standard deviations (of the population). `nyul`:
        linear between landmarks; beyond them as in the first and the last piece.

    Returns
    -------
    sitk.Image
        float32 on the same grid; where the scale is `none`, of the type it had.

    Raises
    ------
    FedmviError
        380 where the body is empty, or as good as all of it has one intensity.
    ValueError
        Where a scale is asked for without a body.
    """
    if intensity.scale != "none":
        if body is None:
            raise ValueError(f"the scale {intensity.scale} needs a body")
        image = sitk.Cast(image, sitk.sitkFloat32)
        if intensity.scale == "z-score":
            image = _z_score(image, body)
        else:
            image = _piecewise(image, body_percentiles(image, body), intensity.landmarks[phase])
    clip = intensity.phase.clip
    clipped: sitk.Image = sitk.Clamp(image, image.GetPixelID(), *clip) if clip else image
    return clipped


def _z_score(image: sitk.Image, body: sitk.Image) -> sitk.Image:
    values = _within(image, body)
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not deviation > 0:
        raise FedmviError(380, f"every voxel of the body is {mean:g}")
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    return image_like(((voxels - mean) * (_Z_SCALE / deviation)).astype(np.float32), image)


def _piecewise(image: sitk.Image, found: tuple[float, ...], scale: tuple[float, ...]) -> sitk.Image:
    """Nyul's map from the percentiles of this image to the standard scale."""
    # Percentiles that coincide, as where much of the body is 0, share the middle of what they stand for.
    at, which = np.unique(found, return_inverse=True)
    to = np.bincount(which, weights=scale) / np.bincount(which)
    slopes = np.diff(to) / np.diff(at)
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    piece = np.clip(np.searchsorted(at, voxels, side="right") - 1, 0, len(slopes) - 1)
    return image_like((to[piece] + slopes[piece] * (voxels - at[piece])).astype(np.float32), image)


def _bright(image: sitk.Image) -> sitk.Image:
    """Where an MR image holds more than noise."""
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    low, high = float(voxels.min()), float(np.percentile(voxels, _BRIGHTEST))
    if not low < high:
        raise FedmviError(380, f"nearly all voxels are {low:g}")
    logarithm = np.log(np.clip((voxels - low) / (high - low), _FAINT, 1.0)).astype(np.float32)
    above: sitk.Image = sitk.OtsuThreshold(image_like(logarithm, image), 0, 1, 256)
    return above


def _factors(image: sitk.Image, width_mm: float, left: int = 1) -> list[int]:
    """How many voxels along each axis are about this width, at least 1; `left` such widths remain, where there are."""
    return [
        min(max(round(width_mm / step), 1), max(n // left, 1))
        for step, n in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]


def _within(image: sitk.Image, body: sitk.Image) -> NDArray[Any]:
    values: NDArray[Any] = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(body) != 0]
    if not values.size:
        raise FedmviError(380, "the body is empty")
    return values
